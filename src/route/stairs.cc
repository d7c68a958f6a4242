#include "route/stairs.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <tuple>

#include "route/ties.h"

namespace r2router::internal {
namespace {

/// How far below the best, relative to the magnitudes, a bound still counts as reaching it: far
/// more than rounding and ties, so that a range of prices has the same options near a price as any
/// other.
constexpr double kMargin = 1e-9;

// In place of the lower bounds of a pair that may not be admissible: its utility is below that of
// any other at every λ.
constexpr double kNoQuality = -1, kNoCost = 1e300;

/// The worst-case costs of a model's pairs.
class WorstCase {
 public:
  WorstCase(const Terms& terms, const Rule& rule) : terms_(terms), rule_(rule) {
    for_each_tier(terms.model.prices, terms.most_input, [&](const Rates& rates, std::int64_t most) {
      lines_.push_back(worst_case(rates, most, terms.images));
    });
  }

  /// Of an answer of so many tokens, as predicted.
  double cost(Budget budget, double tokens) const {
    const double cap = std::min(full_cap(budget, tokens, terms_, rule_), terms_.cap_limit);
    double highest = 0;
    for (const CostLine& line : lines_) highest = std::max(highest, line.cost(cap));
    return highest;
  }

 private:
  const Terms& terms_;
  const Rule& rule_;
  std::vector<CostLine> lines_;  ///< one for each tier of prices that the query can reach
};

/// Adds the bounds of a model's pairs. scratch.lower and upper: −∞ for pairs that may not be
/// admissible, or certainly are not.
void add_bounds(const DecisionTable& table, const Rule& rule, Total total, const Terms& terms,
                const EstimateView& estimates, const ModelRange& range, const Scratch& scratch,
                HullBounds& bounds) {
  const double token_cost = terms.expected.output_per_million / kPerMillion;
  std::optional<WorstCase> worst_case;
  if (total == Total::kWorstCase) worst_case.emplace(terms, rule);
  for (std::size_t i = range.begin; i < range.end; ++i) {
    if (scratch.upper[i] == -kInfinity) continue;
    const double quality_error = estimates.scale * estimates.quality_error[i];
    const double tokens_error = estimates.scale * estimates.tokens_error[i];
    const double quality = estimates.quality[i], tokens = estimates.tokens[i];
    const double budget = table.budgets()[i];
    const double least = least_of(greatest_of(tokens - tokens_error, rule.token_floor), budget);
    const double most = least_of(greatest_of(tokens + tokens_error, rule.token_floor), budget);
    double least_cost = terms.expected.fixed_usd + least * token_cost;
    double most_cost = terms.expected.fixed_usd + most * token_cost;
    if (worst_case) {  // the cap of a limited budget does not depend on the length
      const Budget own = table.pairs()[i].budget;
      least_cost = worst_case->cost(own, least);
      most_cost = own.is_unlimited() ? worst_case->cost(own, most) : least_cost;
    }
    const bool certain = scratch.lower[i] != -kInfinity;
    const std::size_t place = bounds.count++;
    bounds.pair[place] = i;
    bounds.least_quality[place] = certain ? clip_quality(quality - quality_error) : kNoQuality;
    bounds.most_quality[place] = clip_quality(quality + quality_error);
    bounds.least_cost[place] = least_cost;
    bounds.most_cost[place] = certain ? most_cost : kNoCost;
  }
}

double lambda_of(double price) { return 1 / (1 + price); }

/// Marks the pairs whose upper bound reaches `best`, the highest lower bound at this price.
void mark(double price, double best, HullBounds& bounds) {
  const double lambda = lambda_of(price);
  const double threshold = best - kMargin * (1 - lambda + std::abs(best));
  for (std::size_t i = 0; i < bounds.count; ++i) {
    const double utility = (1 - lambda) * bounds.most_quality[i] - lambda * bounds.least_cost[i];
    bounds.marked[i] |= static_cast<std::uint8_t>(utility >= threshold);
  }
}

/// Marks the pairs that are best at some of these prices, as far as the bounds say.
void mark_hull(const PriceRange& prices, HullBounds& bounds) {
  const std::size_t count = bounds.count;
  if (count == 0) return;
  const auto index_of = [&](double value) {
    return static_cast<std::size_t>(std::ranges::find(bounds.values, value) -
                                    bounds.values.begin());
  };
  const auto utility = [&](std::size_t i, double price) {
    const double lambda = lambda_of(price);
    return (1 - lambda) * bounds.least_quality[i] - lambda * bounds.most_cost[i];
  };
  double price = prices.least_usd;
  for (std::size_t i = 0; i < count; ++i) bounds.values[i] = utility(i, price);
  const double highest = largest(bounds.values.data(), count);
  std::size_t corner = index_of(highest);
  if (bounds.least_quality[corner] == kNoQuality) {  // no pair is certainly admissible
    std::ranges::fill(bounds.marked, 1);
    return;
  }
  mark(price, highest, bounds);
  while (true) {
    // The next corner is the one to which quality is cheapest.
    const double quality = bounds.least_quality[corner], cost = bounds.most_cost[corner];
    for (std::size_t i = 0; i < count; ++i) {
      const double more = bounds.least_quality[i] - quality;
      bounds.values[i] = more > 0 ? (cost - bounds.most_cost[i]) / more : -kInfinity;
    }
    const double next = -largest(bounds.values.data(), count);
    if (next >= prices.most_usd) break;
    corner = index_of(-next);
    price = std::max(price, next);
    mark(price, utility(corner, price), bounds);
  }
  if (prices.most_usd > price) mark(prices.most_usd, utility(corner, prices.most_usd), bounds);
}

/// The upper hull of the options, whose utility is their quality. Of options that are equal the one
/// with the largest budget is taken, then the first in the pool.
void make_hull(Total total, std::vector<Option>& options, std::vector<Stair>& stairs) {
  std::ranges::sort(options, [&](const Option& a, const Option& b) {
    return std::tuple(cost_of(a, total), b.utility, b.budget, a.model) <
           std::tuple(cost_of(b, total), a.utility, a.budget, b.model);
  });
  stairs.clear();
  for (const Option& option : options) {
    const auto price_after = [&](const Option& before) {
      return (cost_of(option, total) - cost_of(before, total)) / (option.utility - before.utility);
    };
    if (!stairs.empty() && option.utility <= stairs.back().option.utility + kTie) continue;
    while (!stairs.empty() && price_after(stairs.back().option) <= stairs.back().price_usd) {
      stairs.pop_back();
    }
    stairs.push_back({option, stairs.empty() ? 0 : price_after(stairs.back().option)});
  }
}

}  // namespace

const Option& Stairs::at(const Allowance& allowance, std::uint64_t row) const {
  const Option* chosen = &stairs.front().option;
  for (const Stair& stair : stairs) {
    if (stair.price_usd > allowance.price_usd) break;
    if (stair.price_usd == allowance.price_usd && row >= allowance.rows) break;
    chosen = &stair.option;
  }
  return *chosen;
}

void append_steps(const Stairs& stairs, Total total, const PriceRange& prices, std::uint64_t row,
                  std::vector<TotalCurve::Step>& steps) {
  double bought = 0;
  for (const Stair& stair : stairs.stairs) {
    if (stair.price_usd > prices.most_usd) return;
    const double cost = cost_of(stair.option, total);
    const double price = stair.price_usd <= prices.least_usd ? 0 : stair.price_usd;
    if (price == 0 && &stair != &stairs.stairs.front()) {
      steps.back().cost_usd = cost;
    } else {
      steps.push_back({price, cost - bought, row});
    }
    bought = cost;
  }
}

void limit_total(Total total, Rule& rule) {
  // Under a limit of the cost, such models are left out, and nothing else is under this one.
  if (total == Total::kWorstCase) {
    rule.max_cost_usd = std::min(rule.max_cost_usd, std::numeric_limits<double>::max());
  }
}

void find_stairs(const DecisionTable& table, const Rule& rule, Total total,
                 const PriceRange& prices, const EstimateView& estimates, const ExactSource& source,
                 Scratch& scratch, Stairs& out) {
  check_spreads(table, rule);
  const EstimateView view = weighed(table, rule, estimates, source, scratch);
  admit_models(table, rule, scratch);
  out.stairs.clear();
  out.reason = Reason::kUsd;
  Goal goal{.lambda = 0, .reason = Reason::kUsd};  // the utility is the quality
  if (rule.goal.quality_floor > 0 || rule.quality_fraction > 0) {
    const auto best = find_best(table, rule, goal, view, source, scratch);
    if (!best) return;
    goal.quality_floor = std::max(rule.goal.quality_floor, rule.quality_fraction * best->utility);
    if (best->utility < goal.quality_floor) {
      out.reason = Reason::kQualityMissed;
      out.stairs.push_back({*best});
      return;
    }
  }
  std::vector<Option>& options = scratch.options;
  options.clear();
  const auto add = [&](const Option& option) { options.push_back(option); };
  if (rule.continuous) {
    for (const auto& [range, terms] : scratch.models) {
      for_each_option(table, range, terms, rule, goal, source, scratch.points, add);
    }
    make_hull(total, options, out.stairs);
    return;
  }
  HullBounds& bounds = scratch.hull;
  bounds.reset(table.pairs().size());
  scratch.lower.assign(table.pairs().size(), 0);
  scratch.upper.assign(table.pairs().size(), 0);
  for (const auto& [range, terms] : scratch.models) {
    if (is_constrained(terms, rule, goal)) {
      bound_by_constraints(table, rule, goal, terms, view, range, scratch);
    }
    add_bounds(table, rule, total, terms, view, range, scratch, bounds);
  }
  mark_hull(prices, bounds);
  std::size_t i = 0;
  for (const auto& [range, terms] : scratch.models) {
    for (; i < bounds.count && bounds.pair[i] < range.end; ++i) {
      if (bounds.marked[i] == 0) continue;
      const std::size_t pair = bounds.pair[i];
      const Point point = exact_point(table, rule, source, pair);
      if (missed(terms, rule, goal, table.budgets()[pair], point) != 0) continue;
      add(make_option(table.pairs()[pair], point, terms, rule, goal));
    }
  }
  make_hull(total, options, out.stairs);
}

}  // namespace r2router::internal
