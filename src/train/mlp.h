// A multilayer perceptron and its training.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <random>
#include <span>
#include <vector>

#include <Eigen/Core>

#include "r2router/train/train.h"

namespace r2router::train {

/// A layer, or the gradient of one.
struct MlpLayer {
  Eigen::MatrixXf weights;  ///< outputs × inputs
  Eigen::VectorXf biases;
};
using MlpLayers = std::vector<MlpLayer>;

/// Layers of these sizes with weights that keep the variance of what passes through them, and
/// biases of 0. Source: He et al., "Delving deep into rectifiers", 2015.
MlpLayers make_layers(std::size_t inputs, std::span<const std::uint32_t> hidden,
                      std::size_t outputs, std::mt19937_64& random);

/// The outputs before the logistic function, for an input in each column.
Eigen::MatrixXf forward(const MlpLayers& layers, const Eigen::MatrixXf& inputs);

/// Mean over heads and columns of the cross-entropy −t·ln p − (1 − t)·ln(1 − p), where p is the
/// logistic function of an output and t the target, in [0, 1]; a NaN does not count. Writes the
/// gradient, if there is a place for it.
double cross_entropy(const MlpLayers& layers, const Eigen::MatrixXf& inputs,
                     const Eigen::MatrixXf& targets, MlpLayers* gradient = nullptr);

/// What a perceptron is trained on: an input and its targets in each column.
struct MlpData {
  Eigen::MatrixXf inputs;
  Eigen::MatrixXf targets;
};

struct TrainedMlp {
  MlpLayers layers;
  std::uint32_t epochs = 0;  ///< that led to these layers
  double loss = 0;           ///< on the validation data, if there are any
};

/// Trains on one thread, the same for the same seed. With validation data, until the loss on them
/// has not fallen for options.patience epochs, and gives the layers of the lowest; without, for
/// options.most_epochs. `after_epoch`, if not empty, is called after each.
TrainedMlp train_mlp(const MlpData& data, const MlpData* validation, const MlpOptions& options,
                     std::uint64_t seed, const std::function<void()>& after_epoch = {});

}  // namespace r2router::train
