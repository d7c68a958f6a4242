// UTF-8: decoding of untrusted text, which never fails, and encoding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace r2router {

/// The code point for an ill-formed byte.
inline constexpr char32_t kReplacement = 0xFFFD;

/// Decodes the code point at text[position] and moves `position` past it. An ill-formed sequence
/// yields kReplacement and consumes one byte (so that decoding always ends and never skips
/// well-formed text). Precondition: position < text.size().
char32_t decode_utf8(std::string_view text, std::size_t& position) noexcept;

/// True for a byte of a character after its first.
constexpr bool is_continuation(char byte) noexcept {
  return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
}

/// Writes at most four bytes to `out` and returns their number. Precondition: code_point <
/// 0x110000.
constexpr std::size_t encode_utf8(char32_t code_point, char* out) noexcept {
  std::size_t size = 0;
  const auto put = [&](char32_t byte) { out[size++] = static_cast<char>(byte); };
  const auto put_rest = [&](int shift) { put(0x80 | (code_point >> shift & 0x3F)); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | code_point >> 6), put_rest(0);
  } else if (code_point < 0x10000) {
    put(0xE0 | code_point >> 12), put_rest(6), put_rest(0);
  } else {
    put(0xF0 | code_point >> 18), put_rest(12), put_rest(6), put_rest(0);
  }
  return size;
}

inline void append_utf8(char32_t code_point, std::string& text) {
  char bytes[4];
  text.append(bytes, encode_utf8(code_point, bytes));
}

/// Python's str.isspace(): the Unicode white space that str.split() splits at.
constexpr bool is_space(char32_t code_point) noexcept {
  if (code_point <= 0x20) {
    return code_point == 0x20 || (code_point >= 0x09 && code_point <= 0x0D) || code_point >= 0x1C;
  }
  if (code_point < 0x1680) return code_point == 0x85 || code_point == 0xA0;
  return code_point == 0x1680 || (code_point >= 0x2000 && code_point <= 0x200A) ||
         code_point == 0x2028 || code_point == 0x2029 || code_point == 0x202F ||
         code_point == 0x205F || code_point == 0x3000;
}

/// `text` without the white space before and after it.
std::string_view trimmed(std::string_view text) noexcept;

/// True if all of `text` is well-formed UTF-8; else `*bad` (if given) is the offset of the first
/// bad byte.
bool is_utf8(std::string_view text, std::size_t* bad = nullptr) noexcept;

namespace internal {

/// True if the text is empty or all white space.
bool is_blank(std::string_view text) noexcept;

/// Converts ASCII letters to lower case, independent of the locale; other bytes are unchanged.
constexpr char lower_case(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }
std::string lower_case(std::string_view text);

}  // namespace internal

}  // namespace r2router
