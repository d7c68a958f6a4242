#include "r2router/router.h"

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <new>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "support/decisions.h"
#include "support/heads.h"

#ifndef R2ROUTER_SANITIZED
// Counts allocations of this thread. The replacement operators must not be inlined, or compilers
// complain of malloc paired with delete. Sanitizers have operators of their own, which watch for
// mistakes.
namespace {
thread_local std::size_t allocations = 0;
}  // namespace

__attribute__((noinline)) void* operator new(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
__attribute__((noinline)) void operator delete(void* memory) noexcept { std::free(memory); }
__attribute__((noinline)) void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
#endif

namespace r2router {
namespace {

using testing::random_checkpoint;
using testing::random_embeddings;

constexpr std::size_t kDimension = 128;

// What the stages give when they are called one by one with exact predictions.
Option plain_choice(const Router& router, std::span<const float> embedding,
                    const RouteOptions& options, const QuerySize& size = {}) {
  Predictions predictions;
  router.scorer()->predict(embedding, predictions);
  return decide(std::make_shared<const Pool>(router.pool()), router.scorer()->pairs(), predictions,
                options, router.config().default_policy(), testing::pair_facts(*router.scorer()),
                size)
      .chosen;
}

std::vector<Option> options_of(const DecisionBatch& batch) {
  std::vector<Option> options;
  for (std::size_t row = 0; row < batch.size(); ++row) options.push_back(batch.option(row));
  return options;
}

TEST(Router, EqualsTheStagesCalledOneByOne) {
  constexpr std::size_t kRows = 200;
  const auto embeddings = random_embeddings(kRows, kDimension, 21);
  std::vector<double> wide(embeddings.begin(), embeddings.end());
  for (const bool token_heads : {false, true}) {
    for (const std::string& kernel : available_kernels()) {
      const Router router(random_checkpoint(6, 4, kDimension, 22, token_heads), {.kernel = kernel});
      for (const double lambda : {0.0, 0.5, 0.999, 0.99999, 1.0}) {
        for (const DecisionRules rules : {DecisionRules::kReference, DecisionRules::kCorrected}) {
          RouteOptions options;
          options.policy.lambda = lambda;
          options.policy.rules = rules;
          const QuerySize size{.input_tokens = 50};
          if (token_heads) options.policy.max_cost_usd = 3e-4;
          const DecisionBatch batch = router.route_batch(embeddings, options, {&size, 1});
          const DecisionBatch wide_batch = router.route_batch(wide, options, {&size, 1});
          ASSERT_EQ(batch.size(), kRows);
          for (std::size_t r = 0; r < kRows; ++r) {
            const auto row = std::span(embeddings).subspan(r * kDimension, kDimension);
            const Option expected = plain_choice(router, row, options, size);
            ASSERT_EQ(router.route(row, options, size).chosen, expected);
            ASSERT_EQ(batch.option(r), expected);
            ASSERT_EQ(wide_batch.option(r), expected);
          }
        }
      }
    }
  }
}

TEST(Router, ConstrainedDecisionsEqualTheStagesToo) {
  constexpr std::size_t kRows = 300;
  const auto embeddings = random_embeddings(kRows, kDimension, 36);
  std::mt19937_64 random(38);
  Checkpoint checkpoint = random_checkpoint(6, 4, kDimension, 37, true);
  std::vector<double> spreads;
  for (const HeadName& name : head_names(checkpoint.predictor)) {
    checkpoint.spreads.push_back(static_cast<double>(random() % 100) / 300);
    if (name.target == Target::kQuality) spreads.push_back(checkpoint.spreads.back());
  }
  checkpoint.config.models[1].max_output_tokens = 60;
  checkpoint.config.models[2].max_output_tokens = 700;
  checkpoint.config.models[2].capabilities = Capabilities{Capability::kImages};
  checkpoint.config.models[3].capabilities = Capabilities();
  checkpoint.config.length_sigma = 0.75;
  const Router router(checkpoint);
  std::vector<PairFacts> facts = testing::pair_facts(*router.scorer(), spreads);
  for (PairFacts& fact : facts) fact.length_sigma = 0.75;
  std::size_t decided = 0;
  for (std::size_t r = 0; r < kRows; ++r) {
    const auto row = std::span(embeddings).subspan(r * kDimension, kDimension);
    RouteOptions options = testing::random_options(random);
    QuerySize size = testing::random_size(random);
    if (random() % 4 == 0) size.requirements.add(Capability::kImages);
    if (random() % 2 == 0) options.policy.cap.unlimited.reset();
    options.policy.max_latency_ms.reset();  // no model's speed is known
    options.rank = options.explain = true;
    if (random() % 2 == 0) options.policy.risk_aversion = 1;
    Predictions predictions;
    router.scorer()->predict(row, predictions);
    Decision expected;
    try {
      expected = decide(std::make_shared<const Pool>(router.pool()), router.scorer()->pairs(),
                        predictions, options, router.config().default_policy(), facts, size);
    } catch (const Error&) {
      EXPECT_THROW(router.route(row, options, size), Error);
      EXPECT_THROW(router.route_batch(row, options, {&size, 1}), Error);
      continue;
    }
    ++decided;
    const Decision decision = router.route(row, options, size);
    ASSERT_EQ(decision.chosen, expected.chosen);
    ASSERT_EQ(decision.reason, expected.reason);
    ASSERT_EQ(decision.ranking, expected.ranking);
    ASSERT_EQ(decision.explanation, expected.explanation);
    const DecisionBatch batch = router.route_batch(row, options, {&size, 1});
    ASSERT_EQ(batch.option(0), expected.chosen);
    ASSERT_EQ(batch.reason.at(0), static_cast<RowReason>(expected.reason));
  }
  EXPECT_GT(decided, kRows / 2);
}

TEST(Router, PairsWithoutALengthHeadAreExpectedToBeAsLongAsWithoutALimit) {
  const Router router(random_checkpoint(3, 4, kDimension, 39));
  const auto embeddings = random_embeddings(50, kDimension, 40);
  RouteOptions options{.policy = {.lambda = 0.999, .rules = DecisionRules::kCorrected}};
  options.policy.available_only = false;
  for (std::size_t r = 0; r < 50; ++r) {
    const auto row = std::span(embeddings).subspan(r * kDimension, kDimension);
    EXPECT_EQ(router.route(row, options).chosen, plain_choice(router, row, options));
  }
}

TEST(Router, BatchTakesTheSizeOfEachRow) {
  const Router router(random_checkpoint(4, 3, kDimension, 23));
  const auto embeddings = random_embeddings(3, kDimension, 24);
  const RouteOptions options{.policy = {.lambda = 0.9}};
  const std::vector<QuerySize> sizes = {{.input_tokens = 0, .max_input_tokens = 500},
                                        {.input_tokens = 1'000'000, .images = 3},
                                        {.max_input_tokens = 190}};
  const DecisionBatch batch = router.route_batch(embeddings, options, sizes);
  const DecisionBatch same = router.route_batch(embeddings, options, std::span(sizes).first(1));
  const DecisionBatch none = router.route_batch(embeddings, options);
  for (std::size_t r = 0; r < 3; ++r) {
    const auto row = std::span(embeddings).subspan(r * kDimension, kDimension);
    EXPECT_EQ(batch.option(r), router.route(row, options, sizes[r]).chosen);
    EXPECT_EQ(same.option(r), router.route(row, options, sizes[0]).chosen);
    EXPECT_EQ(none.option(r), router.route(row, options).chosen);
  }
  EXPECT_NE(batch.option(1), same.option(1));
  EXPECT_TRUE(router.route_batch(std::span<const float>{}).reason.empty());
}

TEST(Router, BatchDoesNotDependOnItsThreads) {
  constexpr std::size_t kRows = 1000;
  const Router router(random_checkpoint(6, 4, kDimension, 23));
  auto embeddings = random_embeddings(kRows, kDimension, 24);
  RouteOptions options{.policy = {.lambda = 0.9}, .threads = 1};
  const DecisionBatch alone = router.route_batch(embeddings, options);
  ASSERT_EQ(alone.size(), kRows);
  for (const std::uint32_t threads : {0U, 2U, 7U, 64U}) {
    options.threads = threads;
    const DecisionBatch batch = router.route_batch(embeddings, options);
    EXPECT_EQ(options_of(batch), options_of(alone));
    EXPECT_EQ(batch.reason, alone.reason);
  }
  // The error is that of the first bad row, whichever thread finds one first.
  for (const std::size_t row : {990, 500, 301}) {
    embeddings[row * kDimension] = std::numeric_limits<float>::quiet_NaN();
  }
  for (int round = 0; round < 20; ++round) {
    try {
      router.route_batch(embeddings, options);
      FAIL();
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("in row 301 "), std::string::npos) << error.what();
    }
  }
}

TEST(Router, RanksOnlyOnRequest) {
  const Router router(random_checkpoint(4, 3, kDimension, 25));
  const auto embedding = random_embeddings(1, kDimension, 26);
  RouteOptions options;
  EXPECT_TRUE(router.route(embedding, options).ranking.empty());
  options.rank = true;
  const Decision decision = router.route(embedding, options);
  ASSERT_EQ(decision.ranking.size(), 16U);
  EXPECT_EQ(decision.ranking.front(), decision.chosen);
  EXPECT_EQ(decision.input_tokens, 100);
  EXPECT_EQ(decision.lambda, router.config().default_lambda());
}

#ifndef R2ROUTER_SANITIZED
TEST(Router, AllocatesNothingAfterTheFirstCall) {
  const Router router(random_checkpoint(6, 4, kDimension, 27));
  const auto embeddings = random_embeddings(64, kDimension, 28);
  const std::vector<double> wide(embeddings.begin(), embeddings.end());
  RouteOptions options{
      .policy = {.max_cost_usd = 3e-4, .allow = {{"model-*"}}, .deny = {{"model-1"}}}};
  options.policy.quality_fraction = 0.9;
  options.policy.max_output_tokens = 300;
  const auto route_all = [&] {
    std::size_t sum = 0;
    for (std::size_t r = 0; r < 64; ++r) {
      sum += router.route(std::span(embeddings).subspan(r * kDimension, kDimension)).chosen.model;
      sum += router.route(std::span(wide).subspan(r * kDimension, kDimension)).chosen.model;
      for (const bool continuous : {false, true}) {
        options.policy.continuous = continuous;
        sum +=
            router.route(std::span(wide).subspan(r * kDimension, kDimension), options).chosen.model;
      }
    }
    return sum;
  };
  const std::size_t first = route_all();
  const std::size_t before = allocations;
  const std::size_t second = route_all();
  EXPECT_EQ(allocations, before);
  EXPECT_EQ(first, second);
}
#endif

TEST(Router, OneSharedByManyThreads) {
  const Router router(random_checkpoint(6, 4, kDimension, 29));
  const auto embeddings = random_embeddings(100, kDimension, 30);
  const DecisionBatch expected = router.route_batch(embeddings);
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, copy = router] {
      RouteOptions options;
      for (int round = 0; round < 20; ++round) {
        options.rank = round % 5 == 0;
        for (std::size_t r = 0; r < 100; ++r) {
          const auto row = std::span(embeddings).subspan(r * kDimension, kDimension);
          const Decision decision = (round % 2 == 0 ? router : copy).route(row, options);
          wrong += decision.chosen != expected.option(r);
        }
        wrong += options_of(copy.route_batch(embeddings, options)) != options_of(expected);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

template <typename Call>
void expect_error(ErrorCode code, const std::string& words, Call call) {
  try {
    call();
    FAIL() << "accepted; expected an error about: " << words;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code);
    EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
  }
}

TEST(Router, RefusesBadEmbeddings) {
  const Router router(random_checkpoint(2, 1, kDimension, 31));
  std::vector<float> embedding(kDimension, 0.1F);
  expect_error(ErrorCode::kInvalidArgument, "has 127 numbers, expected 128",
               [&] { router.route(std::span<const float>(embedding).first(127)); });
  expect_error(ErrorCode::kInvalidArgument, "not a multiple of 128",
               [&] { router.route_batch(std::span<const float>(embedding).first(127)); });
  const std::vector<QuerySize> two = {{.max_input_tokens = 1}, {}};
  expect_error(ErrorCode::kInvalidArgument, "1 embeddings, but 2 sizes",
               [&] { router.route_batch(embedding, {}, two); });
  expect_error(ErrorCode::kInvalidArgument, "max_input_tokens is 1, but the query has 100",
               [&] { router.route_batch(embedding, {}, std::span(two).first(1)); });
  embedding[77] = NAN;
  expect_error(ErrorCode::kInvalidArgument, "element 77", [&] { router.route(embedding); });
  embedding[77] = 0;
  embedding.resize(3 * kDimension, 0.1F);
  embedding[2 * kDimension + 5] = -INFINITY;
  expect_error(ErrorCode::kInvalidArgument, "element 5 of the embedding in row 2",
               [&] { router.route_batch(embedding); });
  expect_error(ErrorCode::kUnsupported, "no encoder", [&] { router.route_text("hello"); });
}

TEST(Router, AcceptsEmbeddingsBeyondTheRangeOfFloat32) {
  const Router router(random_checkpoint(3, 2, kDimension, 32));
  std::vector<double> embedding(kDimension, 1e250);
  Predictions predictions;
  router.scorer()->predict(std::span<const double>(embedding), predictions);
  RouteOptions options;
  options.policy.lambda = 0.5;
  const Option expected =
      decide(std::make_shared<const Pool>(router.pool()), router.scorer()->pairs(), predictions,
             options, router.config().default_policy())
          .chosen;
  EXPECT_EQ(router.route(embedding, options).chosen, expected);
  // Products of still larger ones would overflow.
  embedding[3] = -1.1e250;
  expect_error(ErrorCode::kInvalidArgument, "element 3 of the embedding is NaN, infinite or beyond",
               [&] { router.route(embedding); });
  expect_error(ErrorCode::kInvalidArgument, "element 3 of the embedding in row 0",
               [&] { router.route_batch(embedding); });
}

TEST(Router, RoutesTextWithTheEncoderItIsGiven) {
  const std::vector<float> vectors = random_embeddings(2, kDimension, 33);
  RouterOptions settings;
  settings.encoder = make_precomputed_encoder({"one two three", "other"}, vectors, kDimension);
  const Router router(random_checkpoint(4, 3, kDimension, 34), settings);
  const Decision decision = router.route_text("one two three");
  EXPECT_EQ(decision.input_tokens, 3);  // ⌊1.3 × 3⌋
  QuerySize size{.input_tokens = 3, .max_input_tokens = 13 + 64};
  EXPECT_EQ(decision.chosen, router.route(std::span(vectors).first(kDimension), {}, size).chosen);
  // A limit on cost counts every byte of the text, the instruction and the chat template.
  Checkpoint prompted = random_checkpoint(4, 3, kDimension, 34);
  prompted.config.budget_prompt = "{budget} tokens";
  const Option capped = Router(prompted, settings).route_text("one two three").chosen;
  size.max_input_tokens = 13 + 15 + 64;
  EXPECT_EQ(capped, router.route(std::span(vectors).first(kDimension), {}, size).chosen);
  expect_error(ErrorCode::kNotFound, "", [&] { router.route_text("unknown"); });

  settings.encoder = make_precomputed_encoder({"x"}, {1, 2, 3}, 3);
  expect_error(ErrorCode::kInvalidArgument, "vectors of 3 numbers",
               [&] { Router(random_checkpoint(4, 3, kDimension, 34), settings); });
}

TEST(Router, OneSharedByManyThreadsForText) {
  Checkpoint checkpoint = random_checkpoint(4, 3, kDimension, 35);
  checkpoint.config.encoder = LexicalEncoderSpec{.dimension = kDimension};
  checkpoint.config.embedding_model = "lexical";
  const Router router(checkpoint);
  std::vector<std::string> queries;
  std::vector<Option> expected;
  for (int i = 0; i < 50; ++i) {
    queries.push_back("What is " + std::to_string(i) + " times " + std::to_string(i * i) + "?");
    expected.push_back(router.route_text(queries.back()).chosen);
  }
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&] {
      for (int round = 0; round < 20; ++round) {
        for (std::size_t i = 0; i < queries.size(); ++i) {
          wrong += router.route_text(queries[i]).chosen != expected[i];
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  expect_error(ErrorCode::kInvalidArgument, "empty", [&] { router.route_text(""); });
}

}  // namespace
}  // namespace r2router
