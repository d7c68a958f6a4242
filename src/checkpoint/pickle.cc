#include "checkpoint/pickle.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstddef>
#include <iterator>
#include <utility>

#include "base/excerpt.h"
#include "base/unicode.h"

namespace r2router::io {
namespace {

using Kind = PickleValue::Kind;
using Use = AllowedGlobal::Use;

// Every error ends with a remedy for its likely cause: a damaged transfer, an unusual writer, or an
// attacker.
constexpr char kDownloadAgain[] = "The file is damaged: copy or download it again.";
constexpr char kSaveAgain[] =
    "Write the file again with joblib.dump() of linear regressors of scikit-learn fitted on plain "
    "arrays.";
constexpr char kNothingRan[] =
    "None of it was run. Do not open this file with joblib or pickle; get the checkpoint from a "
    "source that you trust.";

/// The supported opcodes: all that linear regressors need in protocols 0 to 5. Names as in
/// pickletools.py, with the suffix "Op" if they would clash with a PickleValue::Kind.
enum Opcode : std::uint8_t {
  kMark = '(',
  kStop = '.',
  kEmptyTuple = ')',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kNoneOp = 'N',
  kReduce = 'R',
  kBinUnicode = 'X',
  kBinBytes = 'B',
  kShortBinBytes = 'C',
  kBinFloat = 'G',
  kBuild = 'b',
  kGlobalOp = 'c',
  kEmptyDict = '}',
  kBinGet = 'h',
  kLongBinGet = 'j',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kSetItem = 's',
  kTupleOp = 't',
  kSetItems = 'u',
  kProto = 0x80,
  kNewObj = 0x81,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kLong1 = 0x8a,
  kShortBinUnicode = 0x8c,
  kStackGlobal = 0x93,
  kMemoize = 0x94,
  kFrame = 0x95,
  kBinUnicode8 = 0x8d,
  kBinBytes8 = 0x8e,
  kByteArray8 = 0x96,
  kLong4 = 0x8b,
  kEmptyList = ']',
  kAppend = 'a',
  kAppends = 'e',
  kListOp = 'l',
  kDictOp = 'd',
  kFloatOp = 'F',
  kIntOp = 'I',
  kLongOp = 'L',
  kUnicodeOp = 'V',
  kGet = 'g',
  kPut = 'p',
};

/// All other opcodes of pickle. They are listed so that errors can describe them: for a valid file
/// of another kind, "damaged" would be misleading.
struct RefusedOpcode {
  std::uint8_t byte;
  std::string_view name;
  bool runs_code;
};
constexpr RefusedOpcode kRefusedOpcodes[] = {
    {'0', "POP", false},
    {'1', "POP_MARK", false},
    {'2', "DUP", false},
    {'P', "PERSID", true},
    {'Q', "BINPERSID", true},
    {'S', "STRING", false},
    {'T', "BINSTRING", false},
    {'U', "SHORT_BINSTRING", false},
    {'i', "INST", true},
    {'o', "OBJ", true},
    {0x82, "EXT1", true},
    {0x83, "EXT2", true},
    {0x84, "EXT4", true},
    {0x8f, "EMPTY_SET", false},
    {0x90, "ADDITEMS", false},
    {0x91, "FROZENSET", false},
    {0x92, "NEWOBJ_EX", true},
    {0x97, "NEXT_BUFFER", false},
    {0x98, "READONLY_BUFFER", false},
};

std::string hex(std::uint8_t byte) {
  constexpr char digits[] = "0123456789abcdef";
  return {'0', 'x', digits[byte >> 4], digits[byte & 15]};
}

/// Letters, digits, "_" and ".", so that it can be shown verbatim.
bool is_plain_name(std::string_view name) {
  constexpr std::string_view kAllowed =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.";
  return name.size() <= 100 && name.find_first_not_of(kAllowed) == name.npos;
}

std::string full_name(std::string_view module, std::string_view name) {
  return std::string(module) + "." + std::string(name);
}

}  // namespace

void PickleSource::refuse(ErrorCode code, std::uint64_t offset, const std::string& message) const {
  throw Error(code, decompressed ? message + " (The offset counts decompressed bytes.)" : message,
              {.file = file, .byte_offset = offset});
}

std::string_view ByteCursor::take(std::uint64_t count, std::string_view what) {
  if (count > remaining()) {
    source_.refuse(ErrorCode::kBadCheckpoint, offset_,
                   "the file ends within " + std::string(what) + ": " + std::to_string(count) +
                       " bytes expected, " + std::to_string(remaining()) + " left. " +
                       kDownloadAgain);
  }
  const auto* begin = reinterpret_cast<const char*>(source_.bytes.data()) + offset_;
  offset_ += count;
  return {begin, static_cast<std::size_t>(count)};
}

std::uint64_t ByteCursor::read_unsigned(std::size_t width, std::string_view what) {
  std::uint64_t number = 0;
  const std::string_view bytes = take(width, what);
  for (std::size_t i = 0; i < width; ++i) {
    number |= std::uint64_t{static_cast<std::uint8_t>(bytes[i])} << (8 * i);
  }
  return number;
}

std::string_view ByteCursor::read_line(std::string_view what, std::size_t most) {
  const auto rest = source_.bytes.subspan(offset_, std::min(remaining(), most));
  const auto end = std::find(rest.begin(), rest.end(), '\n');
  if (end == rest.end()) {
    source_.refuse(ErrorCode::kBadCheckpoint, offset_,
                   std::string(what) + " has no end within " + std::to_string(rest.size()) +
                       " bytes. " + kDownloadAgain);
  }
  const std::string_view line = take(static_cast<std::size_t>(end - rest.begin()), what);
  ++offset_;
  return line;
}

std::string describe(const PickleValue& value) {
  switch (value.kind) {
    case Kind::kNone:
      return "None";
    case Kind::kBool:
      return value.integer != 0 ? "True" : "False";
    case Kind::kInteger:
      return "the integer " + std::to_string(value.integer);
    case Kind::kBigInteger:
      return "an integer beyond 64 bits";
    case Kind::kFloat:
      return "a float";
    case Kind::kText:
      return "the text " + excerpt(value.text);
    case Kind::kBytes:
      return std::to_string(value.text.size()) + " bytes";
    case Kind::kTuple:
      return "a tuple of " + std::to_string(value.items.size());
    case Kind::kList:
      return "a list of " + std::to_string(value.items.size());
    case Kind::kDict:
      return "a dict of " + std::to_string(value.items.size() / 2);
    case Kind::kGlobal:
      return "the global " + full_name(value.global->module, value.global->name);
    case Kind::kObject:
      return "a " + full_name(value.global->module, value.global->name) + " object";
  }
  return "an unknown value";
}

const PickleValue* PickleTree::find(const PickleSource& source, const PickleValue& dict,
                                    std::string_view key) const {
  const PickleValue* found = nullptr;
  for (std::size_t i = 0; i + 1 < dict.items.size(); i += 2) {
    const PickleValue& candidate = values_[dict.items[i]];
    if (candidate.text != key) continue;
    if (found != nullptr) {
      source.refuse(ErrorCode::kBadCheckpoint, candidate.offset,
                    "the key " + excerpt(key) + " occurs twice in a dict. " + kSaveAgain);
    }
    found = &values_[dict.items[i + 1]];
  }
  return found;
}

class PickleMachine {
 public:
  PickleMachine(ByteCursor& cursor, const PickleFormat& format)
      : source_(cursor.source()), format_(format), cursor_(cursor) {}

