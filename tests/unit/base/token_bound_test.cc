#include "base/token_bound.h"

#include <string>

#include <gtest/gtest.h>

namespace r2router::internal {
namespace {

TEST(TokenBound, IsTheNumberOfBytesOfTextThatDoesNotGrow) {
  for (const char* text : {"", "a", "Who wrote Faust?", "日本語", "Straße", "\U0001F600"}) {
    EXPECT_EQ(most_tokens(text), static_cast<std::int64_t>(std::string(text).size())) << text;
    EXPECT_EQ(most_tokens_of_json(text), most_tokens(text)) << text;
  }
}

// The lengths are those of Python's unicodedata.normalize() and str.lower().
TEST(TokenBound, CoversNormalisationAndLowerCase) {
  struct Case {
    const char* text;
    const char* escaped;
    std::int64_t bytes;
  };
  for (const Case& one : {Case{"\uFDFA", R"(\uFDFA)", 33},    // NFKC
                          Case{"\u3300", R"(\u3300)", 12},    // NFKC
                          Case{"\u0958", R"(\u0958)", 6},     // NFC
                          Case{"\u0130", R"(\u0130)", 3}}) {  // lower case
    EXPECT_GE(most_tokens(one.text), one.bytes) << one.escaped;
    EXPECT_GE(most_tokens_of_json(one.escaped), one.bytes) << one.escaped;
  }
}

// Whole words of ASCII are skipped.
TEST(TokenBound, FindsACharacterAtAnyPosition) {
  for (std::size_t before = 0; before < 20; ++before) {
    for (std::size_t after = 0; after < 20; ++after) {
      const std::string text = std::string(before, 'a') + "\uFDFA" + std::string(after, 'a');
      ASSERT_EQ(most_tokens(text), static_cast<std::int64_t>(text.size()) + 30)
          << before << " " << after;
      ASSERT_EQ(most_tokens_of_json(text), most_tokens(text));
    }
  }
}

}  // namespace
}  // namespace r2router::internal
