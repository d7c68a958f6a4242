// Random predictions and options for tests of deciding.
#pragma once

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "r2router/decision.h"

namespace r2router::testing {

/// What decide() is given for one query.
struct Case {
  std::shared_ptr<const Pool> pool;
  std::vector<Pair> pairs;
  Predictions predictions;
};

/// Values that tie often: few distinct qualities and prices, clipped ends, negative lengths.
inline Case random_case(std::mt19937_64& random, std::size_t models, std::size_t budgets) {
  Case c;
  Pool pool;
  const auto pick = [&](std::initializer_list<double> values) {
    return *(values.begin() + random() % values.size());
  };
  for (std::uint32_t m = 0; m < models; ++m) {
    ModelSpec model;
    model.name = std::string("m") + static_cast<char>('a' + m);
    model.prices.input = pick({0.05, 0.1, 1.25});
    model.prices.output = pick({0.1, 0.4, 5.0});
    model.available = random() % 3 != 0;
    pool.push_back(model);
    for (std::uint32_t b = 0; b <= budgets; ++b) {
      const Budget budget = b == budgets ? Budget::unlimited() : Budget(10U << b);
      c.pairs.push_back({m, budget});
      c.predictions.quality.push_back(random() % 4 == 0
                                          ? pick({-0.2, 0.0, 0.5, 1.0, 1.7})
                                          : static_cast<double>(random() % 2000) / 1999.0);
      c.predictions.tokens.push_back(budget.is_unlimited()
                                         ? pick({-50.0, 0.0, 12.3, 412.77, 9000.0})
                                         : static_cast<double>(budget.tokens()));
    }
  }
  c.pool = std::make_shared<const Pool>(pool);
  return c;
}

/// The same with predicted lengths at each budget, and with models of known and unknown speed and
/// context, some of them under an instruction.
inline Case random_constrained_case(std::mt19937_64& random, std::size_t models,
                                    std::size_t budgets) {
  Case c = random_case(random, models, budgets);
  const auto pick = [&](std::initializer_list<double> values) {
    return *(values.begin() + random() % values.size());
  };
  Pool pool = *c.pool;
  for (ModelSpec& model : pool) {
    if (random() % 4 != 0) model.time_to_first_token_ms = pick({0, 150, 700});
    if (random() % 4 != 0) model.output_tokens_per_second = pick({7, 33, 250});
    if (random() % 3 == 0) model.context_tokens = 130 + random() % 700;
    if (random() % 3 == 0) model.instruction_tokens = random() % 100;
    if (random() % 3 == 0) model.instruction = std::string(random() % 100, 'x');
  }
  c.pool = std::make_shared<const Pool>(pool);
  for (double& tokens : c.predictions.tokens) tokens *= pick({-0.1, 0.3, 0.77, 1.0, 1.6});
  return c;
}

/// The same with limits of their own for some of the models, and capabilities for some.
inline Case with_limits(std::mt19937_64& random, Case c) {
  Pool pool = *c.pool;
  for (ModelSpec& model : pool) {
    if (random() % 3 == 0) model.max_output_tokens = 10 + random() % 1500;
    if (random() % 3 != 0) continue;
    model.capabilities.emplace();
    if (random() % 2 == 0) model.capabilities->add(Capability::kTools);
    if (random() % 2 == 0) model.capabilities->add(Capability::kAudio);
  }
  c.pool = std::make_shared<const Pool>(pool);
  return c;
}

/// The facts about a scorer's pairs. `spreads` may be empty.
inline std::vector<PairFacts> pair_facts(const Scorer& scorer,
                                         std::span<const double> spreads = {}) {
  std::vector<PairFacts> facts(scorer.pairs().size());
  for (std::size_t i = 0; i < facts.size(); ++i) {
    if (!spreads.empty()) facts[i].quality_spread = spreads[i];
    facts[i].predicts_length = scorer.predicts_length(i);
  }
  return facts;
}

/// Options that do not contradict each other, each set in some of the calls.
inline RouteOptions random_options(std::mt19937_64& random) {
  const auto share = [&] { return static_cast<double>(random() % 1000) / 999; };
  const auto sometimes = [&] { return random() % 4 == 0; };
  RouteOptions options;
  switch (random() % 6) {
    case 0:
      options.policy.willingness_to_pay = std::pow(10, -5 * share());
      break;
    case 1:
      options.policy.objective = Objective::kCheapest;
      break;
    case 2:
      options.policy.objective = Objective::kBest;
      break;
    case 3:
      break;
    default:
      options.policy.lambda = std::vector<double>{0, 0.5, 0.999, 0.99999, 1}[random() % 5];
  }
  options.policy.rules = random() % 2 == 0 ? DecisionRules::kReference : DecisionRules::kCorrected;
  options.policy.available_only = random() % 3 == 0;
  if (sometimes()) options.policy.min_quality = share();
  if (sometimes()) options.policy.quality_fraction = share();
  if (sometimes()) options.policy.max_cost_usd = std::pow(10, -2 - 4 * share());
  if (sometimes()) options.policy.max_output_tokens = 50 + random() % 500;
  if (sometimes()) options.policy.max_latency_ms = 3000 * share();
  options.policy.continuous = random() % 3 == 0;
  options.policy.monotone = *options.policy.continuous && random() % 2 == 0;
  options.policy.cap = {.margin = static_cast<double>(random() % 3) / 4,
                        .minimum = 1 + static_cast<std::uint32_t>(random() % 40),
                        .unlimited = 500 + static_cast<std::uint32_t>(random() % 1000)};
  return options;
}

/// Of a query: empty in half of the calls.
inline QuerySize random_size(std::mt19937_64& random) {
  QuerySize size;
  if (random() % 2 == 0) {
    size.input_tokens = static_cast<std::int64_t>(random() % 300);
    size.max_input_tokens = *size.input_tokens + static_cast<std::int64_t>(random() % 300);
  }
  return size;
}

}  // namespace r2router::testing