  PickleTree run();

 private:
  using Index = std::uint32_t;

  [[noreturn]] void refuse(const std::string& message) const {
    source_.refuse(ErrorCode::kBadCheckpoint, start_, message);
  }
  [[noreturn]] void refuse_opcode(std::uint8_t byte) const;
  void read_header();
  void step(std::uint8_t opcode);

  /// A value within an item counts one level less than the item.
  void contain(PickleValue& container, Index item);
  void push(Index index);
  void push_value(PickleValue value);
  Index pop();
  std::size_t pop_mark();
  void memoize(std::size_t slot);
  void recall(std::size_t slot);

  void push_text(Kind kind, std::uint64_t size);
  void push_big_integer(std::uint64_t size);
  void push_decimal_integer(std::string_view line);
  void push_decimal_float(std::string_view line);
  void push_escaped_text(std::string_view line);
  void push_sequence(Kind kind, std::size_t begin);
  void append(std::size_t begin);
  std::size_t slot_number(std::string_view what);
  void push_global(std::string_view module, std::string_view name);
  void push_object(Use use, std::string_view opcode);
  void rebuild(Index arguments);
  void set_items(std::size_t begin);
  void build();

  const PickleSource& source_;
  const PickleFormat& format_;
  ByteCursor& cursor_;
  std::uint64_t start_ = 0;  // offset of the current opcode
  PickleTree tree_;
  std::vector<Index> stack_;
  std::vector<std::size_t> marks_;  // heights of the stack
  bool names_class_ = false;        // a listed class has been named
  static constexpr Index kUnset = UINT32_MAX;
  std::vector<Index> memo_;
};

void PickleMachine::refuse_opcode(std::uint8_t byte) const {
  const auto* known = std::find_if(std::begin(kRefusedOpcodes), std::end(kRefusedOpcodes),
                                   [byte](const RefusedOpcode& op) { return op.byte == byte; });
  if (known == std::end(kRefusedOpcodes)) {
    refuse("byte " + hex(byte) + " is not a pickle opcode. " + kDownloadAgain);
  }
  const std::string what = "opcode " + std::string(known->name) + " (" + hex(byte) + ")";
  if (known->runs_code) {
    source_.refuse(
        ErrorCode::kUnsafe, start_,
        what + " makes Python run code, which a checkpoint may never do. " + kNothingRan);
  }
  refuse(what + " is not among those that saved regressors need. " + kSaveAgain);
}

PickleTree PickleMachine::run() {
  read_header();
  // Terminates: every iteration consumes a byte, and opcodes take at most linear time.
  for (;;) {
    start_ = cursor_.offset();
    const auto opcode =
        static_cast<std::uint8_t>(cursor_.read_unsigned(1, "the pickle, which has no STOP"));
    if (opcode == kStop) break;
    step(opcode);
  }
  if (!marks_.empty() || stack_.size() != 1) {
    refuse("STOP with " + std::to_string(stack_.size()) + " values and " +
           std::to_string(marks_.size()) + " marks on the stack; expected one value. " +
           kDownloadAgain);
  }
  tree_.root_ = stack_.back();
  return std::move(tree_);
}

void PickleMachine::read_header() {
  start_ = cursor_.offset();
  // Protocols 0 and 1 have no header. An object begins with a global, a dict with itself.
  const std::uint64_t opcode = cursor_.read_unsigned(1, "the pickle's header");
  if (opcode == kGlobalOp || opcode == kMark || opcode == kEmptyDict) {
    return step(static_cast<std::uint8_t>(opcode));
  }
  if (opcode != kProto) {
    refuse("a pickle of protocol 2 to 5 starts with byte 0x80, this file with " +
           hex(static_cast<std::uint8_t>(opcode)) +
           ". It is not a joblib file, or it has a compression other than zlib, gzip, bz2, xz and "
           "lzma: write it again with joblib.dump(value, file).");
  }
  const std::uint64_t protocol = cursor_.read_unsigned(1, "the pickle's header");
  if (protocol < 2 || protocol > 5) {
    refuse(
        "pickle protocol " + std::to_string(protocol) +
        "; a header names 2 to 5. Write the file again with joblib.dump(value, file, protocol=4).");
  }
}

void PickleMachine::step(std::uint8_t opcode) {
  switch (opcode) {
    case kFrame: {
      // Frames only let Python read ahead, but their length is checked anyway.
      const std::uint64_t size = cursor_.read_unsigned(8, "FRAME's argument");
      if (size > cursor_.remaining()) {
        refuse("a frame of " + std::to_string(size) + " bytes, but only " +
               std::to_string(cursor_.remaining()) + " are left. " + kDownloadAgain);
      }
      return;
    }
    case kMark:
      if (marks_.size() >= kMaxPickleDepth) {
        refuse("more than " + std::to_string(kMaxPickleDepth) + " marks at once. " + kSaveAgain);
      }
      marks_.push_back(stack_.size());
      return;
    case kNoneOp:
      return push_value({.kind = Kind::kNone});
    case kNewTrue:
    case kNewFalse:
      return push_value({.kind = Kind::kBool, .integer = opcode == kNewTrue});
    case kBinInt1:
      return push_value(
          {.kind = Kind::kInteger,
           .integer = static_cast<std::int64_t>(cursor_.read_unsigned(1, "BININT1's argument"))});
    case kBinInt2:
      return push_value(
          {.kind = Kind::kInteger,
           .integer = static_cast<std::int64_t>(cursor_.read_unsigned(2, "BININT2's argument"))});
    case kBinInt:
      return push_value({.kind = Kind::kInteger,
                         .integer = static_cast<std::int32_t>(static_cast<std::uint32_t>(
                             cursor_.read_unsigned(4, "BININT's argument")))});
    case kLong1: {
      const std::uint64_t size = cursor_.read_unsigned(1, "LONG1's argument");
      if (size > 8) return push_big_integer(size);
      std::uint64_t bits = cursor_.read_unsigned(size, "LONG1's argument");
      // Two's complement of `size` bytes: extend the sign into the missing bytes.
      if (size > 0 && size < 8 && (bits >> (8 * size - 1)) != 0)
        bits |= ~std::uint64_t{0} << (8 * size);
      return push_value({.kind = Kind::kInteger, .integer = static_cast<std::int64_t>(bits)});
    }
    case kLong4:
      return push_big_integer(cursor_.read_unsigned(4, "LONG4's argument"));
    case kIntOp:
    case kLongOp:
      return push_decimal_integer(cursor_.read_line("an integer"));
    case kFloatOp:
      return push_decimal_float(cursor_.read_line("a float"));
    case kUnicodeOp:
      return push_escaped_text(cursor_.read_line("a text", kMaxPickleTextBytes));
    case kBinFloat: {
      std::uint64_t bits = 0;  // the only big-endian number of the format
      for (const char byte : cursor_.take(8, "BINFLOAT's argument")) {
        bits = bits << 8 | static_cast<std::uint8_t>(byte);
      }
      return push_value({.kind = Kind::kFloat, .real = std::bit_cast<double>(bits)});
    }
    case kShortBinUnicode:
      // Need not be valid UTF-8: it is compared with known names, and escaped in messages.
      return push_text(Kind::kText, cursor_.read_unsigned(1, "SHORT_BINUNICODE's length"));
    case kBinUnicode:
      return push_text(Kind::kText, cursor_.read_unsigned(4, "BINUNICODE's length"));
    case kShortBinBytes:
      return push_text(Kind::kBytes, cursor_.read_unsigned(1, "SHORT_BINBYTES' length"));
    case kBinBytes:
      return push_text(Kind::kBytes, cursor_.read_unsigned(4, "BINBYTES' length"));
    case kBinUnicode8:
      return push_text(Kind::kText, cursor_.read_unsigned(8, "BINUNICODE8's length"));
    case kBinBytes8:
      return push_text(Kind::kBytes, cursor_.read_unsigned(8, "BINBYTES8's length"));
    case kByteArray8:
      return push_text(Kind::kBytes, cursor_.read_unsigned(8, "BYTEARRAY8's length"));
    case kEmptyList:
      return push_value({.kind = Kind::kList});
    case kAppend:
      return append(stack_.empty() ? 0 : stack_.size() - 1);
    case kAppends:
      return append(pop_mark());
    case kListOp:
      return push_sequence(Kind::kList, pop_mark());
    case kDictOp: {
      const std::size_t begin = pop_mark();
      push_value({.kind = Kind::kDict});
      std::rotate(stack_.begin() + static_cast<std::ptrdiff_t>(begin), stack_.end() - 1,
                  stack_.end());
      return set_items(begin + 1);
    }
    case kEmptyTuple:
      return push_sequence(Kind::kTuple, stack_.size());
    case kTuple1:
    case kTuple2:
    case kTuple3: {
      // Opcodes cannot take values below the last mark.
      const std::size_t size = opcode - kTuple1 + std::size_t{1};
      const std::size_t floor = marks_.empty() ? 0 : marks_.back();
      if (stack_.size() - floor < size) {
        refuse("a tuple of " + std::to_string(size) + " from fewer values. " + kDownloadAgain);
      }
      return push_sequence(Kind::kTuple, stack_.size() - size);
    }
    case kTupleOp:
      return push_sequence(Kind::kTuple, pop_mark());
    case kEmptyDict:
      return push_value({.kind = Kind::kDict});
    case kSetItem: {
      const std::size_t floor = marks_.empty() ? 0 : marks_.back();
      if (stack_.size() - floor < 3)
        refuse(std::string("SETITEM without a dict. ") + kDownloadAgain);
      return set_items(stack_.size() - 2);
    }
    case kSetItems:
      return set_items(pop_mark());
    case kGlobalOp: {
      const std::string_view module = cursor_.read_line("GLOBAL's module");
      return push_global(module, cursor_.read_line("GLOBAL's name"));
    }
    case kStackGlobal: {
      const PickleValue& name = tree_[pop()];
      const PickleValue& module = tree_[pop()];
      if (module.kind != Kind::kText || name.kind != Kind::kText) {
        refuse("STACK_GLOBAL on " + describe(module) + " and " + describe(name) +
               "; expected two texts. " + kDownloadAgain);
      }
      return push_global(module.text, name.text);
    }
    case kNewObj:
      return push_object(Use::kConstruct, "NEWOBJ");
    case kReduce:
      return push_object(Use::kCall, "REDUCE");
    case kBuild:
      return build();
    case kMemoize:
      return memoize(memo_.size());
    case kBinPut:
      return memoize(cursor_.read_unsigned(1, "BINPUT's argument"));
    case kLongBinPut:
      return memoize(cursor_.read_unsigned(4, "LONG_BINPUT's argument"));
    case kPut:
      return memoize(slot_number("PUT's argument"));
    case kGet:
      return recall(slot_number("GET's argument"));
    case kBinGet:
      return recall(cursor_.read_unsigned(1, "BINGET's argument"));
    case kLongBinGet:
      return recall(cursor_.read_unsigned(4, "LONG_BINGET's argument"));
    case kProto:
      refuse(std::string("a second PROTO header. ") + kDownloadAgain);
    default:
      refuse_opcode(opcode);
  }
}

void PickleMachine::contain(PickleValue& container, Index item) {
  container.depth = std::max(container.depth, tree_[item].depth + 1);
  if (container.depth > kMaxPickleDepth) {
    refuse("values nested more than " + std::to_string(kMaxPickleDepth) + " deep. " + kSaveAgain);
  }
  container.items.push_back(item);
}

void PickleMachine::push(Index index) {
  if (stack_.size() >= kMaxPickleStack) {
    refuse("more than " + std::to_string(kMaxPickleStack) + " values on the stack. " + kSaveAgain);
  }
  stack_.push_back(index);
}

void PickleMachine::push_value(PickleValue value) {
  if (tree_.values_.size() >= kMaxPickleValues) {
    refuse("more than " + std::to_string(kMaxPickleValues) + " values. " + kSaveAgain);
  }
  value.offset = start_;
  push(static_cast<Index>(tree_.values_.size()));
  tree_.values_.push_back(std::move(value));
}

PickleMachine::Index PickleMachine::pop() {
  if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) {
    refuse(std::string("the opcode takes a value from an empty stack. ") + kDownloadAgain);
  }
  const Index index = stack_.back();
  stack_.pop_back();
  return index;
}

