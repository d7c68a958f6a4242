#include "score/length_curves.h"

#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "r2router/decision.h"
#include "r2router/router.h"

#include "support/decisions.h"
#include "support/errors.h"
#include "support/heads.h"

namespace r2router {
namespace {

using testing::expect_error;
using testing::random_checkpoint;
using testing::random_embeddings;

constexpr std::size_t kDimension = 37;

/// A curve for each length head, all different, some steep.
std::vector<LengthCurve> random_curves(const Checkpoint& checkpoint, std::uint32_t points) {
  std::mt19937 random(7);
  std::uniform_real_distribution<double> step(0.5, 60);
  std::vector<LengthCurve> curves;
  for (const HeadName& name : head_names(checkpoint.predictor)) {
    if (name.target != Target::kTokens) continue;
    LengthCurve& curve = curves.emplace_back();
    double x = step(random), y = step(random);
    for (std::uint32_t i = 0; i < points; ++i) {
      curve.predicted.push_back(x);
      curve.observed.push_back(y);
      x += step(random) / 4;
      y += i % 3 == 0 ? 0 : step(random);
    }
  }
  return curves;
}

Checkpoint random_corrected_checkpoint() {
  Checkpoint checkpoint = random_checkpoint(5, 3, kDimension, 3, true);
  checkpoint.config.length_points = 9;
  checkpoint.length_curves = random_curves(checkpoint, 9);
  checkpoint.config.policy.rules = DecisionRules::kCorrected;
  return checkpoint;
}

TEST(LengthCurve, IsLinearBetweenItsPointsAndOfSlope1BeyondThem) {
  const LengthCurve curve{.predicted = {10, 20, 40}, .observed = {5, 35, 35}};
  EXPECT_EQ(score::correct(curve, 10), 5);
  EXPECT_EQ(score::correct(curve, 12), 11);
  EXPECT_EQ(score::correct(curve, 20), 35);
  EXPECT_EQ(score::correct(curve, 33), 35);
  EXPECT_EQ(score::correct(curve, 40), 35);
  EXPECT_EQ(score::correct(curve, 47.5), 42.5);
  EXPECT_EQ(score::correct(curve, -3), -8);
}

TEST(CorrectedScorer, CorrectsTheLengthsOfAnotherAndNothingElse) {
  const Checkpoint checkpoint = random_corrected_checkpoint();
  const auto plain = make_scorer(checkpoint.predictor);
  const auto corrected = make_scorer(checkpoint.predictor, checkpoint.length_curves);
  EXPECT_EQ(corrected->dimension(), kDimension);
  ASSERT_EQ(corrected->pairs().size(), plain->pairs().size());
  // Here length heads are in the order of the pairs, one for each.
  ASSERT_EQ(checkpoint.length_curves.size(), plain->pairs().size());
  const std::vector<float> x = random_embeddings(1, kDimension, 11);
  Predictions before, after;
  plain->predict(std::span<const float>(x), before);
  corrected->predict(std::span<const float>(x), after);
  EXPECT_EQ(after.quality, before.quality);
  for (std::size_t pair = 0; pair < before.tokens.size(); ++pair) {
    EXPECT_EQ(after.tokens[pair],
              score::correct(checkpoint.length_curves[pair], before.tokens[pair]));
    double quality = 0, tokens = 0;
    corrected->predict_pair(std::span<const float>(x), pair, quality, tokens);
    EXPECT_EQ(quality, after.quality[pair]);
    EXPECT_EQ(tokens, after.tokens[pair]);
  }
}

TEST(CorrectedScorer, LeavesAPairWithoutALengthHeadAtItsBudget) {
  Checkpoint checkpoint = random_checkpoint(3, 2, kDimension, 3);
  const std::vector<LengthCurve> curves(3, {.predicted = {0, 1}, .observed = {1000, 1001}});
  const auto scorer = make_scorer(checkpoint.predictor, curves);
  Predictions predictions;
  const std::vector<float> x = random_embeddings(1, kDimension, 11);
  scorer->predict(std::span<const float>(x), predictions);
  for (std::size_t pair = 0; pair < predictions.tokens.size(); ++pair) {
    const Budget budget = scorer->pairs()[pair].budget;
    if (budget.is_unlimited()) {
      EXPECT_GT(predictions.tokens[pair], 1000);
    } else {
      EXPECT_EQ(predictions.tokens[pair], budget.tokens());
    }
  }
}

TEST(CorrectedScorer, BoundsItsEstimates) {
  const Checkpoint checkpoint = random_corrected_checkpoint();
  constexpr std::size_t kRows = 200;
  const std::vector<float> x = random_embeddings(kRows, kDimension, 12);
  for (const std::string& kernel : available_kernels()) {
    const auto scorer = make_scorer(checkpoint.predictor, checkpoint.length_curves, kernel);
    Estimates estimates;
    scorer->estimate(std::span<const float>(x), kRows, estimates);
    const std::size_t pairs = scorer->pairs().size();
    bool any_off = false;
    for (std::size_t row = 0; row < kRows; ++row) {
      Predictions exact;
      scorer->predict(std::span<const float>(x).subspan(row * kDimension, kDimension), exact);
      for (std::size_t pair = 0; pair < pairs; ++pair) {
        const double error = std::abs(estimates.tokens[row * pairs + pair] - exact.tokens[pair]);
        EXPECT_LE(error, estimates.scale[row] * estimates.tokens_error[pair]);
        any_off = any_off || error > 0;
      }
    }
    EXPECT_TRUE(any_off);  // or the bounds are not put to the test
  }
}

TEST(CorrectedScorer, RoutesAsItsExactPredictionsSay) {
  const Checkpoint checkpoint = random_corrected_checkpoint();
  const Router router(checkpoint);
  const auto pool = std::make_shared<const Pool>(checkpoint.config.models);
  const std::vector<float> x = random_embeddings(300, kDimension, 13);
  std::size_t differ = 0;
  const Router uncorrected([&] {
    Checkpoint without = checkpoint;
    without.config.length_points = 0;
    without.length_curves.clear();
    return without;
  }());
  for (std::size_t row = 0; row < 300; ++row) {
    const auto embedding = std::span<const float>(x).subspan(row * kDimension, kDimension);
    RouteOptions options;
    options.policy.lambda = row % 3 == 0 ? 0.9 : 0.9999;
    const QuerySize size{.input_tokens = 40};
    Predictions predictions;
    router.scorer()->predict(embedding, predictions);
    const Decision expected =
        decide(pool, router.scorer()->pairs(), predictions, options,
               checkpoint.config.default_policy(), testing::pair_facts(*router.scorer()), size);
    const Decision found = router.route(embedding, options, size);
    EXPECT_EQ(found.chosen.model, expected.chosen.model);
    EXPECT_EQ(found.chosen.budget, expected.chosen.budget);
    EXPECT_EQ(found.chosen.output_tokens, expected.chosen.output_tokens);
    differ += uncorrected.route(embedding, options, size).chosen.model != found.chosen.model;
  }
  EXPECT_GT(differ, 0u);  // lengths matter to the choice
}

TEST(CorrectedScorer, RefusesCurvesThatAreNone) {
  const Checkpoint checkpoint = random_checkpoint(1, 0, kDimension, 3);
  const auto expect_bad = [&](const std::string& part, const std::vector<LengthCurve>& curves) {
    expect_error(ErrorCode::kBadCheckpoint, part,
                 [&] { make_scorer(checkpoint.predictor, curves); });
  };
  const LengthCurve good{.predicted = {1, 2}, .observed = {3, 3}};
  EXPECT_NO_THROW(make_scorer(checkpoint.predictor, std::vector{good}));
  expect_bad("found 2 length curves, expected 1", {good, good});
  expect_bad("has 1 predicted and 1 observed", {{.predicted = {1}, .observed = {1}}});
  expect_bad("has 2 predicted and 3 observed", {{.predicted = {1, 2}, .observed = {1, 2, 3}}});
  expect_bad("descends", {{.predicted = {1, 1}, .observed = {1, 2}}});
  expect_bad("descends", {{.predicted = {1, 2}, .observed = {2, 1}}});
  expect_bad("negative, not finite or beyond 1e100", {{.predicted = {1, 2}, .observed = {-1, 1}}});
  expect_bad("negative, not finite or beyond 1e100",
             {{.predicted = {-1e101, 2}, .observed = {1, 1}}});
  const double nan = std::numeric_limits<double>::quiet_NaN();
  expect_bad("negative, not finite or beyond 1e100", {{.predicted = {1, nan}, .observed = {1, 1}}});
}

}  // namespace
}  // namespace r2router
