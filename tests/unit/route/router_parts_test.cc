// Routers made of parts, of the library's own and of others.
#include <cmath>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "r2router/router.h"

#include "support/errors.h"
#include "support/heads.h"

namespace r2router {
namespace {

using testing::expect_error;
using testing::random_checkpoint;
using testing::random_embeddings;

/// The share of letters and of digits, and a constant.
class ShapeEncoder final : public Encoder {
 public:
  std::size_t dimension() const override { return 3; }
  void embed(std::span<const std::string_view> texts, std::span<float> out,
             const std::stop_token&) const override {
    for (std::size_t i = 0; i < texts.size(); ++i) {
      double letters = 0, digits = 0;
      for (const char c : texts[i]) {
        letters += (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        digits += c >= '0' && c <= '9';
      }
      const auto size = static_cast<double>(texts[i].size());
      out[3 * i] = static_cast<float>(letters / size);
      out[3 * i + 1] = static_cast<float>(digits / size);
      out[3 * i + 2] = 1;
    }
  }
};

/// Model 0 is good at letters and model 1 at digits.
class ShapeScorer final : public Scorer {
 public:
  std::size_t dimension() const override { return 3; }
  std::span<const Pair> pairs() const override { return pairs_; }
  void predict(EmbeddingView embedding, Predictions& out) const override {
    const auto at = [&](std::size_t i) {
      return std::visit([&](auto numbers) { return static_cast<double>(numbers[i]); }, embedding);
    };
    out.quality = {0.5 * at(0), at(0), 0.5 * at(1), at(1)};
    out.tokens = {100, 400, 100, 400};
    if (broken) out.quality[1] = NAN;
    if (short_one) out.tokens.pop_back();
  }
  bool predicts_length(std::size_t pair) const override { return pair % 2 == 1; }

  bool broken = false, short_one = false;

 private:
  const std::vector<Pair> pairs_ = {
      {0, Budget(100)}, {0, Budget::unlimited()}, {1, Budget(100)}, {1, Budget::unlimited()}};
};

Pool two_models() {
  return {{.name = "writer", .prices = {.input = 1, .output = 2}},
          {.name = "counter", .prices = {.input = 1, .output = 2}}};
}

RouterParts shape_parts() {
  return {.pool = two_models(),
          .scorer = std::make_shared<ShapeScorer>(),
          .encoder = std::make_shared<ShapeEncoder>(),
          .defaults = {.lambda = 0.001, .rules = DecisionRules::kCorrected},
          .budget_prompt = "{budget} tokens"};
}

TEST(RouterParts, AScorerAndAnEncoderOfOthersRoute) {
  const Router router(shape_parts());
  const Decision words = router.route_text("only words", {.rank = true, .explain = true});
  EXPECT_EQ(words.model().name, "writer");
  EXPECT_EQ(words.lambda, 0.001);
  EXPECT_EQ(words.chosen.budget, Budget::unlimited());
  EXPECT_DOUBLE_EQ(words.chosen.quality, 0.9F);
  EXPECT_EQ(words.ranking.size(), 4U);
  EXPECT_EQ(router.route_text("2 + 22 = 24", {}).model().name, "counter");
  EXPECT_EQ(words.max_input_tokens, 10 + 15 + 64);
  EXPECT_EQ(router.dimension(), 3U);
  EXPECT_EQ(router.config().token_limits, (std::vector{Budget(100), Budget::unlimited()}));

  const std::vector<Query> queries = {{.text = "only words"}, {.text = "2 + 22 = 24"}};
  const auto results = router.route(queries, {.rank = true});
  EXPECT_EQ(results[0].decision().ranking, words.ranking);
  EXPECT_EQ(results[1].decision().model().name, "counter");
  const std::vector<double> matrix = {0.9F, 0, 1, 0, 0.7F, 1};
  const DecisionBatch batch = router.route_batch(matrix);
  EXPECT_EQ(batch.model[0], 0U);
  EXPECT_EQ(batch.model[1], 1U);
  expect_error(ErrorCode::kInvalidArgument, "element 1 of the embedding", [&] {
    router.route(std::vector<float>{1, NAN, 1});
  });
}

TEST(RouterParts, SayHowMuchLengthsVary) {
  RouterParts parts = shape_parts();
  EXPECT_EQ(Router(parts).route_text("only words").chosen.max_tokens, 2496U) << "400 · e^1.826";
  parts.length_sigma = 0.5;
  EXPECT_EQ(Router(parts).route_text("only words").chosen.max_tokens, 1152U) << "400 · e^1.038";
  parts.length_sigma = 5;
  expect_error(ErrorCode::kInvalidArgument, "length_sigma", [&] { Router{parts}; });
}

TEST(RouterParts, EqualTheCheckpointThatTheyComeFrom) {
  constexpr std::size_t kDimension = 32;
  Checkpoint checkpoint = random_checkpoint(4, 3, kDimension, 81);
  checkpoint.config.policy = {.lambda = 0.99, .token_floor = 7, .rules = DecisionRules::kCorrected};
  std::vector<double> spreads;
  for (const HeadName& name : head_names(checkpoint.predictor)) {
    checkpoint.spreads.push_back(0.01 * static_cast<double>(1 + checkpoint.spreads.size()));
    if (name.target == Target::kQuality) spreads.push_back(checkpoint.spreads.back());
  }
  const Router whole(checkpoint);
  const Router parts({.pool = checkpoint.config.models,
                      .scorer = make_scorer(checkpoint.predictor),
                      .defaults = checkpoint.config.policy,
                      .quality_spreads = spreads});
  const auto rows = random_embeddings(50, kDimension, 82);
  const RouteOptions options{.policy = {.risk_aversion = 0.5}, .rank = true, .explain = true};
  for (std::size_t r = 0; r < 50; ++r) {
    const auto row = std::span(rows).subspan(r * kDimension, kDimension);
    const Decision expected = whole.route(row, options), found = parts.route(row, options);
    EXPECT_EQ(found.ranking, expected.ranking);
    EXPECT_EQ(found.explanation, expected.explanation);
    EXPECT_EQ(found.lambda, expected.lambda);
  }
}

TEST(RouterParts, ThatDoNotFitAreRefused) {
  const auto refuse = [](const std::string& words, auto change) {
    RouterParts parts = shape_parts();
    change(parts);
    expect_error(ErrorCode::kInvalidArgument, words, [&] { Router{std::move(parts)}; });
  };
  refuse("scorer is empty", [](RouterParts& parts) { parts.scorer = nullptr; });
  refuse("2 quality spreads", [](RouterParts& parts) { parts.quality_spreads = {0.1, 0.2}; });
  refuse("lambda", [](RouterParts& parts) { parts.defaults.lambda = 2; });
  refuse("model 1", [](RouterParts& parts) { parts.pool.pop_back(); });
  refuse("vectors of 2 numbers", [](RouterParts& parts) {
    parts.encoder = make_precomputed_encoder({"x"}, {1, 2}, 2);
  });
}

TEST(RouterParts, PredictionsThatCannotBeUsedAreRefused) {
  for (const bool broken : {true, false}) {
    const auto scorer = std::make_shared<ShapeScorer>();
    scorer->broken = broken;
    scorer->short_one = !broken;
    RouterParts parts = shape_parts();
    parts.scorer = scorer;
    const Router router(std::move(parts));
    const std::string words = broken ? "pair 1 is not a finite number" : "3 lengths for 4 pairs";
    expect_error(ErrorCode::kInvalidArgument, words, [&] { router.route_text("a"); });
    const std::vector<Query> queries(2, Query{.text = "a"});
    for (const RouteResult& result : router.route(queries)) {
      EXPECT_FALSE(result.ok());
    }
  }
}

/// The embedding of a text is the decision of another router.
class RoutingEncoder final : public Encoder {
 public:
  explicit RoutingEncoder(Router inner) : inner_(std::move(inner)) {}
  std::size_t dimension() const override { return 3; }
  void embed(std::span<const std::string_view> texts, std::span<float> out,
             const std::stop_token&) const override {
    std::ranges::fill(out, 0.5F);
    for (std::size_t i = 0; i < texts.size(); ++i) {
      out[3 * i + 1] = inner_.route_text(texts[i]).chosen.model == 0 ? 0.0F : 1.0F;
    }
  }

