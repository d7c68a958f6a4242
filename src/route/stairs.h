// The choices of one query as quality is worth more and more: the corners of the upper hull of
// quality over cost. total.h explains what they are for.
//
// Estimates rule most pairs out. At a price, the pair of the highest upper bound is the most
// promising. Its exact prediction replaces the bound, until the highest one is exact. This is done
// at both ends of the range first. A pair that is best at some price between two others exceeds
// both at the price at which they are equal, so the best pair of that price is found next, and the
// two parts of the range are searched likewise.
#pragma once

#include <vector>

#include "r2router/total.h"

#include "route/candidates.h"
#include "route/decide.h"

namespace r2router::internal {

struct Stair {
  Option option;
  double price_usd = 0;  ///< of quality, from which on it is chosen; 0 for the first
};

/// The stairs of a query, the cheapest first; none if no pair is admissible.
struct Stairs {
  std::vector<Stair> stairs = {};
  Reason reason = Reason::kUsd;  ///< kQualityMissed: there is only the option of highest quality

  /// The choice of the row with this number, if there are stairs.
  const Option& at(const Allowance& allowance, std::uint64_t row) const;
};

/// The cost that a total limits.
inline double cost_of(const Option& option, Total total) {
  return total == Total::kPredicted ? option.cost_usd : option.worst_case_cost_usd;
}

/// The steps of a row in a range of prices. Those below it are part of the first one.
void append_steps(const Stairs& stairs, Total total, const PriceRange& prices, std::uint64_t row,
                  std::vector<TotalCurve::Step>& steps);

/// Prepares a rule for a total: under kWorstCase, models whose price is unknown are left out.
void limit_total(Total total, Rule& rule);

/// Finds the stairs, which are right at these prices, by the rule, whose goal counts only
/// for its floor, among the models of admit_models(). Throws Error(kUnsupported) as choose() does.
void find_stairs(const DecisionTable& table, const Rule& rule, Total total,
                 const PriceRange& prices, const EstimateView& estimates, const ExactSource& source,
                 Scratch& scratch, Stairs& out);

}  // namespace r2router::internal
