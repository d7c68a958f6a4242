// A restricted pickle machine: reads protocols 0 to 5 into a tree of plain values.
//
// Python's machine imports and calls whatever a file names. This one imports and calls nothing:
// "construct class C" and "call function f" become records in the tree, and only for the globals
// that the caller lists. The caller interprets the records. Globals of the caller's inert packages
// become records too, in any role, and are never interpreted.
//
// Input is untrusted. All work and memory is bounded by the limits below; every rejection is an
// Error with the file, the byte offset and what was found there: kUnsafe for anything that would
// run code or import a global that is not listed, kBadCheckpoint for everything else. Source of the
// format: CPython's Lib/pickletools.py; PEP 307 (protocol 2), 3154 (4) and 574 (5).
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "r2router/error.h"

namespace r2router::io {

/// Limits of one pickle; the released files use less than a twentieth of each.
inline constexpr std::size_t kMaxPickleValues = 1 << 16;
inline constexpr std::size_t kMaxPickleStack = 1 << 13;
inline constexpr std::size_t kMaxPickleMemo = 1 << 16;
inline constexpr std::size_t kMaxPickleTextBytes = 1 << 25;  // an array as text in protocol 0 to 2
inline constexpr std::size_t kMaxPickleNameBytes = 1 << 12;  // of a module or class
inline constexpr std::size_t kMaxPickleDictEntries = 1 << 10;
inline constexpr std::uint32_t kMaxPickleDepth = 32;

/// Bytes to read, and their name for errors.
struct PickleSource {
  std::span<const std::uint8_t> bytes;
  std::string file;
  /// The bytes are the decompressed contents of `file`; errors mention this with every offset.
  bool decompressed = false;

  /// Throws an Error about the value at `offset`.
  [[noreturn]] void refuse(ErrorCode code, std::uint64_t offset, const std::string& message) const;
};

/// Reads a PickleSource sequentially. Throws Error(kBadCheckpoint) at its end.
class ByteCursor {
 public:
  explicit ByteCursor(const PickleSource& source) : source_(source) {}

  const PickleSource& source() const { return source_; }
  std::uint64_t offset() const { return offset_; }
  std::size_t remaining() const { return source_.bytes.size() - offset_; }

  /// The next `count` bytes; `what` names them in the error.
  std::string_view take(std::uint64_t count, std::string_view what);
  /// The next `width` (1 to 8) bytes as a little-endian unsigned number.
  std::uint64_t read_unsigned(std::size_t width, std::string_view what);
  /// The bytes up to the next line feed, which is skipped. Throws for a line of `most` bytes or
  /// more.
  std::string_view read_line(std::string_view what, std::size_t most = kMaxPickleNameBytes);

 private:
  const PickleSource& source_;
  std::size_t offset_ = 0;
};

/// A global that a file may name, and its permitted role.
struct AllowedGlobal {
  enum class Use : std::uint8_t {
    kName,       ///< only be a value
    kConstruct,  ///< be the class of an object made without arguments (NEWOBJ)
    kCall,       ///< be called with arguments (REDUCE)
    kRebuild,    ///< be copyreg._reconstructor, how protocols 0 and 1 make objects
    kInert,      ///< anything: part of an inert package, never interpreted
  };
  std::string_view module;
  std::string_view name;
  Use use;
};

/// A value of the tree. Values refer to each other by index, so that a cycle through the memo is
/// not an owning cycle.
struct PickleValue {
  enum class Kind : std::uint8_t {
    kNone,
    kBool,
    kInteger,
    kBigInteger,  ///< beyond 64 bits; its value is not kept
    kFloat,
    kText,
    kBytes,
    kTuple,
    kList,
    kDict,
    kGlobal,
    kObject,  ///< the record of a construction or call
  };
  Kind kind = Kind::kNone;
  std::uint32_t depth = 0;   ///< levels of values within it, at most kMaxPickleDepth
  std::uint64_t offset = 0;  ///< of the opcode that made it
  std::int64_t integer = 0;  ///< kBool, kInteger
  double real = 0;           ///< kFloat
  /// kText, kBytes: the content. kObject: the bytes inline after it. A view into the source, or
  /// into the tree for a text that had escapes.
  std::string_view text = {};
  /// kTuple, kList: the elements. kDict: key, value, key, value, …; every key is a kText.
  /// kObject: its arguments (a kTuple), then its state if the file gave one.
  std::vector<std::uint32_t> items = {};
  const AllowedGlobal* global =
      nullptr;  ///< kGlobal: itself. kObject: what was constructed or called
};

/// "text", "dict", "numpy.dtype object", … : how errors name a value.
std::string describe(const PickleValue& value);

/// What a pickle holds. Views the source's bytes, which must outlive it.
class PickleTree {
 public:
  const PickleValue& operator[](std::uint32_t index) const { return values_[index]; }
  const PickleValue& root() const { return values_[root_]; }

  /// The value of `key` in `dict`, or null. Throws Error(kBadCheckpoint) for a duplicate key.
  const PickleValue* find(const PickleSource& source, const PickleValue& dict,
                          std::string_view key) const;

 private:
  friend class PickleMachine;
  std::vector<PickleValue> values_;
  std::uint32_t root_ = 0;
  std::deque<AllowedGlobal> inert_;  // globals of inert packages that the file named
  std::deque<std::string> decoded_;  // texts that had escapes
};

/// What a file format based on pickle allows and adds.
struct PickleFormat {
  std::span<const AllowedGlobal> globals;  ///< must outlive the tree
  /// Called when `object` receives its state (BUILD), once for each object. Takes the inline bytes
  /// after it from the cursor and returns them; empty if there are none.
  std::string_view (*take_inline_bytes)(const PickleTree& tree, const PickleValue& object,
                                        ByteCursor& cursor) = nullptr;
  /// Packages such as "sklearn": all of their modules are inert.
  std::span<const std::string_view> inert_packages = {};
  /// Returns the error message for the first class that the file names, if it is in an inert
  /// package: it must be the class of the file's value.
  std::string (*explain_class)(std::string_view name) = nullptr;
};

/// Reads a whole source, which must be exactly one pickle.
PickleTree parse_pickle(const PickleSource& source, const PickleFormat& format);

/// Reads one pickle and moves the cursor past its end. For a nested pickle.
PickleTree parse_pickle(ByteCursor& cursor, const PickleFormat& format);

}  // namespace r2router::io
