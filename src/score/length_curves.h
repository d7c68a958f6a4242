// Predicted lengths brought to those that were observed.
#pragma once

#include <memory>
#include <span>

#include "r2router/scorer.h"

namespace r2router::score {

/// The length that a curve gives for a prediction.
double correct(const LengthCurve& curve, double predicted);

/// A scorer that gives another's predictions, the lengths corrected. `curves`: one for each length
/// head of `names`, in their order. Throws Error(kBadCheckpoint) if they are not that many, or for
/// an invalid curve.
std::shared_ptr<const Scorer> correct_lengths(std::shared_ptr<const Scorer> scorer,
                                              std::span<const HeadName> names,
                                              std::span<const LengthCurve> curves);

}  // namespace r2router::score
