#include "eval/report/text.h"

#include <cmath>
#include <optional>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/process.h"

namespace r2router::eval::report {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::lines_of;

/// A router that reaches 95 % of the best model's score at 0.65 of its cost and is better than
/// random mixing by 0.031.
RouterEvaluation typical() {
  RouterEvaluation result;
  result.table.models = {{.name = "small"}, {.name = "large"}};
  result.table.pairs = {{0, Budget()}, {1, Budget()}};
  result.evaluation.queries = 1928;
  result.evaluation.best_single = {
      .model = 1, .score = 0.7, .cost = 0.000684, .unit_model = 1, .unit = 0.000684};
  ContenderResult router{.name = "router"};
  router.metrics = {.audc = 0.67, .qnc = 0.9, .peak = 0.71, .c95 = 0.65};
  router.intervals.emplace();
  router.intervals->c95 = {0.48, 0.9};
  result.evaluation.policies = {router};
  result.default_lambda = 0.9956;
  result.at_default = {.score = 0.667,
                       .cost = 0.00012,
                       .score_share = 0.958,
                       .cost_share = 0.188,
                       .score_interval = Interval{0.645, 0.689},
                       .score_share_interval = Interval{0.94, 0.975},
                       .cost_share_interval = Interval{0.17, 0.205}};
  result.over_mixing = {.audc = 0.031, .interval = Interval{0.019, 0.044}};
  return result;
}

TEST(SummaryText, SaysWhatANewcomerWantsToKnow) {
  EXPECT_THAT(
      lines_of(summary_text(typical())),
      ElementsAre(
          "At 95 % of the best model's score you would pay 35 % less (10 % to 52 %).",
          "Better than random mixing: yes, by 0.031 (0.019 to 0.044).",
          "At its default setting (λ = 0.9956) the router scores 0.6670 (0.6450 to "
          "0.6890), 95.8 % of the best model's score (94.0 % to 97.5 %), and you pay 81.2 % "
          "less (79.5 % to 83.0 %)."));
}

TEST(SummaryText, SaysNoWhereTheRouterIsNotBetter) {
  const auto line = [](double gain, std::optional<Interval> interval) {
    RouterEvaluation result = typical();
    result.over_mixing = {.audc = gain, .interval = interval};
    return lines_of(summary_text(result)).at(1);
  };
  const std::string question = "Better than random mixing: ";
  EXPECT_EQ(line(-0.012, Interval{-0.02, -0.004}),
            question + "no, worse by 0.012 (0.004 to 0.020).");
  EXPECT_EQ(line(0.004, Interval{-0.003, 0.011}),
            question + "no, not by more than chance: 0.004 (-0.003 to 0.011).");
  EXPECT_EQ(line(-0.004, Interval{-0.011, 0.003}),
            question + "no, not by more than chance: -0.004 (-0.011 to 0.003).");
  EXPECT_EQ(line(0, Interval{0, 0}), question + "no, there is no difference.");
  EXPECT_EQ(line(0.03, std::nullopt),
            question + "yes, by 0.030 (no interval without --resamples).");
  EXPECT_EQ(line(-0.03, std::nullopt),
            question + "no, worse by 0.030 (no interval without --resamples).");
  EXPECT_EQ(line(0, std::nullopt), question + "no, there is no difference.");
}

TEST(SummaryText, KnowsWhereNothingCanBeSaved) {
  const auto first = [](auto change) {
    RouterEvaluation result = typical();
    change(result);
    return lines_of(summary_text(result)).at(0);
  };
  const auto router = [](RouterEvaluation& result) -> ContenderResult& {
    return result.evaluation.policies.front();
  };
  EXPECT_EQ(first([&](RouterEvaluation& result) { router(result).metrics.c95.reset(); }),
            "No setting reaches 95 % of the best model's score at its cost or less.");
  EXPECT_EQ(first([&](RouterEvaluation& result) { router(result).intervals->c95.high.reset(); }),
            "At 95 % of the best model's score you would pay 35 % less (at most 52 %; on some "
            "resamples it is not reached).");
  EXPECT_EQ(first([&](RouterEvaluation& result) {
              router(result).metrics.c95 = 1;
              router(result).intervals.reset();
            }),
            "At 95 % of the best model's score you would pay as much.");
  EXPECT_EQ(first([](RouterEvaluation& result) { result.evaluation.best_single.score = 0; }),
            "No model has a score above 0, so there is nothing to compare.");
  EXPECT_EQ(first([](RouterEvaluation& result) { result.evaluation.best_single.cost = 0; }),
            "The best model, large, is free: nothing costs less.");
  EXPECT_EQ(first([](RouterEvaluation& result) {
              result.evaluation.best_single.cost = 0;
              result.evaluation.best_single.all_free = true;
            }),
            "All models are free, so there is nothing to save; --cost length compares what answers "
            "take.");
}

TEST(SummaryText, OneModelIsNotMixed) {
  RouterEvaluation result = typical();
  result.table.models.resize(1);
  EXPECT_EQ(lines_of(summary_text(result)).at(1),
            "Better than random mixing: there is only one model to mix.");
}

TEST(SummaryText, SpeaksOfLengthsAndTimesWhereTheyAreTheCost) {
  RouterEvaluation result = typical();
  result.table.cost_measure = CostMeasure::kLength;
  EXPECT_THAT(summary_text(result),
              HasSubstr("score answers would be 35 % shorter (10 % to 52 %)"));
  EXPECT_THAT(summary_text(result), HasSubstr("and answers are 81.2 % shorter"));
  result.table.cost_measure = CostMeasure::kLatency;
  EXPECT_THAT(summary_text(result), HasSubstr("score you would wait 35 % less"));
  result.at_default.cost_share = 1.25;
  result.at_default.cost_share_interval = Interval{1.1, 1.4};
  EXPECT_THAT(summary_text(result), HasSubstr("and you wait 25.0 % more (10.0 % to 40.0 %)."));
}

TEST(SummaryText, ADefaultThatIsMoreThanTheUnitOfAFreeBestModelIsSaidInMoney) {
  RouterEvaluation result = typical();
  result.evaluation.best_single.cost = 0;
  EXPECT_THAT(summary_text(result), HasSubstr(", and costs $0.00012 a query."));
  result.evaluation.best_single.all_free = true;
  EXPECT_THAT(summary_text(result), HasSubstr("(94.0 % to 97.5 %)."));
  result.default_lambda = std::nan("");
  EXPECT_THAT(summary_text(result), HasSubstr("At its default setting the router scores 0.6670"));
}

TEST(CostText, HasItsUnit) {
  EXPECT_EQ(cost_text(0.000684, CostMeasure::kUsd), "$0.000684");
  EXPECT_EQ(cost_text(143.21, CostMeasure::kLength), "143.2 tokens");
  EXPECT_EQ(cost_text(2.3456, CostMeasure::kLatency), "2.346 seconds");
}

}  // namespace
}  // namespace r2router::eval::report
