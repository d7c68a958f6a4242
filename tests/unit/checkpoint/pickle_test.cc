#include "checkpoint/pickle.h"

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "r2router/error.h"

#include "unit/checkpoint/pickle_writer.h"

namespace r2router::io {
namespace {

using testing::as_bytes;
using ::testing::HasSubstr;
using testing::PickleWriter;
using Kind = PickleValue::Kind;
using Use = AllowedGlobal::Use;

constexpr AllowedGlobal kGlobals[] = {
    {"shop", "Basket", Use::kConstruct},
    {"shop", "price", Use::kCall},
    {"shop", "name", Use::kName},
};

/// Owns the bytes that the tree views.
struct Parsed {
  explicit Parsed(std::string content, PickleFormat format = {.globals = kGlobals})
      : bytes(std::move(content)),
        source{.bytes = as_bytes(bytes), .file = "basket.pkl"},
        tree(parse_pickle(source, format)) {}

  const PickleValue& item(const PickleValue& value, std::size_t i) const {
    return tree[value.items[i]];
  }

  std::string bytes;
  PickleSource source;
  PickleTree tree;
};

/// The refusal of `writer`'s bytes, checked for its code, offset and wording.
void expect_refused(const PickleWriter& writer, ErrorCode code, std::size_t offset,
                    const std::string& wording) {
  SCOPED_TRACE(wording);
  try {
    Parsed parsed(writer.bytes);
    ADD_FAILURE() << "was read";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_EQ(error.where().file, "basket.pkl");
    EXPECT_EQ(error.where().byte_offset, offset) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(wording));
  }
}

PickleWriter start() { return PickleWriter{}.header(); }

TEST(Pickle, ReadsEveryKindOfNumber) {
  const std::vector<std::pair<std::string, std::int64_t>> spellings = {
      {std::string("K\xff", 2), 255},
      {std::string("M\xff\xff", 3), 65535},
      {std::string("J\xff\xff\xff\xff", 5), -1},
      {std::string("J\x00\x00\x00\x80", 5), std::numeric_limits<std::int32_t>::min()},
      {std::string("\x8a\x00", 2), 0},
      {std::string("\x8a\x01\x80", 3), -128},
      {std::string("\x8a\x02\xff\x00", 4), 255},
      {std::string("\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80", 10),
       std::numeric_limits<std::int64_t>::min()},
      {std::string("\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f", 10),
       std::numeric_limits<std::int64_t>::max()},
  };
  for (const auto& [spelling, value] : spellings) {
    const Parsed parsed(start().raw(spelling).raw(".").bytes);
    EXPECT_EQ(parsed.tree.root().kind, Kind::kInteger);
    EXPECT_EQ(parsed.tree.root().integer, value);
  }
  // pickle.dumps(-2.5, 2)
  const Parsed real(std::string("\x80\x02G\xc0\x04\x00\x00\x00\x00\x00\x00.", 12));
  EXPECT_EQ(real.tree.root().kind, Kind::kFloat);
  EXPECT_EQ(real.tree.root().real, -2.5);
}

TEST(Pickle, ReadsContainersTextsAndBytes) {
  // pickle.dumps({"a": (None, True, False), "bc": (b"xyz", ()), "d": ("é",)}, 3)
  const std::string bytes(
      "\x80\x03}q\x00(X\x01\x00\x00\x00"
      "aq\x01N\x88\x89\x87q\x02X\x02\x00\x00\x00"
      "bcq\x03"
      "C\x03xyzq\x04)\x86q\x05X\x01\x00\x00\x00"
      "dq\x06X\x02\x00\x00\x00\xc3\xa9q\x07\x85q\x08u.",
      62);
  const Parsed parsed(bytes);
  const PickleValue& dict = parsed.tree.root();
  ASSERT_EQ(dict.kind, Kind::kDict);
  ASSERT_EQ(dict.items.size(), 6u);
  EXPECT_EQ(parsed.item(dict, 0).text, "a");
  EXPECT_EQ(parsed.item(dict, 2).text, "bc");

  const PickleValue* triple = parsed.tree.find(parsed.source, dict, "a");
  ASSERT_NE(triple, nullptr);
  ASSERT_EQ(triple->items.size(), 3u);
  EXPECT_EQ(parsed.item(*triple, 0).kind, Kind::kNone);
  EXPECT_EQ(parsed.item(*triple, 1).kind, Kind::kBool);
  EXPECT_EQ(parsed.item(*triple, 1).integer, 1);
  EXPECT_EQ(parsed.item(*triple, 2).integer, 0);

  const PickleValue& pair = *parsed.tree.find(parsed.source, dict, "bc");
  EXPECT_EQ(parsed.item(pair, 0).kind, Kind::kBytes);
  EXPECT_EQ(parsed.item(pair, 0).text, "xyz");
  EXPECT_EQ(parsed.item(pair, 1).kind, Kind::kTuple);
  EXPECT_TRUE(parsed.item(pair, 1).items.empty());
  EXPECT_EQ(parsed.item(*parsed.tree.find(parsed.source, dict, "d"), 0).text, "é");
  EXPECT_EQ(parsed.tree.find(parsed.source, dict, "e"), nullptr);
}

TEST(Pickle, TheMemoGivesBackWhatWasPutThere) {
  const Parsed parsed(start()
                          .text("one")
                          .raw("\x94")  // MEMOIZE: 0
                          .text("two")
                          .raw("q\x05")  // BINPUT 5
                          .text("three")
                          .raw("r")
                          .number(300, 4)  // LONG_BINPUT 300
                          .raw("\x87h\x05h")
                          .number(0, 1)
                          .raw("j")
                          .number(300, 4)
                          .raw("\x87\x86.")
                          .bytes);
  const PickleValue& recalled = parsed.item(parsed.tree.root(), 1);
  EXPECT_EQ(parsed.item(recalled, 0).text, "two");
  EXPECT_EQ(parsed.item(recalled, 1).text, "one");
  EXPECT_EQ(parsed.item(recalled, 2).text, "three");
}

TEST(Pickle, ConstructionsAndCallsAreOnlyRecorded) {
  const Parsed parsed(start()
                          .global("shop", "Basket")
                          .raw(")\x81}")
                          .text("total")
                          .raw("cshop\nprice\n")  // GLOBAL
                          .integer(7)
                          .raw("\x85Rsb.")
                          .bytes);
  const PickleValue& basket = parsed.tree.root();
  ASSERT_EQ(basket.kind, Kind::kObject);
  EXPECT_EQ(basket.global, &kGlobals[0]);
  ASSERT_EQ(basket.items.size(), 2u);
  const PickleValue* total = parsed.tree.find(parsed.source, parsed.item(basket, 1), "total");
  ASSERT_NE(total, nullptr);
  EXPECT_EQ(total->kind, Kind::kObject);
  EXPECT_EQ(total->global, &kGlobals[1]);
  EXPECT_EQ(parsed.item(parsed.item(*total, 0), 0).integer, 7);
}

TEST(Pickle, TheFormatTakesBytesFromTheStream) {
  const PickleFormat format = {
      .globals = kGlobals,
      .take_inline_bytes = [](const PickleTree& tree, const PickleValue& object,
                              ByteCursor& cursor) {
        return cursor.take(static_cast<std::uint64_t>(tree[object.items[1]].integer), "goods");
      }};
  const Parsed parsed(start().global("shop", "Basket").raw(")\x81").integer(4).raw("bR(.N.").bytes,
                      format);
  EXPECT_EQ(parsed.tree.root().text, "R(.N");
}

TEST(Pickle, ReadsListsAndTheNumbersOfOldProtocols) {
  // pickle.dumps([1, [2.5, True], "é\n\u20ac", 1 << 70], 0)
  const Parsed old(
      "(lp0\nI1\na(lp1\nF2.5\naI01\naaV\xe9\\u000a\\u20ac\np2\naL1180591620717411303424L\na.");
  const PickleValue& list = old.tree.root();
  ASSERT_EQ(list.kind, Kind::kList);
  ASSERT_EQ(list.items.size(), 4u);
  EXPECT_EQ(old.item(list, 0).integer, 1);
  EXPECT_EQ(old.item(old.item(list, 1), 0).real, 2.5);
  EXPECT_EQ(old.item(old.item(list, 1), 1).kind, Kind::kBool);
  EXPECT_EQ(old.item(list, 2).text, "\xc3\xa9\n\xe2\x82\xac");
  EXPECT_EQ(old.item(list, 3).kind, Kind::kBigInteger);
  // pickle.dumps({"a": 1}, 0), and a dict made at once
  const Parsed dict("(dp0\nVa\np1\nI1\ns.");
  EXPECT_EQ(dict.tree.find(dict.source, dict.tree.root(), "a")->integer, 1);
  const Parsed filled("(Va\nI1\nVb\nI2\nd.");
  EXPECT_EQ(filled.tree.find(filled.source, filled.tree.root(), "b")->integer, 2);
  // EMPTY_LIST, APPENDS and a big integer
  const Parsed list2(start().raw("](K\x01K\x02\x8a\x09").repeat("1", 9).raw("e.").bytes);
  EXPECT_EQ(list2.tree.root().items.size(), 3u);
  EXPECT_EQ(list2.item(list2.tree.root(), 2).kind, Kind::kBigInteger);
  // copyreg._reconstructor makes an object as NEWOBJ does.
  constexpr AllowedGlobal globals[] = {{"shop", "Basket", Use::kConstruct},
                                       {"copy_reg", "_reconstructor", Use::kRebuild},
                                       {"__builtin__", "object", Use::kName}};
  const std::string rebuilt =
      "ccopy_reg\n_reconstructor\n(cshop\nBasket\nc__builtin__\nobject\nNtR.";
  const Parsed object(rebuilt, {.globals = globals});
  EXPECT_EQ(object.tree.root().kind, Kind::kObject);
  EXPECT_EQ(object.tree.root().global, &globals[0]);
  const std::string misuse =
      "ccopy_reg\n_reconstructor\n(c__builtin__\nobject\nc__builtin__\nobject\nNtR.";
  EXPECT_THROW(Parsed(misuse, {.globals = globals}), Error);
}

TEST(Pickle, RefusesDamagedOldProtocols) {
  const auto bad = ErrorCode::kBadCheckpoint;
  expect_refused(PickleWriter{}.raw("(lI1x\na."), bad, 2, "the integer \"1x\"");
  expect_refused(PickleWriter{}.raw("(lF1.5.5\na."), bad, 2, "the float");
  expect_refused(PickleWriter{}.raw("(lV\\u12\na."), bad, 2, "incomplete escape");
  expect_refused(PickleWriter{}.raw("(lV\\U00110000\na."), bad, 2, "incomplete escape");
  expect_refused(PickleWriter{}.raw("(lpx\n."), bad, 2, "memo entry \"x\"");
  expect_refused(PickleWriter{}.raw("(lp99999999\n."), bad, 2, "memo entry 99999999");
  expect_refused(PickleWriter{}.raw("(dI1\na."), bad, 5, "not a list");
  expect_refused(start().raw("a."), bad, 2, "not a list");
  expect_refused(start().raw("](Na("), bad, 5, "not a list");
}

TEST(Pickle, InertPackagesAreRecordedInAnyUse) {
  constexpr std::string_view packages[] = {"shop.extras"};
  const PickleFormat format = {
      .globals = kGlobals, .inert_packages = packages, .explain_class = [](std::string_view name) {
        return "Do without " + std::string(name) + ".";
      }};
  const PickleWriter extra =
      PickleWriter{}.global("shop.extras.gifts", "Bow").integer(3).raw("\x85");
  for (const char* opcode : {"R", "\x81"}) {
    const Parsed parsed(
        start().global("shop", "Basket").raw(")\x81").raw(extra.bytes).raw(opcode).raw("b.").bytes,
        format);
    EXPECT_EQ(parsed.item(parsed.tree.root(), 1).global->use, Use::kInert);
  }
  // Of the file's own value the format says what to do.
  try {
    Parsed parsed(start().raw(extra.bytes).raw("R.").bytes, format);
    FAIL() << "was read";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kBadCheckpoint);
    EXPECT_THAT(error.what(), HasSubstr("\"shop.extras.gifts.Bow\". Do without Bow."));
  }
  // A name that only begins alike, or that cannot be shown as it is, is not of the package.
  for (const char* module : {"shop.extrasteal", "shop", "shop.extras\x1b"}) {
    try {
      Parsed parsed(start().global(module, "Bow").raw(".").bytes, format);
      ADD_FAILURE() << module << " was read";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kUnsafe);
    }
  }
}

