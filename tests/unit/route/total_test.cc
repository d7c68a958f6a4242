// Totals: on small jobs no other assignment is better, and a total is never exceeded.
#include "r2router/total.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "r2router/router.h"

#include "route/stairs.h"
#include "support/counted_predictions.h"
#include "support/decisions.h"
#include "support/errors.h"
#include "support/heads.h"

namespace r2router {
namespace {

using testing::expect_error;
using testing::random_checkpoint;
using testing::random_embeddings;

constexpr std::size_t kDimension = 8;
constexpr Total kTotals[] = {Total::kPredicted, Total::kWorstCase};

double cost(const Option& option, Total total) {
  return total == Total::kPredicted ? option.cost_usd : option.worst_case_cost_usd;
}

/// Embeddings, of which some rows are missing.
class Embeddings final : public QueryColumn {
 public:
  explicit Embeddings(std::span<const float> numbers, std::size_t every_missing = 0)
      : numbers_(numbers), every_missing_(every_missing) {}
  std::size_t size() const override { return numbers_.size() / kDimension; }
  QueryCell cell(std::size_t row) const override {
    if (every_missing_ > 0 && row % every_missing_ == 0) return {};
    return {.embedding = numbers_.subspan(row * kDimension, kDimension)};
  }

 private:
  std::span<const float> numbers_;
  std::size_t every_missing_;
};

TotalCurve curve_of(const Router& router, const QueryColumn& column, Total total,
                    const RouteOptions& options = {}, const TotalCurveOptions& how = {}) {
  TotalCurve curve(total, how);
  router.price(column, curve, options);
  return curve;
}

void expect_same(const DecisionBatch& found, const DecisionBatch& expected) {
  ASSERT_EQ(found.reason, expected.reason);
  EXPECT_EQ(found.pool, expected.pool);
  for (std::size_t row = 0; row < found.size(); ++row) {
    if (found.decided(row)) {
      ASSERT_EQ(found.option(row), expected.option(row)) << row;
    }
  }
}

struct Sums {
  double cost_usd = 0, quality = 0;
};

Sums sums_of(const DecisionBatch& batch, Total total) {
  Sums sums;
  for (std::size_t row = 0; row < batch.size(); ++row) {
    if (!batch.decided(row)) continue;
    sums.quality += batch.quality[row];
    sums.cost_usd +=
        total == Total::kPredicted ? batch.cost_usd[row] : batch.worst_case_cost_usd[row];
  }
  return sums;
}

// At every price the stairs have the option that is best among all, whatever the bounds.
TEST(Stairs, AreTheBestOptionsAtEveryPrice) {
  std::mt19937_64 random(21);
  std::uniform_real_distribution<double> within(-1, 1);
  std::size_t asked = 0, pairs = 0, many = 0, missed = 0;
  for (int i = 0; i < 10'000; ++i) {
    const Total total = kTotals[i % 2];
    testing::Case c = testing::random_constrained_case(random, 1 + random() % 8, random() % 6);
    if (random() % 3 == 0) c = testing::with_limits(random, c);
    std::vector<PairFacts> facts(c.pairs.size());
    for (PairFacts& fact : facts) {
      fact = {.quality_spread = 0.3 * std::abs(within(random)),
              .predicts_length = random() % 3 > 0};
    }
    RouteOptions options = testing::random_options(random);
    options.policy.objective = Objective::kBest;
    options.policy.lambda.reset();
    options.policy.willingness_to_pay.reset();
    if (random() % 3 == 0) options.policy.risk_aversion = std::abs(within(random));
    options.rank = true;
    const QuerySize query = testing::random_size(random);

    const internal::DecisionTable table(c.pool, c.pairs, facts);
    internal::Rule rule;
    try {
      internal::resolve(options, {}, *c.pool, rule);
      internal::resolve_size(query, internal::kDefaultInputTokens, rule);
    } catch (const Error&) {  // every model is unavailable
      continue;
    }
    internal::limit_total(total, rule);
    const double size = std::pow(10.0, -static_cast<double>(random() % 7));
    std::vector<double> quality_error(c.pairs.size()), tokens_error(c.pairs.size());
    Predictions estimates = c.predictions;
    for (std::size_t p = 0; p < c.pairs.size(); ++p) {
      quality_error[p] = std::abs(within(random)) + 1e-3;
      estimates.quality[p] += size * quality_error[p] * within(random);
      tokens_error[p] = 300 * (std::abs(within(random)) + 1e-3);
      estimates.tokens[p] += size * tokens_error[p] * within(random);
    }
    const testing::CountedPredictions source(c.predictions);
    internal::Scratch scratch;
    internal::admit_models(table, rule, scratch);
    internal::Stairs found;
    const auto find = [&](const PriceRange& range) {
      internal::find_stairs(
          table, rule, total, range,
          {estimates.quality, estimates.tokens, quality_error, tokens_error, size}, source, scratch,
          found);
      return found;
    };
    const internal::Stairs all = find({});

    Decision ranked;
    try {
      ranked = decide(c.pool, c.pairs, c.predictions, options, {}, facts, query);
    } catch (const Error&) {
      ASSERT_TRUE(all.stairs.empty());
      continue;
    }
    ASSERT_FALSE(all.stairs.empty());
    if (ranked.reason == Reason::kQualityMissed) {
      ASSERT_EQ(all.reason, Reason::kQualityMissed);
      ASSERT_EQ(all.stairs.size(), 1U);
      ASSERT_EQ(all.stairs[0].option, ranked.chosen);
      ++missed;
      continue;
    }
    ASSERT_EQ(all.stairs.front().price_usd, 0);
    for (std::size_t s = 1; s < all.stairs.size(); ++s) {
      const auto &before = all.stairs[s - 1], &after = all.stairs[s];
      ASSERT_GT(after.price_usd, before.price_usd);
      ASSERT_GT(after.option.utility, before.option.utility);
      ASSERT_GT(cost(after.option, total), cost(before.option, total));
    }
    std::vector<double> prices = {0, 1e-7, 1e-5, 1e-3, 0.1, 1e9};
    for (const internal::Stair& stair : all.stairs) {
      ASSERT_NE(std::ranges::find(ranked.ranking, stair.option), ranked.ranking.end());
      prices.push_back(stair.price_usd);
      prices.push_back(stair.price_usd * 1.001);
    }
    for (const double price : prices) {
      const Allowance allowance{.total = total, .price_usd = price};
      const Option& option = all.at(allowance, 0);
      const auto worth = [&](const Option& o) { return price * o.utility - cost(o, total); };
      for (const Option& other : ranked.ranking) {
        ASSERT_GE(worth(option), worth(other) - 1e-9 * (price + cost(option, total)))
            << "price " << price << ", bound " << size;
      }
      ASSERT_EQ(find({price, price}).at(allowance, 0), option) << "price " << price;
      const Allowance before{.total = total, .price_usd = price, .rows = 0};
      ASSERT_EQ(found.at(before, 0), all.at(before, 0));
    }
    many += all.stairs.size() > 2;
    if (size > 1e-4 || *options.policy.continuous) continue;
    const std::size_t already = source.asked;
    find({});
    asked += source.asked - already;
    pairs += c.pairs.size();
  }
  EXPECT_GT(many, 1000U);
  EXPECT_GT(missed, 100U);
  // Tight bounds must spare most of the exact work.
  EXPECT_LT(asked, pairs / 2);
}

// Brute force: all assignments of options to rows.
TEST(Total, SpendsTheMoneyBestOnSmallJobs) {
  std::mt19937_64 random(22);
  for (int i = 0; i < 60; ++i) {
    const Total total = kTotals[i % 2];
    const Router router(random_checkpoint(2, 2, kDimension, random()));
    const std::size_t rows = 1 + random() % 5;
    std::vector<float> numbers = random_embeddings(rows, kDimension, random());
    if (i % 3 == 0) {  // the same query again and again
      for (std::size_t k = kDimension; k < numbers.size(); ++k)
        numbers[k] = numbers[k - kDimension];
    }
    const Embeddings column(numbers);
    RouteOptions options;
    if (i % 4 == 0) options.policy.max_cost_usd = 1e-3;
    RouteOptions ranking{.policy = merge(options.policy, {.objective = Objective::kBest}),
                         .rank = true};
    std::vector<std::vector<Option>> all;
    double least = 0, most = 0;
    for (std::size_t row = 0; row < rows; ++row) {
      all.push_back(
          router.route(std::span(numbers).subspan(row * kDimension, kDimension), ranking).ranking);
      double cheapest = std::numeric_limits<double>::infinity(), dearest = 0;
      for (const Option& option : all.back()) {
        cheapest = std::min(cheapest, cost(option, total));
        dearest = std::max(dearest, cost(option, total));
      }
      least += cheapest;
      most += dearest;
    }
    const TotalCurve curve = curve_of(router, column, total, options);
    EXPECT_NEAR(curve.least_usd(), least, 1e-12 * least);
    for (const double share : {0.0, 0.1, 0.4, 0.8, 1.0}) {
      const double usd = least * (1 + 1e-9) + share * (most - least);
      const Allowance allowance = curve.allowance(usd);
      const Sums spent = sums_of(router.route(column, allowance, options), total);
      ASSERT_LE(spent.cost_usd, usd);
      ASSERT_NEAR(spent.cost_usd, allowance.spent_usd, 1e-12 * usd);
      std::vector<std::size_t> assigned(rows, 0);
      while (true) {
        Sums sums;
        for (std::size_t row = 0; row < rows; ++row) {
          sums.cost_usd += cost(all[row][assigned[row]], total);
          sums.quality += all[row][assigned[row]].quality;
        }
        if (sums.cost_usd <= spent.cost_usd) {
          ASSERT_LE(sums.quality, spent.quality + 1e-9);
        }
        std::size_t row = 0;
        while (row < rows && ++assigned[row] == all[row].size()) assigned[row++] = 0;
        if (row == rows) break;
      }
      // Nor is any single price better that does not exceed the total.
      if (total == Total::kWorstCase) continue;
      for (double price = 1e-7; price < 1e3; price *= 1.5) {
        RouteOptions single = options;
        single.policy.willingness_to_pay = price;
        const Sums sums = sums_of(router.route(column, single), total);
        if (sums.cost_usd > usd) continue;
        ASSERT_LE(sums.quality, spent.quality + 1e-9);
      }
    }
  }
}

// The rest that is not spent is less than the next step of a row costs.
TEST(Total, BuysPartOfTheStepsOfOnePrice) {
  const Router router(random_checkpoint(3, 3, kDimension, 4));
  std::vector<float> numbers = random_embeddings(1, kDimension, 5);
  for (std::size_t k = 0; k < 99 * kDimension; ++k) numbers.push_back(numbers[k]);
  const Embeddings column(numbers);
  const TotalCurve curve = curve_of(router, column, Total::kPredicted);
  const double step = (curve.most_usd() - curve.least_usd()) / 100;
  for (const double share : {0.1, 0.3, 0.5, 0.7}) {
    const double usd = curve.least_usd() + share * (curve.most_usd() - curve.least_usd());
    const DecisionBatch batch = router.route(column, curve.allowance(usd));
    const double spent = sums_of(batch, Total::kPredicted).cost_usd;
    EXPECT_LE(spent, usd);
    EXPECT_GT(spent, usd - step);
    EXPECT_TRUE(std::ranges::is_sorted(batch.cost_usd, std::ranges::greater()));
  }
}

TEST(Total, KeepsTheDecisionsAtAllPrices) {
  const Router router(random_checkpoint(4, 4, kDimension, 9));
  std::vector<float> numbers = random_embeddings(150, kDimension, 10);
  for (std::size_t k = 0; k < 100 * kDimension; ++k) numbers.push_back(numbers[k]);
  const Embeddings column(numbers, 7);
  for (const Total total : kTotals) {
    std::vector<RouteOptions> choices(4);
    choices[1].policy.max_cost_usd = 1e-3;
    choices[2].policy.min_quality = 0.55;  // which some rows miss
    choices[3].policy.quality_fraction = 0.9;
    for (const RouteOptions& options : choices) {
      for (const double share : {0.0, 0.2, 0.5, 0.8, 1.1}) {
        TotalCurve curve(total);
        PricedBatch priced;
        router.price(column, curve, priced, options);
        const Allowance allowance = curve.allowance(curve.least_usd() * (1 + 1e-9) +
                                                    share * (curve.most_usd() - curve.least_usd()));
        expect_same(priced.take(allowance), router.route(column, allowance, options));
        EXPECT_EQ(priced.take(allowance).size(), 0U) << "none are left";
      }
    }
  }
  TotalCurve sample(Total::kPredicted, {.every = 2});
  PricedBatch priced;
  EXPECT_THROW(router.price(column, sample, priced), Error);
}

TEST(Total, PartsMergeIntoTheWhole) {
  const Router router(random_checkpoint(5, 4, kDimension, 6));
  const std::vector<float> numbers = random_embeddings(8000, kDimension, 7);
  const std::span<const float> all = numbers;
  const auto part = [&](std::size_t begin, std::size_t end) {
    return all.subspan(begin * kDimension, (end - begin) * kDimension);
  };
  for (const Total total : kTotals) {
    const Embeddings column(all);
    const TotalCurve whole = curve_of(router, column, total);
    TotalCurve exact(total), rounded(total, {.most_steps = 0}),
        limited(total, {.most_steps = 10'000});
    for (const auto& [begin, end] : std::vector<std::pair<std::size_t, std::size_t>>{
             {0, 7}, {7, 5000}, {5000, 5000}, {5000, 8000}}) {
      const Embeddings rows(part(begin, end));
      const TotalCurve curve = curve_of(router, rows, total);
      exact.merge(TotalCurve::from_bytes(curve.to_bytes()));
      rounded.merge(curve);
      limited.merge(curve);
    }
    rounded = TotalCurve::from_bytes(rounded.to_bytes());
    EXPECT_EQ(rounded.rows(), 8000U);
    EXPECT_LT(rounded.to_bytes().size(), whole.to_bytes().size());
    for (const double share : {0.001, 0.05, 0.3, 0.9, 1.5}) {
      const double usd =
          whole.least_usd() * (1 + 1e-9) + share * (whole.most_usd() - whole.least_usd());
      const Allowance allowance = whole.allowance(usd);
      EXPECT_EQ(exact.allowance(usd).price_usd, allowance.price_usd);
      EXPECT_EQ(exact.allowance(usd).rows, allowance.rows);
      const double spent = sums_of(router.route(column, allowance), total).cost_usd;
      EXPECT_LE(spent, usd);
      for (const TotalCurve* curve : {&rounded, &limited}) {
        const Allowance near = curve->allowance(usd);
        EXPECT_EQ(near.rows, Allowance::kAllRows);
        const double close = sums_of(router.route(column, near), total).cost_usd;
        EXPECT_NEAR(close, near.spent_usd, 1e-9 * usd);
        EXPECT_LE(close, usd);
        EXPECT_GE(close, 0.999 * spent);
      }
      // In parts, rows count from where the last part ended.
      const Embeddings first(part(0, 3000)), second(part(3000, 8000));
      EXPECT_NEAR(sums_of(router.route(first, allowance), total).cost_usd +
                      sums_of(router.route(second, allowance.after(3000)), total).cost_usd,
                  spent, 1e-12 * usd);
    }
  }
  EXPECT_THROW(TotalCurve(Total::kPredicted).merge(TotalCurve(Total::kWorstCase)), Error);
}

// A sample finds the prices near which the steps of all rows are needed.
TEST(Total, IsTheSameFromTheStepsOfARange) {
  const Router router(random_checkpoint(5, 4, kDimension, 6));
  const std::vector<float> numbers = random_embeddings(30'000, kDimension, 7);
  const std::span<const float> all = numbers;
  const Embeddings column(all, 11);
  for (const Total total : kTotals) {
    const TotalCurve whole = curve_of(router, column, total);
    TotalCurve sample(total, {.every = 16});
    for (const std::size_t begin : {0, 10'001}) {  // in parts, of which the second has an offset
      const std::size_t end = begin == 0 ? 10'001 : 30'000;
      const auto part = all.subspan(begin * kDimension, (end - begin) * kDimension);
      router.price(Embeddings(part, 11), sample);
    }
    EXPECT_EQ(sample.rows(), 30'000U);
    std::size_t narrow = 0;
    for (const double share : {0.0, 0.001, 0.1, 0.5, 0.95, 1.0}) {
      const double usd =
          whole.least_usd() * (1 + 1e-9) + share * (whole.most_usd() - whole.least_usd());
      const PriceRange range = sample.range_near(usd);
      const TotalCurve part = curve_of(router, column, total, {}, {.range = range});
      ASSERT_TRUE(part.reaches(usd)) << share;
      const Allowance expected = whole.allowance(usd), found = part.allowance(usd);
      EXPECT_EQ(found.price_usd, expected.price_usd);
      EXPECT_EQ(found.rows, expected.rows);
      EXPECT_NEAR(found.spent_usd, expected.spent_usd, 1e-11 * usd);
      // The decisions that are kept are those of a second pass, in parts as well.
      TotalCurve again(total, {.range = range});
      PricedBatch priced;
      constexpr std::size_t kHalf = 11 * 1300;
      router.price(Embeddings(all.first(kHalf * kDimension), 11), again, priced);
      router.price(Embeddings(all.subspan(kHalf * kDimension), 11), again, priced);
      EXPECT_EQ(again.to_bytes(), part.to_bytes());
      expect_same(priced.take(found), router.route(column, found));
      // Each row that is not missing has its first step in both.
      const std::size_t first = 30'000 * 10 / 11 * sizeof(TotalCurve::Step);
      narrow += part.to_bytes().size() - first < (whole.to_bytes().size() - first) / 3;
      if (range.least_usd > 0) {
        EXPECT_FALSE(part.reaches(part.least_usd() * 0.999));
      }
      if (std::isfinite(range.most_usd)) {
        EXPECT_FALSE(part.reaches(part.most_usd() * 1.001));
      }
    }
    EXPECT_GE(narrow, 3U);
  }
  TotalCurve few(Total::kPredicted, {.every = 64});
  router.price(column, few);
  EXPECT_EQ(few.range_near(1), PriceRange());
}

// Rows that repeat with the period of the sample must not all be the same one.
TEST(Total, SamplesTableRowsThatRepeat) {
  const Router router(random_checkpoint(5, 4, kDimension, 6));
  const std::vector<float> numbers = random_embeddings(16, kDimension, 8);
  std::vector<float> repeated;
  for (int i = 0; i < 1500; ++i) repeated.insert(repeated.end(), numbers.begin(), numbers.end());
  const Embeddings column(repeated);
  const TotalCurve whole = curve_of(router, column, Total::kPredicted);
  TotalCurve sample(Total::kPredicted, {.every = 16});
  router.price(column, sample);
  for (const double share : {0.2, 0.5, 0.8}) {
    const double usd = whole.least_usd() + share * (whole.most_usd() - whole.least_usd());
    const PriceRange narrow = sample.range_near(usd);
    EXPECT_TRUE(curve_of(router, column, Total::kPredicted, {}, {.range = narrow}).reaches(usd));
    EXPECT_NE(narrow, PriceRange());
  }
}

TEST(Total, CountsNoCostForRowsWithoutADecision) {
  const Router router(random_checkpoint(3, 2, kDimension, 8));
  const std::vector<float> numbers = random_embeddings(300, kDimension, 9);
  const Embeddings column(numbers, 3);
  const TotalCurve curve = curve_of(router, column, Total::kPredicted);
  EXPECT_EQ(curve.rows(), 300U);
  const double usd = (curve.least_usd() + curve.most_usd()) / 2;
  const DecisionBatch batch = router.route(column, curve.allowance(usd));
  const double spent = sums_of(batch, Total::kPredicted).cost_usd;
  EXPECT_LE(spent, usd);
  EXPECT_GT(spent, 0.9 * usd);
  for (std::size_t row = 0; row < 300; ++row) {
    EXPECT_EQ(batch.reason[row], row % 3 == 0 ? RowReason::kNull : RowReason::kUsd);
  }
  const RouteOptions impossible{.policy = {.max_cost_usd = 0}};
  EXPECT_EQ(curve_of(router, column, Total::kWorstCase, impossible).most_usd(), 0);
  const DecisionBatch none = router.route(column, Allowance{}, impossible);
  EXPECT_EQ(none.reason[1], RowReason::kNoOption);

  const Embeddings empty({});
  const TotalCurve nothing = curve_of(router, empty, Total::kPredicted);
  EXPECT_EQ(nothing.allowance(0).spent_usd, 0);
  EXPECT_EQ(router.route(empty, nothing.allowance(0)).size(), 0U);
}

TEST(Total, LeavesOutModelsOfUnknownPriceInTheWorstCase) {
  Checkpoint checkpoint = random_checkpoint(2, 2, kDimension, 10);
  checkpoint.config.models[0].prices.unknown = {{"hourly", "2"}};
  const Router router(checkpoint);
  const std::vector<float> numbers = random_embeddings(50, kDimension, 11);
  const Embeddings column(numbers);
  const TotalCurve curve = curve_of(router, column, Total::kWorstCase);
  EXPECT_TRUE(std::isfinite(curve.most_usd()));
  const DecisionBatch batch = router.route(column, curve.allowance(1e6));
  EXPECT_TRUE(std::ranges::all_of(batch.model, [](std::uint32_t model) { return model == 1; }));
}

TEST(Total, RefusesAmountsThatAreNotEnough) {
  TotalCurve curve(Total::kWorstCase);
  const TotalCurve::Step steps[] = {{0, 0.123456789, 0}, {0.5, 0.1, 0}, {0, 0.2, 1}};
  curve.add(steps, 2);
  expect_error(ErrorCode::kBudget,
               "total_worst_case_usd is $0.30, but the cheapest options of the 2 rows cost "
               "$0.323457 together: expected at least that",
               [&] { curve.allowance(0.3); });
  EXPECT_EQ(curve.allowance(0.323457).price_usd, 0);
  EXPECT_EQ(curve.allowance(0.43).price_usd, 0.5);
  for (const double usd : {-1.0, std::nan(""), std::numeric_limits<double>::infinity()}) {
    expect_error(ErrorCode::kInvalidArgument, "expected a number of USD, 0 or more",
                 [&] { curve.allowance(usd); });
  }
}

TEST(Total, ContradictsATradeOff) {
  const Router router(random_checkpoint(2, 1, kDimension, 12));
  const Embeddings empty({});
  const std::pair<Policy, const char*> policies[] = {
      {{.objective = Objective::kCheapest}, "total_usd and objective contradict each other"},
      {{.lambda = 0.5}, "total_usd and lambda contradict each other"},
      {{.willingness_to_pay = 0.1}, "total_usd and willingness_to_pay contradict each other"}};
  for (const auto& [policy, message] : policies) {
    const RouteOptions options{.policy = policy};
    expect_error(ErrorCode::kInvalidArgument, message,
                 [&] { curve_of(router, empty, Total::kPredicted, options); });
    expect_error(ErrorCode::kInvalidArgument, message,
                 [&] { router.route(empty, Allowance{}, options); });
  }
}

TEST(Total, RefusesBytesOfSomethingElse) {
  TotalCurve curve(Total::kPredicted);
  const TotalCurve::Step step{0.1, 0.2, 3};
  curve.add({&step, 1}, 4);
  const std::string bytes = curve.to_bytes();
  EXPECT_EQ(TotalCurve::from_bytes(bytes).to_bytes(), bytes);
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_THROW(TotalCurve::from_bytes(std::string_view(bytes).substr(0, length)), Error);
  }
  expect_error(ErrorCode::kBadData, "have another format",
               [&] { TotalCurve::from_bytes('x' + bytes.substr(1)); });
  std::string negative = bytes;
  negative.back() = negative[bytes.size() - 17] = static_cast<char>(0xbf);
  EXPECT_THROW(TotalCurve::from_bytes(negative), Error);
}

}  // namespace
}  // namespace r2router
