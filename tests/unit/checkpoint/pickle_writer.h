// Spells pickles opcode by opcode, so that tests can write what no honest writer would.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace r2router::testing {

struct PickleWriter {
  std::string bytes;

  /// Raw opcode bytes.
  PickleWriter& raw(std::string_view text) {
    bytes += text;
    return *this;
  }
  PickleWriter& number(std::uint64_t value, std::size_t width) {
    for (std::size_t i = 0; i < width; ++i) bytes += static_cast<char>(value >> (8 * i) & 0xff);
    return *this;
  }
  PickleWriter& header(int protocol = 4) {
    return raw("\x80").number(static_cast<std::uint64_t>(protocol), 1);
  }
  /// SHORT_BINUNICODE
  PickleWriter& text(std::string_view value) {
    return raw("\x8c").number(value.size(), 1).raw(value);
  }
  /// STACK_GLOBAL
  PickleWriter& global(std::string_view module, std::string_view name) {
    return text(module).text(name).raw("\x93");
  }
  /// BININT
  PickleWriter& integer(std::int32_t value) {
    return raw("J").number(static_cast<std::uint32_t>(value), 4);
  }
  /// The same bytes again and again.
  PickleWriter& repeat(std::string_view text, std::size_t times) {
    for (std::size_t i = 0; i < times; ++i) bytes += text;
    return *this;
  }
  std::size_t size() const { return bytes.size(); }
};

inline std::span<const std::uint8_t> as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

}  // namespace r2router::testing