 private:
  Router inner_;
};

TEST(RouterParts, AnEncoderMayRouteItself) {
  RouterParts parts = shape_parts();
  parts.encoder = std::make_shared<RoutingEncoder>(Router(shape_parts()));
  const Router router(std::move(parts));
  EXPECT_EQ(router.route_text("only words").model().name, "writer");
  EXPECT_EQ(router.route_text("2 + 22 = 24").model().name, "counter");
  const std::vector<Query> queries = {{.text = "only words"}, {.text = "2 + 22 = 24"}};
  EXPECT_EQ(router.route(queries)[1].decision().model().name, "counter");
}

TEST(RouterParts, OtherPricesShareTheHeads) {
  constexpr std::size_t kDimension = 32;
  const Router router(random_checkpoint(4, 3, kDimension, 83));
  Pool pool = router.pool();
  pool.pop_back();
  pool[1].prices.output *= 1000;
  pool[1].instruction = "its heads were not trained under this";
  std::vector<std::string> remarks;
  const Router dear = router.with_pool(
      pool, [&](LogLevel, std::string_view message) { remarks.emplace_back(message); });
  EXPECT_EQ(dear.scorer(), router.scorer());
  EXPECT_EQ(dear.encoder(), router.encoder());
  ASSERT_EQ(remarks.size(), 0U) << "model-3 was unavailable before";
  EXPECT_EQ(dear.pool()[1].prices.output, pool[1].prices.output);
  EXPECT_EQ(dear.pool()[1].instruction, "");
  EXPECT_EQ(dear.pool().size(), 4U);
  EXPECT_FALSE(dear.pool()[3].available);

  const auto row = random_embeddings(1, kDimension, 84);
  const RouteOptions options{.policy = {.objective = Objective::kBest}, .rank = true};
  const Decision before = router.route(row, options), after = dear.route(row, options);
  ASSERT_EQ(before.ranking.size(), after.ranking.size());
  for (std::size_t i = 0; i < before.ranking.size(); ++i) {
    EXPECT_EQ(before.ranking[i].quality, after.ranking[i].quality);
    if (after.ranking[i].model == 1) {
      EXPECT_GT(after.ranking[i].cost_usd, before.ranking[i].cost_usd);
    }
  }
  expect_error(ErrorCode::kInvalidArgument, "no model of the checkpoint",
               [&] { router.with_pool({{.name = "unknown"}}); });
}

}  // namespace
}  // namespace r2router