std::size_t PickleMachine::pop_mark() {
  if (marks_.empty())
    refuse(std::string("the opcode needs a mark, but found none. ") + kDownloadAgain);
  const std::size_t height = marks_.back();
  marks_.pop_back();
  return height;
}

void PickleMachine::memoize(std::size_t slot) {
  // Writers number the memo from 0 upwards, so a vector is dense; a hostile number costs 256 KiB at
  // most.
  if (slot >= kMaxPickleMemo) {
    refuse("memo entry " + std::to_string(slot) + "; fewer than " + std::to_string(kMaxPickleMemo) +
           " are kept. " + kSaveAgain);
  }
  const Index value = pop();
  push(value);
  if (slot >= memo_.size()) memo_.resize(slot + 1, kUnset);
  memo_[slot] = value;
}

void PickleMachine::recall(std::size_t slot) {
  if (slot >= memo_.size() || memo_[slot] == kUnset) {
    refuse("memo entry " + std::to_string(slot) + " is used, but was never set. " + kDownloadAgain);
  }
  push(memo_[slot]);
}

void PickleMachine::push_text(Kind kind, std::uint64_t size) {
  if (size > kMaxPickleTextBytes) {
    refuse("a text of " + std::to_string(size) + " bytes; " + std::to_string(kMaxPickleTextBytes) +
           " at most are read. " + kSaveAgain);
  }
  push_value({.kind = kind, .text = cursor_.take(size, "a text")});
}

