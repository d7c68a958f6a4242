#include "checkpoint/pickle.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <utility>

#include "base/excerpt.h"

namespace r2router::io {
namespace {

using Kind = PickleValue::Kind;
using Use = AllowedGlobal::Use;

// Every refusal ends with what to do, which depends on whose fault it is likely to be: the
// transfer's, the writer's, or an attacker's.
constexpr char kDownloadAgain[] = "The file is damaged: copy or download it again.";
constexpr char kSaveAgain[] =
    "Write the file again with joblib.dump() of scikit-learn Ridge regressors fitted on plain "
    "arrays.";
constexpr char kNothingRan[] =
    "Nothing of it was run. Do not open this file with joblib or pickle; get the checkpoint from a "
    "source that you trust.";

/// The opcodes that are read: all that joblib needs for Ridge regressors in protocols 2 to 5.
/// Names as in pickletools.py, with "Op" behind those that would clash with a PickleValue::Kind.
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
};

/// All other opcodes of pickle. They are listed so that a refusal can say what the byte would have
/// done: an honest file of another kind deserves a better answer than "damaged".
struct RefusedOpcode {
  std::uint8_t byte;
  std::string_view name;
  bool runs_code;
};
constexpr RefusedOpcode kRefusedOpcodes[] = {
    {'0', "POP", false},
    {'1', "POP_MARK", false},
    {'2', "DUP", false},
    {'F', "FLOAT", false},
    {'I', "INT", false},
    {'L', "LONG", false},
    {'P', "PERSID", true},
    {'Q', "BINPERSID", true},
    {'S', "STRING", false},
    {'T', "BINSTRING", false},
    {'U', "SHORT_BINSTRING", false},
    {'V', "UNICODE", false},
    {'a', "APPEND", false},
    {'d', "DICT", false},
    {'e', "APPENDS", false},
    {'g', "GET", false},
    {'i', "INST", true},
    {'l', "LIST", false},
    {']', "EMPTY_LIST", false},
    {'o', "OBJ", true},
    {'p', "PUT", false},
    {0x82, "EXT1", true},
    {0x83, "EXT2", true},
    {0x84, "EXT4", true},
    {0x8b, "LONG4", false},
    {0x8d, "BINUNICODE8", false},
    {0x8e, "BINBYTES8", false},
    {0x8f, "EMPTY_SET", false},
    {0x90, "ADDITEMS", false},
    {0x91, "FROZENSET", false},
    {0x92, "NEWOBJ_EX", true},
    {0x96, "BYTEARRAY8", false},
    {0x97, "NEXT_BUFFER", false},
    {0x98, "READONLY_BUFFER", false},
};

std::string hex(std::uint8_t byte) {
  constexpr char digits[] = "0123456789abcdef";
  return {'0', 'x', digits[byte >> 4], digits[byte & 15]};
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

std::string_view ByteCursor::read_line(std::string_view what) {
  const auto rest = source_.bytes.subspan(offset_, std::min(remaining(), kMaxPickleTextBytes));
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
    case Kind::kFloat:
      return "a float";
    case Kind::kText:
      return "the text " + excerpt(value.text);
    case Kind::kBytes:
      return std::to_string(value.text.size()) + " bytes";
    case Kind::kTuple:
      return "a tuple of " + std::to_string(value.items.size());
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
                    "the key " + excerpt(key) + " stands twice in a dict. " + kSaveAgain);
    }
    found = &values_[dict.items[i + 1]];
  }
  return found;
}

class PickleMachine {
 public:
  PickleMachine(const PickleSource& source, const PickleFormat& format)
      : source_(source), format_(format), cursor_(source) {}

  PickleTree run();

 private:
  using Index = std::uint32_t;

  [[noreturn]] void refuse(const std::string& message) const {
    source_.refuse(ErrorCode::kBadCheckpoint, start_, message);
  }
  [[noreturn]] void refuse_opcode(std::uint8_t byte) const;
  void read_header();
  void step(std::uint8_t opcode);

  /// What stands within an item counts one level less than the item.
  void contain(PickleValue& container, Index item);
  void push(Index index);
  void push_value(PickleValue value);
  Index pop();
  std::size_t pop_mark();
  void memoize(std::size_t slot);
  void recall(std::size_t slot);

