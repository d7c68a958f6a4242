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

// In place of the bounds of a pair that is not admissible: it is worse than any other at every
// price.
constexpr double kNoQuality = -1, kNoCost = 1e300;

/// The worst-case cost of an answer of so many tokens, as predicted.
double worst_case_cost(Budget budget, double tokens, const Terms& terms, const Rule& rule) {
  return terms.worst_case_cost(std::min(full_cap(budget, tokens, terms, rule), terms.cap_limit));
}

/// Fills scratch.worst_case.
void find_worst_cases(const DecisionTable& table, const Rule& rule, Scratch& scratch) {
  if (!scratch.worst_case.empty()) return;
  scratch.worst_case.resize(table.pairs().size());
  for (const AdmittedModel& model : scratch.models) {
    for (const std::size_t i : table.ladder(model.range)) {
      scratch.worst_case[i] = worst_case_cost(table.pairs()[i].budget, 0, model.terms, rule);
    }
  }
}

/// Adds the bounds of a model's pairs. scratch.upper: −∞ for pairs that are certainly not
/// admissible.
void add_bounds(const DecisionTable& table, const Rule& rule, Total total,
                const AdmittedModel& model, const EstimateView& estimates, const Scratch& scratch,
                HullBounds& bounds) {
  const Terms& terms = model.terms;
  const double token_cost = terms.expected.output_per_million / kPerMillion;
  // Compilers reload what a vector may hold after every store.
  const double* const upper = scratch.upper.data();
  const double* const budgets = table.budgets().data();
  double* const qualities = bounds.quality.data();
  double* const costs = bounds.cost.data();
  std::size_t place = bounds.count;
  for (std::size_t i = model.range.begin; i < model.range.end; ++i) {
    if (upper[i] == -kInfinity) continue;
    const double quality = estimates.quality[i] + estimates.scale * estimates.quality_error[i];
    const double tokens = estimates.tokens[i] - estimates.scale * estimates.tokens_error[i];
    const double least = least_of(greatest_of(tokens, rule.token_floor), budgets[i]);
    bounds.pair[place] = i;
    bounds.terms[place] = &terms;
    qualities[place] = clip_quality(quality);
    if (total == Total::kPredicted) {
      costs[place] = terms.expected.fixed_usd + least * token_cost;
    } else if (budgets[i] < kInfinity) {
      costs[place] = scratch.worst_case[i];
    } else {
      costs[place] = worst_case_cost(table.pairs()[i].budget, least, terms, rule);
    }
    ++place;
  }
  bounds.count = place;
}

double lambda_of(double price) { return 1 / (1 + price); }

/// A pair's utility at a price by its bounds, which no exact one exceeds.
double utility_of(const HullBounds& bounds, std::size_t i, double price) {
  const double lambda = lambda_of(price);
  return (1 - lambda) * bounds.quality[i] - lambda * bounds.cost[i];
}

/// How far below the best utility at a price another one may be and still count as equal.
double margin_at(double price, double best) {
  return kMargin * (1 - lambda_of(price) + std::abs(best));
}

/// Marks the pairs that may be as good as this corner at this price, and not just as a more
/// expensive pair of the same quality.
void mark_ties(double price, std::size_t corner, HullBounds& bounds) {
  const double best = utility_of(bounds, corner, price), lambda = lambda_of(price);
  const double threshold = best - margin_at(price, best);
  const double quality = bounds.quality[corner], cost = bounds.cost[corner] * (1 + kMargin);
  const double* const __restrict qualities = bounds.quality.data();
  const double* const __restrict costs = bounds.cost.data();
  std::uint8_t* const __restrict marked = bounds.marked.data();
  for (std::size_t i = 0; i < bounds.count; ++i) {
    const double utility = (1 - lambda) * qualities[i] - lambda * costs[i];
    const bool dominated = (costs[i] > cost) & (qualities[i] <= quality);
    marked[i] |= static_cast<std::uint8_t>((utility >= threshold) & !dominated);
  }
}

/// Finds the pairs that are best at some price of a range. `settle(pair)` replaces the bounds of a
/// pair by its exact prediction.
template <typename Settle>
class HullSearch {
 public:
  HullSearch(HullBounds& bounds, Settle settle) : bounds_(bounds), settle_(settle) {}

