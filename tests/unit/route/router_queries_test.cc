// Queries of every kind, one by one and many at once.
#include <atomic>
#include <memory>
#include <numeric>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "r2router/router.h"

#include "support/errors.h"
#include "support/heads.h"

namespace r2router {
namespace {

using testing::error_of;
using testing::expect_error;
using testing::random_checkpoint;
using testing::random_embeddings;

constexpr std::size_t kDimension = 64;

/// Counts what it is asked, and can fail.
class CountingEncoder final : public Encoder {
 public:
  std::size_t dimension() const override { return kDimension; }

  void embed(std::span<const std::string_view> texts, std::span<float> out,
             const std::stop_token&) const override {
    ++calls;
    texts_seen += texts.size();
    if (down) throw Error(ErrorCode::kConnection, "the server is down");
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const auto row = random_embeddings(1, kDimension, std::hash<std::string_view>()(texts[i]));
      std::copy(row.begin(), row.end(), out.begin() + static_cast<std::ptrdiff_t>(i * kDimension));
    }
  }

  std::vector<Rejected> embed_each(std::span<const std::string_view> texts, std::span<float> out,
                                   const std::stop_token& cancel) const override {
    embed(texts, out, cancel);
    std::vector<Rejected> rejected;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      if (texts[i] == "rejected") {
        rejected.push_back({i, {.code = ErrorCode::kRefused, .message = "too long"}});
      }
    }
    return rejected;
  }

  mutable std::atomic<int> calls = 0;
  mutable std::atomic<std::size_t> texts_seen = 0;
  std::atomic<bool> down = false;
};

class RouterQueries : public ::testing::Test {
 protected:
  std::vector<float> row(std::uint64_t seed) const {
    return random_embeddings(1, kDimension, seed);
  }
  static std::vector<double> wide(const std::vector<float>& numbers) {
    return {numbers.begin(), numbers.end()};
  }

  const std::shared_ptr<CountingEncoder> encoder_ = std::make_shared<CountingEncoder>();
  const Router router_{[] {
                         Checkpoint checkpoint = random_checkpoint(5, 4, kDimension, 71, true);
                         checkpoint.config.budget_prompt = "At most {budget} tokens.";
                         return checkpoint;
                       }(),
                       {.encoder = encoder_}};
};

TEST_F(RouterQueries, ABatchGivesWhatEachQueryGivesByItself) {
  std::vector<Query> queries;
  std::vector<RouteOptions> options;
  for (std::uint64_t i = 0; i < 250; ++i) {  // more than are scored together
    Query query{.size = {.images = static_cast<std::uint32_t>(i % 3)}};
    const std::string text = "What is " + std::to_string(i) + " times three?";
    if (i % 5 == 0) query.text = text;
    if (i % 5 == 1) query.messages = {{"system", "Be brief."}, {"user", text}};
    if (i % 5 == 2) query.embedding = row(i);
    if (i % 5 == 3) query.embedding = wide(row(i));
    if (i % 5 == 4) query = {.text = text, .embedding = row(i)};
    if (i % 7 == 0) query.size.input_tokens = static_cast<std::int64_t>(1000 * i);
    if (i % 31 == 0) query.text = " \n", query.embedding = {}, query.messages = {};
    if (i % 31 == 1) query.embedding = std::vector<float>(3);
    if (i % 31 == 2) query.size.input_tokens = -1;
    if (i % 31 == 3) query.embedding = std::vector<float>(kDimension, NAN);
    if (i % 31 == 4) query.embedding = std::vector<double>(kDimension, INFINITY);
    if (i % 31 == 5) query.text = "and a text", query.messages = {{"user", "too"}};
    queries.push_back(std::move(query));
    RouteOptions own{.policy = {.lambda = i % 2 == 0 ? 0.5 : 0.9999}, .rank = i % 4 == 0};
    own.explain = i % 6 == 0;
    if (i % 31 == 6) own.policy.allow = {{"no such model"}};
    options.push_back(own);
  }
  const std::vector<RouteResult> each = router_.route(queries, options);
  const std::vector<RouteResult> all = router_.route(queries, {.rank = true});
  ASSERT_EQ(each.size(), queries.size());
  std::size_t failed = 0;
  for (std::size_t i = 0; i < queries.size(); ++i) {
    SCOPED_TRACE(i);
    if (!each[i].ok()) {
      ++failed;
      const Error error = error_of([&] { router_.route(queries[i], options[i]); });
      EXPECT_STREQ(each[i].error().what(), error.what());
      EXPECT_EQ(each[i].error().code(), error.code());
      EXPECT_STREQ(error_of([&] { each[i].decision(); }).what(), error.what());
      continue;
    }
    const Decision expected = router_.route(queries[i], options[i]);
    EXPECT_EQ(each[i].decision().chosen, expected.chosen);
    EXPECT_EQ(each[i].decision().ranking, expected.ranking);
    EXPECT_EQ(each[i].decision().explanation, expected.explanation);
    EXPECT_EQ(each[i].decision().input_tokens, expected.input_tokens);
    EXPECT_EQ(each[i].decision().max_input_tokens, expected.max_input_tokens);
    EXPECT_EQ(each[i].decision().images, expected.images);
    EXPECT_EQ(all[i].decision().ranking, router_.route(queries[i], {.rank = true}).ranking);
  }
  EXPECT_GT(failed, 40U);
  EXPECT_LT(failed, 70U);
}

