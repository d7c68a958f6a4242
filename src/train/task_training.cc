// From results by task to heads. An embedding is the shares of the tasks, so a head that is linear
// in it with a task's figure as the weight predicts the mean of the figures by these shares. The
// weight of the share of no task is the mean over the tasks.
//
// Budgets follow from lengths: with lognormal lengths of mean m and spread σ, an answer is longer
// than b with a probability of 1 − Φ((ln b − μ)/σ), where μ = ln m − σ²/2; it is cut off there and
// scores 0.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <numbers>
#include <set>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include "r2router/decision.h"
#include "r2router/error.h"
#include "r2router/eval/contenders.h"
#include "r2router/train/task_table.h"
#include "r2router/version.h"

#include "base/date.h"
#include "base/decimal.h"
#include "base/excerpt.h"
#include "base/usd.h"
#include "checkpoint/format_version.h"
#include "train/learner.h"
#include "train/problem.h"
#include "train/provenance.h"
#include "train/task_recogniser.h"
#include "train/validation.h"

namespace r2router::train {
namespace {

using Json = nlohmann::ordered_json;

void check(const TaskTable& table, const TaskTrainOptions& options) {
  const auto refuse = [](const std::string& message) {
    throw Error(ErrorCode::kInvalidArgument, message);
  };
  if (options.epochs == 0) refuse("epochs is 0: expected 1 or more");
  if (options.folds < 2) {
    refuse("folds is " + std::to_string(options.folds) + ": expected 2 or more");
  }
  if (!(options.length_spread > 0 && options.length_spread <= kHighestLengthSigma)) {
    refuse("length_spread is " + std::to_string(options.length_spread) +
           ": expected a number above 0 and at most 4");
  }
  if (!options.data_date.empty() && !internal::parse_date(options.data_date)) {
    refuse("data_date is " + excerpt(options.data_date) + ": expected a date such as 2026-08-22");
  }
  std::set<std::uint32_t> limits(options.token_limits.begin(), options.token_limits.end());
  if (limits.contains(0) || limits.size() < options.token_limits.size()) {
    refuse("token_limits has a 0 or a number twice: expected different positive numbers");
  }
  if (table.results.size() != table.models.size() * table.tasks.size()) {
    throw_bad_data("the task table has " + std::to_string(table.results.size()) +
                   " results, expected one, which may be empty, for each of " +
                   std::to_string(table.models.size()) + " models and " +
                   std::to_string(table.tasks.size()) + " tasks");
  }
  for (std::size_t model = 0; model < table.models.size(); ++model) {
    for (std::size_t task = 0; task < table.tasks.size(); ++task) {
      const auto& result = table.results[table.cell(model, task)];
      if (!result) continue;
      const double spread = result->length_spread.value_or(options.length_spread);
      if (result->score >= 0 && result->score <= 1 && result->output_tokens > 0 &&
          std::isfinite(result->output_tokens) && result->questions >= 0 && spread > 0 &&
          spread <= kHighestLengthSigma) {
        continue;
      }
      throw_bad_data("the result of " + table.models[model].name + " for the task " +
                     excerpt(table.tasks[task]) +
                     " is out of range: expected a score from 0 to 1, a length above 0, and a "
                     "spread above 0 and at most 4");
    }
  }
}

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

/// Every model's result for every task: shrunk, or estimated if it is missing.
std::vector<TaskResult> complete(const TaskTable& table, const TaskTrainOptions& options) {
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
      if (!result->length_spread) result->length_spread = options.length_spread;
      results.push_back(*result);
    }
  }
  for (const auto& [model, number] : missing) {
    if (!options.log) break;
    options.log(LogLevel::kWarning,
                model + " has no result for " + std::to_string(number) + " of " +
                    std::to_string(tasks) +
                    " tasks: they are estimated from its other results and from those of the "
                    "other models");
  }
  return results;
}

double normal_share(double z) { return 0.5 * std::erfc(-z / std::numbers::sqrt2); }

/// What is expected of an answer that is cut off at `budget` tokens.
struct Expected {
  double score = 0, tokens = 0, tokens_squared = 0;
};

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

