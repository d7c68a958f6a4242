#include "base/excerpt.h"

#include <string>

#include <gtest/gtest.h>

namespace r2router {
namespace {

TEST(Excerpt, QuotesCutsAndEscapes) {
  EXPECT_EQ(excerpt("a\"b\\\n"), R"("a\"b\\\n")");
  EXPECT_EQ(excerpt("ü\xFF\x7F"), R"("\u00fc\ufffd\u007f")");
  EXPECT_EQ(excerpt("\U0001F600"), R"("\ud83d\ude00")");
  EXPECT_EQ(excerpt(std::string(1000, 'x')), "\"" + std::string(120, 'x') + "\"…");
  EXPECT_EQ(excerpt("abcd", 4), R"("abcd")");
  EXPECT_EQ(excerpt("abcde", 4), R"("abcd"…)");
}

}  // namespace
}  // namespace r2router