TEST(Pickle, RefusesGlobalsThatAreNotListed) {
  const PickleWriter stack = start().text("posix").text("system");
  expect_refused(PickleWriter(stack).raw("\x93").text("id").raw("\x85R."), ErrorCode::kUnsafe,
                 stack.size(), "\"posix.system\"");
  expect_refused(start().raw("cos\nsystem\n").text("id").raw("\x85R."), ErrorCode::kUnsafe, 2,
                 "\"os.system\"");
  expect_refused(start().raw("cbuiltins\neval\n."), ErrorCode::kUnsafe, 2, "\"builtins.eval\"");
  // A dot in a name makes Python walk attributes, and the split must not matter.
  expect_refused(start().raw("cshop\nprice.__globals__\n."), ErrorCode::kUnsafe, 2,
                 "\"shop.price.__globals__\"");
  expect_refused(start().raw("cshop.Basket\n\n."), ErrorCode::kUnsafe, 2, "\"shop.Basket.\"");
  expect_refused(start().raw("cos\x1b[31m\nsystem\n."), ErrorCode::kUnsafe, 2,
                 "os\\u001b[31m.system");
}

TEST(Pickle, RefusesOtherUsesOfAListedGlobal) {
  const PickleWriter basket = start().global("shop", "Basket").raw(")");
  expect_refused(PickleWriter(basket).raw("R."), ErrorCode::kUnsafe, basket.size(),
                 "REDUCE on the global shop.Basket");
  const PickleWriter price = start().global("shop", "price").raw(")");
  expect_refused(PickleWriter(price).raw("\x81."), ErrorCode::kUnsafe, price.size(),
                 "NEWOBJ on the global shop.price");
  const PickleWriter name = start().global("shop", "name").raw(")");
  expect_refused(PickleWriter(name).raw("R."), ErrorCode::kUnsafe, name.size(), "shop.name");

  const PickleWriter text = start().text("Basket").raw(")");
  expect_refused(PickleWriter(text).raw("R."), ErrorCode::kBadCheckpoint, text.size(),
                 "REDUCE on the text \"Basket\"");
  const PickleWriter arguments = start().global("shop", "Basket").integer(1).raw("\x85");
  expect_refused(PickleWriter(arguments).raw("\x81."), ErrorCode::kBadCheckpoint, arguments.size(),
                 "expected no arguments");
}