/// The mean length of the prompts of each task, tokens.
std::vector<std::int64_t> mean_lengths(const std::vector<TaskPrompt>& prompts,
                                       const std::vector<std::string>& tasks) {
  std::map<std::string_view, std::pair<double, double>> sums;
  for (const TaskPrompt& prompt : prompts) {
    auto& [total, count] = sums[prompt.task];
    total += static_cast<double>(estimate_input_tokens(prompt.text));
    ++count;
  }
  std::vector<std::int64_t> lengths;
  for (const std::string& task : tasks) {
    const auto& [total, count] = sums[task];
    lengths.push_back(count > 0 ? std::llround(total / count) : 100);
  }
  return lengths;
}

/// The expectations as outcomes: each task is a query.
OutcomeTable as_outcomes(const TaskTable& table, const std::vector<TaskResult>& results,
                         const TaskPrompts& prompts, const TaskTrainOptions& options) {
  OutcomeTable outcomes;
  outcomes.models = table.models;
  outcomes.budget_mode = BudgetMode::kHardCap;
  std::vector<Budget> budgets;
  for (const std::uint32_t limit : options.token_limits) budgets.emplace_back(limit);
  std::ranges::sort(budgets);
  budgets.push_back(Budget::unlimited());
  for (std::uint32_t model = 0; model < table.models.size(); ++model) {
    for (const Budget budget : budgets) outcomes.pairs.push_back({model, budget});
  }
  const std::vector<std::int64_t> lengths = mean_lengths(prompts.prompts, table.tasks);
  for (std::size_t task = 0; task < table.tasks.size(); ++task) {
    outcomes.queries.push_back(
        {.id = table.tasks[task], .text = table.tasks[task], .input_tokens = lengths[task]});
    for (const Pair& pair : outcomes.pairs) {
      const Expected expected = expect(results[table.cell(pair.model, task)], pair.budget);
      outcomes.scores.push_back(expected.score);
      outcomes.output_tokens.push_back(expected.tokens);
    }
  }
  return outcomes;
}

/// The tasks that are recognised: those with prompts, by their indices in the table.
std::vector<std::size_t> choose_tasks(const TaskTable& table, const TaskPrompts& prompts,
                                      const LogCallback& log) {
  std::map<std::string_view, std::size_t> count;
  for (const TaskPrompt& prompt : prompts.prompts) ++count[prompt.task];
  std::vector<std::size_t> tasks;
  std::string without_prompts, without_results;
  const auto add = [](std::string& list, std::string_view name) {
    list += (list.empty() ? "" : ", ") + std::string(name);
  };
  for (std::size_t task = 0; task < table.tasks.size(); ++task) {
    if (count.erase(table.tasks[task]) > 0) {
      tasks.push_back(task);
    } else {
      add(without_prompts, table.tasks[task]);
    }
  }
  std::size_t unused = 0;
  for (const auto& [task, number] : count) add(without_results, task), unused += number;
  if (tasks.size() < 2) {
    throw_bad_data("the task table and the prompts have " + std::to_string(tasks.size()) +
                   " tasks in common, expected at least 2: tasks without prompts: " +
                   (without_prompts.empty() ? "none" : without_prompts) +
                   "; prompts of tasks without results: " +
                   (without_results.empty() ? "none" : without_results));
  }
  if (log && !without_prompts.empty()) {
    log(LogLevel::kWarning,
        "tasks without prompts cannot be recognised, and count only in the models' means: " +
            without_prompts);
  }
  if (log && unused > 0) {
    log(LogLevel::kWarning, with_thousands(unused) +
                                " prompts are not used, since no model has results for their "
                                "tasks: " +
                                without_results);
  }
  return tasks;
}

