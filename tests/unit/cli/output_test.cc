#include "cli/output.h"

#include <gtest/gtest.h>

namespace r2router::cli {
namespace {

TEST(Printable, KeepsTextAndItsLines) {
  const std::string text = "Größe\t1\n\n日本 ½ \u00A0 \U0001F600\n";
  EXPECT_EQ(printable(text), text);
  EXPECT_EQ(printable("a\r\nb\rc"), "a\nbc");
}

TEST(Printable, TakesAwayWhatCommandsATerminal) {
  EXPECT_EQ(printable("\x1b]0;title\x07"), "\uFFFD]0;title\uFFFD");
  EXPECT_EQ(printable(std::string("\0\x7f", 2)), "\uFFFD\uFFFD");
  // Control characters of two bytes: U+009B begins a command as ESC [ does.
  EXPECT_EQ(printable("\u009B2J\u0080\u009F"), "\uFFFD2J\uFFFD\uFFFD");
  EXPECT_EQ(printable("\xC2"), "\xC2");
}

TEST(WithThousands, SetsCommas) {
  EXPECT_EQ(with_thousands(0), "0");
  EXPECT_EQ(with_thousands(999), "999");
  EXPECT_EQ(with_thousands(1000), "1,000");
  EXPECT_EQ(with_thousands(1234567), "1,234,567");
}

}  // namespace
}  // namespace r2router::cli
