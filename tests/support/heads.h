// Small routers made in memory, for tests.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "r2router/router.h"

namespace r2router::testing {

/// The heads of a checkpoint that has linear ones.
inline LinearHeads& linear_heads(Checkpoint& checkpoint) {
  return std::get<LinearHeads>(checkpoint.predictor);
}
inline const LinearHeads& linear_heads(const Checkpoint& checkpoint) {
  return std::get<LinearHeads>(checkpoint.predictor);
}

/// A checkpoint of random heads: `models` models, each with `budgets` limited budgets and
/// unlimited. Some models share prices and some heads share weights, so that ties occur.
inline Checkpoint random_checkpoint(std::uint32_t models, std::uint32_t budgets,
                                    std::size_t dimension, std::uint64_t seed,
                                    bool token_head_for_each_pair = false) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  Checkpoint checkpoint;
  Config& config = checkpoint.config;
  config.format_version = 1;
  config.embedding_model = "random";
  config.embedding_dim = static_cast<std::uint32_t>(dimension);
  for (std::uint32_t b = 1; b <= budgets; ++b) config.token_limits.emplace_back(b * 50);
  config.token_limits.push_back(Budget::unlimited());
  LinearHeads& heads = linear_heads(checkpoint);
  heads.dimension = dimension;
  std::vector<float> weights;
  const auto add_head = [&](Pair pair, Target target, float scale, double intercept) {
    heads.names.push_back({pair, target});
    for (std::size_t k = 0; k < dimension; ++k) weights.push_back(scale * normal(random));
    heads.intercepts.push_back(intercept);
  };
  for (std::uint32_t m = 0; m < models; ++m) {
    ModelSpec model;
    model.name = "model-" + std::to_string(m);
    model.openrouter_id = "vendor/" + model.name;
    model.prices.input = 0.1 * (1 + m / 2);
    model.prices.output = 0.3 * (1 + m / 2);
    model.available = m % 4 != 3;
    config.models.push_back(model);
    for (const Budget budget : config.token_limits) {
      add_head({m, budget}, Target::kQuality, 0.3F, 0.5);
      if (token_head_for_each_pair || budget.is_unlimited()) {
        add_head({m, budget}, Target::kTokens, 80.0F, 200);
      }
    }
  }
  heads.weights = std::move(weights);
  return checkpoint;
}

/// `count` random embeddings of norm 1, row after row.
inline std::vector<float> random_embeddings(std::size_t count, std::size_t dimension,
                                            std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  std::vector<float> values;
  for (std::size_t i = 0; i < count; ++i) {
    std::vector<double> row(dimension);
    double squares = 0;
    for (double& value : row) {
      value = normal(random);
      squares += value * value;
    }
    for (const double value : row) values.push_back(static_cast<float>(value / std::sqrt(squares)));
  }
  return values;
}

}  // namespace r2router::testing
