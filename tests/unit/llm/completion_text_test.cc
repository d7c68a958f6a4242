#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "r2router/llm/completion.h"

namespace r2router::llm {
namespace {

const Pool kPool = {{.name = "first"}, {.name = "second"}};

TEST(CompletionText, NamesTheModelTokensCostAndTime) {
  const Completion completion{.pair = {1, Budget(100)},
                              .usage = Usage{1234, 56, 0},
                              .computed_usd = 0.00012345,
                              .seconds = 1.236,
                              .attempts = {{}}};
  EXPECT_EQ(to_text(completion, kPool),
            "second, 1,234 tokens in, 56 out, $0.0001234 by the pool's prices, 1.24 s\n");
}

TEST(CompletionText, MentionsRedirectionAttemptsAndTruncation) {
  const Completion completion{.pair = {0, Budget(100)},
                              .served_model = "other/model",
                              .redirected = true,
                              .truncated = true,
                              .usage = Usage{10, 50, 40},
                              .charged_usd = 0.5,
                              .computed_usd = 0.25,
                              .first_text_seconds = 0.5,
                              .seconds = 3,
                              .attempts = {{}, {}, {.max_tokens = 50}}};
  EXPECT_EQ(to_text(completion, kPool),
            "first, served by other/model, 10 tokens in, 50 out (40 of reasoning), $0.50 "
            "charged, 3.00 s (first text after 0.50 s), 3 attempts, cut off at its cap\n");
  Completion by_server = completion;
  by_server.attempts.back().max_tokens = 51;
  EXPECT_THAT(to_text(by_server, kPool),
              ::testing::EndsWith(", cut off by the server below its cap\n"));
}

TEST(CompletionText, OmitsUnknownFacts) {
  EXPECT_EQ(to_text(Completion{.pair = {0, Budget()}, .attempts = {{}}}, kPool), "first, 0.00 s\n");
}

TEST(CompletionText, ReplacesControlCharactersOfTheServer) {
  const Completion completion{.served_model = "\x1b[2J", .redirected = true};
  EXPECT_EQ(to_text(completion, kPool), "first, served by \uFFFD[2J, 0.00 s\n");
}

}  // namespace
}  // namespace r2router::llm