void PickleMachine::push_big_integer(std::uint64_t size) {
  cursor_.take(size, "an integer");
  push_value({.kind = Kind::kBigInteger});
}

/// "12", "12L", or "00" and "01" for False and True.
void PickleMachine::push_decimal_integer(std::string_view line) {
  if (line == "00" || line == "01") {
    return push_value({.kind = Kind::kBool, .integer = line == "01"});
  }
  if (line.ends_with('L')) line.remove_suffix(1);
  std::int64_t integer = 0;
  const char* const end = line.data() + line.size();
  const auto [stop, error] = std::from_chars(line.data(), end, integer);
  if (error == std::errc::result_out_of_range && stop == end) {
    return push_value({.kind = Kind::kBigInteger});
  }
  if (error != std::errc() || stop != end) {
    refuse("the integer " + excerpt(line) + " is not a number. " + kDownloadAgain);
  }
  push_value({.kind = Kind::kInteger, .integer = integer});
}

void PickleMachine::push_decimal_float(std::string_view line) {
  double real = 0;
  const char* const end = line.data() + line.size();
  const auto [stop, error] = std::from_chars(line.data(), end, real);
  if (error != std::errc() || stop != end) {
    refuse("the float " + excerpt(line) + " is not a number. " + kDownloadAgain);
  }
  push_value({.kind = Kind::kFloat, .real = real});
}

