#include "llm/chat/chat_completion.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/excerpt.h"
#include "base/unicode.h"
#include "llm/http/endpoint.h"
#include "llm/http/server_error.h"
#include "pool/request_settings.h"

namespace r2router::llm {
namespace {

using Document = nlohmann::json;

/// Limits on the structure of an answer, far above real ones: a tree takes many times the memory of
/// its text.
constexpr int kMostNesting = 64;
constexpr std::size_t kMostValues = 100'000;

/// Maximum bytes quoted from a server's message.
constexpr std::size_t kMostQuotedBytes = 400;

constexpr std::string_view kReplacementBytes = "\uFFFD";
constexpr std::string_view kReplacementEscape = "\\ufffd";

/// The UTF-16 code unit of an escape "\uXXXX" at text[position].
std::optional<std::uint32_t> escaped_unit(std::string_view text, std::size_t position) {
  std::uint32_t unit = 0;
  if (position > text.size() || text.substr(position, 2) != "\\u" || text.size() - position < 6) {
    return {};
  }
  const char* end = text.data() + position + 6;
  if (std::from_chars(end - 4, end, unit, 16).ptr != end) return {};
  return unit;
}

bool is_high_surrogate(std::optional<std::uint32_t> unit) {
  return unit && *unit >= 0xD800 && *unit < 0xDC00;
}
bool is_low_surrogate(std::optional<std::uint32_t> unit) {
  return unit && *unit >= 0xDC00 && *unit < 0xE000;
}

/// Number of bytes from json[position] to the end of their string if they are an incomplete UTF-8
/// character; else 0.
std::size_t first_part(std::string_view json, std::size_t position) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(json[position + i]); };
  const unsigned char lead = byte(0);
  const std::size_t whole = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4) return 0;
  for (std::size_t size = 1; size < whole && position + size < json.size(); ++size) {
    if (byte(size) == '"') return size;
    if (!is_continuation(json[position + size])) break;
  }
  return 0;
}

/// Converts the JSON that servers send into valid JSON. Servers that cut text into tokens send
/// ill-formed UTF-8 and unpaired surrogates, which become U+FFFD; servers that write JSON with
/// Python send NaN and Infinity, which become null.
class Repair {
 public:
  /// `cut`: an incomplete character (Cut::part) that a string of `json` may continue.
  Repair(std::string_view json, std::string_view cut) : json_(json) {
    while (position_ < json_.size()) {
      if (!in_string_) {
        structure(cut);
      } else if (json_[position_] == '"') {
        in_string_ = false;
        text_ += json_[position_++];
      } else if (json_[position_] == '\\') {
        escape();
      } else {
        character();
      }
    }
  }

  const std::string& text() const { return text_; }
  /// The incomplete character at the end of a string, if any.
  const std::string& cut() const { return cut_; }
  /// Its replacement in text().
  std::string cut_replacement() const {
    std::string text;
    const std::size_t count = cut_.starts_with('\\') ? 1 : cut_.size();
    for (std::size_t i = 0; i < count; ++i) text += kReplacementBytes;
    return text;
  }
  /// Called when a string continued with the rest of the character.
  bool joined() const { return joined_; }

 private:
  void structure(std::string_view cut) {
    const char c = json_[position_];
    if (c == 'N' || c == 'I' || c == '-') {
      for (const std::string_view word : {"NaN", "Infinity", "-Infinity"}) {
        if (!json_.substr(position_).starts_with(word)) continue;
        text_ += "null";
        position_ += word.size();
        return;
      }
    }
    text_ += c;
    ++position_;
    if (c != '"') return;
    in_string_ = true;
    if (!cut.empty() && goes_on(cut)) join(cut);
  }

  /// True if the current string starts with the rest of the character.
  bool goes_on(std::string_view cut) const {
    if (position_ == json_.size()) return false;
    return cut.front() == '\\' ? is_low_surrogate(escaped_unit(json_, position_))
                               : is_continuation(json_[position_]);
  }

