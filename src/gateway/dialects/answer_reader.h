// Common parts of the answer readers of all dialects.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "gateway/dialects/dialect.h"

namespace r2router::gateway {

/// True for a JSON string without visible text, and for a value that is not a string.
bool is_blank(JsonValue text);
/// True for an error that is null, false, 0 or empty: some servers add one to valid answers.
bool says_nothing(JsonValue error);
/// A count of tokens; empty if there is none.
std::optional<std::int64_t> tokens_of(JsonValue count);
/// OpenRouter's usage.cost in USD; empty if there is none.
std::optional<double> cost_of(JsonValue usage);

/// The failure for an error that a server reports under status 200. `report`: the JSON that
/// contains it.
Failure reported_failure(std::string_view report, const llm::Secret& key);
/// Sets the failure of an answer that has no content.
void judge_content(Answer& answer);

/// Reads the members that have the same meaning in all dialects. Missing members leave the answer
/// unchanged.
void read_identity(JsonValue answer, Answer& result);

/// Reads the whole answer in `body`. `read(root, answer)` returns false if it is not an answer.
template <typename Read>
Answer read_whole_answer(std::string_view body, std::string_view model, const llm::Secret& key,
                         Read read);
/// The parsed body of an answer; if that fails, empty, and `answer.failure` is set.
std::optional<JsonText> parse_answer(std::string_view body, const llm::Secret& key, Answer& answer);
/// The failure for a body that is JSON, but not an answer.
Failure not_an_answer(std::string_view body, const llm::Secret& key);

/// Appends a server-sent event; an empty name is not written.
void append_event(std::string& out, std::string_view name, std::string_view data);

/// The base of all stream readers.
class EventReader : public StreamReader {
 public:
  EventReader(std::string_view model, const llm::Secret& key)
      : key_(key), model_json_(json_string(model)) {}

  Action read(std::string_view name, std::string_view data, std::string& out) final;
  void finish() final;
  const Answer& answer() const final { return answer_; }
  bool has_content() const final { return has_content_; }
  bool ended() const final { return ended_; }

 protected:
  struct Verdict {
    Content content = Content::kNone;  ///< of this event
    bool drop = false;
    JsonValue model = {};  ///< the string to replace, if any
  };

  /// Reads an event that is JSON into answer_ and ended_.
  virtual Verdict read_json(std::string_view name, JsonValue root) = 0;
  /// True for data that ends the stream and is not JSON.
  virtual bool is_end(std::string_view) const { return false; }

  void fail(std::string_view report) {
    if (!answer_.failure) answer_.failure = reported_failure(report, key_);
  }

  Answer answer_;
  bool ended_ = false;
  const llm::Secret& key_;

 private:
  void append(std::string_view name, JsonValue model, std::string& out) const;

  const std::string model_json_;
  JsonText json_;
  bool has_content_ = false;
};

template <typename Read>
Answer read_whole_answer(std::string_view body, std::string_view model, const llm::Secret& key,
                         Read read) {
  Answer answer;
  const std::optional<JsonText> json = parse_answer(body, key, answer);
  if (!json) return answer;
  const JsonValue root = json->root();
  const bool is_answer = read(root, answer);
  if (!answer.failure) {
    if (is_answer) {
      judge_content(answer);
    } else {
      answer.failure = not_an_answer(body, key);
    }
  }
  JsonEditor editor(*json);
  if (is_answer) editor.set(root, "model", json_string(model));
  answer.body = editor.text();
  return answer;
}

}  // namespace r2router::gateway