TEST_F(RouterQueries, ViewsOfAMatrixGiveWhatCopiesOfItsRowsGive) {
  const std::vector<float> matrix = random_embeddings(150, kDimension, 5);
  const std::vector<double> doubles(matrix.begin(), matrix.end());
  const auto check = [&](const std::vector<std::size_t>& rows, const std::string& text = {}) {
    std::vector<Query> queries, copies;
    for (const std::size_t i : rows) {
      const auto view = std::span(matrix).subspan(i * kDimension, kDimension);
      queries.push_back({.embedding = view});
      copies.push_back({.embedding = std::vector<float>(view.begin(), view.end())});
    }
    if (!text.empty()) queries.push_back({.text = text}), copies.push_back({.text = text});
    const auto viewed = router_.route(queries, {.rank = true});
    const auto copied = router_.route(copies, {.rank = true});
    for (std::size_t i = 0; i < queries.size(); ++i) {
      EXPECT_EQ(viewed[i].decision().ranking, copied[i].decision().ranking) << i;
    }
  };
  std::vector<std::size_t> all(150);
  std::iota(all.begin(), all.end(), 0);
  check(all);                         // adjacent
  check({all.rbegin(), all.rend()});  // the same memory in another order
  check({3, 4, 6, 7});                // with a gap
  check({9, 9});                      // a row twice
  check({149});
  check({0, 1, 2}, "and a text");
  const std::span<const double> view = std::span(doubles).first(kDimension);
  EXPECT_EQ(router_.route({.embedding = view}).chosen, router_.route({.embedding = row(5)}).chosen);
}

TEST_F(RouterQueries, ABatchIsEmbeddedInOneCallAndOnlyWhatNeedsIt) {
  const std::vector<Query> queries = {{.text = "one"},
                                      {.embedding = row(1)},
                                      {.text = "two"},
                                      {.text = "three", .embedding = row(2)}};
  for (const RouteResult& result : router_.route(queries)) EXPECT_TRUE(result.ok());
  EXPECT_EQ(encoder_->calls, 1);
  EXPECT_EQ(encoder_->texts_seen, 2U);
  EXPECT_TRUE(router_.route(std::span<const Query>()).empty());
  EXPECT_EQ(encoder_->calls, 1);
}

TEST_F(RouterQueries, WhatTheEncoderCannotDoFailsOnlyTheTextsConcerned) {
  const std::vector<Query> queries = {
      {.text = "one"}, {.text = "rejected"}, {.embedding = row(1)}, {.text = "two"}};
  const auto some = router_.route(queries);
  EXPECT_TRUE(some[0].ok() && some[2].ok() && some[3].ok());
  EXPECT_EQ(some[1].error().code(), ErrorCode::kRefused);
  EXPECT_STREQ(some[1].error().what(), "too long");
  EXPECT_EQ(some[3].decision().chosen, router_.route_text("two").chosen);
  encoder_->down = true;
  const auto none = router_.route(queries);
  EXPECT_TRUE(none[2].ok());
  for (const std::size_t i : {0, 1, 3}) {
    EXPECT_EQ(none[i].error().code(), ErrorCode::kConnection);
  }
  expect_error(ErrorCode::kConnection, "down", [&] { router_.route({.text = "one"}); });
}

