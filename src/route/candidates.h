// The exact candidates of a choice: each model's pairs with predictions and prices, the constraints
// that they satisfy, and the budgets between them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "base/decimal.h"
#include "pool/prices.h"
#include "route/decide.h"
#include "route/ties.h"

namespace r2router::internal {

/// Larger than any limited budget; a cap of this size does not limit anything.
inline constexpr double kLargestCap = std::numeric_limits<std::uint32_t>::max();
inline constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// One model's prices and limits for one query under one rule.
struct Terms {
  const ModelSpec& model;
  std::int64_t most_input;  ///< the most tokens that the model can be sent
  std::uint32_t images;
  CostLine expected;
  double delay_ms, ms_per_token;  ///< an infinite delay if one of them is unknown
  double context_left;            ///< tokens; kLargestCap if unknown
  double own_limit;               ///< the model's max_output_tokens; kLargestCap if unknown
  double length_factor;           ///< as ModelRange's
  double affordable;              ///< the largest cap within max_cost_usd; −1: none
  double cap_limit;               ///< the largest cap within all limits

  Terms(const ModelSpec& spec, double factor, const Rule& rule)
      : model(spec),
        most_input(most_input_tokens(spec, rule.input.most)),
        images(rule.images),
        expected(
            expected_cost(spec.prices, rule.input.expected + spec.instruction_tokens, rule.images)),
        delay_ms(kInfinity),
        ms_per_token(0),
        context_left(spec.context_tokens
                         ? *spec.context_tokens -
                               static_cast<double>(most_input_tokens(
                                   spec, rule.input.context.value_or(rule.input.most)))
                         : kLargestCap),
        own_limit(spec.max_output_tokens ? *spec.max_output_tokens : kLargestCap),
        length_factor(factor),
        affordable(affordable_cap(spec.prices, most_input, images, rule.max_cost_usd, kLargestCap)),
        cap_limit(std::min({rule.max_output_tokens, own_limit, context_left, affordable})) {
    if (spec.time_to_first_token_ms && spec.output_tokens_per_second) {
      delay_ms = *spec.time_to_first_token_ms;
      ms_per_token = 1000 / *spec.output_tokens_per_second;
    }
  }

