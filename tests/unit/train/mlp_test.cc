#include "train/mlp.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "support/errors.h"

namespace r2router::train {
namespace {

using Eigen::MatrixXf;
using testing::expect_error;

/// Two classes that are not linearly separable, and a length that follows the first input.
MlpData crosswise(int columns, unsigned seed) {
  std::mt19937_64 random(seed);
  MlpData data{MatrixXf(2, columns), MatrixXf(2, columns)};
  for (int i = 0; i < columns; ++i) {
    for (int k = 0; k < 2; ++k) data.inputs(k, i) = static_cast<float>(random() % 2001) / 1000 - 1;
    data.targets(0, i) = data.inputs(0, i) * data.inputs(1, i) > 0 ? 1 : 0;
    data.targets(1, i) = (1 + data.inputs(0, i)) / 2;
  }
  return data;
}

MlpOptions quick() {
  return {.hidden = {16, 8},
          .learning_rate = 0.01,
          .dropout = 0,
          .batch = 32,
          .most_epochs = 150,
          .patience = 150};
}

TEST(Mlp, TheGradientIsThatOfFiniteDifferences) {
  std::mt19937_64 random(3);
  const std::vector<std::uint32_t> hidden = {5, 4};
  MlpLayers layers = make_layers(3, hidden, 2, random);
  for (auto& [weights, biases] : layers)
    biases.setConstant(0.3F);  // away from the rectifiers' bend
  const MatrixXf inputs = MatrixXf::Random(3, 7);
  MatrixXf targets = (MatrixXf::Random(2, 7).array() + 1) / 2;
  targets(1, 4) = std::numeric_limits<float>::quiet_NaN();
  MlpLayers gradient;
  const double loss = cross_entropy(layers, inputs, targets, &gradient);
  EXPECT_EQ(loss, cross_entropy(layers, inputs, targets));
  const auto check = [&](float& value, float expected) {
    constexpr float kStep = 4e-3F;
    const float before = value;
    value = before + kStep;
    const double above = cross_entropy(layers, inputs, targets);
    value = before - kStep;
    const double below = cross_entropy(layers, inputs, targets);
    value = before;
    EXPECT_NEAR((above - below) / (2 * kStep), expected, 1e-4);
  };
  for (std::size_t i = 0; i < layers.size(); ++i) {
    for (Eigen::Index j = 0; j < layers[i].weights.size(); ++j) {
      check(layers[i].weights.data()[j], gradient[i].weights.data()[j]);
    }
    for (Eigen::Index j = 0; j < layers[i].biases.size(); ++j) {
      check(layers[i].biases[j], gradient[i].biases[j]);
    }
  }
}

TEST(Mlp, TheLossIsTheCrossEntropyOfWhatWasObserved) {
  std::mt19937_64 random(4);
  const MlpLayers layers = make_layers(2, {}, 2, random);
  const MatrixXf inputs = MatrixXf::Random(2, 3);
  MatrixXf targets = MatrixXf::Constant(2, 3, 0.25F);
  targets(0, 1) = std::numeric_limits<float>::quiet_NaN();
  const MatrixXf outputs = forward(layers, inputs);
  double expected = 0;
  for (Eigen::Index i = 0; i < 6; ++i) {
    if (std::isnan(targets.data()[i])) continue;
    const double p = 1 / (1 + std::exp(-static_cast<double>(outputs.data()[i])));
    expected -= (0.25 * std::log(p) + 0.75 * std::log(1 - p)) / 6;
  }
  EXPECT_NEAR(cross_entropy(layers, inputs, targets), expected, 1e-6);
}

TEST(Mlp, LearnsWhatNoLineTellsApart) {
  const MlpData data = crosswise(400, 1), validation = crosswise(200, 2);
  const TrainedMlp trained = train_mlp(data, &validation, quick(), 7);
  EXPECT_LT(trained.loss, 0.45);  // the length's own entropy is most of it; a line reaches 0.65
  const MatrixXf outputs = forward(trained.layers, validation.inputs);
  int right = 0;
  for (int i = 0; i < 200; ++i) right += (outputs(0, i) > 0) == (validation.targets(0, i) > 0.5F);
  EXPECT_GT(right, 185);
}

TEST(Mlp, StopsEarlyAndGivesTheBestEpoch) {
  const MlpData data = crosswise(40, 1);
  MlpData noise = crosswise(200, 2);
  for (int i = 0; i < 200; ++i) noise.targets(0, i) = static_cast<float>(i % 2);
  MlpOptions options = quick();
  options.patience = 3;
  int epochs = 0;
  const TrainedMlp trained = train_mlp(data, &noise, options, 7, [&] { ++epochs; });
  EXPECT_EQ(epochs, static_cast<int>(trained.epochs) + 3);
  EXPECT_LT(epochs, 150);
  // Training for so many epochs without validation leads to the same layers.
  options.most_epochs = trained.epochs;
  const TrainedMlp again = train_mlp(data, nullptr, options, 7);
  for (std::size_t i = 0; i < again.layers.size(); ++i) {
    EXPECT_EQ(again.layers[i].weights, trained.layers[i].weights);
    EXPECT_EQ(again.layers[i].biases, trained.layers[i].biases);
  }
}

TEST(Mlp, DropoutIsDrawnFromTheSeed) {
  const MlpData data = crosswise(100, 1);
  MlpOptions options = quick();
  options.most_epochs = 3;
  const auto first_weight = [&](double dropout, std::uint64_t seed) {
    options.dropout = dropout;
    return train_mlp(data, nullptr, options, seed).layers[0].weights(0, 0);
  };
  EXPECT_EQ(first_weight(0.5, 1), first_weight(0.5, 1));
  EXPECT_NE(first_weight(0.5, 1), first_weight(0.5, 2));
  EXPECT_NE(first_weight(0.5, 1), first_weight(0, 1));
}

TEST(TrainMlp, SaysThatItDiverged) {
  MlpData data{Eigen::MatrixXf::Random(3, 50), Eigen::MatrixXf::Constant(2, 50, 0.5F)};
  MlpOptions options;
  options.hidden = {4};
  options.learning_rate = 1e38;
  expect_error(ErrorCode::kInvalidArgument, "lower learning_rate",
               [&] { train_mlp(data, &data, options, 1); });
}

}  // namespace
}  // namespace r2router::train
