// Constraints, objectives and budgets between the trained ones, against a search that tries
// everything.
#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "r2router/decision.h"
#include "r2router/error.h"

#include "support/decisions.h"
#include "support/errors.h"

namespace r2router {
namespace {

using testing::Case;
using testing::random_constrained_case;
using testing::random_options;
using testing::random_size;
using testing::with_limits;

const Policy kDefaults{.lambda = 0.999, .token_floor = 15};

/// A candidate as the documentation of the options describes it.
struct Candidate {
  Option option;
  bool admitted = true;  ///< by everything but quality
  double quality = 0;    ///< as it is weighed
};

std::vector<PairFacts> random_facts(std::mt19937_64& random, const Case& c) {
  std::vector<PairFacts> facts;
  const bool by_quality = random() % 3 == 0;
  for (std::size_t i = 0; i < c.pairs.size(); ++i) {
    facts.push_back({.quality_spread = 0.01 + static_cast<double>(random() % 300) / 1000,
                     .spread_by_quality = by_quality,
                     .predicts_length = random() % 3 > 0});
  }
  return facts;
}

class BruteForce {
 public:
  BruteForce(const Case& c, const RouteOptions& options, const QuerySize& size,
             const std::vector<PairFacts>& facts)
      : case_(c), options_(options), size_(size), facts_(facts) {
    for (std::size_t i = 0; i < c.pairs.size(); ++i) {
      if (*options.policy.available_only && !model(i).available) continue;
      if (model(i).capabilities && !model(i).capabilities->includes(size.requirements)) continue;
      add(c.pairs[i], {quality(i, 0), quality(i, options.policy.risk_aversion.value_or(0)),
                       tokens(i), spread(i)});
      const bool last = i + 1 == c.pairs.size() || c.pairs[i + 1].model != c.pairs[i].model;
      if (!*options.policy.continuous || last || c.pairs[i + 1].budget.is_unlimited()) continue;
      const double below = c.pairs[i].budget.tokens(), above = c.pairs[i + 1].budget.tokens();
      for (double b = below + 1; b < above; ++b) {
        const double share = (b - below) / (above - below);
        add({c.pairs[i].model, Budget(static_cast<std::uint32_t>(b))},
            {mix(quality(i, 0), quality(i + 1, 0), share),
             mix(quality(i, options.policy.risk_aversion.value_or(0)),
                 quality(i + 1, options.policy.risk_aversion.value_or(0)), share),
             mix(tokens(i), tokens(i + 1), share), mix(spread(i), spread(i + 1), share)});
      }
    }
  }

  /// The λ that the objective is.
  double lambda() const {
    if (options_.policy.willingness_to_pay) return 1 / (1 + *options_.policy.willingness_to_pay);
    if (options_.policy.objective == Objective::kCheapest) return 1;
    if (options_.policy.objective == Objective::kBest) return 0;
    if (options_.policy.lambda) return *options_.policy.lambda;
    return options_.policy.min_quality || options_.policy.quality_fraction ? 1 : *kDefaults.lambda;
  }

  double quality_floor() const {
    double best = 0;
    for (const Candidate& c : candidates_) {
      if (c.admitted) best = std::max(best, c.quality);
    }
    return std::max(options_.policy.min_quality.value_or(0),
                    options_.policy.quality_fraction.value_or(0) * best);
  }

  /// The highest value of (1 − λ)·quality − λ·cost.
  std::optional<double> best(double weight, double floor) const {
    std::optional<double> best;
    for (const Candidate& c : candidates_) {
      if (!c.admitted || c.quality < floor) continue;
      const double value = (1 - weight) * c.quality - weight * c.option.cost_usd;
      if (!best || value > *best) best = value;
    }
    return best;
  }

  const Candidate* find(const Option& option) const {
    for (const Candidate& c : candidates_) {
      if (c.option.model == option.model && c.option.budget == option.budget) return &c;
    }
    return nullptr;
  }

