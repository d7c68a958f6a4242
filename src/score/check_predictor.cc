#include "score/check_predictor.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/finite.h"

namespace r2router {
namespace {

/// Tokens. Keeps the arithmetic of length curves finite.
constexpr double kLongestLength = 1e100;

}  // namespace

const std::vector<HeadName>& head_names(const Predictor& predictor) {
  return std::visit(
      [](const auto& data) -> const auto& { return data.names; }, predictor);
}

std::size_t dimension_of(const Predictor& predictor) {
  return std::visit([](const auto& data) { return data.dimension; }, predictor);
}

std::string find_fault(const NearestNeighbours& data) {
  const std::size_t heads = data.names.size();
  const std::size_t queries = data.dimension == 0 ? 0 : data.embeddings.size() / data.dimension;
  if (data.embeddings.size() != queries * data.dimension ||
      data.targets.size() != queries * heads) {
    return "found " + std::to_string(data.embeddings.size()) + " numbers of embeddings and " +
           std::to_string(data.targets.size()) + " targets, expected for every query " +
           std::to_string(data.dimension) + " and " + std::to_string(heads) + "; train the router";
  }
  if (data.neighbours == 0 || data.neighbours > queries) {
    return "found " + std::to_string(data.neighbours) + " neighbours, expected 1 to " +
           std::to_string(queries) + ", the number of queries to find them among";
  }
  if (!all_finite<float>(data.embeddings)) {
    return "an embedding has a number that is not finite; train the router again";
  }
  if (!all_finite<float>(data.targets)) {
    return "a target is not finite; train the router again";
  }
  return {};
}

std::string find_fault(const MultilayerPerceptron& data) {
  const std::size_t heads = data.names.size();
  std::size_t inputs = data.dimension;
  for (std::size_t i = 0; i < data.layers.size(); ++i) {
    const auto& [weights, biases] = data.layers[i];
    const std::string name = "layer " + std::to_string(i);
    if (biases.empty() || weights.size() != biases.size() * inputs) {
      return name + " has " + std::to_string(weights.size()) + " weights and " +
             std::to_string(biases.size()) + " biases, expected " + std::to_string(inputs) +
             " weights for each bias, one for each input; train the router";
    }
    if (!all_finite<float>(weights) || !all_finite<float>(biases)) {
      return name + " has a weight or bias that is not finite; train the router again";
    }
    inputs = biases.size();
  }
  if (data.layers.empty() || data.layers.size() > kMostLayers || inputs != heads) {
    return "found " + std::to_string(data.layers.size()) + " layers, the last with " +
           std::to_string(inputs) + " outputs, expected 1 to " + std::to_string(kMostLayers) +
           " layers, the last with " + std::to_string(heads) + " outputs, one for each head";
  }
  if (data.scales.size() != heads ||
      !std::all_of(data.scales.begin(), data.scales.end(),
                   [](double scale) { return scale > 0 && std::isfinite(scale); })) {
    return "found " + std::to_string(data.scales.size()) + " scales, expected " +
           std::to_string(heads) + ", one for each head, all finite and above 0";
  }
  return {};
}

std::string find_fault(const LengthCurve& curve) {
  const auto& [predicted, observed] = curve;
  if (predicted.size() < 2 || observed.size() != predicted.size()) {
    return "a length curve has " + std::to_string(predicted.size()) + " predicted and " +
           std::to_string(observed.size()) + " observed lengths, expected two or more of each";
  }
  const auto is_length = [](double tokens) { return std::abs(tokens) <= kLongestLength; };
  if (!std::ranges::all_of(predicted, is_length) || !std::ranges::all_of(observed, is_length) ||
      observed.front() < 0) {
    return "a length curve has a number that is negative, not finite or beyond 1e100; train the "
           "router again";
  }
  if (std::adjacent_find(predicted.begin(), predicted.end(), std::greater_equal<>()) !=
          predicted.end() ||
      !std::is_sorted(observed.begin(), observed.end())) {
    return "a length curve descends, expected predicted lengths that ascend and observed ones of "
           "which none is less than the one before; train the router again";
  }
  return {};
}

}  // namespace r2router
