#include "base/token_bound.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <iterator>

#include "base/unicode.h"

namespace r2router::internal {
namespace {

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

std::int64_t growth_of(char32_t c) noexcept {
  if (c < kGrowths[0].first) return 0;
  const auto* const found = std::ranges::lower_bound(kGrowths, c, {}, &Growth::last);
  return found != std::end(kGrowths) && found->first <= c ? found->bytes : 0;
}

}  // namespace

std::int64_t most_tokens(std::string_view text) noexcept {
  auto tokens = static_cast<std::int64_t>(text.size());
  for (std::size_t position = 0; position < text.size();) {
    // Most texts are all ASCII or almost so.
    std::uint64_t word;
    while (position + sizeof word <= text.size()) {
      std::memcpy(&word, text.data() + position, sizeof word);
      if ((word & 0x8080808080808080) != 0) break;
      position += sizeof word;
    }
    while (position < text.size() && static_cast<unsigned char>(text[position]) < 0x80) ++position;
    if (position < text.size()) tokens += growth_of(decode_utf8(text, position));
  }
  return tokens;
}

std::int64_t most_tokens_of_json(std::string_view json) noexcept {
  auto tokens = static_cast<std::int64_t>(json.size());
  for (std::size_t position = 0; position < json.size();) {
    if (static_cast<unsigned char>(json[position]) >= 0x80) {
      tokens += growth_of(decode_utf8(json, position));
    } else if (json.substr(position, 2) == "\\u") {
      // A half of a pair is none of the characters; the document has been parsed.
      std::uint32_t unit = 0;
      const std::string_view digits = json.substr(position + 2, 4);
      std::from_chars(digits.data(), digits.data() + digits.size(), unit, 16);
      tokens += growth_of(static_cast<char32_t>(unit));
      position += 6;
    } else {
      ++position;
    }
  }
  return tokens;
}

}  // namespace r2router::internal
