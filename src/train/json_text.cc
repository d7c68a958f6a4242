#include "train/json_text.h"

#include <charconv>

namespace r2router::internal {

std::string json_text(std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string result = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      result += {'\\', c};
    } else if (byte < 0x20) {
      result += {'\\', 'u', '0', '0', kHex[byte >> 4], kHex[byte & 15]};
    } else {
      result += c;
    }
  }
  return result + '"';
}

std::string json_number(double value) {
  char buffer[32];
  return {buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr};
}

std::string json_number(const std::optional<double>& value) {
  return value ? json_number(*value) : "null";
}

std::string json_sources(std::span<const DataSource> sources) {
  std::string text;
  for (const auto& [file, sha256] : sources) {
    text += (text.empty() ? "" : ", ");
    text += "{\"file\": " + json_text(file) + ", \"sha256\": " + json_text(sha256) + "}";
  }
  return '[' + text + ']';
}

}  // namespace r2router::internal