  /// Settles and marks them. Others may be settled too.
  void search(const PriceRange& prices) {
    const auto first = best_at(prices.least_usd);
    if (!first) return;
    mark_ties(prices.least_usd, *first, bounds_);
    if (prices.most_usd == prices.least_usd) return;
    const std::size_t last = *best_at(prices.most_usd);
    mark_ties(prices.most_usd, last, bounds_);
    search_between(*first, last, prices);
  }

 private:
  /// The best pair at a price, settled; empty if no pair is admissible.
  std::optional<std::size_t> best_at(double price) {
    if (bounds_.count == 0) return {};
    const double lambda = lambda_of(price);
    const double* const __restrict qualities = bounds_.quality.data();
    const double* const __restrict costs = bounds_.cost.data();
    double* const __restrict values = bounds_.values.data();
    for (std::size_t i = 0; i < bounds_.count; ++i) {
      values[i] = (1 - lambda) * qualities[i] - lambda * costs[i];
    }
    while (true) {
      const std::size_t i = most_promising(price);
      if (bounds_.quality[i] == kNoQuality) return {};
      if (bounds_.exact[i] != 0) return i;
      settle_(i);
      bounds_.values[i] = utility_of(bounds_, i, price);
    }
  }

  /// The pair of the highest value. At an infinite price, where cost does not count, many bounds
  /// are the highest quality that there is: it is an exact one of them, or else the cheapest.
  std::size_t most_promising(double price) const {
    const double value = largest(bounds_.values.data(), bounds_.count);
    auto found =
        static_cast<std::size_t>(std::ranges::find(bounds_.values, value) - bounds_.values.begin());
    for (std::size_t i = found; std::isinf(price) && i < bounds_.count; ++i) {
      if (bounds_.values[i] != value) continue;
      if (bounds_.exact[i] != 0) return i;
      if (bounds_.cost[i] < bounds_.cost[found]) found = i;
    }
    return found;
  }

  /// The pairs that are better than both at some price between those at which they are best. That
  /// is so at the price at which both are as good, or nowhere.
  void search_between(std::size_t cheaper, std::size_t better, const PriceRange& prices) {
    const double more = bounds_.quality[better] - bounds_.quality[cheaper];
    if (!(more > 0)) return;
    const double price = std::clamp((bounds_.cost[better] - bounds_.cost[cheaper]) / more,
                                    prices.least_usd, prices.most_usd);
    const std::size_t best = *best_at(price);
    const double found = utility_of(bounds_, best, price);
    const double known = std::max(utility_of(bounds_, cheaper, price),  //
                                  utility_of(bounds_, better, price));
    if (found - known <= margin_at(price, known)) {
      mark_ties(price, best, bounds_);
      return;
    }
    search_between(cheaper, best, {prices.least_usd, price});
    search_between(best, better, {price, prices.most_usd});
  }

  HullBounds& bounds_;
  Settle settle_;
};

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
    for (const AdmittedModel& model : scratch.models) {
      for_each_option(table, model.range, model.terms, rule, goal, source, scratch.points, add);
    }
    make_hull(total, options, out.stairs);
    return;
  }
  HullBounds& bounds = scratch.hull;
  bounds.reset(table.pairs().size());
  scratch.upper.assign(table.pairs().size(), 0);
  if (total == Total::kWorstCase) find_worst_cases(table, rule, scratch);
  for (const AdmittedModel& model : scratch.models) {
    if (is_constrained(model.terms, rule, goal)) {
      bound_by_constraints(table, rule, goal, model.terms, view, model.range, scratch);
    }
    add_bounds(table, rule, total, model, view, scratch, bounds);
  }
  const auto settle = [&](std::size_t i) {
    bounds.exact[i] = 1;
    const std::size_t pair = bounds.pair[i];
    const Terms& terms = *bounds.terms[i];
    const Point point = exact_point(table, rule, source, pair);
    if (missed(terms, rule, goal, table.budgets()[pair], point) != 0) {
      bounds.quality[i] = kNoQuality;
      bounds.cost[i] = kNoCost;
    } else {
      add(make_option(table.pairs()[pair], point, terms, rule, goal));
      bounds.quality[i] = options.back().utility;
      bounds.cost[i] = cost_of(options.back(), total);
    }
  };
  HullSearch(bounds, settle).search(prices);
  for (std::size_t i = 0; i < bounds.count; ++i) {
    if (bounds.marked[i] != 0 && bounds.exact[i] == 0) settle(i);
  }
  make_hull(total, options, out.stairs);
}

}  // namespace r2router::internal
