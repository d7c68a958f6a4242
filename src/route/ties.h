// Which of several options wins. Used by decisions, rankings, sweeps and calibration.
//
// Two utilities that differ by no more than kTie times the magnitudes they were computed from, the
// weight of quality and the utility itself, are a tie: different kernels, orders of summation and
// heads that learned the same thing differ by rounding error. "Within the width of the best" does
// not depend on the order in which options come, as comparing them one by one with a tolerance
// would.
//
// A tie goes to the option that truncates least, the one with the largest budget, unlimited before
// all others: it costs no more, and a limit is useful only if it saves something. Then the cheaper
// one wins, the one with the higher quality, the one with the larger cap, and the model that comes
// first in the pool.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "r2router/types.h"

namespace r2router::internal {

/// Relative difference up to which two figures count as equal: well above the rounding error of a
/// prediction in double precision, about 1e-13, and far below any difference that matters.
inline constexpr double kTie = 1e-11;

/// How far below the best utility an option ties with it.
inline double tie_width(double lambda, double best) { return kTie * (1 - lambda + std::abs(best)); }

/// An upper bound on tie_width() of a best utility that is at least `least`: none exceeds 1 − λ.
inline double widest_tie(double lambda, double least) {
  return kTie * (2 * (1 - lambda) + std::abs(least));
}

/// The largest of `count` numbers; four at a time, since each comparison waits for the one before.
inline double largest(const double* values, std::size_t count) {
  constexpr double kLowest = -std::numeric_limits<double>::infinity();
  double parts[4] = {kLowest, kLowest, kLowest, kLowest};
  std::size_t i = 0;
  for (; i + 4 <= count; i += 4) {
    for (std::size_t lane = 0; lane < 4; ++lane)
      parts[lane] = std::max(parts[lane], values[i + lane]);
  }
  for (; i < count; ++i) parts[0] = std::max(parts[0], values[i]);
  return std::max(std::max(parts[0], parts[1]), std::max(parts[2], parts[3]));
}

/// The figures that break ties.
struct Contestant {
  double utility = 0, cost_usd = 0, quality = 0;
  Pair pair = {};
  std::uint32_t max_tokens = 0;
};

/// The index of the winner among `count` > 0 options; contestant(i) describes option i.
template <typename Describe>
std::size_t best_of(std::size_t count, double lambda, Describe contestant) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  std::size_t best = 0;
  double highest = -kInfinity, second = -kInfinity;
  for (std::size_t i = 0; i < count; ++i) {
    const double utility = contestant(i).utility;
    if (utility > highest) {
      second = highest;
      highest = utility;
      best = i;
    } else if (utility > second) {
      second = utility;
    }
  }
  const double least = highest - tie_width(lambda, highest);
  if (second < least) return best;

  // Each pass narrows the tie by one figure: to the largest budget, to the lowest cost among those,
  // and so on.
  Budget budget(1);
  double cost = kInfinity, quality = -kInfinity;
  const auto in_tie = [&](const Contestant& c) { return c.utility >= least; };
  const auto with_budget = [&](const Contestant& c) {
    return in_tie(c) && c.pair.budget == budget;
  };
  const auto cheapest = [&](const Contestant& c) {
    return with_budget(c) && c.cost_usd <= cost * (1 + kTie);
  };
  const auto finest = [&](const Contestant& c) {
    return cheapest(c) && c.quality >= quality - kTie;
  };
  const auto for_each = [&](auto holds, auto visit) {
    for (std::size_t i = 0; i < count; ++i) {
      if (const Contestant c = contestant(i); holds(c)) visit(i, c);
    }
  };
  for_each(in_tie,
           [&](std::size_t, const Contestant& c) { budget = std::max(budget, c.pair.budget); });
  for_each(with_budget,
           [&](std::size_t, const Contestant& c) { cost = std::min(cost, c.cost_usd); });
  for_each(cheapest,
           [&](std::size_t, const Contestant& c) { quality = std::max(quality, c.quality); });
  bool found = false;
  Contestant winner;
  for_each(finest, [&](std::size_t i, const Contestant& c) {
    if (found && (c.max_tokens < winner.max_tokens ||
                  (c.max_tokens == winner.max_tokens && c.pair.model >= winner.pair.model))) {
      return;
    }
    found = true;
    best = i;
    winner = c;
  });
  return best;
}

}  // namespace r2router::internal