  void push_text(Kind kind, std::uint64_t size);
  void push_tuple(std::size_t begin);
  void push_global(std::string_view module, std::string_view name);
  void push_object(Use use, std::string_view opcode);
  void set_items(std::size_t begin);
  void build();

  const PickleSource& source_;
  const PickleFormat& format_;
  ByteCursor cursor_;
  std::uint64_t start_ = 0;  // offset of the opcode at work
  PickleTree tree_;
  std::vector<Index> stack_;
  std::vector<std::size_t> marks_;  // heights of the stack
  static constexpr Index kUnset = UINT32_MAX;
  std::vector<Index> memo_;
};

void PickleMachine::refuse_opcode(std::uint8_t byte) const {
  const auto* known = std::find_if(std::begin(kRefusedOpcodes), std::end(kRefusedOpcodes),
                                   [byte](const RefusedOpcode& op) { return op.byte == byte; });
  if (known == std::end(kRefusedOpcodes)) {
    refuse("byte " + hex(byte) + " is no pickle opcode. " + kDownloadAgain);
  }
  const std::string what = "opcode " + std::string(known->name) + " (" + hex(byte) + ")";
  if (known->runs_code) {
    source_.refuse(
        ErrorCode::kUnsafe, start_,
        what + " makes Python run code, which a checkpoint may never do. " + kNothingRan);
  }
  refuse(what + " is not among those that saved Ridge regressors need. " + kSaveAgain);
}

PickleTree PickleMachine::run() {
  read_header();
  // Every round consumes a byte, and no opcode does more than linear work: the loop ends.
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
  if (cursor_.remaining() != 0) {
    source_.refuse(ErrorCode::kBadCheckpoint, cursor_.offset(),
                   std::to_string(cursor_.remaining()) + " bytes stand after the pickle's end. " +
                       kDownloadAgain);
  }
  return std::move(tree_);
}

void PickleMachine::read_header() {
  // Protocols 0 and 1 have no header; today's writers use them only when told to.
  const std::uint64_t opcode = cursor_.read_unsigned(1, "the pickle's header");
  if (opcode != kProto) {
    refuse("a pickle of protocol 2 to 5 starts with byte 0x80, this file with " +
           hex(static_cast<std::uint8_t>(opcode)) +
           ". It is no joblib file, or one of an older protocol or another compression than zlib: "
           "write it again with joblib.dump(value, file).");
  }
  const std::uint64_t protocol = cursor_.read_unsigned(1, "the pickle's header");
  if (protocol < 2 || protocol > 5) {
    refuse("pickle protocol " + std::to_string(protocol) +
           "; 2 to 5 are read. Write the file again with joblib.dump(value, file, protocol=4).");
  }
}

