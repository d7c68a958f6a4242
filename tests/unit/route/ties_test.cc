#include "route/ties.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "r2router/decision.h"
#include "r2router/router.h"

#include "support/decisions.h"

namespace r2router {
namespace {

using internal::Contestant;

/// The rule of decision.h, spelled out: from all, those that tie with the best; from those, the
/// largest budget; and so on.
Option winner(std::vector<Option> options, double lambda) {
  const auto keep = [&](auto key, double width) {
    double best = -INFINITY;
    for (const Option& o : options) best = std::max<double>(best, key(o));
    std::erase_if(options, [&](const Option& o) { return key(o) < best - width; });
  };
  double best = -INFINITY, cost = INFINITY;
  for (const Option& o : options) best = std::max(best, o.utility);
  keep([](const Option& o) { return o.utility; }, 1e-11 * (1 - lambda + std::abs(best)));
  keep([](const Option& o) { return o.budget.is_unlimited() ? 1e18 : o.budget.tokens(); }, 0);
  for (const Option& o : options) cost = std::min(cost, o.cost_usd);
  keep([](const Option& o) { return -o.cost_usd; }, 1e-11 * cost);
  keep([](const Option& o) { return o.quality; }, 1e-11);
  keep([](const Option& o) { return o.max_tokens; }, 0);
  return *std::ranges::min_element(options, {}, &Option::model);
}

/// A few values, and none of them twice to the last digit.
testing::Case tied_case(std::mt19937_64& random, std::size_t models, std::size_t budgets) {
  testing::Case c = testing::random_case(random, models, budgets);
  const auto noise = [&] { return 1 + 1e-13 * static_cast<double>(random() % 9); };
  for (double& quality : c.predictions.quality) {
    quality = static_cast<double>(random() % 3) / 2 * noise();
  }
  for (double& tokens : c.predictions.tokens) {
    tokens = 10 * (1 + static_cast<double>(random() % 3)) * noise();
  }
  Pool pool = *c.pool;
  const bool free = random() % 4 == 0;
  for (ModelSpec& model : pool) {
    model.available = true;
    if (free) model.prices = {};
  }
  c.pool = std::make_shared<const Pool>(pool);
  return c;
}

TEST(Ties, AreDecidedByTheDocumentedRuleInChoiceAndRanking) {
  std::mt19937_64 random(111);
  std::size_t tied = 0, not_the_first = 0;
  for (int i = 0; i < 4000; ++i) {
    const testing::Case c = tied_case(random, 1 + random() % 5, random() % 6);
    RouteOptions options{
        .policy = {.rules = DecisionRules::kCorrected}, .rank = true, .explain = true};
    Policy& policy = options.policy;
    switch (random() % 4) {
      case 0:
        policy.objective = Objective::kCheapest;
        break;
      case 1:
        policy.objective = Objective::kBest;
        break;
      case 2:
        policy.willingness_to_pay = 1e-4;
        break;
      default:
        policy.lambda = 0.999;
    }
    if (random() % 3 == 0) policy.max_output_tokens = 16 + random() % 400;
    if (random() % 3 == 0) policy.min_quality = 0.5;
    const Decision decision = [&] {
      try {
        return decide(c.pool, c.pairs, c.predictions, options);
      } catch (const Error&) {  // none is within the limit
        policy.max_output_tokens.reset();
        return decide(c.pool, c.pairs, c.predictions, options);
      }
    }();
    std::vector<Option> rest = decision.ranking;
    std::ranges::shuffle(rest, random);
    for (const Option& placed : decision.ranking) {
      const Option expected = winner(rest, decision.lambda);
      ASSERT_EQ(placed, expected);
      std::erase(rest, expected);
    }
    ASSERT_EQ(decision.chosen, decision.ranking.front());
    ASSERT_EQ(decision.explanation->runner_up.has_value(), decision.ranking.size() > 1);
    if (decision.ranking.size() > 1) {
      ASSERT_EQ(*decision.explanation->runner_up, decision.ranking[1]);
      ASSERT_GE(decision.explanation->margin, 0);
      tied += decision.explanation->margin < 1e-12;
      // Comparing the risks themselves would have chosen another.
      not_the_first += std::ranges::max_element(decision.ranking, {}, &Option::utility) !=
                       decision.ranking.begin();
    }
  }
  EXPECT_GT(tied, 1000U);
  EXPECT_GT(not_the_first, 500U);
}

TEST(Ties, DoNotDependOnTheOrderOfTheOptions) {
  std::mt19937_64 random(112);
  for (int i = 0; i < 2000; ++i) {
    std::vector<Contestant> all;
    for (std::uint32_t model = 0; model < 8; ++model) {
      // A chain of near ties: each within the width of its neighbours, the ends apart.
      const double utility = 0.5 + 0.6e-11 * static_cast<double>(random() % 8);
      all.push_back({.utility = utility,
                     .cost_usd = 1 + 0.6e-11 * static_cast<double>(random() % 4),
                     .quality = 0.5 + 0.6e-11 * static_cast<double>(random() % 4),
                     .pair = {model, Budget(random() % 3 == 0 ? 100 : 50)},
                     .max_tokens = static_cast<std::uint32_t>(100 + random() % 2)});
    }
    const auto best = [&] {
      const std::size_t i =
          internal::best_of(all.size(), 0.5, [&](std::size_t k) { return all[k]; });
      return all[i].pair.model;
    };
    const std::uint32_t expected = best();
    std::ranges::shuffle(all, random);
    ASSERT_EQ(best(), expected);
  }
}

// A difference above rounding error is not a tie, however small the figures are.
TEST(Ties, EndWhereADifferenceIsReal) {
  const auto pool = std::make_shared<const Pool>(Pool{{.name = "one", .prices = {.output = 1e-3}}});
  const std::vector<Pair> pairs = {{0, Budget(100)}, {0, Budget::unlimited()}};
  RouteOptions options{.policy = {.rules = DecisionRules::kCorrected}};
  Policy& policy = options.policy;
  const auto budget = [&](double limited, double unlimited, double tokens) {
    const Predictions predictions{{limited, unlimited}, {tokens, 50}};
    return decide(pool, pairs, predictions, options, {}, {}, {.input_tokens = 0}).chosen.budget;
  };
  policy.objective = Objective::kBest;
  EXPECT_EQ(budget(0.5, 0.5 * (1 - 1e-12), 50), Budget::unlimited());
  EXPECT_EQ(budget(0.5, 0.5 - 1e-9, 50), Budget(100));
  // The same quality: a lower cost does not count if only quality does.
  EXPECT_EQ(budget(1.5, 1, 10), Budget::unlimited());
  policy.objective = Objective::kCheapest;  // costs of 5e-8 USD
  EXPECT_EQ(budget(0.9, 0.5, 50 * (1 - 1e-12)), Budget::unlimited());
  EXPECT_EQ(budget(0.5, 0.5, 50 * (1 - 1e-9)), Budget(100));
}

TEST(Ties, GoToTheAnswerThatIsNotCutOff) {
  // Of exam questions, which predicts the same of 1,000 tokens as of no limit.
  const Router router = Router::from_pretrained(R2ROUTER_SOURCE_DIR "/examples/exam-questions");
  const Decision decision = router.route_text("Write a 3000 word essay", {.rank = true});
  EXPECT_TRUE(decision.chosen.budget.is_unlimited());
  EXPECT_GE(decision.chosen.max_tokens, std::max(1024.0, 6 * decision.chosen.output_tokens));
  EXPECT_EQ(decision.ranking[1].budget, Budget(1000));
  EXPECT_EQ(decision.ranking[1].utility, decision.chosen.utility);
}

TEST(Ties, TheDefaultCheckpointDoesNotCutAnEssayOff) {
  const Router router = Router::from_pretrained("");
  const Decision decision = router.route_text("Write a 3000 word essay on the French Revolution");
  EXPECT_TRUE(decision.chosen.budget.is_unlimited());
  EXPECT_GE(decision.chosen.max_tokens, 8000U);  // twice what it takes
}

}  // namespace
}  // namespace r2router
