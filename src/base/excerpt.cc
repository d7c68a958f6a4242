#include "base/excerpt.h"

#include <cstdint>

#include "base/unicode.h"

namespace r2router {
namespace {

/// A UTF-16 code unit as JSON escapes it.
void append_escaped(std::string& result, std::uint32_t unit) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  result += "\\u";
  for (int shift = 12; shift >= 0; shift -= 4) result += kDigits[unit >> shift & 0xF];
}

}  // namespace

std::string excerpt(std::string_view text, std::size_t most_bytes) {
  // Cut before it is escaped: the text may be megabytes long. A character that is cut in half is
  // shown as U+FFFD.
  const std::string_view shown = text.substr(0, most_bytes);
  std::string result = "\"";
  for (std::size_t position = 0; position < shown.size();) {
    const char32_t c = decode_utf8(shown, position);
    if (c == '"' || c == '\\') {
      result += '\\';
      result += static_cast<char>(c);
    } else if (c == '\n') {
      result += "\\n";
    } else if (c == '\r') {
      result += "\\r";
    } else if (c == '\t') {
      result += "\\t";
    } else if (c >= 0x20 && c < 0x7F) {
      result += static_cast<char>(c);
    } else if (c < 0x10000) {
      append_escaped(result, c);
    } else {
      append_escaped(result, 0xD800 + ((c - 0x10000) >> 10));
      append_escaped(result, 0xDC00 + ((c - 0x10000) & 0x3FF));
    }
  }
  result += '"';
  if (text.size() > most_bytes) result += "…";
  return result;
}

}  // namespace r2router
