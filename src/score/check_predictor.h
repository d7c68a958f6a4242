// Checks of a predictor's numbers, from files and from callers.
#pragma once

#include <cstddef>
#include <string>

#include "r2router/scorer.h"

namespace r2router {

/// Layers of a perceptron.
inline constexpr std::size_t kMostLayers = 64;

/// What is wrong with the sizes and numbers, as a sentence that says what was found, what was
/// expected and what to do; empty if nothing is. Names of heads are not looked at.
std::string find_fault(const NearestNeighbours& neighbours);
std::string find_fault(const MultilayerPerceptron& perceptron);
std::string find_fault(const LengthCurve& curve);

}  // namespace r2router