std::string provenance(const TaskTable& table, const TaskPrompts& prompts,
                       const TaskTrainOptions& options, const TaskTrainReport& report) {
  std::string text;
  ObjectWriter object(text);
  object.text("program", std::string("r2router ") + version());
  std::vector<DataSource> sources = table.sources;
  sources.insert(sources.end(), prompts.data_sources.begin(), prompts.data_sources.end());
  write_sources(object, sources);
  if (!options.data_date.empty()) object.text("data_date", options.data_date);
  object.number("prompts", report.prompts);
  object.number("sources", report.sources);
  object.number("epochs", options.epochs);
  object.number("folds", options.folds);
  object.number("seed", options.seed);
  object.number("length_spread", options.length_spread);
  object.object("unseen_sources", [&](ObjectWriter& own) {
    own.number("accuracy", report.accuracy);
    own.number("macro_f1", report.macro_f1);
    own.number("calibration_error", report.calibration_error);
  });
  object.object("default_lambda", [&](ObjectWriter& own) {
    own.number("score", report.default_score);
    own.number("cost_usd", report.default_cost_usd);
    own.number("best_score", report.best_score);
    own.number("best_cost_usd", report.best_cost_usd);
  });
  object.close();
  return text;
}

}  // namespace

LexicalEncoderSpec TaskTrainOptions::default_features() {
  using Kind = LexicalFeatures::Kind;
  return {.dimension = 32768,
          .features = {{.kind = Kind::kWords, .min_n = 1, .max_n = 2},
                       {.kind = Kind::kCharacters, .min_n = 3, .max_n = 3}},
          .fold_digits = true,
          .square_root = true};
}

Checkpoint train(const TaskTable& table, const TaskPrompts& prompts,
                 const TaskTrainOptions& options, TaskTrainReport* report_out) {
  check(table, options);
  const std::vector<std::size_t> tasks = choose_tasks(table, prompts, options.log);
  std::vector<std::string> names;
  for (const std::size_t task : tasks) names.push_back(table.tasks[task]);
  const std::vector<TaskResult> results = complete(table, options);
  const OutcomeTable outcomes = as_outcomes(table, results, prompts, options);

  if (options.progress) options.progress("fitting", 0, 1);
  TaskRecogniser recogniser = fit_recogniser(prompts.prompts, names, options);
  TaskTrainReport report;
  report.sources = recogniser.sources;
  report.accuracy = recogniser.accuracy;
  report.macro_f1 = recogniser.macro_f1;
  report.calibration_error = recogniser.calibration_error;
  report.tasks = recogniser.recognition;
  for (const TaskRecognition& task : report.tasks) report.prompts += task.prompts;

  // Heads: a weight for each recognised task, and the mean over all tasks for none of them.
  Checkpoint checkpoint;
  LinearHeads heads{.dimension = tasks.size() + 1, .names = name_heads(outcomes)};
  std::vector<double> weights;
  const auto task_count = static_cast<double>(table.tasks.size());
  eval::PredictionTable predictions;
  predictions.quality = outcomes.scores;
  predictions.output_tokens = outcomes.output_tokens;
  for (std::size_t pair = 0; pair < outcomes.pairs.size(); ++pair) {
    double quality_variance = 0, tokens_variance = 0;
    for (std::size_t task = 0; task < table.tasks.size(); ++task) {
      const double score = outcomes.scores[outcomes.cell(task, pair)];
      const Expected expected = expect(results[table.cell(outcomes.pairs[pair].model, task)],
                                       outcomes.pairs[pair].budget);
      // An answer is right or wrong, of which a score is the mean.
      quality_variance += score * (1 - score) / task_count;
      tokens_variance +=
          std::max(0.0, expected.tokens_squared - expected.tokens * expected.tokens) / task_count;
    }
    for (const auto& [values, predicted] :
         {std::pair(&outcomes.scores, &predictions.quality),
          std::pair(&outcomes.output_tokens, &predictions.output_tokens)}) {
      // Of lengths the geometric mean: they differ by factors, and the longest would decide alone.
      const bool lengths = values == &outcomes.output_tokens;
      double mean = 0;
      for (std::size_t task = 0; task < table.tasks.size(); ++task) {
        const double value = (*values)[outcomes.cell(task, pair)];
        mean += (lengths ? std::log(value) : value) / task_count;
      }
      if (lengths) mean = std::exp(mean);
      for (const std::size_t task : tasks) weights.push_back((*values)[outcomes.cell(task, pair)]);
      weights.push_back(mean);
      for (std::size_t task = 0; task < table.tasks.size(); ++task) {
        double& value = (*predicted)[outcomes.cell(task, pair)];
        value += recogniser.mean_novelty * (mean - value);  // as a typical text of the task
      }
    }
    checkpoint.spreads.push_back(std::sqrt(quality_variance));
    checkpoint.spreads.push_back(std::sqrt(tokens_variance));
  }
  heads.intercepts.assign(heads.names.size(), 0);
  heads.weights = std::move(weights);
  checkpoint.predictor = std::move(heads);

  const eval::BestSingle best = eval::best_single(outcomes, true);
  const eval::DeferralPoint chosen = choose_default(
      eval::sweep(outcomes, predictions, eval::lambda_grid(best.unit), {.available_only = true}),
      best);
  report.default_lambda = chosen.lambda;
  report.default_score = chosen.score;
  report.default_cost_usd = chosen.cost * best.unit;
  report.best_score = best.score;
  report.best_cost_usd = best.cost;
  report.best_model = table.models[best.model].name;

  Config& config = checkpoint.config;
  config.method = "task table: each model's results by task, weighted by the tasks of a text";
  config.embedding_model = "tasks";
  config.embedding_dim = static_cast<std::uint32_t>(tasks.size() + 1);
  config.policy.lambda = report.default_lambda;
  config.policy.rules = DecisionRules::kCorrected;
  config.models = table.models;
  for (const Pair& pair : outcomes.pairs) {
    if (pair.model == 0) config.token_limits.push_back(pair.budget);
  }
  config.budget_mode = BudgetMode::kHardCap;
  config.length_sigma = options.length_spread;
  config.encoder = std::move(recogniser.spec);
  config.training = provenance(table, prompts, options, report);
  config.format_version = internal::format_version_for(config);
  checkpoint.encoder = std::move(recogniser.tensors);
  if (options.progress) options.progress("fitting", 1, 1);
  if (report_out != nullptr) *report_out = std::move(report);
  return checkpoint;
}

