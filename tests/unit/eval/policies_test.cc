#include <algorithm>
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "r2router/eval.h"

#include "support/errors.h"

namespace r2router {
namespace {

using ::testing::ElementsAre;
using testing::expect_error;

/// Models at mean costs of 2, 4 and 10 (dollars, of 10⁶ tokens at $1 per million) and scores of
/// 0.2, 0.25 and 1. The middle one lies below the line from the first to the last.
OutcomeTable three_models() {
  OutcomeTable table;
  table.models = {{.name = "cheap", .output_price_per_million = 1},
                  {.name = "middle", .output_price_per_million = 1},
                  {.name = "best", .output_price_per_million = 1}};
  for (std::uint32_t model = 0; model < 3; ++model) table.pairs.push_back({model, Budget()});
  const double scores[2][3] = {{0.4, 0.5, 1}, {0, 0, 1}};
  const double tokens[2][3] = {{1e6, 5e6, 8e6}, {3e6, 3e6, 12e6}};
  for (int query = 0; query < 2; ++query) {
    table.queries.push_back({.id = std::to_string(query), .text = "t"});
    table.scores.insert(table.scores.end(), scores[query], scores[query] + 3);
    table.output_tokens.insert(table.output_tokens.end(), tokens[query], tokens[query] + 3);
  }
  return table;
}

const Policy& policy(const Evaluation& evaluation, const std::string& name) {
  const auto found = std::find_if(evaluation.policies.begin(), evaluation.policies.end(),
                                  [&](const Policy& policy) { return policy.name == name; });
  EXPECT_NE(found, evaluation.policies.end()) << name;
  return *found;
}

TEST(Evaluate, PutsTheRouterBesideWhatItMustBeat) {
  const OutcomeTable table = three_models();
  const Evaluation evaluation = evaluate(table, predict_oracle(table), table);
  EXPECT_EQ(evaluation.queries, 2u);
  EXPECT_EQ(evaluation.best_single.model, 2u);
  EXPECT_DOUBLE_EQ(evaluation.best_single.cost_usd, 10);
  std::vector<std::string> names;
  for (const Policy& policy : evaluation.policies) names.push_back(policy.name);
  EXPECT_THAT(names, ElementsAre("router", "point router", "mean curve", "mean curve, unlimited",
                                 "random mixing", "oracle", "cheap", "middle", "best"));
  // A single model is one step.
  EXPECT_DOUBLE_EQ(policy(evaluation, "cheap").metrics.audc, 0.8 * 0.2);
  EXPECT_FALSE(policy(evaluation, "cheap").metrics.c95);
  EXPECT_DOUBLE_EQ(policy(evaluation, "best").metrics.audc, 0);
  EXPECT_DOUBLE_EQ(policy(evaluation, "best").metrics.qnc.value(), 1);
  // This router knows the truth.
  EXPECT_DOUBLE_EQ(policy(evaluation, "router").metrics.audc,
                   policy(evaluation, "oracle").metrics.audc);
}

TEST(Evaluate, RandomMixingFollowsTheHullOfSingleModels) {
  const OutcomeTable table = three_models();
  const Evaluation evaluation = evaluate(table, predict_oracle(table), table);
  const Policy& mixing = policy(evaluation, "random mixing");
  ASSERT_EQ(mixing.curve.size(), 2u);  // "middle" is below the hull
  EXPECT_DOUBLE_EQ(mixing.metrics.audc, 0.8 * (0.2 + 1) / 2);
  EXPECT_DOUBLE_EQ(mixing.metrics.peak, 1);
  EXPECT_DOUBLE_EQ(mixing.metrics.qnc.value(), 1);
  // 0.95 is 0.75/0.8 of the way from 0.2 to 1.
  EXPECT_NEAR(mixing.metrics.c95.value(), 0.2 + 0.8 * (0.75 / 0.8), 1e-12);
}

TEST(Evaluate, ThePointRouterMayNotUseLimitedBudgets) {
  OutcomeTable table = three_models();
  const OutcomeTable capped = apply_hard_cap(table, std::vector<std::uint32_t>{9000000});
  const Evaluation evaluation = evaluate(capped, predict_oracle(capped), capped);
  const Evaluation unlimited = evaluate(table, predict_oracle(table), table);
  EXPECT_DOUBLE_EQ(policy(evaluation, "point router").metrics.audc,
                   policy(unlimited, "router").metrics.audc);
}

TEST(Evaluate, LeavesOutUnavailableModelsEverywhereOnRequest) {
  OutcomeTable table = three_models();
  table.models[2].available = false;
  const Evaluation evaluation =
      evaluate(table, predict_oracle(table), table, {.available_only = true});
  EXPECT_EQ(evaluation.best_single.model, 1u);
  EXPECT_DOUBLE_EQ(policy(evaluation, "oracle").metrics.peak, 0.25);
  EXPECT_TRUE(std::none_of(evaluation.policies.begin(), evaluation.policies.end(),
                           [](const Policy& policy) { return policy.name == "best"; }));
}

TEST(Evaluate, UsesCompleteQueriesAlone) {
  OutcomeTable table = three_models();
  table.queries.push_back({.id = "2", .text = "t"});
  for (const double score : {1.0, std::nan(""), 1.0}) {
    table.scores.push_back(score);
    table.output_tokens.push_back(std::isnan(score) ? score : 1.0);
  }
  PredictionTable predictions = predict_oracle(table);
  const Evaluation evaluation = evaluate(table, predictions, table);
  EXPECT_EQ(evaluation.queries, 2u);
  EXPECT_DOUBLE_EQ(evaluation.best_single.cost_usd, 10);
}

TEST(PredictMeans, AveragesWhatWasObserved) {
  OutcomeTable training = three_models();
  training.scores[0] = training.output_tokens[0] = std::nan("");
  const PredictionTable means = predict_means(three_models(), training);
  EXPECT_THAT(means.quality, ElementsAre(0, 0.25, 1, 0, 0.25, 1));
  EXPECT_THAT(means.output_tokens, ElementsAre(3e6, 4e6, 10e6, 3e6, 4e6, 10e6));
  training.pairs.pop_back();
  expect_error(ErrorCode::kInvalidArgument, "same (model, budget) pairs",
               [&] { predict_means(three_models(), training); });
}

TEST(Predict, MatchesModelsByNameAndMarksWhatTheRouterDoesNotKnow) {
  // The router knows two of the table's models, in another order.
  const Pool pool = {{.name = "best"}, {.name = "cheap"}};
  LinearHeads heads;
  heads.dimension = 1;
  heads.names = {{{0, Budget()}, Target::kQuality},
                 {{0, Budget()}, Target::kTokens},
                 {{1, Budget()}, Target::kQuality},
                 {{1, Budget()}, Target::kTokens}};
  heads.weights = std::vector<float>{1, 10, 2, 20};
  heads.intercepts = {0, 0, 0, 0};
  const auto scorer = make_linear_scorer(heads);
  const std::vector<float> embeddings = {1, 3};
  using ::testing::IsNan;
  const PredictionTable predictions = predict(three_models(), pool, *scorer, embeddings);
  EXPECT_THAT(predictions.quality, ElementsAre(2, IsNan(), 1, 6, IsNan(), 3));
  EXPECT_THAT(predictions.output_tokens, ElementsAre(20, IsNan(), 10, 60, IsNan(), 30));

  expect_error(ErrorCode::kInvalidArgument, "expected 2",
               [&] { predict(three_models(), pool, *scorer, std::vector<float>{1}); });
  const Pool strangers = {{.name = "best"}, {.name = "stranger"}};
  expect_error(ErrorCode::kBadData, "may choose stranger at budget unlimited",
               [&] { predict(three_models(), strangers, *scorer, embeddings); });
}

}  // namespace
}  // namespace r2router
