#include "route/decide.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "r2router/config.h"
#include "r2router/decision.h"
#include "r2router/error.h"

#include "route/candidates.h"
#include "support/counted_predictions.h"
#include "support/decisions.h"
#include "support/errors.h"
#include "support/prices.h"
#include "support/rounding.h"

namespace r2router {
namespace {

using testing::Case;
using testing::expect_error;
using testing::random_case;
using testing::random_options;
using testing::through_printf;

double worst_cost(const ModelSpec& model, std::int64_t input_tokens, std::uint32_t cap) {
  return static_cast<double>(input_tokens) * model.prices.input / 1e6 +
         cap * model.prices.output / 1e6;
}

// The 99th percentile of a log-normal length of standard deviation 1, in steps of 64.
std::uint32_t percentile_cap(double tokens) {
  const double percentile = 64 * std::ceil(tokens * std::exp(2.326 - 0.5) / 64);
  return static_cast<std::uint32_t>(std::clamp(percentile, 1024.0, 65536.0));
}

// The published arithmetic, spelled out without the library's helpers.
Option naive_reference(const Case& c, double lambda, std::int64_t input_tokens) {
  Option best;
  best.utility = -std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < c.pairs.size(); ++i) {
    const ModelSpec& model = (*c.pool)[c.pairs[i].model];
    const double quality = std::clamp(c.predictions.quality[i], 0.0, 1.0);
    const double tokens = c.pairs[i].budget.is_unlimited() ? std::max(0.0, c.predictions.tokens[i])
                                                           : c.pairs[i].budget.tokens();
    const double cost = static_cast<double>(input_tokens) * model.prices.input / 1e6 +
                        tokens * model.prices.output / 1e6;
    const double risk = through_printf((1 - lambda) * quality - lambda * cost, 8);
    if (risk > best.utility) {
      const Budget budget = c.pairs[i].budget;
      const std::uint32_t cap = budget.is_unlimited()
                                    ? percentile_cap(tokens)
                                    : std::max(16U, (budget.tokens() * 6 + 4) / 5);
      best = {c.pairs[i].model,
              budget,
              through_printf(quality, 4),
              through_printf(tokens, 1),
              through_printf(cost, 8),
              risk,
              cap,
              worst_cost(model, input_tokens, cap)};
    }
  }
  return best;
}

TEST(Decide, FollowsTheReferenceRules) {
  std::mt19937_64 random(11);
  for (int i = 0; i < 3000; ++i) {
    const Case c = random_case(random, 1 + random() % 8, random() % 6);
    RouteOptions options;
    options.policy.lambda = std::vector<double>{0, 0.5, 0.999, 0.99999, 0.999999, 1}[random() % 6];
    const QuerySize size{.input_tokens = static_cast<std::int64_t>(random() % 3 * 700)};
    options.rank = true;
    const Decision decision = decide(c.pool, c.pairs, c.predictions, options, {}, {}, size);
    const Option expected = naive_reference(c, *options.policy.lambda, *size.input_tokens);
    ASSERT_EQ(decision.chosen, expected);
    ASSERT_EQ(decision.ranking.size(), c.pairs.size());
    ASSERT_EQ(decision.ranking.front(), expected);
    for (std::size_t k = 1; k < decision.ranking.size(); ++k) {
      const Option &above = decision.ranking[k - 1], &below = decision.ranking[k];
      ASSERT_GE(above.utility, below.utility);
      // Stable: equal risks keep the order of the pairs.
      if (above.utility == below.utility) {
        ASSERT_LT(std::pair(above.model, above.budget), std::pair(below.model, below.budget));
      }
    }
  }
}

TEST(Choose, FromBoundedEstimatesEqualsTheExactChoice) {
  std::mt19937_64 random(12);
  std::uniform_real_distribution<double> within(-1, 1);
  std::size_t asked = 0, pairs = 0;
  for (int i = 0; i < 20'000; ++i) {
    const Case c = testing::random_constrained_case(random, 1 + random() % 8, random() % 6);
    std::vector<PairFacts> facts(c.pairs.size());
    const bool by_quality = random() % 3 == 0;
    for (PairFacts& fact : facts) {
      fact = {.quality_spread = 0.3 * std::abs(within(random)),
              .spread_by_quality = by_quality,
              .predicts_length = random() % 3 > 0};
    }
    const internal::DecisionTable table(c.pool, c.pairs, facts);
    RouteOptions options = random_options(random);
    if (random() % 3 == 0) options.policy.risk_aversion = 2 * std::abs(within(random));
    const Policy defaults{.lambda = 0.5, .token_floor = 20};
    internal::Rule rule;
    try {
      internal::resolve(options, defaults, *c.pool, rule);
      internal::resolve_size(testing::random_size(random), internal::kDefaultInputTokens, rule);
    } catch (const Error&) {  // every model is unavailable
      continue;
    }
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
    const auto bounded = [&] {
      return internal::choose(
          table, rule, {estimates.quality, estimates.tokens, quality_error, tokens_error, size},
          source, scratch);
    };
    std::optional<internal::Choice> expected;
    try {
      expected = internal::choose(table, rule, c.predictions);
    } catch (const Error&) {
      ASSERT_THROW(bounded(), Error);
      continue;
    }
    const internal::Choice chosen = bounded();
    ASSERT_EQ(chosen.option, expected->option) << "bound " << size;
    ASSERT_EQ(chosen.goal.reason, expected->goal.reason);
    ASSERT_EQ(chosen.quality_floor, expected->quality_floor);
    // Budgets between the trained ones need all of a model's.
    if (*options.policy.continuous) continue;
    if (size <= 1e-4) {
      asked += source.asked;
      pairs += c.pairs.size();
    }
  }
  // Tight bounds must spare most of the exact work, or screening is of no use.
  EXPECT_LT(asked, pairs / 3);
}

// For each pair the largest cap whose worst case fits, found by trying every one.
TEST(Decide, WorstCaseCostStaysWithinTheLimit) {
  std::mt19937_64 random(13);
  std::size_t lowered = 0, refused = 0;
  for (int i = 0; i < 1000; ++i) {
    const Case c = random_case(random, 1 + random() % 4, random() % 6);
    RouteOptions options;
    options.policy.lambda = std::vector<double>{0, 0.5, 0.999, 1}[random() % 4];
    options.policy.rules =
        random() % 2 == 0 ? DecisionRules::kReference : DecisionRules::kCorrected;
    options.policy.available_only = false;
    QuerySize size{.input_tokens = static_cast<std::int64_t>(random() % 300)};
    size.max_input_tokens = *size.input_tokens + static_cast<std::int64_t>(random() % 300);
    options.policy.cap = {.margin = static_cast<double>(random() % 3) / 4,
                          .minimum = 1 + static_cast<std::uint32_t>(random() % 40),
                          .unlimited = 500 + static_cast<std::uint32_t>(random() % 1000)};
    options.policy.max_cost_usd = 2e-5 * static_cast<double>(random() % 100);
    options.rank = true;

    std::vector<Option> expected;
    double cheapest = INFINITY;
    RouteOptions free = options;
    free.policy.max_cost_usd.reset();
    for (Option option : decide(c.pool, c.pairs, c.predictions, free, {}, {}, size).ranking) {
      const ModelSpec& model = (*c.pool)[option.model];
      const std::uint32_t needed =
          option.budget.is_unlimited()
              ? std::min(static_cast<std::uint32_t>(std::ceil(option.output_tokens)),
                         *options.policy.cap.unlimited)
              : option.budget.tokens();
      const std::uint32_t least = std::max(needed, *options.policy.cap.minimum);
      const std::uint32_t full = option.budget.is_unlimited()
                                     ? *options.policy.cap.unlimited
                                     : std::max(*options.policy.cap.minimum,
                                                static_cast<std::uint32_t>(std::ceil(
                                                    needed * (1 + *options.policy.cap.margin))));
      ASSERT_EQ(option.max_tokens, full);
      ASSERT_EQ(option.worst_case_cost_usd, worst_cost(model, *size.max_input_tokens, full));
      cheapest = std::min(cheapest, worst_cost(model, *size.max_input_tokens, least));
      while (option.max_tokens >= least &&
             worst_cost(model, *size.max_input_tokens, option.max_tokens) >
                 *options.policy.max_cost_usd) {
        --option.max_tokens;
      }
      if (option.max_tokens < least) continue;
      lowered += option.max_tokens < full;
      option.worst_case_cost_usd = worst_cost(model, *size.max_input_tokens, option.max_tokens);
      expected.push_back(option);
    }
    try {
      const Decision decision = decide(c.pool, c.pairs, c.predictions, options, {}, {}, size);
      ASSERT_EQ(decision.chosen, decision.ranking.front());
      // A cap can settle a tie, so that the order may be another.
      const auto by_pair = [](const Option& o) { return Pair{o.model, o.budget}; };
      std::vector<Option> ranking = decision.ranking;
      std::ranges::sort(ranking, {}, by_pair);
      std::ranges::sort(expected, {}, by_pair);
      ASSERT_EQ(ranking, expected);
      ASSERT_LE(decision.chosen.worst_case_cost_usd, *options.policy.max_cost_usd);
      ASSERT_EQ(decision.max_cost_usd, options.policy.max_cost_usd);
    } catch (const Error& error) {
      ASSERT_TRUE(expected.empty()) << error.what();
      ASSERT_EQ(error.code(), ErrorCode::kBudget);
      ++refused;
      // The cost that the error names is enough, and no less is.
      options.policy.max_cost_usd = cheapest;
      ASSERT_NO_THROW(decide(c.pool, c.pairs, c.predictions, options, {}, {}, size));
      const std::string message = error.what();
      ASSERT_EQ(std::stod(message.substr(message.find("up to $") + 7)), cheapest) << message;
    }
  }
  EXPECT_GT(lowered, 500U);
  EXPECT_GT(refused, 50U);
}

// Under any prices and options, nothing that a decision names can cost more than the limit.
TEST(Decide, NothingExceedsTheCostLimitAtPricesWithEveryComponent) {
  std::mt19937_64 random(15);
  std::size_t decided = 0, refused = 0, tight = 0;
  for (int i = 0; i < 5000; ++i) {
    Case c = testing::random_constrained_case(random, 1 + random() % 5, random() % 6);
    Pool pool = *c.pool;
    for (ModelSpec& model : pool) {
      model.prices = testing::random_prices(random);
      if (random() % 4 == 0) model.prices.unknown = {{"hourly", "2"}};
    }
    c.pool = std::make_shared<const Pool>(pool);
    RouteOptions options = testing::random_options(random);
    options.policy.max_cost_usd = std::pow(10, -2 - 0.004 * static_cast<double>(random() % 1000));
    QuerySize size = testing::random_size(random);
    size.images = static_cast<std::uint32_t>(random() % 3);
    options.rank = true;
    try {
      const Decision decision = decide(c.pool, c.pairs, c.predictions, options, {}, {}, size);
      ++decided;
      ASSERT_EQ(decision.images, size.images);
      for (const Option& option : decision.ranking) {
        const ModelSpec& model = decision.model(option);
        ASSERT_TRUE(model.prices.unknown.empty());
        ASSERT_LE(option.worst_case_cost_usd, *options.policy.max_cost_usd);
        // The highest bill of all lengths and kinds of token.
        const std::int64_t most =
            decision.max_input_tokens +
            std::max<std::int64_t>(model.instruction_tokens, std::ssize(model.instruction));
        double highest = 0;
        for (std::int64_t n = most; n >= 0; n -= 1 + n / 40) {
          const std::int64_t cap = option.max_tokens;
          for (const std::int64_t reasoning : {std::int64_t{0}, cap}) {
            for (int kind = 0; kind < 3; ++kind) {
              highest = std::max(highest, testing::bill(model.prices, kind == 0 ? n : 0,
                                                        kind == 1 ? n : 0, kind == 2 ? n : 0,
                                                        cap - reasoning, reasoning, size.images));
            }
          }
        }
        ASSERT_LE(highest, option.worst_case_cost_usd * (1 + 1e-12));
        tight += highest > option.worst_case_cost_usd * (1 - 1e-12);
      }
    } catch (const Error& error) {
      ASSERT_TRUE(error.code() == ErrorCode::kBudget || error.code() == ErrorCode::kInvalidArgument)
          << error.what();
      ++refused;
    }
  }
  EXPECT_GT(decided, 500U);
  EXPECT_GT(refused, 500U);
  EXPECT_GT(tight, 2000U) << "the bound must be one that a bill reaches";
}

TEST(Decide, SaysThatAnUnknownPriceKeepsNoLimit) {
  const auto pool = std::make_shared<const Pool>(
      Pool{{.name = "sonar", .prices = {.unknown = {{"web_search", "0.01"}, {"audio", "$5"}}}}});
  const std::vector<Pair> pairs = {{0, Budget(100)}, {0, Budget::unlimited()}};
  const Predictions predictions{{0.5, 0.6}, {100, 200}};
  EXPECT_EQ(decide(pool, pairs, predictions, {}).chosen.worst_case_cost_usd, INFINITY);
  RouteOptions options{.policy = {.max_cost_usd = 1e6}};
  expect_error(ErrorCode::kBudget, "the price of sonar is unknown (web_search: 0.01, audio: $5)",
               [&] { decide(pool, pairs, predictions, options); });
}

// Where rounding makes the quotient of cost and price wrong by many tokens, the product still
// holds.
TEST(Decide, CostLimitHoldsForExtremePrices) {
  for (const double output_price : {1e-300, 1e-20, 1e-10, 3e-7, 1.0, 1e9, 0.0}) {
    for (const double input_price : {0.0, 0.7, 1e9}) {
      for (const double spare : {0.0, 1e-16, 1e-9, 0.3}) {
        ModelSpec model{.name = "one", .prices = {.input = input_price, .output = output_price}};
        RouteOptions options{.policy = {.cap = {.minimum = 1, .unlimited = 4'000'000'000}}};
        options.policy.max_cost_usd = worst_cost(model, 100, 1) + spare;
        const std::vector<Pair> pairs = {{0, Budget::unlimited()}};
        const Option chosen = decide(std::make_shared<const Pool>(Pool{model}), pairs,
                                     {.quality = {0.5}, .tokens = {1}}, options)
                                  .chosen;
        EXPECT_LE(worst_cost(model, 100, chosen.max_tokens), *options.policy.max_cost_usd);
        if (chosen.max_tokens < *options.policy.cap.unlimited) {
          EXPECT_GT(worst_cost(model, 100, chosen.max_tokens + 1), *options.policy.max_cost_usd);
        }
      }
    }
  }
}

TEST(Decide, CapMarginIsTheCheckpointsUnlessTheCallSetsOne) {
  std::mt19937_64 random(14);
  const Case c = random_case(random, 1, 6);  // budgets up to 320
  RouteOptions options{.policy = {.lambda = 0}, .rank = true};
  const auto cap_of = [&](Budget budget, const Policy& defaults) {
    for (const Option& o : decide(c.pool, c.pairs, c.predictions, options, defaults).ranking) {
      if (o.budget == budget) return o.max_tokens;
    }
    return 0U;
  };
  EXPECT_EQ(cap_of(Budget(320), {}), 384U);
  EXPECT_EQ(cap_of(Budget(10), {}), 16U) << "no provider takes less";
  EXPECT_EQ(cap_of(Budget(320), Config{.budget_mode = BudgetMode::kHardCap}.default_policy()),
            320U);
  options.policy.cap.margin = 0.5;
  EXPECT_EQ(cap_of(Budget(320), {.cap = {.margin = 0}}), 480U);
  EXPECT_EQ(cap_of(Budget::unlimited(), {.cap = {.unlimited = 8192}}), 8192U);
}

// One model with an unlimited pair whose length is predicted.
Option unlimited_option(const ModelSpec& model, double tokens, const Policy& policy = {},
                        double sigma = kDefaultLengthSigma) {
  const std::vector<Pair> pairs = {{0, Budget::unlimited()}};
  const PairFacts facts{.length_sigma = sigma};
  return decide(std::make_shared<const Pool>(Pool{model}), pairs,
                {.quality = {0.5}, .tokens = {tokens}}, {.policy = policy}, {}, {&facts, 1})
      .chosen;
}

TEST(UnlimitedCap, IsWhatFewAnswersExceed) {
  const ModelSpec model{.name = "one", .prices = {.output = 1}};
  const auto cap = [&](double tokens, double sigma = 1) {
    return unlimited_option(model, tokens, {}, sigma).max_tokens;
  };
  EXPECT_EQ(cap(-5), 1024U);
  EXPECT_EQ(cap(0), 1024U);
  EXPECT_EQ(cap(100), 1024U);
  EXPECT_EQ(cap(1000), 6272U) << "1000 · e^1.826 = 6209.0";
  EXPECT_EQ(cap(20'000), 65'536U);
  EXPECT_EQ(cap(1e300), 65'536U);
  EXPECT_EQ(cap(1000, 0.5), 2880U) << "1000 · e^1.038 = 2823.6";
  EXPECT_EQ(cap(1000, 4), 3712U) << "1000 · e^1.304 = 3684.0";
  EXPECT_EQ(unlimited_option(model, 1000).worst_case_cost_usd, 6272e-6);
  for (double tokens = 1; tokens < 2e5; tokens *= 1.01) {
    ASSERT_EQ(cap(tokens), percentile_cap(tokens));
    ASSERT_EQ(cap(tokens) % 64, 0U);
  }
}

TEST(UnlimitedCap, IsTheUsersWhereTheySayOne) {
  const ModelSpec model{.name = "one", .prices = {.output = 1}};
  EXPECT_EQ(unlimited_option(model, 5000, {.cap = {.unlimited = 300}}).max_tokens, 300U);
  EXPECT_EQ(unlimited_option(model, 5, {.cap = {.unlimited = 100'000}}).max_tokens, 100'000U);
  EXPECT_EQ(unlimited_option(model, 5, {.cap = {.minimum = 2000}}).max_tokens, 2000U);
  EXPECT_EQ(unlimited_option(model, 5, {.cap = {.minimum = 90'000}}).max_tokens, 90'000U);
  EXPECT_EQ(unlimited_option(model, 5000, {.max_output_tokens = 6000}).max_tokens, 6000U);
}

TEST(UnlimitedCap, StaysWithinWhatTheModelWrites) {
  ModelSpec model{.name = "one", .prices = {.output = 1}, .max_output_tokens = 4096};
  EXPECT_EQ(unlimited_option(model, 100).max_tokens, 1024U);
  EXPECT_EQ(unlimited_option(model, 1000).max_tokens, 4096U);
  // The model stops there by itself, so a longer prediction does not leave it out.
  EXPECT_EQ(unlimited_option(model, 5000).max_tokens, 4096U);
  EXPECT_EQ(unlimited_option(model, 5000, {.cap = {.unlimited = 9000}}).max_tokens, 4096U);
  EXPECT_EQ(unlimited_option(model, 5, {.cap = {.minimum = 9000}}).max_tokens, 4096U);
  model.max_output_tokens = 500;
  EXPECT_EQ(unlimited_option(model, 100).max_tokens, 500U);
  model.max_output_tokens = 8;
  EXPECT_EQ(unlimited_option(model, 100).max_tokens, 8U);
  model.max_output_tokens = 128'000;
  EXPECT_EQ(unlimited_option(model, 20'000).max_tokens, 124'224U) << "20000 · e^1.826 = 124180.6";
  EXPECT_EQ(unlimited_option(model, 30'000).max_tokens, 128'000U);
}

TEST(UnlimitedCap, IsLoweredToWhatTheCostLimitPaysFor) {
  const ModelSpec model{.name = "one", .prices = {.output = 1}};  // a millionth of USD a token
  EXPECT_EQ(unlimited_option(model, 1000, {.max_cost_usd = 3e-3}).max_tokens, 3000U);
  EXPECT_EQ(unlimited_option(model, 1000, {.max_cost_usd = 1e-3}).max_tokens, 1000U);
  expect_error(ErrorCode::kBudget, "max_cost_usd",
               [&] { unlimited_option(model, 1000, {.max_cost_usd = 0.99e-3}); });
}

TEST(UnlimitedCap, RefusesASpreadThatIsNone) {
  const ModelSpec model{.name = "one"};
  for (const double sigma : {0.0, -1.0, 4.1, double{NAN}}) {
    expect_error(ErrorCode::kInvalidArgument, "length_sigma",
                 [&] { unlimited_option(model, 100, {}, sigma); });
  }
}

TEST(OwnLimit, LeavesOutLimitedBudgetsAboveIt) {
  const auto pool = std::make_shared<const Pool>(
      Pool{{.name = "one", .prices = {.output = 1}, .max_output_tokens = 250}});
  const std::vector<Pair> pairs = {
      {0, Budget(100)}, {0, Budget(240)}, {0, Budget(250)}, {0, Budget(251)}};
  const Predictions predictions{.quality = {0.1, 0.2, 0.3, 0.4}, .tokens = {90, 200, 240, 250}};
  const Decision decision =
      decide(pool, pairs, predictions,
             {.policy = {.objective = Objective::kBest}, .rank = true, .explain = true});
  EXPECT_EQ(decision.chosen.budget, Budget(250));
  EXPECT_EQ(decision.explanation->left_out[static_cast<std::size_t>(Constraint::kMaxOutputTokens)],
            1U);
  for (const Option& option : decision.ranking) EXPECT_LE(option.max_tokens, 250U);
  EXPECT_EQ(decision.ranking[1].max_tokens, 250U) << "288 with the margin";

  // Between the budgets the largest that fits.
  const std::vector<Pair> two = {{0, Budget(100)}, {0, Budget(400)}};
  const Option between = decide(pool, two, {.quality = {0.1, 0.4}, .tokens = {90, 390}},
                                {.policy = {.objective = Objective::kBest, .continuous = true}})
                             .chosen;
  EXPECT_EQ(between.budget, Budget(250));
  EXPECT_EQ(between.max_tokens, 250U);
  expect_error(ErrorCode::kInvalidArgument, "1 (max_output_tokens)", [&] {
    decide(pool, {&two[1], 1}, {.quality = {0.4}, .tokens = {390}}, {});
  });
}

TEST(Requirements, LeaveOutModelsThatAreKnownToLackThem) {
  Pool pool{{.name = "unknown"}, {.name = "plain"}, {.name = "sees"}, {.name = "both"}};
  pool[1].capabilities = Capabilities();
  pool[2].capabilities = {Capability::kImages};
  pool[3].capabilities = {Capability::kImages, Capability::kTools};
  const auto shared = std::make_shared<const Pool>(pool);
  std::vector<Pair> pairs;
  for (std::uint32_t m = 0; m < 4; ++m) pairs.push_back({m, Budget(100)});
  const Predictions predictions{.quality = {0.1, 0.9, 0.8, 0.7}, .tokens = {9, 9, 9, 9}};
  const auto decided = [&](const QuerySize& size) {
    return decide(shared, pairs, predictions,
                  {.policy = {.objective = Objective::kBest}, .rank = true, .explain = true}, {},
                  {}, size);
  };
  const auto left_out = [](const Decision& decision) {
    return decision.explanation->left_out[static_cast<std::size_t>(Constraint::kRequirements)];
  };
  EXPECT_EQ(decided({}).model().name, "plain");
  EXPECT_EQ(left_out(decided({})), 0U);
  const Decision images = decided({.images = 1});
  EXPECT_EQ(images.model().name, "sees");
  EXPECT_EQ(images.ranking.size(), 3U) << "nothing is known of one of them";
  EXPECT_EQ(left_out(images), 1U);
  EXPECT_EQ(decided({.requirements = {Capability::kImages}}).ranking, images.ranking);
  EXPECT_EQ(decided({.requirements = {Capability::kImages, Capability::kTools}}).model().name,
            "both");
  const Decision audio = decided({.requirements = {Capability::kAudio}});
  EXPECT_EQ(audio.model().name, "unknown");
  EXPECT_EQ(left_out(audio), 3U);

  expect_error(ErrorCode::kInvalidArgument, "3 (requirements)", [&] {
    decide(shared, {pairs.data() + 1, 3}, {.quality = {0.9, 0.8, 0.7}, .tokens = {9, 9, 9}}, {}, {},
           {}, {.requirements = {Capability::kAudio, Capability::kReasoning}});
  });
  expect_error(ErrorCode::kInvalidArgument, "The query requires audio, reasoning", [&] {
    decide(shared, {pairs.data() + 1, 3}, {.quality = {0.9, 0.8, 0.7}, .tokens = {9, 9, 9}}, {}, {},
           {}, {.requirements = {Capability::kAudio, Capability::kReasoning}});
  });
}

Case two_models() {
  Case c;
  ModelSpec first{.name = "first", .prices = {.input = 1, .output = 2}};
  ModelSpec second{.name = "second", .prices = {.input = 1, .output = 1}};
  c.pool = std::make_shared<const Pool>(Pool{first, second});
  c.pairs = {
      {0, Budget(100)}, {0, Budget::unlimited()}, {1, Budget(100)}, {1, Budget::unlimited()}};
  c.predictions.quality = {0.5, 0.9, 0.5, 0.9};
  c.predictions.tokens = {100, 400, 100, -30};
  return c;
}

TEST(Decide, CorrectedRulesGiveTiesOfBudgetsToTheCheaperPair) {
  const Case c = two_models();
  RouteOptions options;
  options.policy.lambda = 0;  // only quality: both unlimited pairs tie
  EXPECT_EQ(decide(c.pool, c.pairs, c.predictions, options).model().name, "first");
  options.policy.rules = DecisionRules::kCorrected;
  EXPECT_EQ(decide(c.pool, c.pairs, c.predictions, options).model().name, "second");
}

TEST(Decide, TokenFloorKeepsNegativeLengthsFromLookingFree) {
  const Case c = two_models();
  RouteOptions options;
  options.policy.lambda = 0.9;
  const QuerySize size{.input_tokens = 0};
  Decision decision = decide(c.pool, c.pairs, c.predictions, options, {}, {}, size);
  EXPECT_EQ(decision.chosen.cost_usd, 0) << "the published behaviour";
  const Policy defaults{.lambda = 0.9, .token_floor = 25, .rules = DecisionRules::kCorrected};
  decision = decide(c.pool, c.pairs, c.predictions, options, defaults, {}, size);
  EXPECT_EQ(decision.chosen.output_tokens, 25);
  EXPECT_DOUBLE_EQ(decision.chosen.cost_usd, 25e-6);
  options.policy.token_floor = 60;
  EXPECT_EQ(decide(c.pool, c.pairs, c.predictions, options, defaults).chosen.output_tokens, 60);
}

TEST(Decide, CorrectedRulesDoNotRound) {
  Case c = two_models();
  c.predictions.quality = {0.123456789, 0.1, 0.1, 0.1};
  RouteOptions options;
  options.policy.lambda = 0;
  options.policy.rules = DecisionRules::kCorrected;
  EXPECT_EQ(decide(c.pool, c.pairs, c.predictions, options).chosen.quality, 0.123456789);
  options.policy.rules = DecisionRules::kReference;
  EXPECT_EQ(decide(c.pool, c.pairs, c.predictions, options).chosen.quality, 0.1235);
}

TEST(Decide, LeavesOutDeniedUnlistedAndUnavailableModels) {
  Case c = two_models();
  Pool pool = *c.pool;
  pool[0].available = false;
  c.pool = std::make_shared<const Pool>(pool);
  RouteOptions options;
  options.policy.lambda = 0;
  options.rank = true;
  EXPECT_EQ(decide(c.pool, c.pairs, c.predictions, options).model().name, "first");
  options.policy.available_only = true;
  Decision decision = decide(c.pool, c.pairs, c.predictions, options);
  EXPECT_EQ(decision.model().name, "second");
  EXPECT_EQ(decision.ranking.size(), 2U);
  options.policy.available_only.reset();
  options.policy.rules = DecisionRules::kCorrected;  // where leaving them out is the default
  EXPECT_EQ(decide(c.pool, c.pairs, c.predictions, options).ranking.size(), 2U);
  options.policy.available_only = false;
  EXPECT_EQ(decide(c.pool, c.pairs, c.predictions, options).ranking.size(), 4U);
  options.policy.deny = {"second"};
  EXPECT_EQ(decide(c.pool, c.pairs, c.predictions, options).model().name, "first");
  options.policy.deny.reset();
  options.policy.allow = {"second"};
  EXPECT_EQ(decide(c.pool, c.pairs, c.predictions, options).model().name, "second");
}

void expect_invalid(const Case& c, const RouteOptions& options, const std::string& words,
                    const QuerySize& size = {}) {
  try {
    decide(c.pool, c.pairs, c.predictions, options, {}, {}, size);
    FAIL() << "accepted; expected a refusal about: " << words;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
  }
}

TEST(Decide, RefusesBadOptions) {
  Case c = two_models();
  expect_invalid(c, {.policy = {.lambda = -0.1}}, "lambda");
  expect_invalid(c, {.policy = {.lambda = 1.0000001}}, "lambda");
  expect_invalid(c, {.policy = {.lambda = NAN}}, "lambda");
  expect_invalid(c, {}, "input_tokens", {.input_tokens = -1});
  expect_invalid(c, {.policy = {.token_floor = -1.0}}, "token_floor");
  expect_invalid(c, {.policy = {.token_floor = INFINITY}}, "token_floor");
  expect_invalid(c, {.policy = {.max_cost_usd = -0.1}}, "max_cost_usd");
  expect_invalid(c, {.policy = {.max_cost_usd = NAN}}, "max_cost_usd");
  expect_invalid(c, {}, "max_input_tokens is 49", {.input_tokens = 50, .max_input_tokens = 49});
  expect_invalid(c, {.policy = {.cap = {.margin = -0.1}}}, "cap.margin");
  expect_invalid(c, {.policy = {.cap = {.minimum = 0}}}, "cap.minimum");
  expect_invalid(c, {.policy = {.cap = {.minimum = 20, .unlimited = 19}}}, "cap.unlimited 19");
  expect_invalid(c, {.policy = {.allow = {{"secnd"}}}}, "did you mean \"second\"");
  expect_invalid(c, {.policy = {.deny = {{"third"}}}}, "not in the pool");
  expect_invalid(c, {.policy = {.deny = {{"first", "second"}}}}, "no model is left");
  c.predictions.quality[2] = NAN;
  expect_invalid(c, {}, "pair 2");
  c.predictions.quality.pop_back();
  expect_invalid(c, {}, "3 quality");
}

TEST(Decide, ChargesAModelForTheTokensOfItsInstruction) {
  const auto pool = std::make_shared<const Pool>(
      Pool{{.name = "plain", .prices = {.input = 10}},
           {.name = "instructed", .prices = {.input = 10}, .instruction_tokens = 400}});
  const std::vector<Pair> pairs = {{0, Budget()}, {1, Budget()}};
  RouteOptions options;
  options.policy.lambda = 0.9;
  options.rank = true;
  const Decision decision =
      decide(pool, pairs, {{0.5, 0.5}, {10, 10}}, options, {}, {}, {.input_tokens = 100});
  EXPECT_EQ(decision.model().name, "plain");
  EXPECT_DOUBLE_EQ(decision.ranking[0].cost_usd, 0.001);
  EXPECT_DOUBLE_EQ(decision.ranking[1].cost_usd, 0.005);
}

// It may have as many tokens as bytes, whatever is expected of it.
TEST(Decide, CountsEveryByteOfAnInstructionAtWorst) {
  const std::string instruction = "Answer in one sentence, and say nothing else.";
  const auto worst_cost_with = [&](std::uint32_t instruction_tokens) {
    const auto pool =
        std::make_shared<const Pool>(Pool{{.name = "instructed",
                                           .prices = {.input = 10},
                                           .instruction = instruction,
                                           .instruction_tokens = instruction_tokens}});
    const std::vector<Pair> pairs = {{0, Budget()}};
    const Option chosen =
        decide(pool, pairs, {{0.5}, {10}}, {}, {}, {}, {.input_tokens = 100}).chosen;
    EXPECT_DOUBLE_EQ(chosen.cost_usd, (100 + instruction_tokens) * 1e-5);
    return chosen.worst_case_cost_usd;
  };
  EXPECT_DOUBLE_EQ(worst_cost_with(9), (100 + static_cast<double>(instruction.size())) * 1e-5);
  EXPECT_DOUBLE_EQ(worst_cost_with(400), 500 * 1e-5);
}

}  // namespace
}  // namespace r2router
