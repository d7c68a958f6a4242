#include "base/unicode.h"

#include <algorithm>

namespace r2router {
namespace {

/// The code point at one position; `length` is 0 for an ill-formed sequence.
struct Sequence {
  char32_t code_point;
  std::size_t length;
};

Sequence sequence_at(std::string_view text, std::size_t position) noexcept {
  constexpr Sequence kIllFormed = {kReplacement, 0};
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data()) + position;
  const char32_t lead = bytes[0];
  if (lead < 0x80) return {lead, 1};
  // A lead byte of 110xxxxx, 1110xxxx or 11110xxx; `least` is the smallest code point that needs so
  // many bytes.
  std::size_t length;
  char32_t code_point, least;
  if (lead >= 0xC0 && lead < 0xE0) {
    length = 2, code_point = lead & 0x1F, least = 0x80;
  } else if (lead >= 0xE0 && lead < 0xF0) {
    length = 3, code_point = lead & 0x0F, least = 0x800;
  } else if (lead >= 0xF0 && lead < 0xF8) {
    length = 4, code_point = lead & 0x07, least = 0x10000;
  } else {
    return kIllFormed;
  }
  if (text.size() - position < length) return kIllFormed;
  for (std::size_t i = 1; i < length; ++i) {
    if (!is_continuation(text[position + i])) return kIllFormed;
    code_point = code_point << 6 | (bytes[i] & 0x3Fu);
  }
  const bool surrogate = code_point >= 0xD800 && code_point <= 0xDFFF;
  if (code_point < least || surrogate || code_point > 0x10FFFF) return kIllFormed;
  return {code_point, length};
}

}  // namespace

char32_t decode_utf8(std::string_view text, std::size_t& position) noexcept {
  const Sequence sequence = sequence_at(text, position);
  position += sequence.length == 0 ? 1 : sequence.length;
  return sequence.code_point;
}

std::string_view trimmed(std::string_view text) noexcept {
  std::size_t begin = text.size(), end = text.size();
  for (std::size_t position = 0; position < text.size();) {
    const std::size_t start = position;
    if (is_space(decode_utf8(text, position))) continue;
    begin = std::min(begin, start);
    end = position;
  }
  return text.substr(begin, end - begin);
}

bool is_utf8(std::string_view text, std::size_t* bad) noexcept {
  for (std::size_t position = 0; position < text.size();) {
    const std::size_t length = sequence_at(text, position).length;
    if (length == 0) {
      if (bad != nullptr) *bad = position;
      return false;
    }
    position += length;
  }
  return true;
}

bool internal::is_blank(std::string_view text) noexcept {
  for (std::size_t position = 0; position < text.size();) {
    if (!is_space(decode_utf8(text, position))) return false;
  }
  return true;
}

std::string internal::lower_case(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(), [](char c) { return lower_case(c); });
  return result;
}

}  // namespace r2router
