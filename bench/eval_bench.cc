// A sweep of 300 settings over 2,400 queries and 176 pairs (11 models × 16 budgets), compared with
// the plain loop that finds the best pair of every query at every setting. Pin it to one core:
// taskset -c 1 build/release/bench/eval_bench
#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "r2router/eval/contenders.h"

namespace r2router {
namespace {

constexpr std::size_t kQueries = 2400, kSettings = 300;

struct Setting {
  OutcomeTable table;
  eval::PredictionTable predictions;
  std::vector<double> lambdas;

  Setting() {
    const std::uint32_t limits[] = {10,  20,  30,  40,  50,   80,   100, 150,
                                    200, 300, 500, 800, 1200, 2000, 4000};
    for (std::uint32_t model = 0; model < 11; ++model) {
      table.models.push_back({.name = "model " + std::to_string(model),
                              .prices = {.input = 0.05 * (model + 1) * (model + 1),
                                         .output = 0.2 * (model + 1) * (model + 1)}});
      for (const std::uint32_t limit : limits) table.pairs.push_back({model, Budget(limit)});
      table.pairs.push_back({model, Budget()});
    }
    std::mt19937 random(1);
    std::normal_distribution<double> normal;
    for (std::size_t query = 0; query < kQueries; ++query) {
      table.queries.push_back({.id = std::to_string(query), .text = "t", .input_tokens = 100});
      const double ease = 0.5 + 0.2 * normal(random);
      for (const Pair& pair : table.pairs) {
        const double length = 300 + 100 * normal(random);
        const double cap = pair.budget.is_unlimited() ? 1e9 : pair.budget.tokens();
        const double quality = (ease + 0.03 * pair.model) * std::min(1.0, cap / 400);
        predictions.quality.push_back(quality + 0.05 * normal(random));
        predictions.output_tokens.push_back(std::max(1.0, std::min(length, cap)));
        table.scores.push_back(random() % 100 < 100 * quality ? 1 : 0);
        table.output_tokens.push_back(predictions.output_tokens.back());
      }
    }
    lambdas = eval::lambda_grid(eval::best_single(table).unit, kSettings - 2);
  }
};

const Setting& setting() {
  static const Setting instance;
  return instance;
}

void sweep_300_settings(benchmark::State& state) {
  const auto& [table, predictions, lambdas] = setting();
  for (auto _ : state) benchmark::DoNotOptimize(eval::sweep(table, predictions, lambdas));
}
BENCHMARK(sweep_300_settings)->Unit(benchmark::kMillisecond);

void plain_loop_over_300_settings(benchmark::State& state) {
  const auto& [table, predictions, lambdas] = setting();
  for (auto _ : state) {
    std::vector<eval::SweepPoint> points;
    for (const double lambda : lambdas) {
      eval::SweepPoint point{.lambda = lambda};
      for (std::size_t query = 0; query < kQueries; ++query) {
        double best_risk = -1e300;
        std::size_t best = 0;
        for (std::size_t pair = 0; pair < table.pairs.size(); ++pair) {
          const std::size_t cell = table.cell(query, pair);
          const double cost = eval::cost_usd(table.models[table.pairs[pair].model], 100,
                                             predictions.output_tokens[cell]);
          const double risk = (1 - lambda) * predictions.quality[cell] - lambda * cost;
          if (risk > best_risk) {
            best_risk = risk;
            best = pair;
          }
        }
        const std::size_t cell = table.cell(query, best);
        point.score += table.scores[cell];
        point.cost +=
            eval::cost_usd(table.models[table.pairs[best].model], 100, table.output_tokens[cell]);
      }
      points.push_back(point);
    }
    benchmark::DoNotOptimize(points);
  }
}
BENCHMARK(plain_loop_over_300_settings)->Unit(benchmark::kMillisecond);

/// All policies with intervals from 1,000 resamples: one sweep each, then only its steps.
void evaluate_with_1000_resamples(benchmark::State& state) {
  const auto& [table, predictions, lambdas] = setting();
  const std::vector<eval::Contender> contenders =
      eval::standard_contenders(table, predictions, table);
  for (auto _ : state) {
    benchmark::DoNotOptimize(eval::evaluate(table, contenders, false, {.resamples = 1000}));
  }
}
BENCHMARK(evaluate_with_1000_resamples)->Unit(benchmark::kMillisecond)->Iterations(1);

}  // namespace
}  // namespace r2router
