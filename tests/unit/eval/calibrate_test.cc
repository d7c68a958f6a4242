#include "r2router/eval/calibrate.h"

#include <cmath>
#include <cstddef>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "r2router/decision.h"
#include "r2router/policy.h"

#include "support/decisions.h"
#include "support/errors.h"

namespace r2router::eval {
namespace {

using testing::Case;
using testing::expect_error;
using Kind = CalibrationTarget::Kind;

/// An option in a ranking by quality.
Option option(double quality, double cost_usd) {
  Option option;
  option.quality = option.utility = quality;
  option.cost_usd = cost_usd;
  return option;
}

/// Queries on one pool, and the constraints that they are all decided under.
struct Sample {
  std::vector<Case> cases;
  Policy base;
  std::vector<std::vector<PairFacts>> facts;

  explicit Sample(std::mt19937_64& random, std::size_t queries) {
    cases.push_back(testing::random_constrained_case(random, 4, 5));
    while (cases.size() < queries) {
      Case c = testing::random_constrained_case(random, 4, 5);
      c.pool = cases.front().pool;
      cases.push_back(std::move(c));
    }
    for (const Case& c : cases) {
      std::vector<PairFacts>& of_case = facts.emplace_back();
      for (std::size_t i = 0; i < c.pairs.size(); ++i) of_case.push_back({.quality_spread = 0.1});
    }
    base.available_only = false;
    base.max_output_tokens = 200;
    if (random() % 2 == 0) base.risk_aversion = 1;
    base.rules = random() % 2 == 0 ? DecisionRules::kReference : DecisionRules::kCorrected;
  }

  Decision decide_on(std::size_t query, const Policy& policy, bool rank = false) const {
    const Case& c = cases[query];
    return decide(c.pool, c.pairs, c.predictions, {.policy = policy, .rank = rank}, {},
                  facts[query]);
  }

  std::vector<std::vector<Option>> options() const {
    const Policy best = merge(base, {.objective = Objective::kBest});
    std::vector<std::vector<Option>> result;
    for (std::size_t i = 0; i < cases.size(); ++i) {
      result.push_back(decide_on(i, best, true).ranking);
    }
    return result;
  }

