#include "r2router/calibrate.h"

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "r2router/decision.h"
#include "r2router/policy.h"

#include "support/decisions.h"
#include "support/errors.h"

namespace r2router {
namespace {

using testing::Case;
using testing::expect_error;
using Kind = CalibrationTarget::Kind;

/// An option as it stands in a ranking by quality.
Option option(double quality, double cost_usd) {
  Option option;
  option.quality = option.risk = quality;
  option.cost_usd = cost_usd;
  return option;
}

/// Queries on one pool, and the constraints that they are all decided under.
struct Sample {
  std::vector<Case> cases;
  RouteOptions base;
  std::vector<std::vector<double>> spreads;

  explicit Sample(std::mt19937_64& random, std::size_t queries) {
    cases.push_back(testing::random_constrained_case(random, 4, 5));
    while (cases.size() < queries) {
      Case c = testing::random_constrained_case(random, 4, 5);
      c.pool = cases.front().pool;
      cases.push_back(std::move(c));
    }
    for (const Case& c : cases) {
      std::vector<double>& of_case = spreads.emplace_back();
      for (std::size_t i = 0; i < c.pairs.size(); ++i) of_case.push_back(0.1);
    }
    base.available_only = false;
    base.max_output_tokens = 200;
    if (random() % 2 == 0) base.risk_aversion = 1;
    base.rules = random() % 2 == 0 ? DecisionRules::kReference : DecisionRules::kCorrected;
  }

  Decision decide_on(std::size_t query, const RouteOptions& options) const {
    const Case& c = cases[query];
    return decide(c.pool, c.pairs, c.predictions, options, {}, spreads[query]);
  }

  std::vector<std::vector<Option>> options() const {
    RouteOptions ranked = base;
    ranked.objective = Objective::kBest;
    ranked.rank = true;
    std::vector<std::vector<Option>> result;
    for (std::size_t i = 0; i < cases.size(); ++i) result.push_back(decide_on(i, ranked).ranking);
    return result;
  }

