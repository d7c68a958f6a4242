#include "eval/ledger.h"

#include <random>

#include <gtest/gtest.h>

#include "support/outcomes.h"

namespace r2router::eval {
namespace {

TEST(Ledger, AveragesAsTheTableWithItsQueriesRepeatedWould) {
  const OutcomeTable table = testing::random_table(4, 30, 1);
  const std::vector<double> lambdas = lambda_grid(1e-5, 25);
  const ChosenPairs choices = choose_pairs(table, testing::random_predictions(table, 2), lambdas);
  const Ledger ledger(table, choices, largest_cost(table));
  std::mt19937 random(3);
  for (int trial = 0; trial < 20; ++trial) {
    std::vector<std::uint32_t> weights(table.queries.size()), repeated;
    ChosenPairs repeated_choices{.settings = lambdas.size(), .pairs = {}};
    for (std::uint32_t query = 0; query < weights.size(); ++query) {
      weights[query] = random() % 4;
      for (std::uint32_t i = 0; i < weights[query]; ++i) {
        repeated.push_back(query);
        const auto begin =
            choices.pairs.begin() + static_cast<std::ptrdiff_t>(query * lambdas.size());
        repeated_choices.pairs.insert(repeated_choices.pairs.end(), begin,
                                      begin + static_cast<std::ptrdiff_t>(lambdas.size()));
      }
    }
    const std::vector<SweepPoint> expected =
        average(select_queries(table, repeated), repeated_choices, lambdas);
    std::vector<SweepPoint> points(lambdas.size());
    ledger.average(weights, points);
    for (std::size_t i = 0; i < points.size(); ++i) {
      EXPECT_NEAR(points[i].score, expected[i].score, 1e-9);
      EXPECT_NEAR(points[i].cost / expected[i].cost, 1, 1e-9);
    }
  }
}

TEST(Ledger, APolicyThatEndsAtOneModelScoresExactlyWhatThatModelDoes) {
  const OutcomeTable table = testing::random_table(3, 50, 5);
  const std::size_t queries = table.queries.size();
  const auto last = static_cast<std::uint32_t>(table.pairs.size() - 1);
  ChosenPairs wandering{.settings = 6, .pairs = {}};
  std::mt19937 random(6);
  for (std::size_t query = 0; query < queries; ++query) {
    for (int setting = 0; setting < 5; ++setting) {
      wandering.pairs.push_back(static_cast<std::uint32_t>(random() % table.pairs.size()));
    }
    wandering.pairs.push_back(last);
  }
  const ChosenPairs always{.settings = 1, .pairs = std::vector<std::uint32_t>(queries, last)};
  const double largest = largest_cost(table);
  const Ledger one(table, wandering, largest), other(table, always, largest);
  std::vector<std::uint32_t> weights(queries);
  for (std::uint32_t& weight : weights) weight = random() % 3;
  std::vector<SweepPoint> points(6), single(1);
  one.average(weights, points);
  other.average(weights, single);
  EXPECT_EQ(points.back().score, single.front().score);
  EXPECT_EQ(points.back().cost, single.front().cost);
}

}  // namespace
}  // namespace r2router::eval