  /// Mean cost and quality of the decisions themselves.
  std::pair<double, double> means(const Policy& policy) const {
    double cost = 0, quality = 0;
    for (std::size_t i = 0; i < cases.size(); ++i) {
      const Option chosen = decide_on(i, policy).chosen;
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
    Policy cheapest = sample.base, best = sample.base;
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

// Whatever answers cost and scored: the figures are those of the decisions, and of the settings
// that meet the target it is the last one within a cost, the first one with a quality.
TEST(Calibrate, OutcomesMeetTheTargetWhereTheyAreKnown) {
  std::mt19937_64 random(63);
  std::uniform_real_distribution<double> uniform;
  for (int round = 0; round < 60; ++round) {
    const Sample sample(random, 30);
    const auto options = sample.options();
    std::vector<std::vector<RealisedOption>> realised;
    for (const std::vector<Option>& of_query : options) {
      std::vector<RealisedOption>& outcomes = realised.emplace_back();
      for (const Option& option : of_query) {
        outcomes.push_back({option.cost_usd * 2 * uniform(random), uniform(random)});
      }
    }
    CalibrationOptions how{.resamples = 20};
    how.setting =
        round % 2 == 0 ? CalibratedSetting::kWillingnessToPay : CalibratedSetting::kQualityFraction;
    const auto means_at = [&](const Policy& policy) {
      MeanFigures means;
      for (std::size_t query = 0; query < options.size(); ++query) {
        const Option chosen = sample.decide_on(query, policy).chosen;
        for (std::size_t i = 0; i < options[query].size(); ++i) {
          const Option& option = options[query][i];
          if (option.model != chosen.model || option.budget != chosen.budget) continue;
          means.cost_usd += realised[query][i].cost_usd / static_cast<double>(options.size());
          means.quality += realised[query][i].quality / static_cast<double>(options.size());
        }
      }
      return means;
    };
    const auto means_of = [&](double setting) {
      Calibration there{.kind = how.setting};
      there.setting.value = setting;
      return means_at(calibrated_policy(sample.base, there));
    };
    const auto grid_at = [&](int i) {
      return how.setting == CalibratedSetting::kQualityFraction ? i / 40.0
                                                                : std::pow(10, i / 5.0 - 7);
    };
    const double most = how.setting == CalibratedSetting::kQualityFraction ? 1.0 : 1000.0;
    const MeanFigures reached = means_of(grid_at(static_cast<int>(random() % 41)));
    const CalibrationTarget targets[] = {{Kind::kCost, reached.cost_usd},
                                         {Kind::kQuality, reached.quality},
                                         {Kind::kShareOfBest, uniform(random)}};
    for (const CalibrationTarget& target : targets) {
      const Calibration found = calibrate(options, target, how, realised);
      EXPECT_TRUE(found.realised);
      const MeanFigures means = means_of(found.setting.value);
      ASSERT_NEAR(means.cost_usd, found.cost_usd.value, 1e-12);
      ASSERT_NEAR(means.quality, found.quality.value, 1e-12);
      ASSERT_NEAR(found.best_quality, means_of(most).quality, 1e-12);
      const auto [cost, quality] = sample.means(calibrated_policy(sample.base, found));
      ASSERT_NEAR(found.predicted.cost_usd, cost, 1e-12);
      ASSERT_NEAR(found.predicted.quality, quality, 1e-12);
      const auto meets = [&](const MeanFigures& figures, double slack) {
        if (target.kind == Kind::kCost) return figures.cost_usd <= target.value * (1 + slack);
        const double wanted =
            target.kind == Kind::kQuality ? target.value : target.value * found.best_quality;
        return figures.quality >= wanted * (1 - slack);
      };
      ASSERT_TRUE(meets(means, 1e-9));
      for (int i = 0; i <= 40; ++i) {
        const bool beyond = target.kind == Kind::kCost ? grid_at(i) > found.setting.value
                                                       : grid_at(i) < found.setting.value;
        const MeanFigures other = means_of(grid_at(i));
        const bool same = std::abs(other.cost_usd - means.cost_usd) < 1e-12;
        ASSERT_TRUE(!beyond || same || !meets(other, -1e-9));
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

  // Predictions are all the same here, so that only outcomes can make the interval.
  covered = 0;
  for (int i = 0; i < kSamples; ++i) {
    const std::vector<std::vector<Option>> options(100, {option(0.5, 1)});
    std::vector<std::vector<RealisedOption>> realised;
    for (int query = 0; query < 100; ++query) realised.push_back({{uniform(random), 0.5}});
    const Calibration found =
        calibrate(options, {Kind::kQuality, 0.5}, {.resamples = 200, .seed = 7}, realised);
    covered += found.cost_usd.low <= 0.5 && 0.5 <= found.cost_usd.high;
  }
  EXPECT_GT(covered, 0.88 * kSamples);
  EXPECT_LT(covered, 0.99 * kSamples);
}

TEST(Calibrate, ReadsTargetsAsPeopleWriteThem) {
  for (const char* text :
       {"$0.05/1k", "0.05/1k", "0.05 USD/1k", "0.05 usd / 1k", "0.05 USD per 1k", "$.05/1k",
        ".05/1k", "5e-2/1k", "0.05/1000", "0.05 $/1k", "USD 0.05/1000", "$ 0.05 / 1,000 queries",
        "0.05 per 1000 queries", "0.05 dollars per thousand", "0.05/1K", " 0.05/1k ", "0.05USD/1k",
        "0.05 USD per 1 thousand queries"}) {
    EXPECT_EQ(parse_target(text), (CalibrationTarget{Kind::kCost, 0.05 / 1000})) << text;
  }
  for (const char* text : {"$2e-3", "0.002 USD", "$0.002", "0.002/query", "0.002 USD per query",
                           "0.002$", "USD .002", "0.002/1"}) {
    EXPECT_EQ(parse_target(text), (CalibrationTarget{Kind::kCost, 0.002})) << text;
  }
  EXPECT_EQ(parse_target("0.5/100"), (CalibrationTarget{Kind::kCost, 0.005}));
  for (const char* text : {"95% of best", "95 % of best", "95% of the best", "95%  OF BEST",
                           "95 percent of best", "0.95 of best", "95.0%of best"}) {
    EXPECT_EQ(parse_target(text), (CalibrationTarget{Kind::kShareOfBest, 0.95})) << text;
  }
  for (const char* text : {"quality 0.75", "quality=0.75", "Quality: .75", "quality 75%",
                           "quality 0.75 ", "quality of 0.75"}) {
    EXPECT_EQ(parse_target(text), (CalibrationTarget{Kind::kQuality, 0.75})) << text;
  }
  for (const char* bad : {"",
                          "$",
                          "0.05",
                          "$-1",
                          "-1/1k",
                          "$1/1m",
                          "1/0",
                          "1/",
                          "quality 1.2",
                          "quality 120%",
                          "quality",
                          "$nan",
                          "nan/1k",
                          "inf/1k",
                          "1e999/1k",
                          "101% of best",
                          "1.1 of best",
                          "95%",
                          "of best",
                          "95% of worst",
                          "0.05/1k x",
                          "0.05/1k/1k",
                          "$0.05 0.05",
                          "0,05/1k",
                          "quality 0.7 of best",
                          "bash.05/1k",
                          "0.05 EUR/1k",
                          "0.05 usdx/1k"}) {
    expect_error(ErrorCode::kInvalidArgument, "expected a cost such as 0.05/1k",
                 [&] { parse_target(bad); });
  }
}

TEST(Calibrate, SaysWhatIsInReach) {
  const std::vector<std::vector<Option>> options = {{option(0.5, 0.001), option(0.75, 0.002)}};
  expect_error(ErrorCode::kInvalidArgument, "goes from $0.001 to $0.002 ($1 to $2 for a thousand",
               [&] {
                 calibrate(options, {Kind::kCost, 0.0005});
               });
  expect_error(ErrorCode::kInvalidArgument, "it goes from 0.5 to 0.75", [&] {
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

  std::vector<std::size_t> done;
  const CalibrationOptions stopped{.resamples = 5,
                                   .progress = [&](std::size_t i, std::size_t total) {
                                     EXPECT_EQ(total, 5u);
                                     done.push_back(i);
                                     if (i == 2) throw std::runtime_error("stopped");
                                   }};
  EXPECT_THROW(calibrate(options, {Kind::kCost, 5}, stopped), std::runtime_error);
  EXPECT_EQ(done, (std::vector<std::size_t>{0, 1, 2}));

  // The dearer option scored less, and cost less than was predicted.
  const std::vector<std::vector<RealisedOption>> realised = {{{0.003, 0.5}, {0.0025, 0.25}}};
  const auto calibrate_on = [&](const CalibrationTarget& target) {
    return calibrate(options, target, {.resamples = 1}, realised);
  };
  expect_error(ErrorCode::kInvalidArgument, "goes from $0.0025 to $0.003", [&] {
    calibrate_on({Kind::kCost, 0.0024});
  });
  expect_error(ErrorCode::kInvalidArgument, "goes from 0.25 to 0.5", [&] {
    calibrate_on({Kind::kQuality, 0.6});
  });
  EXPECT_EQ(calibrate_on({Kind::kShareOfBest, 1}).quality.value, 0.5);
  std::vector<std::vector<RealisedOption>> bad(2);
  const auto expect_refused = [&](const char* words) {
    expect_error(ErrorCode::kInvalidArgument, words, [&] { calibrate(options, {}, {}, bad); });
  };
  expect_refused("there are 1 queries, but outcomes of 2");
  bad = {{{0.003, 0.5}}};
  expect_refused("query 0 has 2 options, but 1 outcomes");
  bad = {{{0.003, 0.5}, {0.001, NAN}}};
  expect_refused("outcome 1 of query 0 is not finite");
}

}  // namespace
}  // namespace r2router::eval