  void join(std::string_view cut) {
    joined_ = true;
    if (cut.front() == '\\') {
      text_.append(cut).append(json_.substr(position_, 6));
      position_ += 6;
      return;
    }
    std::string bytes(cut);
    while (position_ < json_.size() && bytes.size() < 4 && is_continuation(json_[position_]) &&
           !is_utf8(bytes)) {
      bytes += json_[position_++];
    }
    if (is_utf8(bytes)) {
      text_ += bytes;
      return;
    }
    if (ends_string() && first_part(bytes + '"', 0) > 0) cut_ = bytes;  // more is to come
    for (std::size_t i = 0; i < bytes.size(); ++i) text_ += kReplacementBytes;
  }

  void escape() {
    const std::size_t begin = position_;
    const auto unit = escaped_unit(json_, position_);
    position_ = std::min(position_ + (unit ? 6 : 2), json_.size());
    if (is_high_surrogate(unit)) {
      if (is_low_surrogate(escaped_unit(json_, position_))) {
        position_ += 6;
      } else {
        if (ends_string()) cut_ = json_.substr(begin, 6);
        text_ += kReplacementEscape;
        return;
      }
    } else if (is_low_surrogate(unit)) {
      text_ += kReplacementEscape;
      return;
    }
    text_ += json_.substr(begin, position_ - begin);
  }

  void character() {
    const std::size_t begin = position_;
    for (; position_ < json_.size(); ++position_) {
      const auto c = static_cast<unsigned char>(json_[position_]);
      if (c >= 0x80 || c == '"' || c == '\\') break;
    }
    if (position_ > begin) {
      text_ += json_.substr(begin, position_ - begin);
      return;
    }
    if (decode_utf8(json_, position_) != kReplacement) {
      text_ += json_.substr(begin, position_ - begin);
      return;
    }
    if (const std::size_t part = first_part(json_, begin); part > 0) {
      cut_ = json_.substr(begin, part);
    }
    text_ += kReplacementBytes;
  }

  bool ends_string() const { return position_ < json_.size() && json_[position_] == '"'; }

  std::string_view json_;
  std::size_t position_ = 0;
  bool in_string_ = false;
  bool joined_ = false;
  std::string text_, cut_;
};

/// The value; empty if it is not JSON or exceeds the limits.
std::optional<Document> parse(std::string_view text) {
  struct TooMuch {};
  std::size_t values = 0;
  const auto bounded = [&](int depth, Document::parse_event_t, Document&) {
    if (depth > kMostNesting || ++values > kMostValues) throw TooMuch{};
    return true;
  };
  try {
    Document json = Document::parse(text, bounded, /*allow_exceptions=*/false);
    if (!json.is_discarded()) return json;
  } catch (const TooMuch&) {
  }
  return {};
}

/// The member of an object, or null. Servers also write null for missing members.
const Document* find(const Document& value, const char* name) {
  if (!value.is_object()) return nullptr;
  const auto member = value.find(name);
  return member == value.end() || member->is_null() ? nullptr : &*member;
}

/// A string member, or "".
std::string string_of(const Document& value, const char* name) {
  const Document* member = find(value, name);
  return member != nullptr && member->is_string() ? member->get<std::string>() : std::string();
}

/// A finite number ≥ 0, or empty. Some servers write numbers as strings.
std::optional<double> amount_of(const Document& value, const char* name) {
  const Document* member = find(value, name);
  if (member == nullptr) return {};
  double number = -1;
  if (member->is_number()) {
    number = member->get<double>();
  } else if (member->is_string()) {
    const std::string_view text = trimmed(member->get_ref<const std::string&>());
    const char* const end = text.data() + text.size();
    const auto [last, error] = std::from_chars(text.data(), end, number);
    if (error != std::errc() || last != end) return {};
  }
  if (!(number >= 0 && std::isfinite(number))) return {};
  return number;
}

std::optional<std::int64_t> tokens_of(const Document& value, const char* name) {
  const auto number = amount_of(value, name);
  constexpr double kMost = 1e15;  // far above any answer, and exact
  if (!number || *number > kMost) return {};
  return std::llround(*number);
}

