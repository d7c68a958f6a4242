#include "train/task_heads.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>
#include <string>

namespace r2router::train {
namespace {

/// A matrix of models × tasks as a model's figure plus a task's, by least squares over the cells
/// that are known.
class AdditiveFit {
 public:
  template <typename Value>  // Value(model, task) -> std::optional<double>
  AdditiveFit(std::size_t models, std::size_t tasks, const Value& value)
      : of_model_(models), of_task_(tasks) {
    constexpr int kRounds = 50;  // of alternating means; the residuals shrink geometrically
    for (int round = 0; round < kRounds; ++round) {
      const auto update = [&](std::vector<double>& figures, const auto& residual,
                              std::size_t others) {
        for (std::size_t i = 0; i < figures.size(); ++i) {
          double sum = 0, count = 0;
          for (std::size_t j = 0; j < others; ++j) {
            if (const std::optional<double> rest = residual(i, j)) sum += *rest, ++count;
          }
          figures[i] = count > 0 ? sum / count : 0;
        }
      };
      update(
          of_model_,
          [&](std::size_t model, std::size_t task) -> std::optional<double> {
            const std::optional<double> known = value(model, task);
            return known ? std::optional(*known - of_task_[task]) : known;
          },
          tasks);
      update(
          of_task_,
          [&](std::size_t task, std::size_t model) -> std::optional<double> {
            const std::optional<double> known = value(model, task);
            return known ? std::optional(*known - of_model_[model]) : known;
          },
          models);
    }
  }

  double operator()(std::size_t model, std::size_t task) const {
    return of_model_[model] + of_task_[task];
  }

 private:
  std::vector<double> of_model_, of_task_;
};

double normal_share(double z) { return 0.5 * std::erfc(-z / std::numbers::sqrt2); }

}  // namespace

std::vector<TaskResult> complete_results(const TaskTable& table, double length_spread,
                                         const LogCallback& log) {
  const std::size_t models = table.models.size(), tasks = table.tasks.size();
  const auto known = [&](auto figure) {
    return [&table, figure](std::size_t model, std::size_t task) -> std::optional<double> {
      const auto& result = table.results[table.cell(model, task)];
      return result ? std::optional<double>(figure(*result)) : std::nullopt;
    };
  };
  const AdditiveFit scores(models, tasks, known([](const TaskResult& r) { return r.score; }));
  const AdditiveFit lengths(models, tasks,
                            known([](const TaskResult& r) { return std::log(r.output_tokens); }));
  // The variance of true scores about the fit is that of the observed ones without the sampling
  // error, which is that of a proportion.
  const auto sampling_variance = [&](const TaskResult& result, double expected) {
    const double mean = std::clamp(expected, 0.02, 0.98);  // no sample is certain
    return result.questions > 0 ? mean * (1 - mean) / result.questions : 0;
  };
  double observed = 0, sampling = 0, count = 0;
  for (std::size_t model = 0; model < models; ++model) {
    for (std::size_t task = 0; task < tasks; ++task) {
      const auto& result = table.results[table.cell(model, task)];
      if (!result) continue;
      const double fitted = scores(model, task);
      observed += (result->score - fitted) * (result->score - fitted);
      sampling += sampling_variance(*result, fitted);
      ++count;
    }
  }
  // Fitting uses up a degree of freedom for each model and task.
  const double freedom = std::max(1.0, count - static_cast<double>(models + tasks) + 1);
  const double variance = std::max(0.0, observed / freedom - sampling / count);

  std::vector<TaskResult> results;
  std::map<std::string, std::size_t> missing;
  for (std::size_t model = 0; model < models; ++model) {
    for (std::size_t task = 0; task < tasks; ++task) {
      const double fitted = scores(model, task);
      auto result = table.results[table.cell(model, task)];
      if (result) {
        const double error = sampling_variance(*result, fitted);
        const double trust = variance + error > 0 ? variance / (variance + error) : 1;
        result->score = fitted + trust * (result->score - fitted);
      } else {
        ++missing[table.models[model].name];
        result = TaskResult{.score = fitted, .output_tokens = std::exp(lengths(model, task))};
      }
      result->score = std::clamp(result->score, 0.0, 1.0);
      if (!result->length_spread) result->length_spread = length_spread;
      results.push_back(*result);
    }
  }
  for (const auto& [model, number] : missing) {
    if (!log) break;
    log(LogLevel::kWarning,
        model + " has no result for " + std::to_string(number) + " of " + std::to_string(tasks) +
            " tasks: they are estimated from its other results and from those of the "
            "other models");
  }
  return results;
}

Expected expect(const TaskResult& result, Budget budget) {
  const double spread = *result.length_spread, mean = result.output_tokens;
  const double squared = mean * mean * std::exp(spread * spread);
  if (budget.is_unlimited()) return {result.score, mean, squared};
  const double limit = budget.tokens();
  const double z = (std::log(limit / mean) + spread * spread / 2) / spread;
  const double complete = normal_share(z);
  return {result.score * complete, mean * normal_share(z - spread) + limit * (1 - complete),
          squared * normal_share(z - 2 * spread) + limit * limit * (1 - complete)};
}

TaskHeads fit_task_heads(std::span<const TaskResult> results,
                         std::span<const std::size_t> recognised, Budget budget) {
  const auto count = static_cast<double>(results.size());
  double quality_variance = 0, tokens_variance = 0, mean_score = 0, mean_log_tokens = 0;
  std::vector<Expected> expected;
  for (const TaskResult& result : results) {
    const Expected& own = expected.emplace_back(expect(result, budget));
    // An answer is right or wrong, of which a score is the mean.
    quality_variance += own.score * (1 - own.score) / count;
    tokens_variance += std::max(0.0, own.tokens_squared - own.tokens * own.tokens) / count;
    mean_score += own.score / count;
    mean_log_tokens += std::log(own.tokens) / count;
  }
  TaskHeads heads;
  for (const std::size_t task : recognised) {
    heads.quality.weights.push_back(expected[task].score);
    heads.tokens.weights.push_back(expected[task].tokens);
  }
  heads.quality.weights.push_back(mean_score);
  // The geometric mean: lengths differ by factors, and the longest would decide alone.
  heads.tokens.weights.push_back(std::exp(mean_log_tokens));
  heads.quality.spread = std::sqrt(quality_variance);
  heads.tokens.spread = std::sqrt(tokens_variance);
  return heads;
}

}  // namespace r2router::train