std::string to_text(const TaskTrainReport& report, const Checkpoint& checkpoint) {
  char text[640];
  std::snprintf(
      text, sizeof text,
      "Trained on %zu models and %zu tasks, and on %s prompts of %zu sources.\n"
      "On sources that it was not trained on, the recogniser is right for %.1f %% of the "
      "prompts\n(macro-F1 %.3f, calibration error %.3f).\n"
      "Default λ = %.7g: score %.4f at %s a query with every task equally frequent;\n"
      "%s, the best single model: %.4f at %s.\n",
      checkpoint.config.models.size(), report.tasks.size(), with_thousands(report.prompts).c_str(),
      report.sources, 100 * report.accuracy, report.macro_f1, report.calibration_error,
      report.default_lambda, report.default_score, usd_text(report.default_cost_usd, 3).c_str(),
      report.best_model.c_str(), report.best_score, usd_text(report.best_cost_usd, 3).c_str());
  return text;
}

std::string to_json(const TaskTrainReport& report, const Checkpoint& checkpoint) {
  Json tasks = Json::object();
  for (const TaskRecognition& task : report.tasks) {
    tasks[task.task] = {
        {"prompts", task.prompts}, {"recall", task.recall}, {"precision", task.precision}};
  }
  return Json({{"prompts", report.prompts},
               {"sources", report.sources},
               {"accuracy", report.accuracy},
               {"macro_f1", report.macro_f1},
               {"calibration_error", report.calibration_error},
               {"tasks", std::move(tasks)},
               {"default_lambda", report.default_lambda},
               {"default_score", report.default_score},
               {"default_cost_usd", report.default_cost_usd},
               {"best_model", report.best_model},
               {"best_score", report.best_score},
               {"best_cost_usd", report.best_cost_usd},
               {"training", Json::parse(checkpoint.config.training)}})
      .dump(2);
}

}  // namespace r2router::train