/// Python's raw-unicode-escape: \uXXXX and \UXXXXXXXX, and Latin-1 for everything else.
void PickleMachine::push_escaped_text(std::string_view line) {
  std::string text;
  for (std::size_t i = 0; i < line.size(); ++i) {
    std::uint32_t code = static_cast<std::uint8_t>(line[i]);
    if (code == '\\' && i + 1 < line.size() && (line[i + 1] == 'u' || line[i + 1] == 'U')) {
      const std::size_t digits = line[i + 1] == 'u' ? 4 : 8;
      const std::string_view number = line.substr(i + 2, digits);
      const char* const end = number.data() + number.size();
      if (number.size() < digits || std::from_chars(number.data(), end, code, 16).ptr != end ||
          code > 0x10ffff) {
        refuse("a text with the incomplete escape " + excerpt(line.substr(i, digits + 2)) + ". " +
               kDownloadAgain);
      }
      i += digits + 1;
    }
    append_utf8(code, text);
  }
  push_value({.kind = Kind::kText, .text = tree_.decoded_.emplace_back(std::move(text))});
}

void PickleMachine::push_sequence(Kind kind, std::size_t begin) {
  PickleValue sequence{.kind = kind};
  sequence.items.reserve(stack_.size() - begin);
  for (std::size_t i = begin; i < stack_.size(); ++i) contain(sequence, stack_[i]);
  stack_.resize(begin);
  push_value(std::move(sequence));
}

