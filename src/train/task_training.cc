// Training on results by task: the recogniser, the heads (task_heads.h), and the default λ with
// every task equally frequent.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
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
#include "train/task_heads.h"
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
  const std::vector<TaskResult> results =
      complete_results(table, options.length_spread, options.log);
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

  Checkpoint checkpoint;
  LinearHeads heads{.dimension = tasks.size() + 1, .names = name_heads(outcomes)};
  std::vector<double> weights;
  eval::PredictionTable predictions;
  predictions.quality = outcomes.scores;
  predictions.output_tokens = outcomes.output_tokens;
  for (std::size_t pair = 0; pair < outcomes.pairs.size(); ++pair) {
    const auto [model, budget] = outcomes.pairs[pair];
    const auto own = std::span(results).subspan(table.cell(model, 0), table.tasks.size());
    const TaskHeads fitted = fit_task_heads(own, tasks, budget);
    for (const auto& [head, predicted] : {std::pair(&fitted.quality, &predictions.quality),
                                          std::pair(&fitted.tokens, &predictions.output_tokens)}) {
      weights.insert(weights.end(), head->weights.begin(), head->weights.end());
      checkpoint.spreads.push_back(head->spread);
      for (std::size_t task = 0; task < table.tasks.size(); ++task) {
        double& value = (*predicted)[outcomes.cell(task, pair)];
        // As a typical text of the task.
        value += recogniser.mean_novelty * (head->weights.back() - value);
      }
    }
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