TEST_F(RouterQueries, OptionsAreForAllOrForEach) {
  const std::vector<Query> queries(3, Query{.text = "one"});
  const std::vector<RouteOptions> two(2);
  expect_error(ErrorCode::kInvalidArgument, "3 queries, but 2 options",
               [&] { router_.route(queries, two); });
  const RouteOptions bad{.policy = {.lambda = 2}};
  for (const RouteResult& result : router_.route(queries, bad)) {
    EXPECT_EQ(result.error().code(), ErrorCode::kInvalidArgument);
  }
}

TEST_F(RouterQueries, AnEmbeddingWithItsTextHasTheLengthOfTheText) {
  const std::string text = "one two three";
  const Decision by_text = router_.route_text(text);
  EXPECT_EQ(by_text.input_tokens, 3);
  EXPECT_EQ(by_text.max_input_tokens, 13 + 24 + 64);
  const int calls = encoder_->calls;
  const Decision with_both = router_.route(
      {.text = text,
       .embedding = random_embeddings(1, kDimension, std::hash<std::string_view>()(text))});
  EXPECT_EQ(encoder_->calls, calls);
  EXPECT_EQ(with_both.chosen, by_text.chosen);
  EXPECT_EQ(with_both.max_input_tokens, by_text.max_input_tokens);
  EXPECT_EQ(router_.route({.embedding = row(1)}).input_tokens, 100);
}

TEST_F(RouterQueries, AConversationIsRoutedByTheLastMessageOfItsUser) {
  const Query chat{.messages = {{"system", "Be brief."},
                                {"user", "first question"},
                                {"assistant", "an answer"},
                                {"user", "one two three"},
                                {"assistant", "well"}}};
  const Decision decision = router_.route(chat, {.rank = true});
  const Decision text = router_.route({.text = "one two three",
                                       .size = {.input_tokens = decision.input_tokens,
                                                .max_input_tokens = decision.max_input_tokens}},
                                      {.rank = true});
  EXPECT_EQ(decision.ranking, text.ranking);
  EXPECT_EQ(decision.input_tokens, 2 + 2 + 2 + 3 + 1);
  std::int64_t most = 0;
  for (const Message& message : chat.messages) {
    most += static_cast<std::int64_t>(message.content.size()) + 24 + 64;
  }
  EXPECT_EQ(decision.max_input_tokens, most);
  expect_error(ErrorCode::kInvalidArgument, "no message of the query has the role \"user\"", [&] {
    router_.route({.messages = {{"system", "Be brief."}}});
  });
  expect_error(ErrorCode::kInvalidArgument, "the query is empty", [&] {
    router_.route({.messages = {{"user", "one"}, {"user", ""}}});
  });
  expect_error(ErrorCode::kInvalidArgument, "a text and messages", [&] {
    router_.route({.text = "one", .messages = {{"user", "two"}}});
  });
  expect_error(ErrorCode::kInvalidArgument, "the query is empty", [&] { router_.route(Query{}); });
}

TEST(RouterQueriesOfTables, ATextThatIsNotInTheTableFailsAlone) {
  const auto vectors = random_embeddings(2, kDimension, 5);
  const Router router(random_checkpoint(2, 2, kDimension, 72),
                      {.encoder = make_precomputed_encoder({"a", "b"}, vectors, kDimension)});
  const std::vector<Query> queries = {{.text = "a"}, {.text = "c"}, {.text = "b"}};
  const auto results = router.route(queries);
  EXPECT_TRUE(results[0].ok() && results[2].ok());
  EXPECT_EQ(results[1].error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(results[2].decision().chosen, router.route_text("b").chosen);
}

TEST(RouterQueriesWithoutEncoder, OnlyTextsFail) {
  const Router router(random_checkpoint(2, 2, kDimension, 73));
  const std::vector<Query> queries = {{.text = "a"},
                                      {.embedding = random_embeddings(1, kDimension, 6)}};
  const auto results = router.route(queries);
  EXPECT_EQ(results[0].error().code(), ErrorCode::kUnsupported);
  EXPECT_TRUE(results[1].ok());
}

}  // namespace
}  // namespace r2router