TEST(Pickle, RefusesOpcodesThatRunCode) {
  const std::pair<std::string, std::string> opcodes[] = {
      {"i", "INST (0x69)"},      {"o", "OBJ (0x6f)"},          {"P", "PERSID (0x50)"},
      {"Q", "BINPERSID (0x51)"}, {"\x82", "EXT1 (0x82)"},      {"\x83", "EXT2 (0x83)"},
      {"\x84", "EXT4 (0x84)"},   {"\x92", "NEWOBJ_EX (0x92)"},
  };
  for (const auto& [opcode, name] : opcodes) {
    expect_refused(start().raw("N").raw(opcode).raw("os\nsystem\n."), ErrorCode::kUnsafe, 3, name);
  }
}

TEST(Pickle, RefusesOpcodesThatNobodyNeeds) {
  expect_refused(start().raw("\x8f."), ErrorCode::kBadCheckpoint, 2, "EMPTY_SET (0x8f)");
  expect_refused(start().raw("N0."), ErrorCode::kBadCheckpoint, 3, "POP (0x30)");
  expect_refused(start().raw("\x97."), ErrorCode::kBadCheckpoint, 2, "NEXT_BUFFER (0x97)");
  expect_refused(start().raw("\xfe."), ErrorCode::kBadCheckpoint, 2,
                 "byte 0xfe is not a pickle opcode");
  expect_refused(start().raw("N\x80\x04."), ErrorCode::kBadCheckpoint, 3, "second PROTO");
}

