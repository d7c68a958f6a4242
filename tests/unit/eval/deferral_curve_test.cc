#include <cmath>
#include <limits>
#include <memory>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "r2router/decision.h"
#include "r2router/eval/contenders.h"

#include "support/errors.h"

namespace r2router::eval {
namespace {

using testing::expect_error;

/// Two models, one query each of two: "small" is cheap and right once, "large" dear and right
/// twice.
OutcomeTable two_models() {
  OutcomeTable table;
  table.queries = {{.id = "q0", .text = "x"}, {.id = "q1", .text = "y"}};
  table.models = {{.name = "small", .prices = {.output = 1}},
                  {.name = "large", .prices = {.output = 10}}};
  table.pairs = {{0, Budget()}, {1, Budget()}};
  table.scores = {1, 1, 0, 1};
  table.output_tokens = {100, 100, 100, 300};
  return table;
}

TEST(CostUsd, ChargesTheQueryAndTheAnswer) {
  const ModelSpec model{.name = "m", .prices = {.input = 2, .output = 8}};
  EXPECT_DOUBLE_EQ(cost_usd(model, 1000, 500), 0.002 + 0.004);
}

TEST(CostUsd, ChargesTheInstructionWithTheQuery) {
  const ModelSpec model{.name = "m", .prices = {.input = 2}, .instruction_tokens = 500};
  EXPECT_DOUBLE_EQ(cost_usd(model, 1000, 0), 0.003);
}

/// Worked out elsewhere from the formula; the last three lie beyond the range of costs.
TEST(RouterArenaScore, WeighsAccuracyAndTheLogarithmOfCost) {
  EXPECT_NEAR(routerarena_score(0.7, 0.001), 0.674439, 1e-6);
  EXPECT_NEAR(routerarena_score(0.75, 0.00005), 0.752067, 1e-6);
  EXPECT_NEAR(routerarena_score(0.6, 1e-9), 1.1 * 0.6 / 1.06, 1e-12);
  EXPECT_EQ(routerarena_score(0.5, 0.3), 0);
  EXPECT_EQ(routerarena_score(0, 0.3), 0);
}

TEST(BestSingle, IsTheMostAccurateAndOfEqualsTheCheapest) {
  OutcomeTable table = two_models();
  BestSingle best = best_single(table);
  EXPECT_EQ(best.model, 1u);
  EXPECT_DOUBLE_EQ(best.score, 1);
  EXPECT_DOUBLE_EQ(best.cost, (100 + 300) * 10 / 2 / 1e6);

  table.scores = {1, 1, 1, 1};
  EXPECT_EQ(best_single(table).model, 0u);

  table.scores = {1, 1, 0, 1};
  table.models[1].available = false;
  EXPECT_EQ(best_single(table).model, 1u);
  EXPECT_EQ(best_single(table, /*available_only=*/true).model, 0u);
}

TEST(BestSingle, RefusesWhatHasNone) {
  OutcomeTable table = two_models();
  table.pairs = {{0, Budget(10)}, {1, Budget(10)}};
  expect_error(ErrorCode::kBadData, "unlimited", [&] { best_single(table); });
  table = two_models();
  table.models[0].available = table.models[1].available = false;
  expect_error(ErrorCode::kBadData, "no available model", [&] { best_single(table, true); });
  table = two_models();
  table.cost_measure = CostMeasure::kLatency;
  table.models[0].time_to_first_token_ms = 100;
  table.models[0].output_tokens_per_second = 50;
  expect_error(ErrorCode::kBadData, "the speed of large is not known", [&] { best_single(table); });
  expect_error(ErrorCode::kBadData, "no queries", [] { best_single(OutcomeTable{}); });
  table = two_models();
  table.scores[2] = table.output_tokens[2] = std::numeric_limits<double>::quiet_NaN();
  expect_error(ErrorCode::kBadData, "query \"q1\"", [&] { best_single(table); });
}

TEST(BestSingle, TheUnitOfCostIsNeverNothing) {
  OutcomeTable table = two_models();
  BestSingle best = best_single(table);
  EXPECT_EQ(best.unit_model, 1u);
  EXPECT_EQ(best.unit, best.cost);
  EXPECT_FALSE(best.is_free());

  table.models[1].prices.output = 0;  // the best model is free
  best = best_single(table);
  EXPECT_EQ(best.model, 1u);
  EXPECT_TRUE(best.is_free());
  EXPECT_FALSE(best.all_free);
  EXPECT_EQ(best.unit_model, 0u);
  EXPECT_DOUBLE_EQ(best.unit, 100 / 1e6);

  table.models[0].prices.output = 0;
  best = best_single(table);
  EXPECT_TRUE(best.all_free);
  EXPECT_EQ(best.unit, 1);
}

TEST(AnswerCost, IsMeasuredAsTheTableSays) {
  OutcomeTable table = two_models();
  EXPECT_DOUBLE_EQ(answer_cost(table, 1, 1, 300), 300 * 10 / 1e6);
  table.cost_measure = CostMeasure::kLength;
  EXPECT_DOUBLE_EQ(answer_cost(table, 1, 1, 300), 300);
  EXPECT_DOUBLE_EQ(best_single(table).unit, 200);
  table.cost_measure = CostMeasure::kLatency;
  for (ModelSpec& model : table.models) {
    model.time_to_first_token_ms = 500;
    model.output_tokens_per_second = 100;
  }
  EXPECT_DOUBLE_EQ(answer_cost(table, 1, 1, 300), 0.5 + 3);
  EXPECT_DOUBLE_EQ(best_single(table).unit, 0.5 + 2);
  for (const char* const name : {"usd", "length", "latency"}) {
    EXPECT_EQ(to_string(parse_cost_measure(name)), name);
  }
  expect_error(ErrorCode::kInvalidArgument, "expected \"usd\", \"length\" or \"latency\"",
               [] { parse_cost_measure("money"); });
}

TEST(DeferralCurve, IsTheStaircaseOfWhatIsAffordable) {
  // Unsorted, with a dominated setting, two at one cost, and one beyond the best single model's
  // cost.
  const std::vector<SweepPoint> points = {{.lambda = 0.1, .cost = 8, .score = 0.7},
                                          {.lambda = 0.2, .cost = 2, .score = 0.4},
                                          {.lambda = 0.3, .cost = 4, .score = 0.3},
                                          {.lambda = 0.4, .cost = 2, .score = 0.5},
                                          {.lambda = 0.5, .cost = 11, .score = 0.9}};
  const std::vector<DeferralPoint> curve = deferral_curve(points, 10);
  ASSERT_EQ(curve.size(), 2u);
  EXPECT_DOUBLE_EQ(curve[0].cost, 0.2);
  EXPECT_DOUBLE_EQ(curve[0].score, 0.5);
  EXPECT_DOUBLE_EQ(curve[0].lambda, 0.4);
  EXPECT_DOUBLE_EQ(curve[1].cost, 0.8);
  EXPECT_DOUBLE_EQ(curve[1].lambda, 0.1);

  const DeferralMetrics metrics = measure(curve, 0.6);
  EXPECT_DOUBLE_EQ(metrics.audc, 0.6 * 0.5 + 0.2 * 0.7);
  EXPECT_DOUBLE_EQ(metrics.peak, 0.7);
  EXPECT_DOUBLE_EQ(metrics.qnc.value(), 0.8);
  EXPECT_DOUBLE_EQ(metrics.c95.value(), 0.8);
  EXPECT_DOUBLE_EQ(measure(curve, 0.5).qnc.value(), 0.2);
  // 0.95 × 0.525 = 0.49875: the cheaper corner is within 95 %, though it does not reach the score.
  EXPECT_DOUBLE_EQ(measure(curve, 0.525).c95.value(), 0.2);
  EXPECT_DOUBLE_EQ(measure(curve, 0.525).qnc.value(), 0.8);
}

TEST(DeferralCurve, NotReachedIsAValueOfItsOwn) {
  const std::vector<SweepPoint> points = {{.cost = 1, .score = 0.5}};
  const DeferralMetrics metrics = measure(deferral_curve(points, 1), 0.6);
  EXPECT_FALSE(metrics.qnc);
  EXPECT_FALSE(metrics.c95);
  EXPECT_DOUBLE_EQ(metrics.audc, 0);  // the whole cost is spent before anything is scored
  const DeferralMetrics nothing = measure({}, 0.6);
  EXPECT_DOUBLE_EQ(nothing.audc, 0);
  EXPECT_DOUBLE_EQ(nothing.peak, 0);
}

TEST(LambdaGrid, AscendsFromZeroToOneAndFollowsPrices) {
  const std::vector<double> lambdas = lambda_grid(0.001, 300);
  ASSERT_EQ(lambdas.size(), 302u);
  EXPECT_EQ(lambdas.front(), 0);
  EXPECT_EQ(lambdas.back(), 1);
  for (std::size_t i = 1; i < lambdas.size(); ++i) EXPECT_LT(lambdas[i - 1], lambdas[i]);
  // λ = w/(1 + w); the exchange rate in units of the reference cost does not depend on prices.
  const std::vector<double> dearer = lambda_grid(0.5, 300);
  for (const std::size_t i : {1u, 150u, 300u}) {
    const double rate = lambdas[i] / (1 - lambdas[i]) * 0.001;
    EXPECT_NEAR(dearer[i] / (1 - dearer[i]) * 0.5 / rate, 1, 1e-6);
  }
  EXPECT_NEAR(lambdas[1] / (1 - lambdas[1]), 1e-3 / 0.001, 1e-9);
  EXPECT_THROW(lambda_grid(0, 300), Error);
  EXPECT_THROW(lambda_grid(1, 1), Error);
}

/// A table and predictions from a coarse grid of values, so that ties of every kind occur.
struct Coarse {
  OutcomeTable table;
  PredictionTable predictions;

