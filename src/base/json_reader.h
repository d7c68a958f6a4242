// Strict JSON (RFC 8259), read from front to back: no tree is built and no memory is taken that the
// text decides on. For answers of servers, which may be large and may be anything.
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
/// Every method throws Error(code) that names the byte if the text is not JSON there, or if the
/// next value is not what the method reads. After that the reader must not be used.
class JsonReader {
 public:
  /// Deepest nesting that skip() accepts.
  static constexpr std::size_t kMaxDepth = 64;

  /// `text` must outlive the reader.
  JsonReader(std::string_view text, ErrorCode code) : text_(text), code_(code) {}

  enum class Kind : std::uint8_t { kObject, kArray, kString, kNumber, kBoolean, kNull };
  /// What the next value is; it is not read.
  Kind kind();

  void begin_object();
  /// The name of the next member, whose value must then be read; nothing at the object's end.
  /// Valid until the next call. A name with escapes in it that is long is given as it stands.
  std::optional<std::string_view> next_member();
  void begin_array();
  /// False at the array's end; else an element is there to be read.
  bool next_element();

  /// A string as it stands between its quotes; its escapes and its UTF-8 have been checked.
  std::string_view raw_string();
  /// A string's contents.
  std::string string() { return unescape(raw_string()); }
  /// A number as it stands.
  std::string_view raw_number();
  bool boolean();
  /// Any value.
  void skip() { skip(0); }
  /// Throws unless nothing but white space is left.
  void end();

  /// The kind in words: "an object", "a string", "null", …
  static std::string_view name(Kind kind);
  /// The contents of a string that raw_string() gave, or at most their first `most_bytes` bytes and
  /// what is left of a character there.
  static std::string unescape(std::string_view raw, std::size_t most_bytes = SIZE_MAX);

 private:
  [[noreturn]] void fail(std::string_view expected) const;
  void skip_space();
  void expect(char c, std::string_view expected);
  void skip(std::size_t depth);
  void skip_digits();

  std::string_view text_;
  std::size_t position_ = 0;
  bool first_ = true;  // no element of the innermost open array or object has been read
  ErrorCode code_;
  std::string name_ = {};  // a member's, where it had escapes
};

}  // namespace r2router
