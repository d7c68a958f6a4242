#include "eval/report/svg_chart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace r2router::eval::report {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(EscapeMarkup, LeavesNoCharacterThatMarksUp) {
  EXPECT_EQ(escape_markup("a<b>&\"c\"'"), "a&lt;b&gt;&amp;&quot;c&quot;&#39;");
  EXPECT_EQ(escape_markup("naïve λ 模型"), "naïve λ 模型");
  EXPECT_EQ(escape_markup(std::string_view("a\0b\n\x7F", 5)), "a\uFFFDb\uFFFD\uFFFD");
  EXPECT_EQ(escape_markup("x\u202Ey\u2066z\u202Ft"), "x\uFFFDy\uFFFDz\u202Ft");
}

TEST(Chart, PlacesValuesOnItsAxes) {
  Chart chart({"x", 0.01, 1, true}, {"y", 0, 1}, 300, 200, 40);
  chart.staircase({{0.1, 0.25}, {0.5, 0.75}}, "rising", "#000000", "", 1);
  const std::string svg = chart.svg("a <chart>");
  // x: from 58 to 260, 0.1 in the middle of the logarithms; y: from 154 up to 12.
  EXPECT_THAT(svg, HasSubstr("M159.0,118.5L229.6,118.5L229.6,47.5L260.0,47.5"));
  EXPECT_THAT(svg, HasSubstr(">rising</text>"));
  EXPECT_THAT(svg, HasSubstr("aria-label=\"a &lt;chart&gt;\""));
}

TEST(Chart, KeepsNamesOfNeighbouringLinesApart) {
  Chart chart({"x", 0, 1}, {"y", 0, 1}, 300, 200, 80);
  chart.line({{0, 0.5}, {1, 0.5}}, "one", "#000000", "", 1);
  chart.line({{0, 0.5}, {1, 0.501}}, "two", "#000000", "", 1);
  const std::string svg = chart.svg("");
  const auto height_of = [&](const std::string& name) {
    const std::size_t end = svg.find(">" + name + "<");
    const std::size_t begin = svg.rfind(" y=\"", end) + 4;
    return std::stod(svg.substr(begin));
  };
  EXPECT_GE(height_of("one") - height_of("two"), 14);
}

TEST(Chart, CutsLongNamesBetweenCharacters) {
  Chart chart({"x", 0, 1}, {"y", 0, 1}, 300, 200, 80);
  std::string name;
  for (int i = 0; i < 40; ++i) name += "ü";
  chart.point({0.5, 0.5}, name, "#000000");
  const std::string svg = chart.svg("");
  EXPECT_THAT(svg, HasSubstr("ü…</text>"));
  EXPECT_THAT(svg, Not(HasSubstr("\xC3…")));
}

}  // namespace
}  // namespace r2router::eval::report
