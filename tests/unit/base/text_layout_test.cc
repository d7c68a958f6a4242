#include "base/text_layout.h"

#include <gtest/gtest.h>

namespace r2router {
namespace {

TEST(Printable, KeepsTextAndLineBreaks) {
  const std::string text = "Größe\t1\n\n日本 ½ \u00A0 \U0001F600\n";
  EXPECT_EQ(printable(text), text);
  EXPECT_EQ(printable("a\r\nb\rc"), "a\nbc");
}

TEST(Printable, ReplacesControlCharacters) {
  EXPECT_EQ(printable("\x1b]0;title\x07"), "\uFFFD]0;title\uFFFD");
  EXPECT_EQ(printable(std::string("\0\x7f", 2)), "\uFFFD\uFFFD");
  // Control characters of two bytes: U+009B begins a command as ESC [ does.
  EXPECT_EQ(printable("\u009B2J\u0080\u009F"), "\uFFFD2J\uFFFD\uFFFD");
  EXPECT_EQ(printable("\xC2"), "\xC2");
}

TEST(Wrap, BreaksAtWhiteSpaceAndCountsCodePoints) {
  using Lines = std::vector<std::string>;
  EXPECT_EQ(wrap("  one two\n three", 7), (Lines{"one two", "three"}));
  EXPECT_EQ(wrap("größer λ", 8), (Lines{"größer λ"}));
  EXPECT_EQ(wrap("a toolongword b", 4), (Lines{"a", "toolongword", "b"}));
  EXPECT_EQ(wrap("", 4), (Lines{""}));
}

TEST(FactLine, AlignsValues) {
  EXPECT_EQ(fact_line("Rules", "corrected", 8), "Rules:  corrected\n");
  EXPECT_EQ(fact_line("A longer label", "x", 8), "A longer label:x\n");
}

TEST(TableText, AlignsColumnsAndTrimsLines) {
  EXPECT_EQ(
      table_text({{"model", "cost", "note"}, {"größe", "1.25", "new"}, {"b", "10", ""}}, {0, 2}),
      "model  cost  note\n"
      "größe  1.25  new\n"
      "b        10\n");
}

}  // namespace
}  // namespace r2router