/// The first count that exists: counts have several names, and some are in a group.
std::int64_t count_of(const Document& usage, const char* group,
                      std::initializer_list<const char*> names) {
  const Document* details = find(usage, group);
  for (const char* name : names) {
    if (const auto count = tokens_of(usage, name)) return *count;
    if (details == nullptr) continue;
    if (const auto count = tokens_of(*details, name)) return *count;
  }
  return 0;
}

void read_usage(const Document& answer, ChatAnswer& result) {
  const Document* usage = find(answer, "usage");
  if (usage == nullptr) return;
  const auto prompt = tokens_of(*usage, "prompt_tokens");
  const auto completion = tokens_of(*usage, "completion_tokens");
  if (prompt && completion) {
    constexpr const char* kPrompt = "prompt_tokens_details";
    Usage& counts = result.usage.emplace();
    counts.prompt_tokens = *prompt;
    counts.completion_tokens = *completion;
    counts.reasoning_tokens = count_of(*usage, "completion_tokens_details", {"reasoning_tokens"});
    counts.cached_tokens = count_of(
        *usage, kPrompt, {"cached_tokens", "cache_read_input_tokens", "prompt_cache_hit_tokens"});
    counts.cache_write_tokens =
        count_of(*usage, kPrompt,
                 {"cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens"});
    // Some servers count these separately from the rest of the prompt.
    const std::int64_t cache = counts.cached_tokens + counts.cache_write_tokens;
    if (cache > counts.prompt_tokens) counts.prompt_tokens += cache;
  }
  if (const auto cost = amount_of(*usage, "cost")) result.cost_usd = cost;
}

std::string_view remedy_for(ErrorCode code) {
  switch (code) {
    case ErrorCode::kAuthentication:
      return "; set a key that it accepts, for example in OPENROUTER_API_KEY";
    case ErrorCode::kCredit:
      return "; add credit to the account, or allow fewer tokens";
    case ErrorCode::kRateLimited:
      return "; call less often";
    case ErrorCode::kNotFound:
      return "; check the model's catalogue name and the base URL";
    case ErrorCode::kTooLong:
      return "; shorten the query, or allow models with a longer context";
    case ErrorCode::kNoAnswer:
      return "; use another model, or rephrase the query";
    default:
      return "";
  }
}

/// True for an empty "error": some servers add "", {} or false to valid answers.
bool says_nothing(const Document& error) {
  switch (error.type()) {
    case Document::value_t::null:
      return true;
    case Document::value_t::boolean:
      return !error.get<bool>();
    case Document::value_t::string:
      return trimmed(error.get_ref<const std::string&>()).empty();
    case Document::value_t::array:
    case Document::value_t::object:
      return std::ranges::all_of(error, says_nothing);
    default:
      return error == 0;
  }
}

/// The text of reasoning: a string, or strings within lists and objects. Encrypted reasoning has
/// none.
std::string plain_text(const Document& value) {
  if (value.is_string()) return value.get<std::string>();
  std::string text;
  if (value.is_array()) {
    for (const Document& part : value) text += plain_text(part);
  }
  for (const char* name : {"text", "thinking", "reasoning", "summary", "content"}) {
    const Document* member = find(value, name);
    if (member == nullptr) continue;
    text = plain_text(*member);
    if (!text.empty()) break;
  }
  return text;
}

/// True if the value is not empty.
bool is_something(const Document* value) {
  return value != nullptr && value->is_structured() && !value->empty();
}

/// Reads a whole answer, or an event of a streamed one, into a ChatAnswer.
class AnswerReader {
 public:
  /// `text`: JSON, or the approximate JSON of some servers.
  AnswerReader(std::string_view text, bool streamed, ChatAnswer& answer, const Secret& key)
      : repair_(text, answer.cut.part), streamed_(streamed), answer_(answer), key_(key) {
    json_ = parse(repair_.text());
    // Google wraps some answers in a list.
    if (json_ && json_->is_array() && json_->size() == 1) json_ = Document(json_->front());
  }

  /// The value, or null if it is not JSON.
  const Document* json() const { return json_ ? &*json_ : nullptr; }
  bool is_object() const { return json_ && json_->is_object(); }