void PickleMachine::step(std::uint8_t opcode) {
  switch (opcode) {
    case kFrame: {
      // Frames only help Python to read ahead; their promise is checked all the same.
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
      if (size > 8) {
        refuse("an integer of " + std::to_string(size) + " bytes; 8 at most are read. " +
               kSaveAgain);
      }
      std::uint64_t bits = cursor_.read_unsigned(size, "LONG1's argument");
      // Two's complement of `size` bytes: copy the sign into the bytes that are not there.
      if (size > 0 && size < 8 && (bits >> (8 * size - 1)) != 0)
        bits |= ~std::uint64_t{0} << (8 * size);
      return push_value({.kind = Kind::kInteger, .integer = static_cast<std::int64_t>(bits)});
    }
    case kBinFloat: {
      std::uint64_t bits = 0;  // the one big-endian number of the format
      for (const char byte : cursor_.take(8, "BINFLOAT's argument")) {
        bits = bits << 8 | static_cast<std::uint8_t>(byte);
      }
      return push_value({.kind = Kind::kFloat, .real = std::bit_cast<double>(bits)});
    }
    case kShortBinUnicode:
      // Whether it is UTF-8 does not matter: it is compared with known names, and escaped in
      // messages.
      return push_text(Kind::kText, cursor_.read_unsigned(1, "SHORT_BINUNICODE's length"));
    case kBinUnicode:
      return push_text(Kind::kText, cursor_.read_unsigned(4, "BINUNICODE's length"));
    case kShortBinBytes:
      return push_text(Kind::kBytes, cursor_.read_unsigned(1, "SHORT_BINBYTES' length"));
    case kBinBytes:
      return push_text(Kind::kBytes, cursor_.read_unsigned(4, "BINBYTES' length"));
    case kEmptyTuple:
      return push_tuple(stack_.size());
    case kTuple1:
    case kTuple2:
    case kTuple3: {
      // As for every opcode that takes values: those below the last mark are out of reach.
      const std::size_t size = opcode - kTuple1 + std::size_t{1};
      const std::size_t floor = marks_.empty() ? 0 : marks_.back();
      if (stack_.size() - floor < size) {
        refuse("a tuple of " + std::to_string(size) + " from fewer values. " + kDownloadAgain);
      }
      return push_tuple(stack_.size() - size);
    }
    case kTupleOp:
      return push_tuple(pop_mark());
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
    refuse(std::string("the opcode needs a mark, there is none. ") + kDownloadAgain);
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
    refuse("memo entry " + std::to_string(slot) + " is asked for, but was never set. " +
           kDownloadAgain);
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

void PickleMachine::push_tuple(std::size_t begin) {
  PickleValue tuple{.kind = Kind::kTuple};
  tuple.items.reserve(stack_.size() - begin);
  for (std::size_t i = begin; i < stack_.size(); ++i) contain(tuple, stack_[i]);
  stack_.resize(begin);
  push_value(std::move(tuple));
}

void PickleMachine::push_global(std::string_view module, std::string_view name) {
  // Module and name are compared apart: "a.b" + "c" is another import than "a" + "b.c".
  const auto allowed = std::find_if(
      format_.globals.begin(), format_.globals.end(),
      [&](const AllowedGlobal& entry) { return entry.module == module && entry.name == name; });
  if (allowed == format_.globals.end()) {
    std::string list;
    for (const AllowedGlobal& entry : format_.globals) {
      list += (list.empty() ? "" : ", ") + full_name(entry.module, entry.name);
    }
    source_.refuse(ErrorCode::kUnsafe, start_,
                   "the file names the Python global " + excerpt(full_name(module, name)) +
                       "; a checkpoint may name only " + list + ". " + kNothingRan);
  }
  push_value({.kind = Kind::kGlobal, .global = &*allowed});
}

void PickleMachine::push_object(Use use, std::string_view opcode) {
  const Index arguments = pop();
  const Index target = pop();
  if (tree_[target].kind != Kind::kGlobal || tree_[arguments].kind != Kind::kTuple) {
    refuse(std::string(opcode) + " on " + describe(tree_[target]) + " with " +
           describe(tree_[arguments]) + "; expected a global and a tuple. " + kDownloadAgain);
  }
  // A listed global in another role would be a call that nobody has thought about.
  if (tree_[target].global->use != use) {
    source_.refuse(ErrorCode::kUnsafe, start_,
                   std::string(opcode) + " on " + describe(tree_[target]) +
                       ", which a checkpoint may name but not use in this way. " + kNothingRan);
  }
  if (use == Use::kConstruct && !tree_[arguments].items.empty()) {
    refuse("NEWOBJ on " + describe(tree_[target]) + " with " + describe(tree_[arguments]) +
           "; expected no arguments. " + kSaveAgain);
  }
  PickleValue object{.kind = Kind::kObject, .global = tree_[target].global};
  contain(object, arguments);
  push_value(std::move(object));
}

void PickleMachine::set_items(std::size_t begin) {
  if (begin == 0 || begin <= (marks_.empty() ? 0 : marks_.back()) ||
      tree_[stack_[begin - 1]].kind != Kind::kDict || (stack_.size() - begin) % 2 != 0) {
    refuse(std::string("items are set that do not pair up, or on something that is no dict. ") +
           kDownloadAgain);
  }
  PickleValue& dict = tree_.values_[stack_[begin - 1]];
  // Keys are found by walking a dict, so its length bounds the work of every look-up.
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
  // A state that could change after the inline bytes were taken would let them be read as another
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
  return PickleMachine(source, format).run();
}

}  // namespace r2router::io
