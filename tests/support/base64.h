// Base64, rendered a second time.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace r2router::testing {

/// RFC 4648, bit by bit.
inline std::string base64(std::span<const std::uint8_t> bytes) {
  constexpr const char* kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t bit = 0; bit < bytes.size() * 8; bit += 6) {
    unsigned value = 0;
    for (std::size_t i = bit; i < bit + 6; ++i) {
      const bool set = i < bytes.size() * 8 && (bytes[i / 8] >> (7 - i % 8) & 1) != 0;
      value = value << 1 | static_cast<unsigned>(set);
    }
    text += kAlphabet[value];
  }
  while (text.size() % 4 != 0) text += '=';
  return text;
}

/// The floats' bytes, little-endian, in base64.
inline std::string base64(std::span<const float> values) {
  std::vector<std::uint8_t> bytes;
  for (const float value : values) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    for (int shift = 0; shift < 32; shift += 8) bytes.push_back(bits >> shift & 0xFF);
  }
  return base64(bytes);
}

}  // namespace r2router::testing
