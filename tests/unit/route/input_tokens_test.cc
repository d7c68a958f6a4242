#include <algorithm>
#include <fstream>
#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "r2router/decision.h"

#include "support/shared_data.h"

namespace r2router {
namespace {

TEST(InputTokens, EqualThePublishedEstimates) {
  const std::string path = testing::shared_path("golden/input_tokens.json");
  R2ROUTER_SKIP_WITHOUT(path);
  const auto rows = nlohmann::json::parse(std::ifstream(path));
  ASSERT_GE(rows.size(), 5u);
  for (const auto& row : rows) {
    EXPECT_EQ(estimate_input_tokens(row["text"].get<std::string>()), row["input_tokens"])
        << row["text"];
  }
}

TEST(InputTokens, AreWordsTimesOnePointThreeRoundedDown) {
  std::string text;
  for (int words = 0; words <= 1000; ++words) {
    const std::int64_t expected = std::max(1, words * 13 / 10);
    ASSERT_EQ(estimate_input_tokens(text), expected) << words;
    text += "w ";
  }
}

// 4 words give 5 tokens and 3 give 3, so each count below tells whether the middle was split.
TEST(InputTokens, SplitAtUnicodeWhiteSpaceAndNothingElse) {
  for (const char* space : {" ", "\t", "\n", "\x0B", "\x1C", "\u0085", "\u00A0", "\u1680", "\u2007",
                            "\u2028", "\u202F", "\u205F", "\u3000", " \r\n\u3000 "}) {
    EXPECT_EQ(estimate_input_tokens("a b c" + std::string(space) + "d"), 5) << space;
  }
  for (const char* other : {"_", "\x1B", "\x7F", "\u180E", "\u200B", "\u2060", "\uFEFF", "。"}) {
    EXPECT_EQ(estimate_input_tokens("a b c" + std::string(other) + "d"), 3) << other;
  }
}

TEST(InputTokens, BrokenBytesAreText) {
  EXPECT_EQ(estimate_input_tokens("a b c \xFF\xFE"), 5);
  EXPECT_EQ(estimate_input_tokens("a b c \xE3\x80"), 5);    // two thirds of an ideographic space
  EXPECT_EQ(estimate_input_tokens("a b c\xC2 \x85 d"), 6);  // the halves of a next-line sign
  EXPECT_EQ(estimate_input_tokens({"a b c\0d", 7}), 3);
}

TEST(InputTokens, AreAtMostBytesAndWhatIsSentBeside) {
  EXPECT_EQ(most_input_tokens("", ""), 64);
  EXPECT_EQ(most_input_tokens("日本", "in {budget}"), 6 + 11 + 64);
  EXPECT_EQ(most_input_tokens("\uFDFA", "\uFDFA"), 33 + 33 + 64) << "normalised first";
}

}  // namespace
}  // namespace r2router