  explicit Coarse(unsigned seed) {
    std::mt19937 random(seed);
    const auto pick = [&](int count) {
      return static_cast<double>(random() % static_cast<unsigned>(count));
    };
    for (int i = 0; i < 5; ++i) {
      table.models.push_back({.name = "m" + std::to_string(i),
                              .prices = {.input = pick(3), .output = pick(4)},
                              .available = i != 2});
      for (const Budget budget : {Budget(5), Budget(20), Budget()}) {
        table.pairs.push_back({static_cast<std::uint32_t>(i), budget});
      }
    }
    for (std::size_t pair = 0; pair < table.pairs.size(); ++pair) {
      predictions.predicts_length.push_back(pick(3) > 0);
    }
    for (int query = 0; query < 20; ++query) {
      table.queries.push_back({.id = std::to_string(query),
                               .text = "t",
                               .input_tokens = static_cast<int>(pick(3)) * 10});
      for (std::size_t pair = 0; pair < table.pairs.size(); ++pair) {
        table.scores.push_back(pick(5) / 4);
        table.output_tokens.push_back(pick(30));
        predictions.quality.push_back(pick(7) / 4 - 0.25);     // −0.25 to 1.25
        predictions.output_tokens.push_back(pick(8) * 5 - 5);  // −5 to 30
      }
    }
  }
};

TEST(Sweep, ChoosesAndAveragesAsDecideDoesQueryByQuery) {
  std::vector<double> lambdas = lambda_grid(1e-5, 40);
  // Rates at which whole steps of quality and cost weigh the same, so that risks tie.
  for (const double rate : {1e4, 2.5e4, 5e4, 1e5}) lambdas.push_back(rate / (1 + rate));
  for (unsigned seed = 1; seed <= 20; ++seed) {
    for (const bool available_only : {false, true}) {
      const Coarse data(seed);
      std::vector<PairFacts> facts;
      for (const bool predicted : data.predictions.predicts_length) {
        facts.push_back({.predicts_length = predicted});
      }
      const OutcomeTable& table = data.table;
      const auto pool = std::make_shared<const Pool>(table.models);
      const std::size_t pairs = table.pairs.size();
      const std::vector<SweepPoint> points = sweep(
          table, data.predictions, lambdas, {.token_floor = 3, .available_only = available_only});
      ASSERT_EQ(points.size(), lambdas.size());
      for (std::size_t i = 0; i < lambdas.size(); ++i) {
        double score = 0, cost = 0;
        for (std::size_t query = 0; query < table.queries.size(); ++query) {
          const auto row = [&](const std::vector<double>& values) {
            const auto begin = values.begin() + static_cast<std::ptrdiff_t>(query * pairs);
            return std::vector<double>(begin, begin + static_cast<std::ptrdiff_t>(pairs));
          };
          RouteOptions options;
          options.policy.lambda = lambdas[i];
          options.policy.available_only = available_only;
          const Decision decision =
              decide(pool, table.pairs,
                     {row(data.predictions.quality), row(data.predictions.output_tokens)}, options,
                     {.token_floor = 3, .rules = DecisionRules::kCorrected}, facts,
                     {.input_tokens = table.queries[query].input_tokens});
          const auto pair = static_cast<std::size_t>(
              std::find(table.pairs.begin(), table.pairs.end(),
                        Pair{decision.chosen.model, decision.chosen.budget}) -
              table.pairs.begin());
          score += table.scores[table.cell(query, pair)];
          cost += cost_usd(table.models[decision.chosen.model], table.queries[query].input_tokens,
                           table.output_tokens[table.cell(query, pair)]);
        }
        ASSERT_NEAR(points[i].score, score / 20, 1e-12) << "seed " << seed << " λ " << lambdas[i];
        ASSERT_NEAR(points[i].cost, cost / 20, 1e-15) << "seed " << seed << " λ " << lambdas[i];
      }
    }
  }
}

TEST(Sweep, EndsAreTheBestQualityAndTheCheapestPolicy) {
  const OutcomeTable table = two_models();
  const PredictionTable truth = predict_oracle(table);
  const std::vector<SweepPoint> points = sweep(table, truth, lambda_grid(1e-3));
  EXPECT_DOUBLE_EQ(points.front().score, 1);
  // Of equal quality the cheaper: "small" for q0, "large" for q1.
  EXPECT_DOUBLE_EQ(points.front().cost, (100 * 1 + 300 * 10) / 2 / 1e6);
  EXPECT_DOUBLE_EQ(points.back().score, 0.5);
  EXPECT_DOUBLE_EQ(points.back().cost, 100 / 1e6);
}

TEST(Sweep, APairThatTheRouterDoesNotKnowIsNeverChosen) {
  const OutcomeTable table = two_models();
  PredictionTable predictions = predict_oracle(table);
  predictions.quality[0] = predictions.quality[2] = std::nan("");
  const std::vector<double> lambdas = {0, 1};
  for (const SweepPoint& point : sweep(table, predictions, lambdas)) {
    EXPECT_DOUBLE_EQ(point.score, 1);  // always "large"
  }
  predictions.quality[1] = std::nan("");
  expect_error(ErrorCode::kInvalidArgument, "no pair is left",
               [&] { sweep(table, predictions, lambdas); });
}

TEST(Sweep, RefusesWhatItCannotAverage) {
  OutcomeTable table = two_models();
  const PredictionTable truth = predict_oracle(table);
  expect_error(ErrorCode::kInvalidArgument, "λ is 1.5",
               [&] { sweep(table, truth, std::vector<double>{1.5}); });
  expect_error(ErrorCode::kInvalidArgument, "λ is",
               [&] { sweep(table, truth, std::vector<double>{std::nan("")}); });
  expect_error(ErrorCode::kInvalidArgument, "4 cells", [&] {
    sweep(table, {{1}, {1}}, std::vector<double>{0});
  });
  table.scores[3] = table.output_tokens[3] = std::nan("");
  expect_error(ErrorCode::kBadData, "query \"q1\" has no outcome of large",
               [&] { sweep(table, truth, std::vector<double>{0}); });
}

}  // namespace
}  // namespace r2router::eval
