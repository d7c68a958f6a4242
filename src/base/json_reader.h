// A streaming reader of strict JSON (RFC 8259): builds no tree, and allocates no memory whose size
// the text determines. For answers of servers, which may be large and are untrusted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "r2router/error.h"

namespace r2router {

/// Reads one JSON text.
///
///     for (reader.begin_object(); auto name = reader.next_member();) {
///       if (*name == "id") id = reader.string(); else reader.skip();
///     }
///
/// Every method throws Error(code) with the byte position if the text is not JSON there, or if the
/// next value has another type. After that the reader must not be used.
class JsonReader {
 public:
  /// Maximum nesting that skip() accepts.
  static constexpr std::size_t kMaxDepth = 64;

  /// `text` must outlive the reader.
  JsonReader(std::string_view text, ErrorCode code) : text_(text), code_(code) {}

  enum class Kind : std::uint8_t { kObject, kArray, kString, kNumber, kBoolean, kNull };
  /// The kind of the next value, which is not consumed.
  Kind kind();

  void begin_object();
  /// The name of the next member, whose value must then be read; empty at the end of the object.
  /// Valid until the next call. A long name with escapes is returned raw.
  std::optional<std::string_view> next_member();
  /// That name as in the text: the bytes between its quotes.
  std::string_view raw_name() const { return raw_name_; }
  void begin_array();
  /// False at the end of the array; otherwise the next element must be read.
  bool next_element();

  /// The raw bytes between the quotes of a string. Escapes and UTF-8 have been validated.
  std::string_view raw_string();
  /// A string's contents.
  std::string string() { return unescape(raw_string()); }
  /// The raw text of a number.
  std::string_view raw_number();
  bool boolean();
  /// Any value.
  void skip() { skip(0); }
  /// Throws unless only white space is left.
  void end();

  /// Position in the text: after what was read, or after kind() at the next value.
  std::size_t position() const { return position_; }

  /// The kind in words: "an object", "a string", "null", …
  static std::string_view name(Kind kind);
  /// The contents of a string returned by raw_string(): all, or the first `most_bytes` bytes and
  /// the rest of the character there.
  static std::string unescape(std::string_view raw, std::size_t most_bytes = SIZE_MAX);

 private:
  [[noreturn]] void fail(std::string_view expected) const;
  void skip_space();
  void expect(char c, std::string_view expected);
  void skip(std::size_t depth);
  void skip_digits();

  std::string_view text_;
  std::size_t position_ = 0;
  bool first_ = true;  // no element of the innermost open array or object was read yet
  ErrorCode code_;
  std::string_view raw_name_ = {};
  std::string name_ = {};  // a member's name that had escapes
};

}  // namespace r2router
