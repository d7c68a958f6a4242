// The share of no task.
#pragma once

#include <cmath>

#include "r2router/encoder.h"

namespace r2router::internal {

/// How much a text is unlike those that the tasks were learned from, from 0 to 1. `unknown`: the
/// share of its features that occur in none of them; `doubt`: 1 less the largest probability.
inline double novelty(const TaskEncoderSpec& spec, double unknown, double doubt) {
  return 1 / (1 + std::exp(-(spec.novelty_intercept + spec.novelty_coverage * unknown +
                             spec.novelty_certainty * doubt)));
}

}  // namespace r2router::internal
