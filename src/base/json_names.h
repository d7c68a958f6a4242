// Names of enumerators in JSON.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "r2router/error.h"

#include "base/json.h"

namespace r2router::io {

/// The value whose name the field holds. The error lists all names.
template <typename Value, std::size_t count>
Value read_name(const JsonView& field, const std::pair<std::string_view, Value> (&names)[count]) {
  std::string expected;
  for (const auto& [name, value] : names) {
    if (field.is_string() && field.string() == name) return value;
    expected += (expected.empty() ? "\"" : " or \"") + std::string(name) + "\"";
  }
  field.fail(expected);
}

template <typename Value, std::size_t count>
std::string name_of(Value wanted, const std::pair<std::string_view, Value> (&names)[count]) {
  for (const auto& [name, value] : names) {
    if (value == wanted) return std::string(name);
  }
  throw Error(ErrorCode::kInvalidArgument, "an enumeration has a value out of range");
}

}  // namespace r2router::io