  double worst_case_cost(double cap) const {
    return internal::worst_case_cost(model.prices, most_input, images, cap);
  }
  double latency_ms(double output_tokens) const { return delay_ms + output_tokens * ms_per_token; }
};

// std::min and std::max choose between references, which keeps compilers from vectorising them.
inline double least_of(double a, double b) { return b < a ? b : a; }
inline double greatest_of(double a, double b) { return a < b ? b : a; }

inline double clip_quality(double quality) { return least_of(greatest_of(quality, 0.0), 1.0); }

/// The pair that predicts the length of this one.
inline std::size_t length_pair(const DecisionTable& table, const Rule& rule, std::size_t pair) {
  return rule.decision_rules == DecisionRules::kCorrected ? table.length_pairs()[pair] : pair;
}

/// A pair's exact prediction within its bounds. `source`: an ExactSource.
template <typename Source>
Point exact_point(const DecisionTable& table, const Rule& rule, const Source& source,
                  std::size_t pair) {
  double quality = 0, tokens = 0;
  source.exact(pair, quality, tokens);
  if (const std::size_t other = length_pair(table, rule, pair); other != pair) {
    double unused = 0;
    source.exact(other, unused, tokens);
  }
  const double spread = table.spread(pair, clip_quality(quality));
  return {.quality = clip_quality(quality - rule.risk_aversion * spread),
          .tokens = std::min(std::max(tokens, rule.token_floor), table.budgets()[pair]),
          .expected_quality = clip_quality(quality),
          .spread = spread};
}

/// The cap of an unlimited pair without the limits of a call: what few answers of the predicted
/// length exceed, and never more than the model can write. Does not fall as `tokens` rise.
inline double unlimited_cap(double tokens, const Terms& terms, const Rule& rule) {
  if (rule.unlimited_cap < kInfinity) return std::min(rule.unlimited_cap, terms.own_limit);
  const double percentile = std::ceil(tokens * terms.length_factor / CapRule::kMultiple) *
                            static_cast<double>(CapRule::kMultiple);
  const double most = terms.own_limit < kLargestCap ? terms.own_limit : CapRule::kMost;
  const double cap = std::min(std::max<double>(percentile, CapRule::kFloor), most);
  return std::min(std::max(cap, rule.least_cap), terms.own_limit);
}

/// The smallest cap of a pair. It leaves room for the budget, or for the predicted answer if
/// `budget` is infinite.
inline double least_cap(double budget, double tokens, const Terms& terms, const Rule& rule) {
  if (std::isfinite(budget)) return std::max(rule.least_cap, budget);
  return std::min(unlimited_cap(tokens, terms, rule), std::max(rule.least_cap, std::ceil(tokens)));
}

/// The cap of a pair without the limits of a call.
inline double full_cap(Budget budget, double tokens, const Terms& terms, const Rule& rule) {
  if (budget.is_unlimited()) return unlimited_cap(tokens, terms, rule);
  const double cap = std::ceil(budget.tokens() * (1 + rule.cap_margin));
  return std::clamp(cap, rule.least_cap, kLargestCap);
}

/// Whether the model is known to lack something that the query requires.
inline bool lacks(const ModelSpec& model, const Rule& rule) {
  return model.capabilities && !model.capabilities->includes(rule.requirements);
}

constexpr unsigned bit(Constraint constraint) { return 1U << static_cast<unsigned>(constraint); }

/// The violated constraints of a budget with this prediction, as bits.
inline unsigned missed(const Terms& terms, const Rule& rule, const Goal& goal, double budget,
                       const Point& point) {
  const double cap = least_cap(budget, point.tokens, terms, rule);
  return bit(Constraint::kMaxCost) * (cap > terms.affordable) |
         bit(Constraint::kMaxOutputTokens) *
             (cap > std::min(rule.max_output_tokens, terms.own_limit)) |
         bit(Constraint::kContext) * (cap > terms.context_left) |
         bit(Constraint::kMaxLatency) * (terms.latency_ms(point.tokens) > rule.max_latency_ms) |
         bit(Constraint::kQuality) * (point.quality < goal.quality_floor);
}

inline Option make_option(const Pair& pair, const Point& point, const Terms& terms,
                          const Rule& rule, const Goal& goal) {
  Option option{.model = pair.model, .budget = pair.budget};
  option.quality = point.expected_quality;
  option.quality_spread = point.spread;
  option.output_tokens = point.tokens;
  option.cost_usd = terms.expected.cost(option.output_tokens);
  option.utility = (1 - goal.lambda) * point.quality - goal.lambda * option.cost_usd;
  // The published package rounds utilities for display before it compares them.
  if (goal.rounded) option.utility = round_decimal(option.utility, 8);
  option.max_tokens = static_cast<std::uint32_t>(
      std::min(full_cap(pair.budget, point.tokens, terms, rule), terms.cap_limit));
  option.worst_case_cost_usd = terms.worst_case_cost(option.max_tokens);
  return option;
}

/// Figures for display. Comparisons use the unrounded ones.
inline Option reported(Option option, const Goal& goal) {
  if (goal.rounded) {
    option.quality = round_decimal(option.quality, 4);
    option.output_tokens = round_decimal(option.output_tokens, 1);
    option.cost_usd = round_decimal(option.cost_usd, 8);
  }
  return option;
}

/// The index of the chosen option. If utilities are rounded, the first of equals.
inline std::size_t best_of(std::span<const Option> options, const Goal& goal) {
  if (goal.rounded) {
    return static_cast<std::size_t>(std::ranges::max_element(options, {}, &Option::utility) -
                                    options.begin());
  }
  return best_of(options.size(), goal.lambda, [&](std::size_t i) {
    const Option& o = options[i];
    return Contestant{o.utility, o.cost_usd, o.quality, {o.model, o.budget}, o.max_tokens};
  });
}

template <typename Visit>
void for_each_model(const DecisionTable& table, const Rule& rule, Visit visit) {
  for (const ModelRange& range : table.models()) {
    if (!rule.excluded.empty() && rule.excluded[range.model]) continue;
    const ModelSpec& model = (*table.pool())[range.model];
    if (!lacks(model, rule)) visit(range, Terms(model, range.length_factor, rule));
  }
}

/// A model that can be chosen.
struct AdmittedModel {
  const ModelRange& range;
  Terms terms;
  double highest = 0;  ///< the highest upper bound of its pairs
};

/// A pair that may be the best.
struct Contender {
  const AdmittedModel* model = nullptr;
  std::size_t pair = 0;
  std::optional<Option> option = {};  ///< once it is known and admissible
};

/// The highest quality and the least cost of the pairs that may be chosen; the first `count`
/// elements.
struct HullBounds {
  std::size_t count = 0;
  std::vector<std::size_t> pair;
  std::vector<const Terms*> terms;
  std::vector<double> quality, cost;
  std::vector<std::uint8_t> exact;   ///< not bounds any more
  std::vector<std::uint8_t> marked;  ///< as good as the best pair at some price
  std::vector<double> values;        ///< utilities at a price