 private:
  const ModelSpec& model(std::size_t pair) const { return (*case_.pool)[case_.pairs[pair].model]; }
  struct Predicted {
    double quality, weighed_quality, tokens, spread;
  };
  static double mix(double below, double above, double share) {
    return below + (above - below) * share;
  }
  double spread(std::size_t pair) const {
    if (!facts_[pair].spread_by_quality) return facts_[pair].quality_spread;
    const double right = std::clamp(case_.predictions.quality[pair], 0.0, 1.0);
    return std::sqrt(right * (1 - right));
  }
  double quality(std::size_t pair, double aversion) const {
    const auto own = [&](std::size_t i) {
      return std::clamp(case_.predictions.quality[i] - aversion * spread(i), 0.0, 1.0);
    };
    double quality = own(pair);
    if (!*options_.policy.monotone || case_.pairs[pair].budget.is_unlimited()) return quality;
    for (std::size_t i = 0; i < pair; ++i) {
      if (case_.pairs[i].model == case_.pairs[pair].model) quality = std::max(quality, own(i));
    }
    return quality;
  }
  double tokens(std::size_t pair) const {
    const bool corrected = options_.policy.rules == DecisionRules::kCorrected;
    const double floor = corrected ? *kDefaults.token_floor : 0;
    const Budget budget = case_.pairs[pair].budget;
    double tokens = std::max(case_.predictions.tokens[pair], floor);
    if (budget.is_unlimited()) return tokens;
    // A model's last pair is the unlimited one.
    if (corrected && !facts_[pair].predicts_length) {
      std::size_t last = pair;
      while (!case_.pairs[last].budget.is_unlimited()) ++last;
      tokens = std::max(case_.predictions.tokens[last], floor);
    }
    return std::min<double>(tokens, budget.tokens());
  }

  void add(Pair pair, const Predicted& predicted) {
    const double tokens = predicted.tokens;
    const ModelSpec& model = (*case_.pool)[pair.model];
    const auto cost = [&](std::int64_t input, double output) {
      return static_cast<double>(input) * model.prices.input / 1e6 +
             output * model.prices.output / 1e6;
    };
    const std::int64_t query = size_.input_tokens.value_or(100);
    const std::int64_t input = query + model.instruction_tokens;
    const std::int64_t most =
        size_.max_input_tokens.value_or(query) +
        std::max<std::int64_t>(model.instruction_tokens, std::ssize(model.instruction));
    const double minimum = *options_.policy.cap.minimum;
    const double own = model.max_output_tokens ? *model.max_output_tokens : INFINITY;
    double least = std::max<double>(pair.budget.tokens(), minimum);
    double cap =
        std::max(std::ceil(pair.budget.tokens() * (1 + *options_.policy.cap.margin)), minimum);
    if (pair.budget.is_unlimited()) {
      cap = 64 * std::ceil(tokens * std::exp(2.326 - 0.5) / 64);
      cap = std::max(std::clamp(cap, 1024.0, std::max(1024.0, std::min(own, 65536.0))), minimum);
      if (options_.policy.cap.unlimited) cap = *options_.policy.cap.unlimited;
      cap = std::min(cap, own);
      least = std::min(cap, std::max(std::ceil(tokens), minimum));
    }
    while (cap >= least &&
           ((options_.policy.max_cost_usd && cost(most, cap) > *options_.policy.max_cost_usd) ||
            (options_.policy.max_output_tokens && cap > *options_.policy.max_output_tokens) ||
            cap > own ||
            (model.context_tokens && static_cast<double>(most) + cap > *model.context_tokens))) {
      --cap;
    }
    Candidate c{.option = {.model = pair.model,
                           .budget = pair.budget,
                           .quality = predicted.quality,
                           .output_tokens = tokens,
                           .cost_usd = cost(input, tokens)}};
    c.admitted = cap >= least;
    if (options_.policy.max_latency_ms) {
      c.admitted =
          c.admitted && model.time_to_first_token_ms && model.output_tokens_per_second &&
          *model.time_to_first_token_ms + tokens * (1000 / *model.output_tokens_per_second) <=
              *options_.policy.max_latency_ms;
    }
    c.option.max_tokens = static_cast<std::uint32_t>(std::max(cap, 0.0));
    c.option.worst_case_cost_usd = cost(most, cap);
    c.option.quality_spread = predicted.spread;
    c.quality = predicted.weighed_quality;
    candidates_.push_back(c);
  }

