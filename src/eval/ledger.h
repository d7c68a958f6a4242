// Averages of a policy's outcomes over many resamples of the queries.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "r2router/eval/contenders.h"

namespace r2router::eval {

/// The highest cost of any cell of a complete table, in the unit of its cost measure.
double largest_cost(const OutcomeTable& table);

/// What a policy's choices truly cost and scored, kept as the steps from each setting to the next:
/// a query changes its pair only a few times in a whole sweep, so that a resample takes a few
/// additions a query and not one for each setting. The sums are integers in fixed point, which do
/// not depend on the order of addition: a contender that uses one model for every query scores
/// exactly what that model does, and so reaches it. Immutable.
class Ledger {
 public:
  /// `largest_cost`: of the table, so that costs of all its policies have one unit.
  Ledger(const OutcomeTable& table, const ChosenPairs& choices, double largest_cost);

  /// Mean cost and score at each setting if query q counts weights[q] times (in all at most 2²⁷);
  /// λ stays as it is in `points`, which has an element for each setting.
  void average(std::span<const std::uint32_t> weights, std::span<SweepPoint> points) const;

 private:
  struct Step {
    std::uint32_t setting;
    std::int64_t cost, score;  ///< more than at the setting before
  };

  double cost_unit_;                 ///< USD, tokens or seconds
  std::vector<std::size_t> begins_;  ///< of each query's steps, and the end of the last one's
  std::vector<Step> steps_;
};

}  // namespace r2router::eval