  /// True if the object only reports an error.
  bool is_report() const {
    if (json_->contains("choices")) return false;
    if (string_of(*json_, "object") == "error" || string_of(*json_, "type") == "error") return true;
    if (streamed_) return false;
    for (const char* name : {"message", "Message", "detail", "errors", "msg", "error_message"}) {
      const Document* member = find(*json_, name);
      if (member != nullptr && !member->is_object() && !says_nothing(*member)) return true;
    }
    return false;
  }

  /// Reads the object as an error report.
  void read_report() { report(json_->dump()); }

  /// Reads the object as an answer. False if it does not have that form.
  bool read_answer() {
    const Document& json = *json_;
    if (std::string model = string_of(json, "model"); !model.empty()) {
      answer_.model = std::move(model);
    }
    read_usage(json, answer_);
    const auto choices = json.find("choices");
    bool well_formed = choices != json.end() && (choices->is_null() || choices->is_array());
    const Document* choice = well_formed ? chosen_of(*choices) : nullptr;
    if (choice != nullptr) {
      well_formed = read_choice(*choice);
      read_error(find(*choice, "error"));
    }
    read_error(find(json, "error"));
    if (!answer_.failure && internal::lower_case(answer_.finish_reason) == "error") {
      answer_.failure =
          Failure{.code = ErrorCode::kServer,
                  .message = "the server ended the answer with an unnamed error; try again"};
    }
    return well_formed;
  }

 private:
  /// The first choice of an answer; in a stream, the one whose index came first. Only one was
  /// requested.
  const Document* chosen_of(const Document& choices) {
    for (const Document& choice : choices) {
      const auto index = tokens_of(choice, "index");
      if (index && answer_.choice && *index != *answer_.choice) continue;
      if (index) answer_.choice = index;
      return &choice;
    }
    return nullptr;
  }

  bool read_choice(const Document& choice) {
    std::string reason = string_of(choice, "finish_reason");
    const std::string lower = internal::lower_case(reason);
    const bool has_reason = !reason.empty() && lower != "null" && lower != "none";
    if (has_reason) answer_.finish_reason = std::move(reason);
    // Some servers repeat the whole message at the end of a stream.
    const Document* message = find(choice, streamed_ ? "delta" : "message");
    if (message == nullptr && answer_.text.empty()) {
      message = find(choice, streamed_ ? "message" : "delta");
    }
    // Older protocols have the text here.
    const std::string text = message == nullptr ? string_of(choice, "text") : std::string();
    append(&ChatAnswer::text, text);
    // A null message, or a missing one if the answer was withheld, is an empty answer.
    if (message == nullptr && !has_reason && text.empty() && !choice.contains("message")) {
      return false;
    }
    answer_.has_choice = true;
    if (message != nullptr) read_message(*message);
    return true;
  }

  void read_message(const Document& message) {
    if (const Document* content = find(message, "content")) read_content(*content);
    for (const char* name : {"reasoning_content", "reasoning", "thinking", "reasoning_details"}) {
      const Document* reasoning = find(message, name);
      const std::string text = reasoning != nullptr ? plain_text(*reasoning) : std::string();
      if (text.empty()) continue;
      append(&ChatAnswer::reasoning, text);
      break;  // servers repeat the text under several names
    }
    append(&ChatAnswer::refusal, string_of(message, "refusal"));
    for (const char* name : {"tool_calls", "function_call", "images", "audio"}) {
      answer_.has_other_content |= is_something(find(message, name));
    }
  }

  void read_content(const Document& content) {
    if (content.is_string()) {
      append(&ChatAnswer::text, content.get_ref<const std::string&>());
    } else if (content.is_array()) {
      for (const Document& part : content) read_part(part);
    } else {
      answer_.failure = unreadable("a message's content is text", content.dump(), key_);
    }
  }

