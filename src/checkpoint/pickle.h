// A restricted pickle machine: reads protocols 0 to 5 into a tree of plain values.
//
// Python's own machine imports whatever a file names and calls it. This one imports and calls
// nothing: "construct class C" and "call function f" become records in the tree, and only for the
// globals that the caller lists. What the records mean is for the caller to say. Globals of the
// caller's inert packages become records too, with any use; nothing ever interprets these.
//
// Input is untrusted. All work and memory is bounded by the limits below; every refusal is an Error
// with the file, the byte offset and what stood there: kUnsafe for what would run code or import a
// global that is not listed, kBadCheckpoint for everything else. Source of the format: CPython's
// Lib/pickletools.py; PEP 307 (protocol 2), 3154 (4) and 574 (5).
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

/// Limits of one pickle; the released files stay below a twentieth of each.
inline constexpr std::size_t kMaxPickleValues = 1 << 16;
inline constexpr std::size_t kMaxPickleStack = 1 << 13;
inline constexpr std::size_t kMaxPickleMemo = 1 << 16;
inline constexpr std::size_t kMaxPickleTextBytes = 1 << 25;  // an array as text in protocol 0 to 2
inline constexpr std::size_t kMaxPickleNameBytes = 1 << 12;  // of a module or class
inline constexpr std::size_t kMaxPickleDictEntries = 1 << 10;
inline constexpr std::uint32_t kMaxPickleDepth = 32;

/// Bytes to read, and how errors name them.
struct PickleSource {
  std::span<const std::uint8_t> bytes;
  std::string file;
  /// The bytes are the decompressed contents of `file`, which is then said with every offset.
  bool decompressed = false;

  /// Throws an Error about what stands at `offset`.
  [[noreturn]] void refuse(ErrorCode code, std::uint64_t offset, const std::string& message) const;
};

/// Reads a PickleSource front to back; running over its end is an Error(kBadCheckpoint).
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
  /// Up to the next line feed, which is skipped; a line of `most` bytes or more is an error.
  std::string_view read_line(std::string_view what, std::size_t most = kMaxPickleNameBytes);

 private:
  const PickleSource& source_;
  std::size_t offset_ = 0;
};

/// A global that a file may name, and what it may do with it.
struct AllowedGlobal {
  enum class Use : std::uint8_t {
    kName,       ///< only stand there as a value
    kConstruct,  ///< be the class of an object made without arguments (NEWOBJ)
    kCall,       ///< be called with arguments (REDUCE)
    kRebuild,    ///< be copyreg._reconstructor, how protocols 0 and 1 make objects
    kInert,      ///< anything; it is of an inert package, and nothing interprets it
  };
  std::string_view module;
  std::string_view name;
  Use use;
};

/// A value of the tree. Values refer to each other by their index in the tree, so that a file which
/// makes a cycle through the memo makes no owning cycle.
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

  /// The value of `key` in `dict`, or null. Throws Error(kBadCheckpoint) if it stands there twice.
  const PickleValue* find(const PickleSource& source, const PickleValue& dict,
                          std::string_view key) const;

 private:
  friend class PickleMachine;
  std::vector<PickleValue> values_;
  std::uint32_t root_ = 0;
  std::deque<AllowedGlobal> inert_;  // what the file named of inert packages
  std::deque<std::string> decoded_;  // texts that had escapes
};

/// What a file format built upon pickle allows and adds.
struct PickleFormat {
  std::span<const AllowedGlobal> globals;  ///< must outlive the tree
  /// Called when `object` has got its state (BUILD), once for each object: takes the bytes that
  /// stand inline after it from the cursor and returns them; empty if there are none.
  std::string_view (*take_inline_bytes)(const PickleTree& tree, const PickleValue& object,
                                        ByteCursor& cursor) = nullptr;
  /// Packages such as "sklearn": all of their modules are inert.
  std::span<const std::string_view> inert_packages = {};
  /// Called for the first class that the file names if it is of an inert package, which must be
  /// the class of the file's own value: what is to be said of it, in an error.
  std::string (*explain_class)(std::string_view name) = nullptr;
};

/// Reads a whole source: one pickle and nothing after it.
PickleTree parse_pickle(const PickleSource& source, const PickleFormat& format);

/// Reads one pickle from the cursor, which is left behind its end. For a pickle within another.
PickleTree parse_pickle(ByteCursor& cursor, const PickleFormat& format);

}  // namespace r2router::io
