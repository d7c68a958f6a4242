// Fitting length curves to predictions that the heads were not fitted to.
#pragma once

#include <cstddef>
#include <vector>

#include "r2router/scorer.h"

namespace r2router::train {

/// A query's predicted length and what it turned out to be, in tokens.
struct Length {
  double predicted = 0;
  double observed = 0;
};

/// How many points a curve may have that is fitted to so many queries: a point needs a few dozen
/// of them. Less than 2: too few for a curve.
std::size_t length_points(std::size_t queries);

/// The curve of `points` ≥ 2 points, from no fewer lengths: means over groups of neighbouring
/// predictions, as equal in number as can be, made to ascend by pooling adjacent violators (Barlow
/// et al., "Statistical inference under order restrictions", 1972). Groups of one prediction are
/// one; the points that are then missing continue the curve as it goes beyond its end.
LengthCurve fit_length_curve(std::vector<Length> lengths, std::size_t points);

}  // namespace r2router::train
