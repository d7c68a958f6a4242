// Training time at the size of the released checkpoint: 30,968 queries, 1,024 dimensions.
// bench/train_vs_sklearn.py compares it with scikit-learn and reports ratio and memory.
#include <cstdint>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <benchmark/benchmark.h>

#include "r2router/train/train.h"

#include "train/ridge.h"

namespace {

using namespace r2router;

constexpr std::size_t kQueries = 30968;
constexpr std::size_t kDimension = 1024;

std::vector<float> make_embeddings() {
  std::minstd_rand random(1);
  std::vector<float> embeddings(kQueries * kDimension);
  // Uniform with the variance of a unit vector's elements.
  std::uniform_real_distribution<float> uniform(-0.054f, 0.054f);
  for (float& value : embeddings) value = uniform(random);
  return embeddings;
}

/// 187 heads: what 11 models with 15 limited budgets have in the released format. One pass over the
/// data, one α.
void fit_187_heads(benchmark::State& state) {
  constexpr std::size_t kHeads = 187;
  const std::vector<float> embeddings = make_embeddings();
  std::vector<double> targets(kQueries * kHeads);
  std::minstd_rand random(2);
  for (double& target : targets) target = static_cast<double>(random() % 2);
  train::RidgeProblem problem{embeddings, kDimension, targets, kHeads, {}};
  problem.folds.resize(1);
  for (std::uint32_t i = 0; i < kQueries; ++i) problem.folds[0].push_back(i);
  const std::vector<double> alphas = {30};
  for (auto _ : state) {
    const train::RidgeSolver solver(problem, std::thread::hardware_concurrency());
    benchmark::DoNotOptimize(solver.fit(alphas).front().weights.data());
  }
}
BENCHMARK(fit_187_heads)->UseRealTime()->Unit(benchmark::kSecond)->Iterations(1);

/// Whole training of the same pool, with a length head for every pair (352 heads): one α,
/// cross-validation over 5 folds, the default λ.
void train_352_heads(benchmark::State& state) {
  const std::vector<float> embeddings = make_embeddings();
  OutcomeTable table;
  std::minstd_rand random(3);
  for (std::uint32_t model = 0; model < 11; ++model) {
    table.models.push_back({.name = "model " + std::to_string(model),
                            .prices = {.input = 0.1 * (model + 1), .output = 0.2 * (model + 1)}});
    table.pairs.push_back({model, Budget()});
  }
  for (std::size_t query = 0; query < kQueries; ++query) {
    table.queries.push_back({.id = std::to_string(query),
                             .text = "query " + std::to_string(query),
                             .input_tokens = 100});
    for (std::uint32_t model = 0; model < 11; ++model) {
      table.scores.push_back(random() % 20 < model + 5);
      table.output_tokens.push_back(static_cast<double>(random() % 1000));
    }
  }
  const std::vector<std::uint32_t> limits = {10,  20,  30,  40,  50,   80,   100, 150,
                                             200, 300, 500, 800, 1200, 2000, 4000};
  table = apply_hard_cap(table, limits);
  train::TrainOptions options;
  options.alphas = {30};
  options.holdout = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(train::train(table, embeddings, kDimension, options).spreads.data());
  }
}
BENCHMARK(train_352_heads)->UseRealTime()->Unit(benchmark::kSecond)->Iterations(1);

}  // namespace
