#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "r2router/eval/contenders.h"

#include "support/errors.h"

namespace r2router::eval {
namespace {

using ::testing::ElementsAre;

/// Two models at $1 and $2 per token and two queries.
OutcomeTable small_table() {
  OutcomeTable table;
  table.queries = {{.id = "0", .text = "x"}, {.id = "1", .text = "y"}};
  table.models = {{.name = "cheap", .prices = {.output = 1e6}},
                  {.name = "dear", .prices = {.output = 2e6}}};
  table.pairs = {{0, Budget(5)}, {1, Budget()}};
  table.scores = {0, 1, 0.5, 1};
  table.output_tokens = {4, 10, 5, 10};
  return table;
}

TEST(CheckReliability, ComparesWhatWasPredictedOfTheChoicesWithTheTruth) {
  const OutcomeTable table = small_table();
  // The cheap model is thought to need 7 tokens, which its budget cuts to 5, and 1, which the floor
  // raises to 2; one quality lies above 1.
  const PredictionTable predictions = {{0.2, 1.4, 0.6, 0.8}, {7, 12, 1, 8}};
  const std::vector<double> lambdas = {0, 1};
  const SweepOptions options = {.token_floor = 2};
  const ChosenPairs choices = choose_pairs(table, predictions, lambdas, options);
  EXPECT_THAT(choices.pairs, ElementsAre(1, 0, 1, 0));
  const Reliability reliability =
      check_reliability(table, predictions, choices, lambdas, options, 2);
  ASSERT_EQ(reliability.predicted.size(), 2u);
  EXPECT_DOUBLE_EQ(reliability.predicted[0].score, (1 + 0.8) / 2);
  EXPECT_DOUBLE_EQ(reliability.predicted[0].cost, (24 + 16) / 2.0);
  EXPECT_DOUBLE_EQ(reliability.predicted[1].score, (0.2 + 0.6) / 2);
  EXPECT_DOUBLE_EQ(reliability.predicted[1].cost, (5 + 2) / 2.0);
  EXPECT_THAT(reliability.shares, ElementsAre(0, 1, 1, 0));
  ASSERT_EQ(reliability.calibration.size(), 2u);
  EXPECT_DOUBLE_EQ(reliability.calibration[0].predicted, 0.4);
  EXPECT_DOUBLE_EQ(reliability.calibration[0].observed, 0.25);
  EXPECT_DOUBLE_EQ(reliability.calibration[1].predicted, 0.9);
  EXPECT_DOUBLE_EQ(reliability.calibration[1].observed, 1);
  EXPECT_EQ(reliability.calibration[1].cells, 2u);
}

TEST(CheckReliability, PassesOverPairsThatThePolicyDoesNotKnow) {
  const OutcomeTable table = small_table();
  const double unknown = std::nan("");
  const PredictionTable predictions = {{0.2, unknown, 0.6, unknown}, {4, unknown, 5, unknown}};
  const std::vector<double> lambdas = {0.5};
  const ChosenPairs choices = choose_pairs(table, predictions, lambdas);
  const Reliability reliability = check_reliability(table, predictions, choices, lambdas);
  std::size_t cells = 0;
  for (const CalibrationBin& bin : reliability.calibration) cells += bin.cells;
  EXPECT_EQ(cells, 2u);
  testing::expect_error(ErrorCode::kInvalidArgument, "each cell of the table",
                        [&] { check_reliability(table, {}, choices, lambdas); });
}

}  // namespace
}  // namespace r2router::eval
