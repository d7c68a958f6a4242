// Everything that may be chosen, exactly: each model's pairs as they are predicted and priced, the
// constraints that they meet, and the budgets between them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "base/decimal.h"
#include "route/decide.h"

namespace r2router::internal {

inline constexpr double kPerMillion = 1e6;
/// Larger than any limited budget; a cap of this size is no limit.
inline constexpr double kLargestCap = std::numeric_limits<std::uint32_t>::max();
inline constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// One model's prices and limits for one query under one rule.
struct Terms {
  double input_usd;        ///< the query itself
  double worst_input_usd;  ///< the longest that it can turn out to be
  double output_per_million;
  double delay_ms, ms_per_token;  ///< an infinite delay if one of them is unknown
  double context_left;            ///< tokens; kLargestCap if unknown
  double affordable;              ///< the largest cap within max_cost_usd; −1: none
  double cap_limit;               ///< the largest cap within all limits

  Terms(const ModelSpec& model, const Rule& rule)
      : input_usd(input_cost(model, rule.input.expected + model.instruction_tokens)),
        worst_input_usd(input_cost(model, most_input(model, rule))),
        output_per_million(model.output_price_per_million),
        delay_ms(kInfinity),
        ms_per_token(0),
        context_left(model.context_tokens
                         ? *model.context_tokens - static_cast<double>(most_input(model, rule))
                         : kLargestCap),
        affordable(affordable_tokens(rule.max_cost_usd)),
        cap_limit(std::min({rule.max_output_tokens, context_left, affordable})) {
    if (model.time_to_first_token_ms && model.output_tokens_per_second) {
      delay_ms = *model.time_to_first_token_ms;
      ms_per_token = 1000 / *model.output_tokens_per_second;
    }
  }

  double cost(double output_tokens) const {
    return input_usd + output_tokens * output_per_million / kPerMillion;
  }
  double worst_case_cost(double cap) const {
    return worst_input_usd + cap * output_per_million / kPerMillion;
  }
  double latency_ms(double output_tokens) const { return delay_ms + output_tokens * ms_per_token; }

 private:
  static double input_cost(const ModelSpec& model, std::int64_t tokens) {
    return static_cast<double>(tokens) * model.input_price_per_million / kPerMillion;
  }

  /// No tokenizer makes more tokens than bytes; what a pool says beyond that stands.
  static std::int64_t most_input(const ModelSpec& model, const Rule& rule) {
    const auto bytes = static_cast<std::int64_t>(model.instruction.size());
    return rule.input.most + std::max<std::int64_t>(model.instruction_tokens, bytes);
  }