  void reset(std::size_t pairs) {
    count = 0;
    pair.resize(pairs);
    terms.resize(pairs);
    for (auto* numbers : {&quality, &cost, &values}) numbers->resize(pairs);
    exact.assign(pairs, 0);
    marked.assign(pairs, 0);
  }
};

/// Kept between calls for its memory.
struct Scratch {
  std::vector<AdmittedModel> models;  ///< of this query
  std::vector<double> upper;          ///< bounds on every pair's utility
  std::vector<Point> points;          ///< of one model's pairs
  /// Effective estimates.
  std::vector<double> quality, quality_error, tokens, tokens_error;
  std::vector<Contender> contenders;
  std::vector<std::size_t> heap;  ///< of contenders, by their upper bounds
  std::vector<Option> options;    ///< exact ones
  /// Of pairs with a limited budget, whose worst case depends on the size of the query alone.
  /// Empty: not known since admit_models().
  std::vector<double> worst_case;
  HullBounds hull;
};

/// Throws Error(kUnsupported) if the rule needs spreads that the table does not have.
void check_spreads(const DecisionTable& table, const Rule& rule);

/// Fills scratch.models, which depend on the rule and its query.
void admit_models(const DecisionTable& table, const Rule& rule, Scratch& scratch);

/// The effective estimates: qualities reduced by risk aversion, and lengths of the pair that
/// predicts them.
EstimateView weighed(const DecisionTable& table, const Rule& rule, EstimateView estimates,
                     const ExactSource& source, Scratch& scratch);

/// Whether a pair of the model may violate a constraint.
bool is_constrained(const Terms& terms, const Rule& rule, const Goal& goal);

/// Removes pairs that certainly violate a constraint from the bounds. The whole token and the part
/// of quality that are added to the errors cover the rounding of their bounds.
void bound_by_constraints(const DecisionTable& table, const Rule& rule, const Goal& goal,
                          const Terms& terms, const EstimateView& estimates,
                          const ModelRange& range, Scratch& scratch);

/// The best option of scratch.models by `goal`, found among those whose bounds reach it; empty if
/// none is admissible. `estimates`: weighed().
std::optional<Option> find_best(const DecisionTable& table, const Rule& rule, const Goal& goal,
                                const EstimateView& estimates, const ExactSource& source,
                                Scratch& scratch);

/// Narrows `low` to `high` to the whole numbers that satisfy the predicate. They form an interval
/// that includes one end or both; false if it is empty.
template <typename Holds>
bool narrow(std::uint32_t& low, std::uint32_t& high, Holds holds) {
  const bool at_low = holds(low), at_high = holds(high);
  if (at_low == at_high) return at_low;
  std::uint32_t before = low, after = high;
  while (after - before > 1) {
    const std::uint32_t middle = before + (after - before) / 2;
    (holds(middle) == at_low ? before : after) = middle;
  }
  (at_low ? high : low) = at_low ? before : after;
  return true;
}

/// The budgets between two trained ones. Quality, length, cost and thus utility are linear there,
/// and each constraint holds on one side of a budget. So the optimum is an end of the admissible
/// interval: one of the two budgets, or the point where a constraint starts to hold. Calls
/// visit(budget, point) for the latter.
template <typename Visit>
void for_each_edge(std::uint32_t below, std::uint32_t above, const Point& at_below,
                   const Point& at_above, const Terms& terms, const Rule& rule, const Goal& goal,
                   Visit visit) {
  const bool below_admitted = missed(terms, rule, goal, below, at_below) == 0;
  const bool above_admitted = missed(terms, rule, goal, above, at_above) == 0;
  if (above - below < 2 || (below_admitted && above_admitted)) return;
  const auto between = [&](std::uint32_t budget) {
    const double share = static_cast<double>(budget - below) / (above - below);
    const auto mix = [&](double Point::*member) {
      return at_below.*member + (at_above.*member - at_below.*member) * share;
    };
    return Point{mix(&Point::quality), mix(&Point::tokens), mix(&Point::expected_quality),
                 mix(&Point::spread)};
  };
  std::uint32_t low = below + 1, high = above - 1;
  for (unsigned constraint = 0; constraint < kConstraints; ++constraint) {
    const auto holds = [&](std::uint32_t budget) {
      return (missed(terms, rule, goal, budget, between(budget)) >> constraint & 1U) == 0;
    };
    if (!narrow(low, high, holds)) return;
  }
  if (!below_admitted) visit(Budget(low), between(low));
  if (!above_admitted && (high != low || below_admitted)) visit(Budget(high), between(high));
}

/// The exact predictions of a model's pairs, in their order.
inline void fill_points(const DecisionTable& table, const ModelRange& range, const Rule& rule,
                        const ExactSource& source, std::vector<Point>& points) {
  points.resize(range.end - range.begin);
  for (std::size_t i = range.begin; i < range.end; ++i) {
    points[i - range.begin] = exact_point(table, rule, source, i);
  }
  if (!rule.monotone) return;
  double quality = 0, expected = 0;
  for (const std::size_t i : table.ladder(range)) {
    Point& point = points[i - range.begin];
    point.quality = quality = std::max(quality, point.quality);
    point.expected_quality = expected = std::max(expected, point.expected_quality);
  }
}

/// Calls visit(option) for every pair of a model that is admitted and, between its budgets, for
/// every edge. `points` is only memory.
template <typename Visit>
void for_each_option(const DecisionTable& table, const ModelRange& range, const Terms& terms,
                     const Rule& rule, const Goal& goal, const ExactSource& source,
                     std::vector<Point>& points, Visit visit) {
  fill_points(table, range, rule, source, points);
  for (std::size_t i = range.begin; i < range.end; ++i) {
    const Point& point = points[i - range.begin];
    if (missed(terms, rule, goal, table.budgets()[i], point) == 0) {
      visit(make_option(table.pairs()[i], point, terms, rule, goal));
    }
  }
  if (!rule.continuous) return;
  const auto ladder = table.ladder(range);
  for (std::size_t step = 1; step < ladder.size(); ++step) {
    const std::size_t below = ladder[step - 1], above = ladder[step];
    for_each_edge(table.pairs()[below].budget.tokens(), table.pairs()[above].budget.tokens(),
                  points[below - range.begin], points[above - range.begin], terms, rule, goal,
                  [&](Budget budget, const Point& point) {
                    visit(make_option({range.model, budget}, point, terms, rule, goal));
                  });
  }
}

/// The same for all models.
template <typename Visit>
void for_each_option(const DecisionTable& table, const Rule& rule, const Goal& goal,
                     const ExactSource& source, Visit visit) {
  std::vector<Point> points;
  for_each_model(table, rule, [&](const ModelRange& range, const Terms& terms) {
    for_each_option(table, range, terms, rule, goal, source, points, visit);
  });
}

/// Exact predictions that were computed before.
class KnownPredictions final : public ExactSource {
 public:
  explicit KnownPredictions(const Predictions& predictions) : predictions_(predictions) {}
  void exact(std::size_t pair, double& quality, double& tokens) const override {
    quality = predictions_.quality[pair];
    tokens = predictions_.tokens[pair];
  }

 private:
  const Predictions& predictions_;
};

/// Throws an error that names the constraints that leave no pair, as choose() does.
[[noreturn]] void throw_nothing_left(const DecisionTable& table, const Rule& rule, const Goal& goal,
                                     const ExactSource& source);

}  // namespace r2router::internal
