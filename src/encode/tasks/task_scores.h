// From the features of a text to the probabilities of tasks: what the task encoder computes, and
// what its calibration computes alike. checkpoints/FORMAT.md, "The task encoder", specifies it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>

#include "r2router/encoder.h"

#include "encode/tasks/row_sums.h"
#include "encode/tasks/sparse_features.h"

namespace r2router::internal {

/// Writes the score of each task. Returns the share of the hashed features, by their squares, that
/// occur in no training text. `slots`: size of the hash table.
inline double score_tasks(std::span<const SparseFeature> features, std::size_t slots,
                          const TaskEncoderTensors& tensors, std::span<double> scores) {
  const std::size_t tasks = scores.size();
  std::ranges::copy(tensors.intercepts, scores.begin());
  const auto row_of = [&](std::size_t i) {
    return FactoredRow<float>{tensors.weights.data() + features[i].slot * tasks, features[i].value};
  };
  add_rows(features.size(), row_of, scores);
  double known = 0;
  for (std::size_t i = 0; i < features.size() && features[i].slot < slots; ++i) {
    const std::span<const float> weights(row_of(i).numbers, tasks);
    const bool occurs = std::ranges::any_of(weights, [](float weight) { return weight != 0; });
    if (occurs) known += features[i].value * features[i].value;
  }
  return 1 - known;
}

/// Turns scores into probabilities.
template <typename Number>
void softmax(std::span<Number> scores) {
  const Number greatest = *std::ranges::max_element(scores);
  Number total = 0;
  for (Number& score : scores) total += score = std::exp(score - greatest);
  for (Number& score : scores) score /= total;
}

/// The share of no task: how much a text is unlike those that the tasks were learned from, from 0
/// to 1. `unknown`: the result of score_tasks(); `doubt`: 1 less the largest probability.
inline double novelty(const TaskEncoderSpec& spec, double unknown, double doubt) {
  return 1 / (1 + std::exp(-(spec.novelty_intercept + spec.novelty_coverage * unknown +
                             spec.novelty_certainty * doubt)));
}

}  // namespace r2router::internal