TEST(Pickle, RefusesOtherProtocols) {
  expect_refused(PickleWriter{}.raw("N."), ErrorCode::kBadCheckpoint, 0, "with 0x4e");
  expect_refused(PickleWriter{}.raw("\x1f\x8b\x08"), ErrorCode::kBadCheckpoint, 0, "0x1f");
  expect_refused(PickleWriter{}.header(1).raw("N."), ErrorCode::kBadCheckpoint, 0, "protocol 1");
  expect_refused(PickleWriter{}.header(6).raw("N."), ErrorCode::kBadCheckpoint, 0, "protocol 6");
}

TEST(Pickle, RefusesTruncationAndWhatComesAfterTheEnd) {
  expect_refused(PickleWriter{}, ErrorCode::kBadCheckpoint, 0, "the file ends");
  expect_refused(start().raw("N"), ErrorCode::kBadCheckpoint, 3, "no STOP");
  expect_refused(start().raw("G123"), ErrorCode::kBadCheckpoint, 3, "8 bytes expected, 3 left");
  expect_refused(start().raw("X").number(5, 4).raw("abc"), ErrorCode::kBadCheckpoint, 7, "a text");
  expect_refused(start().raw("\x95").number(100, 8).raw("N."), ErrorCode::kBadCheckpoint, 2,
                 "a frame of 100 bytes");
  expect_refused(start().raw("\x95").number(UINT64_MAX, 8).raw("N."), ErrorCode::kBadCheckpoint, 2,
                 "a frame");
  expect_refused(start().raw("cos"), ErrorCode::kBadCheckpoint, 3, "no end");
  expect_refused(start().raw("N.N"), ErrorCode::kBadCheckpoint, 4, "1 bytes follow");
}

