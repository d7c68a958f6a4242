#include "llm/chat/chat_completion.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/excerpt.h"
#include "base/unicode.h"
#include "llm/http/retry.h"
#include "llm/http/server_error.h"
#include "llm/http/transport.h"

namespace r2router::client {
namespace {

using Json = nlohmann::json;

/// Bounds on an answer's structure, far above what a server says: its tree takes many times the
/// memory of its text.
constexpr int kMostDepth = 64;
constexpr std::size_t kMostValues = 100'000;

/// Bytes of a server's own words that are quoted.
constexpr std::size_t kMostQuoted = 400;

constexpr std::string_view kReplacementBytes = "\uFFFD";
constexpr std::string_view kReplacementEscape = "\\ufffd";

/// The UTF-16 code unit that text[position] begins an escape of, "\uXXXX".
std::optional<std::uint32_t> escaped_unit(std::string_view text, std::size_t position) {
  std::uint32_t unit = 0;
  if (text.substr(position, 2) != "\\u" || text.size() - position < 6) return {};
  const char* end = text.data() + position + 6;
  if (std::from_chars(end - 4, end, unit, 16).ptr != end) return {};
  return unit;
}

/// `json` with ill-formed UTF-8 and halves of surrogate pairs replaced by U+FFFD: servers that cut
/// a text into tokens make both, and a parser rejects the whole answer for them.
std::string repaired(std::string_view json) {
  std::string result;
  for (std::size_t position = 0; position < json.size();) {
    const std::size_t begin = position;
    if (json[position] != '\\') {
      const bool replaced = decode_utf8(json, position) == kReplacement;
      result += replaced ? kReplacementBytes : json.substr(begin, position - begin);
      continue;
    }
    const auto unit = escaped_unit(json, position);
    position += unit ? 6 : 2;
    if (unit && *unit >= 0xD800 && *unit < 0xDC00) {
      const auto second = escaped_unit(json, std::min(position, json.size()));
      if (second && *second >= 0xDC00 && *second < 0xE000) {
        position += 6;
      } else {
        result += kReplacementEscape;
        continue;
      }
    } else if (unit && *unit >= 0xDC00 && *unit < 0xE000) {
      result += kReplacementEscape;
      continue;
    }
    result += json.substr(begin, position - begin);
  }
  return result;
}

/// The value, or nothing for what is not JSON or exceeds the bounds.
std::optional<Json> parse(std::string_view text) {
  struct TooMuch {};
  std::size_t values = 0;
  const auto bounded = [&](int depth, Json::parse_event_t, Json&) {
    if (depth > kMostDepth || ++values > kMostValues) throw TooMuch{};
    return true;
  };
  try {
    Json json = Json::parse(repaired(text), bounded, /*allow_exceptions=*/false);
    if (!json.is_discarded()) return json;
  } catch (const TooMuch&) {
  }
  return {};
}

/// The member of an object, or null where there is none. Servers write null for what is absent.
const Json* find(const Json& value, const char* name) {
  if (!value.is_object()) return nullptr;
  const auto member = value.find(name);
  return member == value.end() || member->is_null() ? nullptr : &*member;
}

/// A string member, or "".
std::string string_of(const Json& value, const char* name) {
  const Json* member = find(value, name);
  return member != nullptr && member->is_string() ? member->get<std::string>() : std::string();
}

/// A finite number ≥ 0, or nothing.
std::optional<double> amount_of(const Json& value, const char* name) {
  const Json* member = find(value, name);
  if (member == nullptr || !member->is_number()) return {};
  const double number = member->get<double>();
  if (!(number >= 0)) return {};
  return number;
}

std::optional<std::int64_t> tokens_of(const Json& value, const char* name) {
  const auto number = amount_of(value, name);
  constexpr double kMost = 1e15;  // far beyond any answer, and exact
  if (!number || *number > kMost) return {};
  return std::llround(*number);
}

/// The first of the counts that a server gives: they have several names, and some are in a group.
std::int64_t count_of(const Json& usage, const char* group,
                      std::initializer_list<const char*> names) {
  const Json* details = find(usage, group);
  for (const char* name : names) {
    if (const auto count = tokens_of(usage, name)) return *count;
    if (details == nullptr) continue;
    if (const auto count = tokens_of(*details, name)) return *count;
  }
  return 0;
}

void read_usage(const Json& answer, ChatAnswer& result) {
  const Json* usage = find(answer, "usage");
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
    // Some servers count these apart from the rest of the prompt.
    const std::int64_t cache = counts.cached_tokens + counts.cache_write_tokens;
    if (cache > counts.prompt_tokens) counts.prompt_tokens += cache;
  }
  if (const auto cost = amount_of(*usage, "cost")) result.cost_usd = cost;
}

/// True for a refusal because the server does not serve the model.
bool names_unknown_model(std::string words) {
  std::ranges::transform(words, words.begin(), [](unsigned char c) { return std::tolower(c); });
  const auto says = [&](const char* phrase, std::size_t from = 0) {
    return words.find(phrase, from) != words.npos;
  };
  if (says("not a valid model") || says("unsupported model") || says("unknown model")) return true;
  const std::size_t model = words.find("model");
  return model != words.npos && (says("not found", model) || says("does not exist", model) ||
                                 says("not supported", model));
}

std::string_view remedy_for(ErrorCode code) {
  switch (code) {
    case ErrorCode::kAuthentication:
      return "; give a key that it accepts, or set OPENROUTER_API_KEY to one";
    case ErrorCode::kCredit:
      return "; add credit to the account, or allow fewer tokens";
    case ErrorCode::kRateLimited:
      return "; call less often";
    case ErrorCode::kNotFound:
      return "; check the model's catalogue name and the base URL";
    default:
      return "";
  }
}

/// Adds a message's content: a string, nothing, or an array of parts of which some are text.
void read_content(const Json& message, ChatAnswer& answer, const Secret& key) {
  const Json* content = find(message, "content");
  if (content == nullptr) return;
  if (content->is_string()) {
    answer.text += content->get_ref<const std::string&>();
  } else if (content->is_array()) {
    for (const Json& part : *content) answer.text += string_of(part, "text");
  } else {
    answer.failure = unreadable("a message's content is text", content->dump(), key);
  }
}

/// Reads a whole answer or a piece of one, whose text is in the first choice's member `message`;
/// false if it has none.
bool read(const Json& json, const char* message, ChatAnswer& answer, const Secret& key) {
  if (std::string model = string_of(json, "model"); !model.empty()) answer.model = std::move(model);
  read_usage(json, answer);
  const Json* choices = find(json, "choices");
  const bool has_choice = choices != nullptr && choices->is_array() && !choices->empty();
  const Json none;
  const Json& choice = has_choice ? choices->front() : none;
  const Json* said = find(choice, message);
  if (said != nullptr) read_content(*said, answer, key);
  if (std::string reason = string_of(choice, "finish_reason"); !reason.empty()) {
    answer.finish_reason = std::move(reason);
  }
  for (const Json* place : {&json, &choice}) {
    if (const Json* error = find(*place, "error")) {
      answer.failure = read_chat_error(0, Json{{"error", *error}}.dump(), key);
    }
  }
  if (!answer.failure && answer.finish_reason == "error") {
    answer.failure = Failure{.code = ErrorCode::kServer,
                             .message =
                                 "the server ended the answer with an error that it does "
                                 "not name; try again"};
  }
  return said != nullptr;
}

}  // namespace

