// Strict JSON: parsing of untrusted text, and accessors whose errors name the JSON pointer. Include
// it only in .cc files, since it exposes nlohmann's types.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <nlohmann/json.hpp>

#include "r2router/error.h"
#include "r2router/types.h"

namespace r2router::io {

/// Keeps the order of object members, which matters: it breaks ties between models.
using Json = nlohmann::ordered_json;

/// Maximum nesting of arrays and objects.
inline constexpr std::size_t kMaxJsonDepth = 64;

class JsonView;

/// A parsed JSON text and how its errors are reported. Must outlive its views.
class JsonDocument {
 public:
  /// Throws Error(code) with `file` if the text is not exactly one JSON value, if an object has two
  /// members of the same name, or if it is nested too deeply. `pointer_prefix` precedes every JSON
  /// pointer in an error: it is the position of the text in another document.
  JsonDocument(std::string_view text, std::string file, ErrorCode code,
               std::string pointer_prefix = {});

  /// A document with a value that was not parsed from text.
  static JsonDocument from_value(Json value, ErrorCode code);

  JsonView root() const;

 private:
  friend class JsonView;
  explicit JsonDocument(ErrorCode code) : code_(code) {}

  Json value_;
  std::string file_;
  ErrorCode code_;
  std::string pointer_prefix_;
};

/// A value in a JsonDocument, or the position of a missing one. Typed accessors throw the
/// document's Error with the JSON pointer if the value is missing or has another type; `expected`
/// completes the sentence "found …, expected …".
class JsonView {
 public:
  /// False for an object member that does not exist.
  bool present() const { return value_ != nullptr; }
  bool is_null() const { return present() && value_->is_null(); }
  bool is_string() const { return present() && value_->is_string(); }
  bool is_boolean() const { return present() && value_->is_boolean(); }

  const std::string& string(std::string_view expected = "a string") const;
  bool boolean(std::string_view expected = "true or false") const;
  /// A number from `least` to `most`.
  double number(double least, double most, std::string_view expected) const;
  /// A number written without fraction or exponent, from `least` to `most`.
  std::uint64_t integer(std::uint64_t least, std::uint64_t most, std::string_view expected) const;
  std::uint32_t uint32(std::uint32_t least, std::uint32_t most) const;
  /// The digits of a number without a fraction, such as 17 or 17.0; empty for any other value.
  std::optional<std::string> whole_number() const;
  /// A positive integer, or "unlimited".
  Budget budget() const;

  /// A boolean, a number, a string or an array of strings; empty for anything else. A number
  /// without fraction or exponent is an integer if it fits.
  std::optional<std::variant<bool, std::int64_t, double, std::string, std::vector<std::string>>>
  plain() const;
  /// The value itself as JSON text; it must be present.
  std::string text() const;

  /// Elements of an array.
  std::vector<JsonView> elements(std::string_view expected = "an array") const;
  /// Names and values of an object, in the order of the text.
  std::vector<std::pair<std::string_view, JsonView>> members(
      std::string_view expected = "an object") const;
  /// A member of an object, which may be missing.
  JsonView operator[](std::string_view name) const;

  /// Unknown fields are ignored, so that later minor versions can add some. Throws an Error for an
  /// unknown field that looks like a misspelling of a missing field in `known`, since ignoring it
  /// would silently use a default.
  void refuse_misspelt(std::initializer_list<std::string_view> known) const;

  [[noreturn]] void fail(std::string_view expected) const;
  /// Throws an Error with this JSON pointer.
  [[noreturn]] void fail_with(const std::string& message) const;
  [[noreturn]] void fail_with(ErrorCode code, const std::string& message) const;

 private:
  friend class JsonDocument;
  JsonView(const JsonDocument& document, const Json* value, std::string pointer)
      : document_(&document), value_(value), pointer_(std::move(pointer)) {}

  const JsonDocument* document_;
  const Json* value_;
  std::string pointer_;
};

/// A budget as JSON: a number, or "unlimited".
Json budget_to_json(Budget budget);

}  // namespace r2router::io