  const Case& case_;
  const RouteOptions& options_;
  const QuerySize& size_;
  const std::vector<PairFacts>& facts_;
  std::vector<Candidate> candidates_;
};

TEST(Constraints, AndObjectivesEqualASearchOfEverything) {
  std::mt19937_64 random(41);
  std::size_t decided = 0, missed = 0, between = 0, refused = 0;
  for (int i = 0; i < 20'000; ++i) {
    const Case c =
        with_limits(random, random_constrained_case(random, 1 + random() % 5, random() % 6));
    RouteOptions options = random_options(random);
    options.rank = true;
    if (random() % 3 == 0) options.policy.risk_aversion = static_cast<double>(random() % 5) / 2;
    if (random() % 8 == 0) options.policy.cap.unlimited.reset();
    QuerySize size = random_size(random);
    if (random() % 4 == 0) size.requirements.add(Capability::kTools);
    if (random() % 8 == 0) size.requirements.add(Capability::kAudio);
    const std::vector<PairFacts> facts = random_facts(random, c);
    const auto decide = [&] {
      return r2router::decide(c.pool, c.pairs, c.predictions, options, kDefaults, facts, size);
    };
    const BruteForce brute(c, options, size, facts);
    const double floor = brute.quality_floor();
    const bool reachable = brute.best(brute.lambda(), floor).has_value();
    const double lambda = reachable ? brute.lambda() : 0;
    const std::optional<double> best = brute.best(lambda, reachable ? floor : 0);
    if (!best) {
      ++refused;
      EXPECT_THROW(decide(), Error);
      continue;
    }
    const Decision decision = decide();
    ++decided;
    missed += !reachable;
    ASSERT_EQ(decision.constraint_met(), reachable);
    ASSERT_EQ(decision.lambda, lambda);
    ASSERT_EQ(decision.ranking.front(), decision.chosen);
    for (const Option& option : decision.ranking) {
      const Candidate* candidate = brute.find(option);
      ASSERT_NE(candidate, nullptr);
      ASSERT_TRUE(candidate->admitted);
      ASSERT_GE(candidate->quality, reachable ? floor : 0);
      ASSERT_EQ(option.quality_spread, candidate->option.quality_spread);
      ASSERT_EQ(option.max_tokens, candidate->option.max_tokens);
      ASSERT_EQ(option.worst_case_cost_usd, candidate->option.worst_case_cost_usd);
      // Reported figures are rounded under the reference rules.
      ASSERT_NEAR(option.quality, candidate->option.quality, 5.1e-5);
      ASSERT_NEAR(option.cost_usd, candidate->option.cost_usd, 5.1e-9);
    }
    const Candidate& chosen = *brute.find(decision.chosen);
    const double value = (1 - lambda) * chosen.quality - lambda * chosen.option.cost_usd;
    const bool rounded = options.policy.rules == DecisionRules::kReference && reachable &&
                         decision.reason == Reason::kUtility;
    ASSERT_NEAR(value, *best, rounded ? 1.01e-8 : 1e-15);
    const auto same = [&](const Pair& p) { return p.budget == chosen.option.budget; };
    between += std::none_of(c.pairs.begin(), c.pairs.end(), same);
  }
  // Each kind of end must occur often, or it is not tested.
  EXPECT_GT(decided, 10'000U);
  EXPECT_GT(missed, 100U);
  EXPECT_GT(between, 100U);
  EXPECT_GT(refused, 100U);
}

TEST(Constraints, ContinuousIsNeverWorseThanTheTrainedBudgets) {
  std::mt19937_64 random(42);
  std::size_t better = 0;
  for (int i = 0; i < 10'000; ++i) {
    const Case c = random_constrained_case(random, 1 + random() % 5, random() % 6);
    RouteOptions options = random_options(random);
    const QuerySize size = random_size(random);
    // A share of the best quality is another floor where the best is better.
    options.policy.quality_fraction.reset();
    options.policy.rules = DecisionRules::kCorrected;
    options.policy.continuous = options.policy.monotone = false;
    std::optional<Decision> discrete;
    try {
      discrete = decide(c.pool, c.pairs, c.predictions, options, kDefaults, {}, size);
    } catch (const Error&) {
      continue;
    }
    options.policy.continuous = true;
    options.policy.monotone = random() % 2 == 0;
    const Decision continuous =
        decide(c.pool, c.pairs, c.predictions, options, kDefaults, {}, size);
    if (discrete->constraint_met()) {
      ASSERT_TRUE(continuous.constraint_met());
      ASSERT_GE(continuous.chosen.utility, discrete->chosen.utility);
      better += continuous.chosen.utility > discrete->chosen.utility;
    }
  }
  EXPECT_GT(better, 100U);
}

Case one_model(double context_tokens = 0) {
  ModelSpec model{.name = "one", .prices = {.input = 1, .output = 10}};
  model.time_to_first_token_ms = 200;
  model.output_tokens_per_second = 100;
  if (context_tokens > 0) model.context_tokens = static_cast<std::uint32_t>(context_tokens);
  return {std::make_shared<const Pool>(Pool{model}),
          {{0, Budget(100)}, {0, Budget(200)}, {0, Budget(300)}, {0, Budget::unlimited()}},
          {.quality = {0.25, 0.5, 0.75, 0.9}, .tokens = {100, 200, 300, 500}}};
}

TEST(Constraints, BudgetsBetweenTheTrainedOnesEndWhereAConstraintDoes) {
  const Case c = one_model();
  const auto budget = [&](RouteOptions options) {
    options.policy.continuous = true;
    options.policy.cap.margin = 0;
    return decide(c.pool, c.pairs, c.predictions, options).chosen.budget;
  };
  // 100 input tokens cost 0.0001 USD, so 0.0024 are left for 240 of output.
  EXPECT_EQ(budget({.policy = {.objective = Objective::kBest, .max_cost_usd = 0.0025}}),
            Budget(240));
  EXPECT_EQ(budget({.policy = {.objective = Objective::kBest, .max_output_tokens = 157}}),
            Budget(157));
  EXPECT_EQ(budget({.policy = {.objective = Objective::kBest, .max_latency_ms = 1505}}),
            Budget(130));
  // Three quarters of the way from 0.25 to 0.5, and half of the way from there to 0.75.
  EXPECT_EQ(budget({.policy = {.min_quality = 0.4375}}), Budget(175));
  EXPECT_EQ(budget({.policy = {.min_quality = 0.625}}), Budget(250));
  EXPECT_EQ(budget({.policy = {.min_quality = 0.8}}), Budget::unlimited());
}

TEST(Constraints, TheContextHoldsQueryAndCap) {
  const Case c = one_model(450);
  const Decision decision =
      decide(c.pool, c.pairs, c.predictions, {.policy = {.lambda = 0}, .rank = true}, {}, {},
             {.input_tokens = 100, .max_input_tokens = 240});
  EXPECT_EQ(decision.chosen.budget, Budget(200));
  EXPECT_EQ(decision.chosen.max_tokens, 210U) << "240 would not fit beside the query";
  EXPECT_EQ(decision.ranking.size(), 2U);
}

TEST(Constraints, TheContextOfAQueryMayBeSmallerThanItsBound) {
  const Case c = one_model(450);
  const auto chosen = [&](std::int64_t context) {
    return decide(c.pool, c.pairs, c.predictions, {.policy = {.lambda = 0}}, {}, {},
                  {.input_tokens = 100, .max_input_tokens = 240, .context_tokens = context})
        .chosen;
  };
  const Option bounded = decide(c.pool, c.pairs, c.predictions, {.policy = {.lambda = 0}}, {}, {},
                                {.input_tokens = 100, .max_input_tokens = 240})
                             .chosen;
  EXPECT_EQ(chosen(240), bounded);
  EXPECT_GT(chosen(110).max_tokens, bounded.max_tokens);
  EXPECT_LE(chosen(110).max_tokens, 340U);
  testing::expect_error(ErrorCode::kInvalidArgument, "context_tokens", [&] { chosen(-1); });
}

TEST(Constraints, TheMarginStaysWithinMaxOutputTokens) {
  const Case c = one_model();
  const RouteOptions options{.policy = {.objective = Objective::kBest, .max_output_tokens = 320}};
  const Option chosen = decide(c.pool, c.pairs, c.predictions, options).chosen;
  EXPECT_EQ(chosen.budget, Budget(300));
  EXPECT_EQ(chosen.max_tokens, 320U) << "1.2 × 300 would be more";
}

TEST(Constraints, MonotoneCountsOnALargerBudgetForAtLeastAsMuch) {
  Case c = one_model();
  c.predictions.quality = {0.6, 0.2, 0.7, 0.5};
  RouteOptions options{.policy = {.objective = Objective::kBest, .max_output_tokens = 250}};
  options.policy.continuous = true;
  options.policy.cap.margin = 0;
  EXPECT_EQ(decide(c.pool, c.pairs, c.predictions, options).chosen.budget, Budget(100));
  options.policy.monotone = true;
  const Option chosen = decide(c.pool, c.pairs, c.predictions, options).chosen;
  EXPECT_EQ(chosen.budget, Budget(250));
  EXPECT_DOUBLE_EQ(chosen.quality, 0.65);
}

TEST(Constraints, TheReasonSaysWhatWon) {
  const Case c = one_model();
  const auto reason = [&](const RouteOptions& options) {
    return decide(c.pool, c.pairs, c.predictions, options).reason;
  };
  EXPECT_EQ(reason({}), Reason::kUtility);
  EXPECT_EQ(reason({.policy = {.willingness_to_pay = 0.01}}), Reason::kUsd);
  EXPECT_EQ(reason({.policy = {.min_quality = 0.5}}), Reason::kCheapest);
  EXPECT_EQ(reason({.policy = {.lambda = 0.5, .min_quality = 0.5}}), Reason::kUtility);
  EXPECT_EQ(reason({.policy = {.objective = Objective::kBest, .min_quality = 0.5}}), Reason::kBest);
  EXPECT_EQ(reason({.policy = {.min_quality = 0.95}}), Reason::kQualityMissed);
  EXPECT_EQ(to_string(Reason::kQualityMissed), "quality_missed");
}

TEST(Constraints, AnExplanationIsTheRankingAndACountOfEachConstraint) {
  std::mt19937_64 random(43);
  for (int i = 0; i < 1000; ++i) {
    const Case c = random_constrained_case(random, 1 + random() % 5, random() % 6);
    RouteOptions options = random_options(random);
    const QuerySize size = random_size(random);
    options.rank = options.explain = true;
    options.policy.rules = DecisionRules::kCorrected;
    Decision decision;
    try {
      decision = decide(c.pool, c.pairs, c.predictions, options, kDefaults, {}, size);
    } catch (const Error&) {
      continue;
    }
    ASSERT_TRUE(decision.explanation.has_value());
    const Explanation& explanation = *decision.explanation;
    ASSERT_EQ(explanation.runner_up.has_value(), decision.ranking.size() > 1);
    if (explanation.runner_up) {
      ASSERT_EQ(*explanation.runner_up, decision.ranking[1]);
      ASSERT_EQ(explanation.margin, decision.chosen.utility - decision.ranking[1].utility);
    }
    // One constraint at a time leaves the others' pairs in the ranking.
    const auto left = [&](RouteOptions only) {
      only.rank = true;
      only.policy.rules = DecisionRules::kCorrected;
      only.policy.available_only = only.policy.available_only.value_or(false);
      only.policy.cap = options.policy.cap;
      const Pool pool = [&] {
        Pool copy = *c.pool;
        for (ModelSpec& model : copy) model.context_tokens.reset();
        return copy;
      }();
      try {
        return decide(std::make_shared<const Pool>(pool), c.pairs, c.predictions, only, kDefaults,
                      {}, size)
            .ranking.size();
      } catch (const Error&) {
        return std::size_t{0};
      }
    };
    const auto count = [&](Constraint constraint) {
      return c.pairs.size() - explanation.left_out[static_cast<std::size_t>(constraint)];
    };
    ASSERT_EQ(count(Constraint::kModels),
              left({.policy = {.available_only = options.policy.available_only}}));
    ASSERT_EQ(count(Constraint::kMaxCost),
              left({.policy = {.max_cost_usd = options.policy.max_cost_usd}}));
    ASSERT_EQ(count(Constraint::kMaxOutputTokens),
              left({.policy = {.max_output_tokens = options.policy.max_output_tokens}}));
    ASSERT_EQ(count(Constraint::kMaxLatency),
              left({.policy = {.max_latency_ms = options.policy.max_latency_ms}}));
    if (decision.reason == Reason::kQualityMissed && !*options.policy.continuous) {
      ASSERT_TRUE(std::ranges::all_of(decision.ranking, [&](const Option& o) {
        return o.quality < std::max(options.policy.min_quality.value_or(0),
                                    options.policy.quality_fraction.value_or(0));
      }));
    }
  }
}

TEST(Constraints, ModelsAreNamedByPatterns) {
  Pool pool;
  std::vector<Pair> pairs;
  for (const char* name : {"llama-8b", "llama-70b", "gpt-4o", "gpt-4o-mini", "模型-x"}) {
    pairs.push_back({static_cast<std::uint32_t>(pool.size()), Budget(100)});
    pool.push_back({.name = name});
  }
  const auto shared = std::make_shared<const Pool>(pool);
  const Predictions predictions{std::vector<double>(5, 0.5), std::vector<double>(5, 100)};
  const auto admitted = [&](std::vector<std::string> allow, std::vector<std::string> deny) {
    RouteOptions options{.policy = {.deny = deny}, .rank = true};
    if (!allow.empty()) options.policy.allow = allow;
    std::string names;
    for (const Option& o : decide(shared, pairs, predictions, options).ranking) {
      names += pool[o.model].name + " ";
    }
    return names;
  };
  EXPECT_EQ(admitted({"llama-*"}, {}), "llama-8b llama-70b ");
  EXPECT_EQ(admitted({"*4o*"}, {}), "gpt-4o gpt-4o-mini ");
  EXPECT_EQ(admitted({"*"}, {"*-?*b", "gpt-4o"}), "gpt-4o-mini 模型-x ");
  EXPECT_EQ(admitted({"?\?-?"}, {}), "模型-x ") << "? stands for one character, not one byte";
  EXPECT_EQ(admitted({"gpt-4?", "l*8b"}, {}), "llama-8b gpt-4o ");
  EXPECT_EQ(admitted({"*a*a-*0*"}, {}), "llama-70b ");
  EXPECT_EQ(admitted({"LLAMA-*"}, {"Llama-8B"}), "llama-70b ") << "in any case";
  testing::expect_error(ErrorCode::kInvalidArgument, "did you mean \"gpt-4o\"",
                        [&] { admitted({"gpt-4"}, {}); });
  testing::expect_error(ErrorCode::kInvalidArgument, "no model of the pool matches",
                        [&] { admitted({}, {"claude-*"}); });
}

TEST(Constraints, ModelsAreFoundByCatalogueNameIfNoNameMatches) {
  Pool pool;
  std::vector<Pair> pairs;
  const auto add = [&](const char* name, const char* openrouter_id) {
    pairs.push_back({static_cast<std::uint32_t>(pool.size()), Budget(100)});
    pool.push_back({.name = name, .openrouter_id = openrouter_id});
  };
  add("Meta-Llama-3_1-8B", "meta-llama/llama-3.1-8b");
  add("small", "vendor/mini");
  add("SMALL", "vendor/small");
  add("mini", "");
  const auto shared = std::make_shared<const Pool>(pool);
  const Predictions predictions{std::vector<double>(4, 0.5), std::vector<double>(4, 100)};
  const auto admitted = [&](const char* pattern) {
    const RouteOptions options{.policy = {.allow = {{pattern}}}, .rank = true};
    std::string names;
    for (const Option& o : decide(shared, pairs, predictions, options).ranking) {
      names += pool[o.model].name + " ";
    }
    return names;
  };
  EXPECT_EQ(admitted("llama-*"), "Meta-Llama-3_1-8B ");
  EXPECT_EQ(admitted("Meta-Llama/Llama-3.1-8B"), "Meta-Llama-3_1-8B ");
  EXPECT_EQ(admitted("vendor/*"), "small SMALL ");
  EXPECT_EQ(admitted("mini"), "mini ") << "names come first";
  EXPECT_EQ(admitted("small"), "small ") << "and exact names before other cases";
  EXPECT_EQ(admitted("Small"), "small SMALL ");
}

TEST(Constraints, SuggestsAvailableModelsThatCouldHaveBeenMeant) {
  Pool pool;
  std::vector<Pair> pairs;
  const auto add = [&](const char* name, bool available) {
    pairs.push_back({static_cast<std::uint32_t>(pool.size()), Budget(100)});
    pool.push_back({.name = name, .available = available});
  };
  add("mathstral-7B", false);
  add("Mistral-7B-Instruct-v0.2", true);
  add("gemini-1.5-pro-002", true);
  const auto shared = std::make_shared<const Pool>(pool);
  const Predictions predictions{std::vector<double>(3, 0.5), std::vector<double>(3, 100)};
  const auto expect = [&](const char* name, bool available_only, const std::string& message) {
    testing::expect_error(ErrorCode::kInvalidArgument, message, [&] {
      decide(shared, pairs, predictions,
             {.policy = {.allow = {{name}}, .available_only = available_only}});
    });
  };
  expect("mistral", true, "did you mean \"Mistral-7B-Instruct-v0.2\"?");
  expect("mistral", false, "did you mean \"Mistral-7B-Instruct-v0.2\"?");
  expect("mathstrl-7b", true, "expected Mistral-7B-Instruct-v0.2, gemini-1.5-pro-002");
  expect("mathstrl-7b", false, "did you mean \"mathstral-7B\"?");
  expect("gemini-pro", true, "did you mean \"gemini-1.5-pro-002\"?");
  expect("claude", true, "not in the pool; expected Mistral-7B-Instruct-v0.2, gemini-1.5-pro-002");
  expect("claude-*", true, "no model of the pool matches; expected Mistral-7B-Instruct-v0.2, ");
  expect("mathstral-7B", true, "marked as unavailable in the pool: mathstral-7B; ");
}

TEST(Uncertainty, RiskAversionPrefersWhatIsMoreCertain) {
  const Case c = one_model();
  const std::vector<PairFacts> facts = {{0.1}, {0.1}, {0.2}, {0.5}};
  RouteOptions options{.policy = {.objective = Objective::kBest}};
  const auto chosen = [&] {
    return decide(c.pool, c.pairs, c.predictions, options, {}, facts).chosen;
  };
  EXPECT_EQ(chosen().budget, Budget::unlimited());
  EXPECT_EQ(chosen().quality_spread, 0.5);
  options.policy.risk_aversion = 1;  // 0.15, 0.4, 0.55, 0.4
  EXPECT_EQ(chosen().budget, Budget(300));
  EXPECT_EQ(chosen().quality, 0.75) << "what is reported is the prediction";
  EXPECT_DOUBLE_EQ(chosen().utility, 0.55);
  options.policy.risk_aversion = 3;  // 0, 0.2, 0.15, 0
  EXPECT_EQ(chosen().budget, Budget(200));
  testing::expect_error(ErrorCode::kUnsupported, "train it again",
                        [&] { decide(c.pool, c.pairs, c.predictions, options); });
  options.policy.risk_aversion = -1;
  testing::expect_error(ErrorCode::kInvalidArgument, "risk_aversion", chosen);
}

// Against drawing the two qualities many times.
TEST(Uncertainty, TheChanceOfBeingBetterIsHowOftenItIs) {
  const Case c = one_model();
  const std::vector<PairFacts> facts = {{0.1}, {0.1}, {0.2}, {0.15}};
  std::mt19937_64 random(44);
  for (const double lambda : {0.0, 0.5, 0.99}) {
    const RouteOptions options{.policy = {.lambda = lambda, .rules = DecisionRules::kCorrected},
                               .explain = true};
    const Decision decision = decide(c.pool, c.pairs, c.predictions, options, {}, facts);
    const Option &a = decision.chosen, &b = *decision.explanation->runner_up;
    std::normal_distribution<double> of_a(a.quality, a.quality_spread);
    std::normal_distribution<double> of_b(b.quality, b.quality_spread);
    int won = 0;
    constexpr int kDraws = 100'000;
    for (int i = 0; i < kDraws; ++i) {
      won += (1 - lambda) * of_a(random) - lambda * a.cost_usd >
             (1 - lambda) * of_b(random) - lambda * b.cost_usd;
    }
    EXPECT_NEAR(*decision.explanation->win_probability, won / double{kDraws}, 0.01) << lambda;
    EXPECT_FALSE(decision.explanation->confident());
  }
  RouteOptions cheapest{.policy = {.objective = Objective::kCheapest}, .explain = true};
  const auto explained = [&](const std::vector<PairFacts>& known) {
    return *decide(c.pool, c.pairs, c.predictions, cheapest, {}, known).explanation;
  };
  EXPECT_EQ(explained(facts).win_probability, 1) << "costs are taken as they are predicted";
  EXPECT_TRUE(explained(facts).confident());
  EXPECT_FALSE(explained({}).win_probability.has_value());
}

// A prediction that equals the budget is still a prediction.
TEST(Decide, CorrectedRulesUseTheUnlimitedLengthWhereNoneIsPredicted) {
  Case c = one_model();
  c.predictions.tokens = {100, 200, 300, 180};
  const std::vector<PairFacts> facts = {
      {.predicts_length = false}, {}, {.predicts_length = false}, {}};
  RouteOptions options{.policy = {.lambda = 0, .rules = DecisionRules::kCorrected}, .rank = true};
  const auto lengths = [&] {
    std::map<Budget, double> lengths;
    for (const Option& o : decide(c.pool, c.pairs, c.predictions, options, {}, facts).ranking) {
      lengths[o.budget] = o.output_tokens;
    }
    return lengths;
  };
  using Lengths = std::map<Budget, double>;
  EXPECT_EQ(lengths(),
            (Lengths{{Budget(100), 100}, {Budget(200), 200}, {Budget(300), 180}, {{}, 180}}));
  options.policy.rules = DecisionRules::kReference;
  EXPECT_EQ(lengths(),
            (Lengths{{Budget(100), 100}, {Budget(200), 200}, {Budget(300), 300}, {{}, 180}}));
}

void expect_refused(const RouteOptions& options, const std::string& words,
                    ErrorCode code = ErrorCode::kInvalidArgument) {
  const Case c = one_model();
  testing::expect_error(code, words, [&] { decide(c.pool, c.pairs, c.predictions, options); });
}

// The checkpoint's policy.
TEST(Defaults, HoldWhereTheCallsPolicyIsEmpty) {
  const Case c = one_model();
  const auto decided = [&](const Policy& policy, const Policy& defaults) {
    return decide(c.pool, c.pairs, c.predictions, {.policy = policy, .rank = true}, defaults);
  };
  const Policy limited{.max_output_tokens = 250, .rules = DecisionRules::kCorrected};
  for (const Option& option : decided({}, limited).ranking) EXPECT_LE(option.max_tokens, 250U);
  EXPECT_EQ(decided({.max_output_tokens = 9000}, limited).ranking.size(), c.pairs.size());
  EXPECT_EQ(decided({}, {.max_cost_usd = 0.5}).max_cost_usd, 0.5);
  EXPECT_EQ(decided({.cap = {.minimum = 20}}, {.cap = {.unlimited = 700}}).ranking.size(),
            c.pairs.size());
  for (const Option& option : decided({}, {.cap = {.margin = 1, .unlimited = 700}}).ranking) {
    EXPECT_EQ(option.max_tokens, option.budget.is_unlimited() ? 700 : 2 * option.budget.tokens());
  }
  testing::expect_error(ErrorCode::kInvalidArgument, "lambda is 2",
                        [&] { decided({}, {.lambda = 2}); });
}

TEST(Defaults, AreATradeOffUnlessTheCallSaysByWhatToChoose) {
  const Case c = one_model();
  const auto reason = [&](const Policy& policy, const Policy& defaults) {
    return decide(c.pool, c.pairs, c.predictions, {.policy = policy}, defaults).reason;
  };
  const auto lambda = [&](const Policy& policy, const Policy& defaults) {
    return decide(c.pool, c.pairs, c.predictions, {.policy = policy}, defaults).lambda;
  };
  const Policy usd{.willingness_to_pay = 1};
  EXPECT_EQ(reason({}, usd), Reason::kUsd);
  EXPECT_EQ(reason({.max_cost_usd = 1}, usd), Reason::kUsd);
  EXPECT_EQ(reason({.min_quality = 0.1}, usd), Reason::kCheapest);
  EXPECT_EQ(reason({.objective = Objective::kBest}, usd), Reason::kBest);
  EXPECT_EQ(reason({.lambda = 0.5}, usd), Reason::kUtility);
  EXPECT_EQ(lambda({}, {}), kDefaultLambda);
  EXPECT_EQ(lambda({}, {.lambda = 0.25}), 0.25);
  EXPECT_EQ(lambda({.objective = Objective::kUtility}, {.lambda = 0.25}), 0.25);
  EXPECT_EQ(lambda({.objective = Objective::kUtility, .min_quality = 0.1}, {.lambda = 0.25}), 0.25);
  EXPECT_EQ(lambda({.lambda = 0.5}, {.lambda = 0.25}), 0.5);
}

TEST(Constraints, MonotoneIsIdleWhereContinuousIsTurnedOff) {
  const Case c = one_model();
  const Policy base{.continuous = true, .monotone = true};
  const Policy off = merge(base, {.continuous = false});
  EXPECT_EQ(decide(c.pool, c.pairs, c.predictions, {.policy = off}).chosen,
            decide(c.pool, c.pairs, c.predictions, {}).chosen);
}

TEST(Constraints, ThatContradictEachOtherAreRefused) {
  expect_refused({.policy = {.lambda = 0.5, .willingness_to_pay = 1}},
                 "lambda and willingness_to_pay");
  expect_refused({.policy = {.objective = Objective::kUsd}}, "needs willingness_to_pay");
  expect_refused({.policy = {.objective = Objective::kUsd, .lambda = 0.5}}, "other than risk");
  expect_refused({.policy = {.objective = Objective::kBest, .willingness_to_pay = 1}},
                 "other than usd");
  expect_refused({.policy = {.willingness_to_pay = 0.0}}, "willingness_to_pay is 0");
  expect_refused({.policy = {.willingness_to_pay = -1.0}}, "willingness_to_pay");
  expect_refused({.policy = {.willingness_to_pay = INFINITY}}, "willingness_to_pay");
  expect_refused({.policy = {.min_quality = 1.5}}, "min_quality");
  expect_refused({.policy = {.quality_fraction = -0.1}}, "quality_fraction");
  expect_refused({.policy = {.max_output_tokens = 15}}, "cap.minimum, 16");
  expect_refused({.policy = {.max_latency_ms = NAN}}, "max_latency_ms");
  expect_refused({.policy = {.monotone = true}}, "without continuous");
}

TEST(Constraints, ThatLeaveNothingSayWhatLeftOutHowMany) {
  expect_refused({.policy = {.max_output_tokens = 50}},
                 "of 4, these constraints leave out 4 (max_output_tok");
  expect_refused({.policy = {.max_latency_ms = 100}}, "4 (max_latency)");
  expect_refused({.policy = {.max_cost_usd = 1e-4}}, "one at budget 100, may cost up to $0.0011",
                 ErrorCode::kBudget);
  // A higher limit would not help here.
  expect_refused({.policy = {.max_cost_usd = 1e-4, .max_output_tokens = 50}},
                 "4 (max_cost), 4 (max_output_");
}

}  // namespace
}  // namespace r2router
