#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "r2router/scorer.h"

#include "support/errors.h"
#include "support/heads.h"

namespace r2router {
namespace {

using testing::expect_error;
using testing::random_embeddings;

constexpr std::size_t kDimension = 37;

/// Layers of 37 → 20 → 9 → 3.
MultilayerPerceptron random_perceptron() {
  std::mt19937_64 random(5);
  std::normal_distribution<float> normal;
  MultilayerPerceptron data;
  data.dimension = kDimension;
  data.names = {{{0, Budget(10)}, Target::kQuality},
                {{0, Budget()}, Target::kTokens},
                {{0, Budget()}, Target::kQuality}};
  data.scales = {1, 700, 1};
  std::size_t inputs = kDimension;
  for (const std::size_t outputs : {20, 9, 3}) {
    DenseLayer layer;
    for (std::size_t i = 0; i < outputs * inputs; ++i) layer.weights.push_back(normal(random));
    for (std::size_t i = 0; i < outputs; ++i) layer.biases.push_back(normal(random));
    data.layers.push_back(layer);
    inputs = outputs;
  }
  return data;
}

std::vector<double> naive_forward(const MultilayerPerceptron& data, std::span<const float> x) {
  std::vector<double> values(x.begin(), x.end());
  for (std::size_t l = 0; l < data.layers.size(); ++l) {
    std::vector<double> next;
    for (std::size_t i = 0; i < data.layers[l].biases.size(); ++i) {
      double sum = data.layers[l].biases[i];
      for (std::size_t k = 0; k < values.size(); ++k) {
        sum += data.layers[l].weights[i * values.size() + k] * values[k];
      }
      const bool last = l + 1 == data.layers.size();
      next.push_back(last ? data.scales[i] / (1 + std::exp(-sum)) : std::max(0.0, sum));
    }
    values = next;
  }
  return values;
}

TEST(MlpScorer, EqualsANaiveLoop) {
  const MultilayerPerceptron data = random_perceptron();
  const auto scorer = make_mlp_scorer(data);
  const auto x = random_embeddings(20, kDimension, 2);
  for (std::size_t row = 0; row < 20; ++row) {
    const auto embedding = std::span<const float>(x).subspan(row * kDimension, kDimension);
    const std::vector<double> expected = naive_forward(data, embedding);
    Predictions predictions;
    scorer->predict(embedding, predictions);
    EXPECT_NEAR(predictions.quality[0], expected[0], 1e-12);
    EXPECT_NEAR(predictions.tokens[1], expected[1], 1e-9);
    EXPECT_NEAR(predictions.quality[1], expected[2], 1e-12);
    EXPECT_EQ(predictions.tokens[0], 10);  // no length head: the budget
  }
}

TEST(MlpScorer, IsTheSameOnEveryKernelAloneAndInABatch) {
  constexpr std::size_t kRows = 20;
  const MultilayerPerceptron data = random_perceptron();
  const auto x = random_embeddings(kRows, kDimension, 3);
  std::vector<double> first;
  for (const std::string& kernel : available_kernels()) {
    const auto scorer = make_mlp_scorer(data, kernel);
    Estimates estimates;
    scorer->estimate(std::span<const float>(x), kRows, estimates);
    for (std::size_t row = 0; row < kRows; ++row) {
      Predictions predictions;
      scorer->predict(std::span<const float>(x).subspan(row * kDimension, kDimension), predictions);
      EXPECT_EQ(estimates.quality[2 * row + 1], predictions.quality[1]);
      EXPECT_EQ(estimates.tokens[2 * row + 1], predictions.tokens[1]);
    }
    if (first.empty()) first = estimates.quality;
    EXPECT_EQ(estimates.quality, first) << kernel;
  }
}

TEST(MlpScorer, PredictsFiniteNumbersWhateverFiniteNumbersItHas) {
  MultilayerPerceptron data = random_perceptron();
  for (DenseLayer& layer : data.layers) {
    for (float& weight : layer.weights) weight = std::copysign(3e38F, weight);
  }
  const std::vector<double> x(kDimension, -1e308);
  Predictions predictions;
  make_mlp_scorer(data)->predict(std::span<const double>(x), predictions);
  for (std::size_t p = 0; p < 2; ++p) {
    EXPECT_GE(predictions.quality[p], 0);
    EXPECT_LE(predictions.quality[p], 1);
    EXPECT_TRUE(std::isfinite(predictions.tokens[p]));
  }
}

TEST(MlpScorer, BadDataAreRefused) {
  const auto expect_refused = [](const std::string& words, auto spoil) {
    MultilayerPerceptron data = random_perceptron();
    spoil(data);
    expect_error(ErrorCode::kBadCheckpoint, words, [&] { make_mlp_scorer(data); });
  };
  expect_refused("layer 1 has 179 weights and 9 biases, expected 20 weights for each bias",
                 [](auto& d) { d.layers[1].weights.pop_back(); });
  expect_refused("layer 0 has", [](auto& d) { d.dimension = 36; });
  expect_refused("the last with 9 outputs", [](auto& d) { d.layers.pop_back(); });
  expect_refused("found 0 layers", [](auto& d) { d.layers.clear(); });
  expect_refused("layer 2 has a weight or bias that is not finite",
                 [](auto& d) { d.layers[2].biases[1] = NAN; });
  expect_refused("found 2 scales", [](auto& d) { d.scales.pop_back(); });
  for (const double scale : {0.0, -1.0, std::numeric_limits<double>::infinity()}) {
    expect_refused("all finite and above 0", [=](auto& d) { d.scales[1] = scale; });
  }
  expect_refused("given twice", [](auto& d) { d.names[2] = d.names[0]; });
}

}  // namespace
}  // namespace r2router
