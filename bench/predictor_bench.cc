// A decision by nearest neighbours and by a perceptron, compared with naive loops over the same
// numbers, at the size of the default checkpoint's data: 7,671 queries, 1,024 dimensions, 144
// heads. Pin it to one core: taskset -c 1 build/release/bench/predictor_bench
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

#include "r2router/router.h"

#include "support/heads.h"

namespace r2router {
namespace {

constexpr std::size_t kDimension = 1024, kQueries = 7671, kNeighbours = 320, kRows = 64;

/// The names and the config of a pool of 8 models with 8 limited budgets, and another predictor.
Checkpoint with_predictor(PredictorKind kind, Predictor predictor) {
  Checkpoint checkpoint = testing::random_checkpoint(8, 8, kDimension, 1, true);
  std::visit([&](auto& data) { data.names = testing::linear_heads(checkpoint).names; }, predictor);
  checkpoint.config.format_version = 2;
  checkpoint.config.predictor = kind;
  checkpoint.predictor = std::move(predictor);
  return checkpoint;
}

const NearestNeighbours& neighbours() {
  static const NearestNeighbours data = [] {
    NearestNeighbours result{.dimension = kDimension, .neighbours = kNeighbours};
    result.embeddings = testing::random_embeddings(kQueries, kDimension, 2);
    for (std::size_t i = 0; i < kQueries * 144; ++i) {
      result.targets.push_back(static_cast<float>(i * 37 % 101) / 101);
    }
    return result;
  }();
  return data;
}

const MultilayerPerceptron& perceptron() {
  static const MultilayerPerceptron data = [] {
    MultilayerPerceptron result{.dimension = kDimension};
    std::size_t inputs = kDimension;
    for (const std::size_t outputs : {256, 128, 64, 144}) {
      result.layers.push_back({testing::random_embeddings(outputs, inputs, outputs),
                               std::vector<float>(outputs, 0.1F)});
      inputs = outputs;
    }
    result.scales.assign(144, 1);
    return result;
  }();
  return data;
}

const std::vector<float>& embeddings() {
  static const std::vector<float> rows = testing::random_embeddings(kRows, kDimension, 3);
  return rows;
}

void one_decision(benchmark::State& state, const Checkpoint& checkpoint) {
  const Router router(checkpoint);
  std::size_t i = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        router.route(std::span(embeddings()).subspan(i++ % kRows * kDimension, kDimension)));
  }
}

void batch_of_decisions(benchmark::State& state, const Checkpoint& checkpoint) {
  const Router router(checkpoint);
  for (auto _ : state) benchmark::DoNotOptimize(router.route_batch(embeddings()));
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kRows));
}

void knn_one(benchmark::State& state) {
  one_decision(state, with_predictor(PredictorKind::kKnn, neighbours()));
}
void knn_batch(benchmark::State& state) {
  batch_of_decisions(state, with_predictor(PredictorKind::kKnn, neighbours()));
}
void mlp_one(benchmark::State& state) {
  one_decision(state, with_predictor(PredictorKind::kMlp, perceptron()));
}
BENCHMARK(knn_one)->Name("knn/one/decision")->Unit(benchmark::kMicrosecond);
BENCHMARK(knn_batch)->Name("knn/batch/decisions")->Unit(benchmark::kMillisecond);
BENCHMARK(mlp_one)->Name("mlp/one/decision")->Unit(benchmark::kMicrosecond);

void knn_naive(benchmark::State& state) {
  const NearestNeighbours& data = neighbours();
  std::size_t i = 0;
  for (auto _ : state) {
    const float* x = embeddings().data() + i++ % kRows * kDimension;
    std::vector<std::pair<double, std::size_t>> order;
    for (std::size_t query = 0; query < kQueries; ++query) {
      double product = 0;
      for (std::size_t k = 0; k < kDimension; ++k) {
        product += static_cast<double>(data.embeddings[query * kDimension + k]) * x[k];
      }
      order.emplace_back(-product, query);
    }
    std::partial_sort(order.begin(), order.begin() + kNeighbours, order.end());
    std::vector<double> heads(144);
    for (std::size_t n = 0; n < kNeighbours; ++n) {
      for (std::size_t head = 0; head < 144; ++head) {
        heads[head] += data.targets[order[n].second * 144 + head] / kNeighbours;
      }
    }
    benchmark::DoNotOptimize(heads.data());
  }
}
BENCHMARK(knn_naive)->Name("knn/one/naive_loop")->Unit(benchmark::kMicrosecond);

void mlp_naive(benchmark::State& state) {
  std::size_t i = 0;
  for (auto _ : state) {
    const float* x = embeddings().data() + i++ % kRows * kDimension;
    std::vector<double> inputs(x, x + kDimension);
    for (const auto& [weights, biases] : perceptron().layers) {
      std::vector<double> outputs;
      for (std::size_t row = 0; row < biases.size(); ++row) {
        double sum = biases[row];
        for (std::size_t k = 0; k < inputs.size(); ++k) {
          sum += weights[row * inputs.size() + k] * inputs[k];
        }
        outputs.push_back(std::max(0.0, sum));
      }
      inputs = outputs;
    }
    for (double& value : inputs) value = 1 / (1 + std::exp(-value));
    benchmark::DoNotOptimize(inputs.data());
  }
}
BENCHMARK(mlp_naive)->Name("mlp/one/naive_loop")->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace r2router
