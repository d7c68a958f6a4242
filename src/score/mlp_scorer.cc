#include <algorithm>
#include <cmath>
#include <string>

#include "score/check_predictor.h"
#include "score/exact_scorer.h"
#include "score/kernels.h"
#include "score/layout.h"

namespace r2router {
namespace {

/// Keeps the sums of a layer finite, whatever float32 weights it has.
constexpr double kLargestActivation = 1e150;

class MlpScorer final : public score::ExactScorer {
 public:
  MlpScorer(const MultilayerPerceptron& data, const score::Kernel& kernel)
      : ExactScorer(data.dimension, data.names),
        kernel_(kernel),
        layers_(data.layers),
        scales_(data.scales) {}

 protected:
  void predict_heads(std::span<const double> embeddings, std::size_t rows,
                     std::span<double> out) const override {
    thread_local std::vector<double> inputs, outputs;
    for (std::size_t r = 0; r < rows; ++r) {
      const auto row = embeddings.subspan(r * dimension(), dimension());
      inputs.assign(row.begin(), row.end());
      for (const auto& [weights, biases] : layers_) {
        // Of the embedding, and of what the rectifier between layers lets through.
        for (double& value : inputs) {
          value = std::clamp(value, -kLargestActivation, kLargestActivation);
        }
        outputs.resize(biases.size());
        for (std::size_t i = 0; i < outputs.size(); ++i) {
          outputs[i] = biases[i] + kernel_.dot_float_double(weights.data() + i * inputs.size(),
                                                            inputs.data(), inputs.size());
        }
        inputs.resize(outputs.size());
        for (std::size_t i = 0; i < outputs.size(); ++i) inputs[i] = std::max(outputs[i], 0.0);
      }
      for (std::size_t head = 0; head < scales_.size(); ++head) {
        out[r * scales_.size() + head] = scales_[head] / (1 + std::exp(-outputs[head]));
      }
    }
  }

 private:
  const score::Kernel& kernel_;
  std::vector<DenseLayer> layers_;
  std::vector<double> scales_;
};

}  // namespace

std::shared_ptr<const Scorer> make_mlp_scorer(const MultilayerPerceptron& perceptron,
                                              std::string_view kernel) {
  if (const std::string fault = find_fault(perceptron); !fault.empty()) {
    score::throw_bad_checkpoint(fault);
  }
  return std::make_shared<MlpScorer>(perceptron, score::find_kernel(kernel));
}

}  // namespace r2router
