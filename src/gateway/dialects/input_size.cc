#include "gateway/dialects/input_size.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <string>

#include "r2router/decision.h"

#include "base/unicode.h"

namespace r2router::gateway {
namespace {

constexpr std::int64_t kBytesPerToken = 4;
constexpr std::int64_t kUsualImage = 1'000;  // tokens
/// Bytes of a base64 document for each token of its text.
constexpr std::int64_t kFileBytesPerToken = 16;

/// Characters that have more bytes of UTF-8 in lower case or in Unicode's normal forms NFC and
/// NFKC, and how many more at most. From the data of Unicode 14.
struct Growth {
  char32_t first, last;
  std::int64_t bytes;
};
constexpr Growth kGrowths[] = {
    {0x00A8, 0x00BE, 3},   {0x0130, 0x0149, 1},   {0x01C4, 0x01C6, 1},   {0x023A, 0x023E, 1},
    {0x02D8, 0x02DD, 1},   {0x0344, 0x0344, 2},   {0x037A, 0x0385, 3},   {0x0587, 0x0587, 2},
    {0x0675, 0x0678, 2},   {0x0958, 0x095F, 3},   {0x09DC, 0x09DF, 3},   {0x0A33, 0x0A36, 3},
    {0x0A59, 0x0A5E, 3},   {0x0B5C, 0x0B5D, 3},   {0x0E33, 0x0E33, 3},   {0x0EB3, 0x0EB3, 3},
    {0x0EDC, 0x0EDD, 3},   {0x0F43, 0x0FB9, 6},   {0x1FC1, 0x1FEE, 2},   {0x2033, 0x2033, 3},
    {0x2034, 0x2034, 6},   {0x2036, 0x2036, 3},   {0x2037, 0x2037, 6},   {0x2057, 0x2057, 9},
    {0x2150, 0x2189, 3},   {0x222C, 0x2230, 6},   {0x247D, 0x2487, 1},   {0x2A0C, 0x2A0C, 9},
    {0x2ADC, 0x2ADC, 2},   {0x309B, 0x309F, 3},   {0x30FF, 0x30FF, 3},   {0x3200, 0x3243, 5},
    {0x327C, 0x327D, 3},   {0x32C0, 0x32CB, 2},   {0x32FF, 0x3370, 15},  {0x337B, 0x337F, 9},
    {0x3389, 0x33FE, 5},   {0xFA6C, 0xFA6C, 1},   {0xFACF, 0xFAD7, 1},   {0xFB13, 0xFB4F, 3},
    {0xFBDD, 0xFDC7, 3},   {0xFDF0, 0xFDFC, 30},  {0xFE71, 0xFE7F, 1},   {0xFEF5, 0xFEFC, 1},
    {0x1D15E, 0x1D164, 8}, {0x1D1BB, 0x1D1C0, 8}, {0x1F12A, 0x1F12A, 3}, {0x1F200, 0x1F201, 2},
    {0x1F240, 0x1F248, 5}};

std::int64_t growth_of(char32_t c) {
  if (c < kGrowths[0].first) return 0;
  const auto* const found = std::ranges::lower_bound(kGrowths, c, {}, &Growth::last);
  return found != std::end(kGrowths) && found->first <= c ? found->bytes : 0;
}

/// How many bytes the texts of a JSON document can grow by if a tokenizer normalises them.
std::int64_t growth_of(std::string_view json) {
  std::int64_t growth = 0;
  for (std::size_t position = 0; position < json.size();) {
    if (static_cast<unsigned char>(json[position]) >= 0x80) {
      growth += growth_of(decode_utf8(json, position));
    } else if (json.substr(position, 2) == "\\u") {
      // A half of a pair is none of the characters; the document has been parsed.
      std::uint32_t unit = 0;
      const std::string_view digits = json.substr(position + 2, 4);
      std::from_chars(digits.data(), digits.data() + digits.size(), unit, 16);
      growth += growth_of(static_cast<char32_t>(unit));
      position += 6;
    } else {
      ++position;
    }
  }
  return growth;
}

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
      budget_prompt.empty() ? 0 : bytes_of(budget_prompt) + kInstruction;
  const std::int64_t most = bytes_of(body) + growth_of(body) - image_bytes_ + json_bytes_ +
                            images_ * kMostImageTokens + messages_ * kMessageTokens +
                            kTemplateTokens + (has_tools_ ? kToolTokens : 0) + instruction;
  size.max_input_tokens = std::max(most, *size.input_tokens);
  size.context_tokens = std::min(*size.max_input_tokens,
                                 *size.input_tokens + *size.input_tokens / 8 + kTemplateTokens);
  size.images = images_;
  return size;
}

}  // namespace r2router::gateway