  /// The largest whole number of tokens, to kLargestCap, whose worst-case cost is within `limit`.
  double affordable_tokens(double limit) const {
    const auto fits = [&](double tokens) { return worst_case_cost(tokens) <= limit; };
    if (fits(kLargestCap)) return kLargestCap;
    if (!fits(0)) return -1;
    const double quotient =
        std::floor((limit - worst_input_usd) / output_per_million * kPerMillion);
    double most = std::clamp(quotient, 0.0, kLargestCap - 1);
    // What must hold is the product: where the quotient was rounded away from it, search.
    if (fits(most) && !fits(most + 1)) return most;
    most = 0;
    for (double step = 0x1p31; step >= 1; step /= 2) {
      if (most + step < kLargestCap && fits(most + step)) most += step;
    }
    return most;
  }
};

// std::min and std::max choose between references, which keeps compilers from vectorising them.
inline double least_of(double a, double b) { return b < a ? b : a; }
inline double greatest_of(double a, double b) { return a < b ? b : a; }

inline double clip_quality(double quality) { return least_of(greatest_of(quality, 0.0), 1.0); }

/// The pair whose predicted length is this one's.
inline std::size_t length_pair(const DecisionTable& table, const Rule& rule, std::size_t pair) {
  return rule.rules == DecisionRules::kCorrected ? table.length_pairs()[pair] : pair;
}

/// A pair's exact prediction within its bounds.
inline Point exact_point(const DecisionTable& table, const Rule& rule, const ExactSource& source,
                         std::size_t pair) {
  double quality = 0, tokens = 0;
  source.exact(pair, quality, tokens);
  if (const std::size_t other = length_pair(table, rule, pair); other != pair) {
    double unused = 0;
    source.exact(other, unused, tokens);
  }
  const double spread = table.spreads()[pair];
  return {.quality = clip_quality(quality - rule.risk_aversion * spread),
          .tokens = std::min(std::max(tokens, rule.token_floor), table.caps()[pair]),
          .expected_quality = clip_quality(quality),
          .spread = spread};
}

/// The smallest cap that a pair may be given: a model that is told its budget must be able to use
/// it, and one without (`budget` is infinite) must be able to give the answer that is predicted.
inline double least_cap(double budget, double tokens, const Rule& rule) {
  if (std::isfinite(budget)) return std::max(rule.least_cap, budget);
  return std::min(rule.unlimited_cap, std::max(rule.least_cap, std::ceil(tokens)));
}

/// The cap that a pair is given when nothing limits it.
inline double full_cap(Budget budget, const Rule& rule) {
  if (budget.is_unlimited()) return rule.unlimited_cap;
  const double cap = std::ceil(budget.tokens() * (1 + rule.cap_margin));
  return std::clamp(cap, rule.least_cap, kLargestCap);
}

constexpr unsigned bit(Constraint constraint) { return 1U << static_cast<unsigned>(constraint); }

/// The constraints that a budget with this prediction does not meet, as bits.
inline unsigned missed(const Terms& terms, const Rule& rule, const Goal& goal, double budget,
                       const Point& point) {
  const double cap = least_cap(budget, point.tokens, rule);
  return bit(Constraint::kMaxCost) * (cap > terms.affordable) |
         bit(Constraint::kMaxOutputTokens) * (cap > rule.max_output_tokens) |
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
  option.cost_usd = terms.cost(option.output_tokens);
  option.risk = (1 - goal.lambda) * point.quality - goal.lambda * option.cost_usd;
  // The published package compares risks that it has already rounded for display.
  if (goal.rounded) option.risk = round_decimal(option.risk, 8);
  option.max_tokens =
      static_cast<std::uint32_t>(std::min(full_cap(pair.budget, rule), terms.cap_limit));
  option.worst_case_cost_usd = terms.worst_case_cost(option.max_tokens);
  return option;
}

/// What is shown of an option; comparisons come before it.
inline Option reported(Option option, const Goal& goal) {
  if (goal.rounded) {
    option.quality = round_decimal(option.quality, 4);
    option.output_tokens = round_decimal(option.output_tokens, 1);
    option.cost_usd = round_decimal(option.cost_usd, 8);
  }
  return option;
}

/// Strictly better; equal options keep the order of the pairs.
inline bool better(const Option& a, const Option& b, const Goal& goal) {
  if (a.risk != b.risk) return a.risk > b.risk;
  if (goal.rounded) return false;
  if (a.cost_usd != b.cost_usd) return a.cost_usd < b.cost_usd;
  return a.quality > b.quality;
}

template <typename Visit>
void for_each_model(const DecisionTable& table, const Rule& rule, Visit visit) {
  for (const ModelRange& range : table.models()) {
    if (!rule.excluded.empty() && rule.excluded[range.model]) continue;
    visit(range, Terms((*table.pool())[range.model], rule));
  }
}

/// Narrows the whole numbers from `low` to `high` to those that hold. What holds is an interval
/// that reaches one end or both; false if it is empty.
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

/// The budgets between two trained ones. Quality, length, cost and so risk are linear there, and
/// each constraint holds on one side of a budget: the best is an end of what is admitted, either
/// one of the two or where a constraint begins to hold. Calls visit(budget, point) for the latter.
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
    if (missed(terms, rule, goal, table.caps()[i], point) == 0) {
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

inline void keep_better(std::optional<Option>& best, const Option& option, const Goal& goal) {
  if (!best || better(option, *best, goal)) best = option;
}

/// Exact predictions that are there already.
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

/// Says which constraints leave nothing to choose from. Throws as choose() does.
[[noreturn]] void throw_nothing_left(const DecisionTable& table, const Rule& rule, const Goal& goal,
                                     const ExactSource& source);

}  // namespace r2router::internal