  void read_part(const Document& part) {
    const std::string type = internal::lower_case(string_of(part, "type"));
    if (type.find("thinking") != type.npos || type.find("reasoning") != type.npos) {
      append(&ChatAnswer::reasoning, plain_text(part));
    } else if (type == "refusal") {
      append(&ChatAnswer::refusal, string_of(part, "refusal"));
    } else if (part.is_string()) {
      append(&ChatAnswer::text, part.get_ref<const std::string&>());
    } else if (const Document* text = find(part, "text"); text != nullptr && text->is_string()) {
      append(&ChatAnswer::text, text->get_ref<const std::string&>());
    } else {
      answer_.has_other_content |= is_something(&part);
    }
  }

  /// Appends a chunk to one of the texts. An incomplete character at its end is held back.
  void append(std::string ChatAnswer::*field, std::string_view piece) {
    if (piece.empty()) return;
    if (answer_.cut.field == field) {
      if (!repair_.joined()) answer_.*field += kReplacementBytes;
      answer_.cut = {};
    }
    if (streamed_ && !repair_.cut().empty() && piece.ends_with(repair_.cut_replacement())) {
      piece.remove_suffix(repair_.cut_replacement().size());
      answer_.cut = {repair_.cut(), field};
    }
    answer_.*field += piece;
  }

  void read_error(const Document* error) {
    if (error == nullptr || says_nothing(*error) || answer_.failure) return;
    // {"error": true} has its message in another member.
    report(error->is_structured() || error->is_string() ? Document{{"error", *error}}.dump()
                                                        : json_->dump());
  }

  void report(const std::string& error) {
    answer_.failure = read_chat_error(0, error, key_, &answer_.said);
  }

  const Repair repair_;
  const bool streamed_;
  ChatAnswer& answer_;
  const Secret& key_;
  std::optional<Document> json_;
};

bool says(std::string_view finish_reason, std::initializer_list<std::string_view> words) {
  const std::string lower = internal::lower_case(finish_reason);
  return std::ranges::any_of(words,
                             [&](std::string_view word) { return lower.find(word) != lower.npos; });
}

/// "[DONE]" in any spelling.
bool is_end_mark(std::string_view data) {
  const auto strip = [&](std::string_view around) {
    while (!data.empty() && around.find(data.front()) != around.npos) data.remove_prefix(1);
    while (!data.empty() && around.find(data.back()) != around.npos) data.remove_suffix(1);
  };
  if (data.size() > 16) return false;
  strip("\"'");
  strip("[]");
  return internal::lower_case(std::string(data)) == "done";
}

/// Unnamed keep-alive messages of servers.
bool is_heartbeat(std::string_view data) {
  for (const std::string_view word : {"ping", "pong", "keep-alive", "keepalive", "heartbeat"}) {
    if (data.size() < 16 && internal::lower_case(std::string(data)) == word) return true;
  }
  return data.empty();
}

}  // namespace

std::string_view RequestForm::cap_name() const {
  return cap_field == CapField::kMaxTokens ? internal::kMaxTokens : internal::kMaxCompletionTokens;
}

bool RequestForm::sends(std::string_view parameter) const {
  return std::ranges::find(omit, parameter) == omit.end();
}

std::string chat_request(const ChatRequest& request, const RequestForm& form,
                         std::string_view provider, bool stream) {
  nlohmann::ordered_json body = {{"model", request.model}};
  if (!request.fallback_models.empty() && form.sends("models")) {
    body["models"] = request.fallback_models;
  }
  for (const Message& message : request.messages) {
    body["messages"].push_back({{"role", message.role}, {"content", message.content}});
  }
  body[std::string(form.cap_name())] = request.max_tokens;
  if (request.temperature && form.sends("temperature")) body["temperature"] = *request.temperature;
  if (!provider.empty() && form.sends("provider")) {
    body["provider"] = nlohmann::ordered_json::parse(provider);
  }
  if (stream) {
    body["stream"] = true;
    if (form.sends("stream_options")) body["stream_options"] = {{"include_usage", true}};
  }
  if (!request.extra.empty()) {
    const auto extra = nlohmann::ordered_json::parse(request.extra, nullptr,
                                                     /*allow_exceptions=*/false);
    if (!extra.is_object()) {
      throw Error(ErrorCode::kInvalidArgument,
                  "the model's request is " + excerpt(request.extra) +
                      R"(: expected a JSON object, such as {"reasoning_effort": "low"})");
    }
    for (const auto& [name, value] : extra.items()) {
      if (!internal::may_be_required(name)) {
        throw Error(ErrorCode::kInvalidArgument, "the model's request sets " + excerpt(name) +
                                                     ", which the router sets itself: remove it");
      }
      body[name] = value;
    }
  }
  return body.dump();
}