  /// Mean cost and quality of the decisions themselves.
  std::pair<double, double> means(const RouteOptions& options) const {
    double cost = 0, quality = 0;
    for (std::size_t i = 0; i < cases.size(); ++i) {
      const Option chosen = decide_on(i, options).chosen;
      cost += chosen.cost_usd / static_cast<double>(cases.size());
      quality += chosen.quality / static_cast<double>(cases.size());
    }
    return {cost, quality};
  }
};

TEST(Calibrate, DecisionsAtTheSettingMeetTheTargetAsNoOtherSettingDoes) {
  std::mt19937_64 random(61);
  for (int round = 0; round < 60; ++round) {
    const Sample sample(random, 30);
    const auto options = sample.options();
    CalibrationOptions how{.resamples = 20};
    how.setting =
        round % 2 == 0 ? CalibratedSetting::kWillingnessToPay : CalibratedSetting::kQualityFraction;
    RouteOptions cheapest = sample.base, best = sample.base;
    cheapest.objective = Objective::kCheapest;
    best.objective = Objective::kBest;
    const auto [least_cost, least_quality] = sample.means(cheapest);
    const auto [most_cost, most_quality] = sample.means(best);
    const double share = static_cast<double>(random() % 101) / 100;
    const CalibrationTarget targets[] = {
        {Kind::kCost, least_cost + share * (most_cost - least_cost)},
        {Kind::kQuality, least_quality + share * (most_quality - least_quality)},
        {Kind::kShareOfBest, share}};
    for (const CalibrationTarget& target : targets) {
      const Calibration found = calibrate(options, target, how);
      const auto [cost, quality] = sample.means(calibrated_policy(sample.base, found));
      ASSERT_NEAR(cost, found.cost_usd.value, 1e-12);
      ASSERT_NEAR(quality, found.quality.value, 1e-12);
      ASSERT_NEAR(found.best_quality, most_quality, 1e-12);
      const double wanted = target.kind == Kind::kQuality ? target.value : share * most_quality;
      if (target.kind == Kind::kCost) {
        ASSERT_LE(cost, target.value * (1 + 1e-9));
      } else {
        ASSERT_GE(quality, wanted * (1 - 1e-9));
      }
      // Risk aversion decides on another quality than the one that is counted here.
      if (sample.base.risk_aversion > 0) continue;
      for (int i = 0; i <= 40; ++i) {
        Calibration other = found;
        other.setting.value = how.setting == CalibratedSetting::kQualityFraction
                                  ? i / 40.0
                                  : std::pow(10, i / 5.0 - 7);
        const auto [other_cost, other_quality] =
            sample.means(calibrated_policy(sample.base, other));
        if (target.kind == Kind::kCost) {
          ASSERT_TRUE(other_cost > target.value || other_quality <= quality + 1e-12);
        } else {
          ASSERT_TRUE(other_quality < wanted || other_cost >= cost - 1e-12);
        }
      }
    }
  }
}

// The interval is as wide as the spread of the mean over fresh samples.
TEST(Calibrate, IntervalsCoverTheMeanOfManyQueries) {
  std::mt19937_64 random(62);
  std::uniform_real_distribution<double> uniform;
  const auto draw = [&](std::size_t queries) {
    std::vector<std::vector<Option>> options;
    for (std::size_t i = 0; i < queries; ++i) {
      const double cost = uniform(random);
      options.push_back({option(0.5, cost), option(0.9, 1 + cost)});
    }
    return options;
  };
  int covered = 0;
  constexpr int kSamples = 200;
  for (int i = 0; i < kSamples; ++i) {
    // Without a willingness to pay 2.5 USD for each unit of quality, the cheap ones: 0.5 on
    // average.
    const Calibration found =
        calibrate(draw(100), {Kind::kQuality, 0.5}, {.resamples = 200, .seed = 7});
    EXPECT_LT(found.setting.value, 2.5);
    covered += found.cost_usd.low <= 0.5 && 0.5 <= found.cost_usd.high;
  }
  EXPECT_GT(covered, 0.88 * kSamples);
  EXPECT_LT(covered, 0.99 * kSamples);
}

TEST(Calibrate, ReadsTargetsAsPeopleWriteThem) {
  EXPECT_EQ(parse_target("$0.05/1k"), (CalibrationTarget{Kind::kCost, 0.05 / 1000}));
  EXPECT_EQ(parse_target("$2e-3"), (CalibrationTarget{Kind::kCost, 0.002}));
  EXPECT_EQ(parse_target("95% of best"), (CalibrationTarget{Kind::kShareOfBest, 0.95}));
  EXPECT_EQ(parse_target("quality 0.7"), (CalibrationTarget{Kind::kQuality, 0.7}));
  for (const char* bad : {"", "$", "0.05", "$-1", "$1/1m", "quality 1.2", "quality0.5", "$nan",
                          "101% of best", "95 % of best", "quality 0.7 "}) {
    expect_error(ErrorCode::kInvalidArgument, "expected a cost such as",
                 [&] { parse_target(bad); });
  }
}

TEST(Calibrate, SaysWhatIsInReach) {
  const std::vector<std::vector<Option>> options = {{option(0.5, 0.001), option(0.75, 0.002)}};
  expect_error(ErrorCode::kInvalidArgument, "cost $0.001 and the best ones $0.002 ($1 to $2 for",
               [&] {
                 calibrate(options, {Kind::kCost, 0.0005});
               });
  expect_error(ErrorCode::kInvalidArgument, "from 0.5, of the cheapest options, to 0.75", [&] {
    calibrate(options, {Kind::kQuality, 0.8});
  });
  EXPECT_EQ(calibrate(options, {Kind::kCost, 5}).quality.value, 0.75);
  EXPECT_EQ(calibrate(options, {Kind::kShareOfBest, 1}).cost_usd.value, 0.002);
  expect_error(ErrorCode::kInvalidArgument, "no queries", [] { calibrate({}, {}); });
  const std::vector<std::vector<Option>> empty(1);
  expect_error(ErrorCode::kInvalidArgument, "query 0 has no options",
               [&] { calibrate(empty, {}); });
  expect_error(ErrorCode::kInvalidArgument, "resamples is 0",
               [&] { calibrate(options, {}, {.resamples = 0}); });
}

}  // namespace
}  // namespace r2router