TEST(Pickle, RefusesToMisuseTheStack) {
  expect_refused(start().raw("."), ErrorCode::kBadCheckpoint, 2, "0 values");
  expect_refused(start().raw("NN."), ErrorCode::kBadCheckpoint, 4, "2 values");
  expect_refused(start().raw("N(."), ErrorCode::kBadCheckpoint, 4, "1 marks");
  expect_refused(start().raw("t."), ErrorCode::kBadCheckpoint, 2, "needs a mark");
  expect_refused(start().raw("N\x86."), ErrorCode::kBadCheckpoint, 3, "fewer values");
  // A mark hides what is below it.
  expect_refused(start().raw("NN(N\x86."), ErrorCode::kBadCheckpoint, 6, "fewer values");
  expect_refused(start().raw("N(b."), ErrorCode::kBadCheckpoint, 4, "empty stack");
  expect_refused(start().raw("}(N").text("v").raw("u."), ErrorCode::kBadCheckpoint, 8,
                 "a dict key is None");
  expect_refused(start().raw("}(").text("k").raw("u."), ErrorCode::kBadCheckpoint, 7, "pair up");
  expect_refused(start().raw("N(").text("k").raw("Nu."), ErrorCode::kBadCheckpoint, 8,
                 "not a dict");
  expect_refused(start().raw("(u."), ErrorCode::kBadCheckpoint, 3, "not a dict");
  expect_refused(start().raw("}((").text("k").raw("Nus."), ErrorCode::kBadCheckpoint, 9,
                 "not a dict");
  expect_refused(start().raw("}").text("k").raw("s."), ErrorCode::kBadCheckpoint, 6, "SETITEM");
  expect_refused(start().raw("N}b."), ErrorCode::kBadCheckpoint, 4, "BUILD on None");
  const PickleWriter twice = start().global("shop", "Basket").raw(")\x81}b}");
  expect_refused(PickleWriter(twice).raw("b."), ErrorCode::kBadCheckpoint, twice.size(),
                 "has its state already");
  expect_refused(start().raw("h\x03."), ErrorCode::kBadCheckpoint, 2, "memo entry 3");
  expect_refused(start().raw("Nq\x05h\x03."), ErrorCode::kBadCheckpoint, 5, "memo entry 3");
  expect_refused(start().raw("q").number(0, 1), ErrorCode::kBadCheckpoint, 2, "empty stack");
}