void PickleMachine::append(std::size_t begin) {
  if (begin == 0 || begin <= (marks_.empty() ? 0 : marks_.back()) ||
      tree_[stack_[begin - 1]].kind != Kind::kList) {
    refuse(std::string("items are appended to something that is not a list. ") + kDownloadAgain);
  }
  PickleValue& list = tree_.values_[stack_[begin - 1]];
  for (std::size_t i = begin; i < stack_.size(); ++i) contain(list, stack_[i]);
  stack_.resize(begin);
}

std::size_t PickleMachine::slot_number(std::string_view what) {
  const std::string_view line = cursor_.read_line(what);
  std::size_t slot = 0;
  const char* const end = line.data() + line.size();
  const auto [stop, error] = std::from_chars(line.data(), end, slot);
  if (error != std::errc() || stop != end) {
    refuse("the memo entry " + excerpt(line) + " is not a number. " + kDownloadAgain);
  }
  return slot;
}

void PickleMachine::push_global(std::string_view module, std::string_view name) {
  // Compare module and name separately: "a.b" + "c" is not the import "a" + "b.c".
  const auto allowed = std::find_if(
      format_.globals.begin(), format_.globals.end(),
      [&](const AllowedGlobal& entry) { return entry.module == module && entry.name == name; });
  if (allowed != format_.globals.end()) {
    names_class_ |= allowed->use == Use::kConstruct;
    return push_value({.kind = Kind::kGlobal, .global = &*allowed});
  }
  const bool is_inert =
      is_plain_name(module) && is_plain_name(name) &&
      std::ranges::any_of(format_.inert_packages, [&](std::string_view package) {
        return module == package ||
               (module.starts_with(package) && module.substr(package.size()).starts_with('.'));
      });
  if (!is_inert) {
    source_.refuse(ErrorCode::kUnsafe, start_,
                   "the file names the Python global " + excerpt(full_name(module, name)) +
                       ", which no checkpoint needs. " + kNothingRan);
  }
  if (!names_class_ && format_.explain_class != nullptr) {
    refuse("the file holds " + excerpt(full_name(module, name)) + ". " +
           format_.explain_class(name));
  }
  push_value({.kind = Kind::kGlobal,
              .global = &tree_.inert_.emplace_back(AllowedGlobal{module, name, Use::kInert})});
}

