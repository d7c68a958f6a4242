#include "base/unicode.h"

#include <set>
#include <string>

#include <gtest/gtest.h>

namespace r2router {
namespace {

std::string encode(char32_t c) {
  const auto tail = [c](int shift) { return static_cast<char>(0x80 | (c >> shift & 0x3F)); };
  if (c < 0x80) return {static_cast<char>(c)};
  if (c < 0x800) return {static_cast<char>(0xC0 | c >> 6), tail(0)};
  if (c < 0x10000) return {static_cast<char>(0xE0 | c >> 12), tail(6), tail(0)};
  return {static_cast<char>(0xF0 | c >> 18), tail(12), tail(6), tail(0)};
}

std::u32string decode(std::string_view text) {
  std::u32string decoded;
  for (std::size_t position = 0; position < text.size();) {
    decoded.push_back(decode_utf8(text, position));
  }
  return decoded;
}

TEST(Unicode, EveryScalarValueSurvivesEncodingAndDecoding) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    const std::string text = encode(c);
    std::size_t position = 0;
    ASSERT_EQ(decode_utf8(text, position), c);
    ASSERT_EQ(position, text.size());
    ASSERT_TRUE(is_utf8(text));
  }
}

// The Unicode Standard's table 3-7: which second bytes each lead byte allows.
bool may_follow(int lead, int second) {
  if (lead >= 0xC2 && lead <= 0xDF) return second >= 0x80 && second <= 0xBF;
  if (lead == 0xE0) return second >= 0xA0 && second <= 0xBF;
  if (lead == 0xED) return second >= 0x80 && second <= 0x9F;
  if (lead >= 0xE1 && lead <= 0xEF) return second >= 0x80 && second <= 0xBF;
  if (lead == 0xF0) return second >= 0x90 && second <= 0xBF;
  if (lead >= 0xF1 && lead <= 0xF3) return second >= 0x80 && second <= 0xBF;
  if (lead == 0xF4) return second >= 0x80 && second <= 0x8F;
  return false;
}

TEST(Unicode, AcceptsExactlyTheWellFormedSequences) {
  for (int lead = 0x80; lead <= 0xFF; ++lead) {
    const std::size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    for (int second = 0; second <= 0xFF; ++second) {
      std::string text = {static_cast<char>(lead), static_cast<char>(second)};
      text.resize(length, '\xBF');
      std::size_t position = 0;
      const bool accepted = decode_utf8(text, position) != kReplacement || position > 1;
      ASSERT_EQ(accepted, may_follow(lead, second)) << std::hex << lead << ' ' << second;
      ASSERT_EQ(position, accepted ? length : 1);
      ASSERT_EQ(is_utf8(text), accepted);
    }
  }
}

TEST(Unicode, EachIllFormedByteIsOneReplacementAndNothingElseIsLost) {
  EXPECT_EQ(decode("a\xE4\xBD z"), U"a\uFFFD\uFFFD z");      // cut off
  EXPECT_EQ(decode("\xE4\xBD\xC3\xA9"), U"\uFFFD\uFFFDé");   // cut off by another sequence
  EXPECT_EQ(decode("\xC0\xAF"), U"\uFFFD\uFFFD");            // an overlong '/'
  EXPECT_EQ(decode("\xED\xA0\x80"), U"\uFFFD\uFFFD\uFFFD");  // a surrogate
  EXPECT_EQ(decode("\xF0\x9F\x98"), U"\uFFFD\uFFFD\uFFFD");  // an emoji without its end
  EXPECT_EQ(decode("\xF8\x88\x80\x80\x80"), std::u32string(5, kReplacement));
}

TEST(Unicode, TellsWhereTheFirstBadByteIs) {
  std::size_t bad = 99;
  EXPECT_FALSE(is_utf8("caf\xC3\xA9 \xE9t\xE9", &bad));
  EXPECT_EQ(bad, 6u);
  EXPECT_FALSE(is_utf8("\xF0\x9F\x98", &bad));
  EXPECT_EQ(bad, 0u);
  bad = 99;
  EXPECT_TRUE(is_utf8("", &bad));
  EXPECT_TRUE(is_utf8(std::string_view("\0é", 3), &bad));
  EXPECT_EQ(bad, 99u);
}

TEST(Unicode, TrimsWhiteSpaceAround) {
  EXPECT_EQ(trimmed(" \t\r\n a b\n"), "a b");
  EXPECT_EQ(trimmed("\u00A0\u3000é\u2029"), "é");
  EXPECT_EQ(trimmed("a"), "a");
  EXPECT_EQ(trimmed(" \n "), "");
  EXPECT_EQ(trimmed(""), "");
  EXPECT_EQ(trimmed("\xFF \x80"), "\xFF \x80");
}

// [c for c in range(0x110000) if chr(c).isspace()] in Python 3.11 (Unicode 14).
TEST(Unicode, SpaceIsWhatPythonCallsSpace) {
  const std::set<char32_t> python = {0x09,   0x0A,   0x0B,   0x0C,   0x0D,   0x1C,   0x1D,   0x1E,
                                     0x1F,   0x20,   0x85,   0xA0,   0x1680, 0x2000, 0x2001, 0x2002,
                                     0x2003, 0x2004, 0x2005, 0x2006, 0x2007, 0x2008, 0x2009, 0x200A,
                                     0x2028, 0x2029, 0x202F, 0x205F, 0x3000};
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    ASSERT_EQ(is_space(c), python.contains(c)) << std::hex << static_cast<unsigned>(c);
  }
}

}  // namespace
}  // namespace r2router
