#include "gateway/dialects/answer_reader.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/unicode.h"
#include "llm/chat/chat_completion.h"

namespace r2router::gateway {

bool is_blank(JsonValue text) {
  return text.raw_string().empty() || internal::is_blank(text.string());
}

bool says_nothing(JsonValue error) {
  if (error.is_string()) return is_blank(error);
  if (error.is_object() || error.is_array()) {
    for (const JsonValue child : error.children()) {
      if (!says_nothing(child)) return false;
    }
    return true;
  }
  return !error.is_something() || error.boolean() == false || error.number() == 0;
}

std::optional<std::int64_t> tokens_of(JsonValue count) {
  const std::optional<std::uint64_t> tokens = count.count();
  constexpr std::uint64_t kMost = std::uint64_t{1} << 53;
  return tokens ? std::optional(static_cast<std::int64_t>(std::min(*tokens, kMost))) : std::nullopt;
}

std::optional<double> cost_of(JsonValue usage) {
  const std::optional<double> cost = usage["cost"].number();
  return cost && *cost >= 0 ? cost : std::nullopt;
}

Failure reported_failure(std::string_view report, const llm::Secret& key) {
  return llm::read_chat_error(0, report, key);
}

void judge_content(Answer& answer) {
  if (answer.failure || answer.content > Content::kReasoning) return;
  std::string message = answer.content == Content::kNone
                            ? "the model's answer is empty"
                            : "the model ended its answer after the reasoning, without any text";
  if (answer.truncated) {
    answer.failure = Failure{.code = ErrorCode::kBudget,
                             .message =
                                 "the answer's cap was spent before any text arrived; allow "
                                 "a larger budget"};
  } else {
    answer.failure = Failure{.code = ErrorCode::kNoAnswer,
                             .message = message + "; use another model, or rephrase the query"};
  }
}

void read_identity(JsonValue answer, Answer& result) {
  if (const JsonValue id = answer["id"]; id.is_string() && result.id.empty()) {
    result.id = id.string();
  }
  if (const JsonValue model = answer["model"]; !model.raw_string().empty()) {
    if (result.served_model.empty()) result.served_model = model.string();
  }
}

std::optional<JsonText> parse_answer(std::string_view body, const llm::Secret& key,
                                     Answer& answer) {
  try {
    return JsonText(std::string(body));
  } catch (const Error&) {
    answer.failure = llm::unreadable("an answer is a JSON object", body, key);
    return {};
  }
}

Failure not_an_answer(std::string_view body, const llm::Secret& key) {
  return llm::unreadable("an answer is a JSON object with the members of its API", body, key);
}

void append_event(std::string& out, std::string_view name, std::string_view data) {
  if (!name.empty()) out.append("event: ").append(name).append("\n");
  for (;;) {
    const std::size_t end = data.find('\n');
    out.append("data: ").append(data.substr(0, end)).append("\n");
    if (end == data.npos) break;
    data.remove_prefix(end + 1);
  }
  out += '\n';
}

Action EventReader::read(std::string_view name, std::string_view data, std::string& out) {
  const auto undecided = [&] { return has_content_ ? Action::kSend : Action::kHold; };
  bool is_json = false;
  if (is_end(trimmed(data))) {
    ended_ = true;
  } else {
    try {
      json_.assign(data);
      is_json = true;
    } catch (const Error&) {
      if (name == "error") fail(data);
    }
  }
  if (!is_json) {
    append_event(out, name, data);
    return undecided();
  }
  const Verdict verdict = read_json(name, json_.root());
  if (verdict.drop) return Action::kDrop;
  answer_.content = std::max(answer_.content, verdict.content);
  if (verdict.content != Content::kNone && !answer_.failure) has_content_ = true;
  append(name, verdict.model, out);
  return undecided();
}

/// The event with the name of the pool's model.
void EventReader::append(std::string_view name, JsonValue model, std::string& out) const {
  const std::string& text = json_.text();
  if (!model.is_string()) return append_event(out, name, text);
  const std::string_view raw = model.raw();
  const auto begin = static_cast<std::size_t>(raw.data() - text.data());
  std::string edited;
  edited.reserve(text.size() + model_json_.size());
  edited.append(text, 0, begin).append(model_json_).append(text, begin + raw.size());
  append_event(out, name, edited);
}

void EventReader::finish() {
  if (answer_.failure) return;
  if (!ended_ && answer_.finish_reason.empty()) {
    answer_.failure = Failure{.code = ErrorCode::kConnection,
                              .message = "the stream ended before the answer did; try again"};
    return;
  }
  judge_content(answer_);
}

}  // namespace r2router::gateway