std::string chat_request(const ChatRequest& request, CapField cap_field, std::string_view provider,
                         bool stream) {
  nlohmann::ordered_json body = {{"model", request.model}};
  if (!request.fallback_models.empty()) body["models"] = request.fallback_models;
  for (const Message& message : request.messages) {
    body["messages"].push_back({{"role", message.role}, {"content", message.content}});
  }
  body[cap_field == CapField::kMaxTokens ? "max_tokens" : "max_completion_tokens"] =
      request.max_tokens;
  body["temperature"] = request.temperature;
  if (!provider.empty()) body["provider"] = nlohmann::ordered_json::parse(provider);
  if (stream) {
    body["stream"] = true;
    body["stream_options"] = {{"include_usage", true}};
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
  const auto json = parse(body);
  if (!json || !json->is_object()) {
    answer.failure = unreadable("an answer is a JSON object", body, key);
  } else if (!read(*json, "message", answer, key) && !answer.failure) {
    answer.failure = unreadable("an answer has a text in choices[0].message.content", body, key);
  }
  return answer;
}

void read_chat_chunk(std::string_view data, ChatAnswer& answer, const Secret& key) {
  if (answer.failure || answer.done) return;
  if (data == "[DONE]") {
    answer.done = true;
    return;
  }
  const auto json = parse(data);
  if (!json || !json->is_object()) {
    answer.failure = unreadable("an event of a streamed answer is a JSON object", data, key);
    return;
  }
  read(*json, "delta", answer, key);
}

Failure read_chat_error(int status, std::string_view body, const Secret& key) {
  const net::ServerError error = net::read_server_error(body);
  if (status == 0) status = error.status;
  Failure failure{.code = status == 0 ? ErrorCode::kServer : net::classify(status),
                  .http_status = status};
  if (status == 404 || (failure.code == ErrorCode::kRefused && names_unknown_model(error.words))) {
    failure.code = ErrorCode::kNotFound;
  }
  failure.message =
      "the server reports " + (status == 0 ? "an error" : "error " + std::to_string(status));
  if (!error.words.empty()) failure.message += ": " + quoted(error.words, key);
  failure.message += remedy_for(failure.code);
  return failure;
}

Failure unreadable(std::string_view expected, std::string_view found, const Secret& key) {
  return {.code = ErrorCode::kBadResponse,
          .message = "expected that " + std::string(expected) + ", found " + quoted(found, key) +
                     "; check that the base URL is that of an OpenAI-compatible server"};
}

std::string quoted(std::string_view words, const Secret& key) {
  // The key is taken out before the words are cut, or a part of it could stay.
  return excerpt(net::redact(std::string(words), key), kMostQuoted);
}

}  // namespace r2router::client
