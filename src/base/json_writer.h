// Writes JSON objects member by member, without building a tree.
#pragma once

#include <charconv>
#include <cmath>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace r2router {

/// Appends an object to a string. Close it after its last member.
class ObjectWriter {
 public:
  explicit ObjectWriter(std::string& out) : out_(out) { out_ += '{'; }

  /// A member whose value is JSON text.
  void raw(std::string_view key, std::string_view json);
  /// Invalid UTF-8 bytes become U+FFFD.
  void text(std::string_view key, std::string_view value);
  /// An infinite value, such as the worst case of an unknown price, becomes null.
  template <typename Number>
  void number(std::string_view key, Number value) {
    if constexpr (std::is_floating_point_v<Number>) {
      if (!std::isfinite(value)) return null(key);
    }
    char digits[32];
    const auto end = std::to_chars(std::begin(digits), std::end(digits), value).ptr;
    raw(key, {digits, end});
  }
  void boolean(std::string_view key, bool value) { raw(key, value ? "true" : "false"); }
  void null(std::string_view key) { raw(key, "null"); }
  void text_or_null(std::string_view key, std::string_view value) {
    value.empty() ? null(key) : text(key, value);
  }
  template <typename Number>
  void number_or_null(std::string_view key, const std::optional<Number>& value) {
    value ? number(key, *value) : null(key);
  }
  /// A member that is an object; write(object) writes its members.
  template <typename Write>
  void object(std::string_view key, Write write) {
    raw(key, "");
    nested(write);
  }
  /// A member that is an array of objects, one for each of `values`: write(object, value).
  template <typename Values, typename Write>
  void list(std::string_view key, const Values& values, Write write) {
    raw(key, "[");
    bool first = true;
    for (const auto& value : values) {
      if (!std::exchange(first, false)) out_ += ", ";
      nested([&](ObjectWriter& entry) { write(entry, value); });
    }
    out_ += ']';
  }
  void close() { out_ += '}'; }

 private:
  template <typename Write>
  void nested(Write write) {
    ObjectWriter object(out_);
    write(object);
    object.close();
  }

  std::string& out_;
  bool first_ = true;
};

}  // namespace r2router