void PickleMachine::push_object(Use use, std::string_view opcode) {
  const Index arguments = pop();
  const Index target = pop();
  if (tree_[target].kind != Kind::kGlobal || tree_[arguments].kind != Kind::kTuple) {
    refuse(std::string(opcode) + " on " + describe(tree_[target]) + " with " +
           describe(tree_[arguments]) + "; expected a global and a tuple. " + kDownloadAgain);
  }
  const AllowedGlobal* const global = tree_[target].global;
  if (use == Use::kCall && global->use == Use::kRebuild) return rebuild(arguments);
  // A listed global in another role would be an unexpected call.
  if (global->use != use && global->use != Use::kInert) {
    source_.refuse(ErrorCode::kUnsafe, start_,
                   std::string(opcode) + " on " + describe(tree_[target]) +
                       ", which a checkpoint may name but not use in this way. " + kNothingRan);
  }
  if (use == Use::kConstruct && global->use != Use::kInert && !tree_[arguments].items.empty()) {
    refuse("NEWOBJ on " + describe(tree_[target]) + " with " + describe(tree_[arguments]) +
           "; expected no arguments. " + kSaveAgain);
  }
  PickleValue object{.kind = Kind::kObject, .global = global};
  contain(object, arguments);
  push_value(std::move(object));
}