std::string provider_preferences(std::string_view json, bool require_parameters) {
  auto preferences = nlohmann::ordered_json::object();
  if (!json.empty()) {
    preferences = nlohmann::ordered_json::parse(json, nullptr, /*allow_exceptions=*/false);
  }
  if (!preferences.is_object()) {
    throw Error(
        ErrorCode::kInvalidArgument,
        "provider is " + excerpt(json) + R"(: expected a JSON object, such as {"sort": "price"})");
  }
  if (require_parameters && !preferences.contains("require_parameters")) {
    preferences["require_parameters"] = true;
  }
  return preferences.dump();
}

ChatAnswer read_chat_answer(std::string_view body, const Secret& key) {
  ChatAnswer answer;
  AnswerReader reader(body, false, answer, key);
  if (!reader.is_object()) {
    answer.failure = unreadable("an answer is a JSON object", body, key);
  } else if (reader.is_report()) {
    reader.read_report();
  } else if (!reader.read_answer() && !answer.failure) {
    answer.failure = unreadable("an answer has a text in choices[0].message.content", body, key);
  }
  return answer;
}

void read_chat_chunk(std::string_view event, std::string_view data, ChatAnswer& answer,
                     const Secret& key) {
  if (answer.failure || answer.done) return;
  data = trimmed(data);
  if (is_end_mark(data)) {
    answer.done = true;
    return;
  }
  AnswerReader reader(data, true, answer, key);
  if (reader.is_object()) {
    // An event of this name may contain the error itself.
    if (reader.is_report() || (event == "error" && find(*reader.json(), "error") == nullptr)) {
      reader.read_report();
    } else {
      reader.read_answer();
    }
  } else if (event == "error") {
    answer.failure = read_chat_error(0, data, key, &answer.said);
  } else if (event == "done") {
    answer.done = true;
  } else if (reader.json() == nullptr && (event.empty() || event == "message") &&
             !is_heartbeat(data)) {
    answer.failure = unreadable("an event of a streamed answer is a JSON object", data, key);
  }
}

void end_chat_stream(ChatAnswer& answer) {
  if (answer.cut.field != nullptr) answer.*answer.cut.field += kReplacementBytes;
  answer.cut = {};
}

bool ended_by_cap(std::string_view finish_reason) {
  return says(finish_reason, {"length", "max_tokens", "max_output_tokens", "max_completion_tokens",
                              "max_new_tokens", "token_limit"});
}

bool ended_by_filter(std::string_view finish_reason) {
  return says(finish_reason, {"filter", "safety", "prohibited", "recitation", "blocklist", "spii",
                              "moderation", "guardrail", "sensitive"});
}

Failure read_chat_error(int status, std::string_view body, const Secret& key, ServerError* said) {
  ServerError error = read_server_error(body);
  if (status == 0) status = error.status;
  Failure failure{.code = classify(status, error), .http_status = status};
  failure.message =
      "the server reports " + (status == 0 ? "an error" : "error " + std::to_string(status));
  if (!error.words.empty()) failure.message += ": " + quoted(error.words, key);
  failure.message += remedy_for(failure.code);
  if (said != nullptr) *said = std::move(error);
  return failure;
}

Failure unreadable(std::string_view expected, std::string_view found, const Secret& key) {
  return {.code = ErrorCode::kBadResponse,
          .message = "expected that " + std::string(expected) + ", found " + quoted(found, key) +
                     "; check that the base URL is that of an OpenAI-compatible server"};
}

std::string quoted(std::string_view words, const Secret& key) {
  // Remove the key before cutting the message, so that no part of it remains.
  return excerpt(redact(std::string(words), key), kMostQuotedBytes);
}

}  // namespace r2router::llm
