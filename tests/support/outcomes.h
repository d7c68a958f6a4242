// Outcome tables and predictions at random, for tests against plain loops.
#pragma once

#include <random>
#include <string>

#include "r2router/eval/contenders.h"

namespace r2router::testing {

/// A complete table of `models` models, each at 50 tokens and unlimited; longer answers score more.
inline OutcomeTable random_table(std::uint32_t models, std::size_t queries, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> unit;
  OutcomeTable table;
  for (std::uint32_t model = 0; model < models; ++model) {
    const double price = 1 + 3 * model;
    table.models.push_back(
        {.name = "m" + std::to_string(model), .prices = {.input = price, .output = 2 * price}});
    table.pairs.push_back({model, Budget(50)});
    table.pairs.push_back({model, Budget()});
  }
  for (std::size_t query = 0; query < queries; ++query) {
    table.queries.push_back({.id = std::to_string(query),
                             .text = "query " + std::to_string(query),
                             .dataset = query % 3 == 0 ? "a" : "b",
                             .input_tokens = static_cast<std::int64_t>(10 + random() % 90)});
    const double ease = unit(random);
    for (const Pair& pair : table.pairs) {
      const double chance = ease + 0.15 * pair.model + (pair.budget.is_unlimited() ? 0.2 : 0);
      table.scores.push_back(unit(random) < chance ? 1 : 0);
      table.output_tokens.push_back(pair.budget.is_unlimited() ? 60 + 200 * unit(random) : 50);
    }
  }
  return table;
}

/// The truth with noise, in the table's shape.
inline eval::PredictionTable random_predictions(const OutcomeTable& table, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> noise;
  eval::PredictionTable predictions = eval::predict_oracle(table);
  for (double& quality : predictions.quality) quality = 0.5 * quality + 0.2 + 0.2 * noise(random);
  for (double& tokens : predictions.output_tokens) tokens += 20 * noise(random);
  return predictions;
}

}  // namespace r2router::testing
