#include "gateway/dialects/input_size.h"

#include <algorithm>
#include <string>

#include "r2router/decision.h"

#include "base/token_bound.h"

namespace r2router::gateway {
namespace {

constexpr std::int64_t kBytesPerToken = 4;
constexpr std::int64_t kUsualImage = 1'000;  // tokens
/// Bytes of a base64 document for each token of its text.
constexpr std::int64_t kFileBytesPerToken = 16;

std::int64_t bytes_of(std::string_view text) { return static_cast<std::int64_t>(text.size()); }

std::int64_t estimate_of_bytes(std::int64_t bytes) {
  return (bytes + kBytesPerToken - 1) / kBytesPerToken;
}

/// The router's own estimate if the words of the text have a usual length. Code, JSON and languages
/// without spaces have longer words and are counted by their bytes. So are long texts, since
/// splitting them into words takes time.
std::int64_t estimate(std::string_view raw) {
  constexpr std::int64_t kLongText = 16 << 10, kLongToken = 7;
  const std::int64_t by_bytes = estimate_of_bytes(bytes_of(raw));
  if (bytes_of(raw) > kLongText) return by_bytes;
  const std::int64_t by_words = estimate_input_tokens(JsonReader::unescape(raw));
  return by_words * kLongToken >= bytes_of(raw) ? by_words : by_bytes;
}

}  // namespace

void InputSize::add_text(JsonValue text) {
  if (const std::string_view raw = text.raw_string(); !raw.empty()) estimate_ += estimate(raw);
}

void InputSize::add_json(JsonValue value) {
  const std::int64_t bytes = bytes_of(value.raw());
  estimate_ += estimate_of_bytes(bytes);
  json_bytes_ += bytes;
}

void InputSize::add_tools(JsonValue tools) {
  if (tools.children().empty()) return;
  has_tools_ = true;
  add_json(tools);
}

void InputSize::add_image(JsonValue data) {
  ++images_;
  estimate_ += kUsualImage;
  image_bytes_ += bytes_of(data.raw_string());
}

void InputSize::add_file(JsonValue data) {
  estimate_ += bytes_of(data.raw_string()) / kFileBytesPerToken;
}

QuerySize InputSize::size(std::string_view body, std::string_view budget_prompt) const {
  // "{budget}" is replaced by up to ten digits, and the instruction is set off by two line breaks.
  constexpr std::int64_t kInstruction = 16;
  QuerySize size;
  size.input_tokens = std::max<std::int64_t>(estimate_, 1);
  const std::int64_t instruction =
      budget_prompt.empty() ? 0 : internal::most_tokens(budget_prompt) + kInstruction;
  const std::int64_t most = internal::most_tokens_of_json(body) - image_bytes_ + json_bytes_ +
                            images_ * kMostImageTokens + messages_ * kMessageTokens +
                            kTemplateTokens + (has_tools_ ? kToolTokens : 0) + instruction;
  size.max_input_tokens = std::max(most, *size.input_tokens);
  size.context_tokens = std::min(*size.max_input_tokens,
                                 *size.input_tokens + *size.input_tokens / 8 + kTemplateTokens);
  size.images = images_;
  return size;
}

}  // namespace r2router::gateway