TEST(Pickle, EveryLimitHolds) {
  const std::size_t depth = kMaxPickleDepth;
  EXPECT_EQ(Parsed(start().raw(")").repeat("\x85", depth).raw(".").bytes).tree.root().depth, depth);
  expect_refused(start().raw(")").repeat("\x85", depth + 1).raw("."), ErrorCode::kBadCheckpoint,
                 3 + depth, "nested");
  expect_refused(start().repeat("(", 1000000), ErrorCode::kBadCheckpoint, 2 + depth, "marks");
  expect_refused(start().repeat("N", 1000000), ErrorCode::kBadCheckpoint, 2 + kMaxPickleStack,
                 "on the stack");
  expect_refused(start().raw("N").repeat("\x94", 1000000), ErrorCode::kBadCheckpoint,
                 3 + kMaxPickleMemo, "memo entry");
  expect_refused(start().raw("Nr").number(UINT32_MAX, 4), ErrorCode::kBadCheckpoint, 3,
                 "memo entry 4294967295");
  expect_refused(start().raw("X").number(UINT32_MAX, 4), ErrorCode::kBadCheckpoint, 2,
                 "a text of 4294967295 bytes");
  expect_refused(start().raw("B").number(kMaxPickleTextBytes + 1, 4), ErrorCode::kBadCheckpoint, 2,
                 "a text of 33554433 bytes");
  expect_refused(start().raw("\x8e").number(UINT64_MAX, 8), ErrorCode::kBadCheckpoint, 2, "a text");
  expect_refused(start().raw("\x8b").number(UINT32_MAX, 4), ErrorCode::kBadCheckpoint, 7, "ends");
  expect_refused(start().raw("c").repeat("m", 1000000), ErrorCode::kBadCheckpoint, 3, "no end");

  PickleWriter values = start();
  for (int i = 0; i < 70; ++i) values.raw("(").repeat("N", 1000).raw("t");
  const std::size_t tuples = kMaxPickleValues / 1001;
  expect_refused(values, ErrorCode::kBadCheckpoint, 2 + tuples * 1002 + 1 + kMaxPickleValues % 1001,
                 "more than 65536 values");

  PickleWriter dict = start().raw("}(");
  for (std::size_t i = 0; i <= kMaxPickleDictEntries; ++i) dict.text("k").raw("N");
  expect_refused(PickleWriter(dict).raw("u."), ErrorCode::kBadCheckpoint, dict.size(),
                 "a dict of more than 1024 entries");
}

TEST(Pickle, ACycleThroughTheMemoIsHarmless) {
  // d = {}; d["d"] = d
  const Parsed dict(start().raw("}\x94").text("d").raw("h").number(0, 1).raw("s.").bytes);
  EXPECT_EQ(dict.tree.find(dict.source, dict.tree.root(), "d"), &dict.tree.root());
  // An object that is its own state.
  const Parsed object(
      start().global("shop", "Basket").raw(")\x81\x94h").number(0, 1).raw("b.").bytes);
  EXPECT_EQ(&object.item(object.tree.root(), 1), &object.tree.root());
}

TEST(Pickle, AKeyThatStandsTwiceIsRefusedWhenAskedFor) {
  const Parsed parsed(start().raw("}(").text("k").raw("N").text("k").raw("Nu.").bytes);
  EXPECT_THROW(parsed.tree.find(parsed.source, parsed.tree.root(), "k"), Error);
}

TEST(Pickle, SaysWhichOffsetsCountDecompressedBytes) {
  const std::string bytes = start().raw("\x8f").bytes;
  const PickleSource source{.bytes = as_bytes(bytes), .file = "z", .decompressed = true};
  try {
    parse_pickle(source, {.globals = kGlobals});
    FAIL() << "was read";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("decompressed"));
  }
}

}  // namespace
}  // namespace r2router::io