/// copyreg._reconstructor(class, object, None): the class without arguments.
void PickleMachine::rebuild(Index arguments) {
  const std::vector<Index>& items = tree_[arguments].items;
  const AllowedGlobal* of = nullptr;
  if (items.size() == 3 && tree_[items[0]].kind == Kind::kGlobal &&
      tree_[items[1]].kind == Kind::kGlobal && tree_[items[2]].kind == Kind::kNone) {
    of = tree_[items[0]].global;
  }
  if (of == nullptr || (of->use != Use::kConstruct && of->use != Use::kInert)) {
    source_.refuse(ErrorCode::kUnsafe, start_,
                   std::string("copyreg._reconstructor on something other than a class that a "
                               "checkpoint may make. ") +
                       kNothingRan);
  }
  push_sequence(Kind::kTuple, stack_.size());
  PickleValue object{.kind = Kind::kObject, .global = of};
  contain(object, pop());
  push_value(std::move(object));
}

void PickleMachine::set_items(std::size_t begin) {
  if (begin == 0 || begin <= (marks_.empty() ? 0 : marks_.back()) ||
      tree_[stack_[begin - 1]].kind != Kind::kDict || (stack_.size() - begin) % 2 != 0) {
    refuse(std::string("items are set that do not pair up, or on something that is not a dict. ") +
           kDownloadAgain);
  }
  PickleValue& dict = tree_.values_[stack_[begin - 1]];
  // Keys are found by linear search, so the length of a dict bounds the work of a lookup.
  if ((dict.items.size() + stack_.size() - begin) / 2 > kMaxPickleDictEntries) {
    refuse("a dict of more than " + std::to_string(kMaxPickleDictEntries) + " entries. " +
           kSaveAgain);
  }
  for (std::size_t i = begin; i < stack_.size(); i += 2) {
    const PickleValue& key = tree_[stack_[i]];
    if (key.kind != Kind::kText) {
      refuse("a dict key is " + describe(key) + "; expected a text. " + kSaveAgain);
    }
    contain(dict, stack_[i]);
    contain(dict, stack_[i + 1]);
  }
  stack_.resize(begin);
}

void PickleMachine::build() {
  const Index state = pop();
  const Index target = pop();
  push(target);
  PickleValue& object = tree_.values_[target];
  // If the state could change after the inline bytes were taken, they could be read as another
  // type.
  if (object.kind != Kind::kObject || object.items.size() != 1) {
    refuse("BUILD on " + describe(object) +
           (object.kind == Kind::kObject ? ", which has its state already. " : ". ") +
           kDownloadAgain);
  }
  contain(object, state);
  if (format_.take_inline_bytes != nullptr) {
    object.text = format_.take_inline_bytes(tree_, object, cursor_);
  }
}

PickleTree parse_pickle(const PickleSource& source, const PickleFormat& format) {
  ByteCursor cursor(source);
  PickleTree tree = parse_pickle(cursor, format);
  if (cursor.remaining() != 0) {
    source.refuse(ErrorCode::kBadCheckpoint, cursor.offset(),
                  std::to_string(cursor.remaining()) + " bytes follow the end of the pickle. " +
                      kDownloadAgain);
  }
  return tree;
}

PickleTree parse_pickle(ByteCursor& cursor, const PickleFormat& format) {
  return PickleMachine(cursor, format).run();
}

}  // namespace r2router::io
