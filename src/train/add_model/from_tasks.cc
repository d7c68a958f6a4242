// A new model's heads from its results by task. The checkpoint's unlimited heads hold the other
// models' results, so that one table has them all: shrinking a score and estimating a missing one
// is then what training does.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "r2router/error.h"
#include "r2router/train/task_table.h"
#include "r2router/version.h"

#include "base/excerpt.h"
#include "base/json_writer.h"
#include "train/add_model/append.h"
#include "train/add_model/mixture.h"
#include "train/learner.h"
#include "train/provenance.h"
#include "train/task_heads.h"

namespace r2router::train {
namespace {

const TaskEncoderSpec& task_encoder(const Checkpoint& checkpoint) {
  const auto& encoder = checkpoint.config.encoder;
  const auto* tasks = encoder ? std::get_if<TaskEncoderSpec>(&*encoder) : nullptr;
  if (tasks == nullptr) {
    throw Error(ErrorCode::kUnsupported,
                "the checkpoint's encoder does not recognise tasks: add the model from its "
                "outcomes, or train a checkpoint on a task table");
  }
  if (checkpoint.config.budget_mode != BudgetMode::kHardCap) {
    throw Error(ErrorCode::kUnsupported,
                "the checkpoint's budgets are not hard caps, so results by task do not say how "
                "well a model does within them: add the model from its outcomes");
  }
  return *tasks;
}

/// What an unlimited head predicts for texts of one task alone.
class Known {
 public:
  explicit Known(const LinearHeads& heads) : heads_(heads) {}

  double operator()(std::uint32_t model, Target target, std::size_t task) const {
    const HeadName name{{model, Budget::unlimited()}, target};
    const auto head =
        static_cast<std::size_t>(std::ranges::find(heads_.names, name) - heads_.names.begin());
    return std::visit(
               [&](const auto& weights) {
                 return static_cast<double>(weights[head * heads_.dimension + task]);
               },
               heads_.weights) +
           heads_.intercepts[head];
  }

 private:
  const LinearHeads& heads_;
};

/// The results of the checkpoint's models, then those of the new one, for the encoder's tasks.
TaskTable join(const Checkpoint& checkpoint, const std::vector<std::string>& tasks,
               const TaskTable& table, std::size_t row, const LogCallback& log) {
  TaskTable joined{.models = checkpoint.config.models, .tasks = tasks, .results = {}};
  const Known known(linear_heads(checkpoint));
  for (std::uint32_t model = 0; model < checkpoint.config.models.size(); ++model) {
    for (std::size_t task = 0; task < tasks.size(); ++task) {
      joined.results.push_back(
          TaskResult{.score = std::clamp(known(model, Target::kQuality, task), 0.0, 1.0),
                     .output_tokens = std::max(1.0, known(model, Target::kTokens, task))});
    }
  }
  joined.models.push_back(table.models[row]);
  joined.results.resize(joined.models.size() * tasks.size());
  std::string unknown;
  for (std::size_t column = 0; column < table.tasks.size(); ++column) {
    const auto& result = table.results[table.cell(row, column)];
    if (!result) continue;
    const auto task = std::ranges::find(tasks, table.tasks[column]);
    if (task == tasks.end()) {
      unknown += (unknown.empty() ? "" : ", ") + table.tasks[column];
      continue;
    }
    joined.results[joined.cell(joined.models.size() - 1,
                               static_cast<std::size_t>(task - tasks.begin()))] = result;
  }
  if (log && !unknown.empty()) {
    log(LogLevel::kWarning,
        "results of " + table.models[row].name +
            " for tasks that the checkpoint does not recognise are ignored: " + unknown);
  }
  return joined;
}

std::string provenance(const Config& before, const TaskTable& table, const AddedFromTasks& report) {
  std::string text;
  ObjectWriter object(text);
  object.text("program", std::string("r2router ") + version());
  object.text("added_model", report.model);
  write_sources(object, table.sources);
  object.number("tasks", report.tasks);
  object.number("estimated_tasks", report.estimated);
  object.raw("before", before.training.empty() ? "null" : before.training);
  object.close();
  return text;
}

}  // namespace

Checkpoint add_model(const Checkpoint& checkpoint, const TaskTable& table, const std::string& name,
                     const LogCallback& log, AddedFromTasks* report_out) {
  const std::vector<std::string>& tasks = task_encoder(checkpoint).tasks;
  const LinearHeads& heads = linear_heads(checkpoint);
  validate(checkpoint);
  check_new_name(checkpoint.config, name);
  const auto model = std::ranges::find(table.models, name, &ModelSpec::name);
  if (model == table.models.end()) {
    throw Error(ErrorCode::kInvalidArgument,
                "there are no results of a model " + excerpt(name) + ": name one that has some");
  }
  const TaskTable joined =
      join(checkpoint, tasks, table, static_cast<std::size_t>(model - table.models.begin()), log);
  const std::size_t row = joined.cell(joined.models.size() - 1, 0);
  AddedFromTasks report{.model = name};
  for (std::size_t task = 0; task < tasks.size(); ++task) {
    ++(joined.results[row + task] ? report.tasks : report.estimated);
  }
  if (report.tasks == 0) {
    throw Error(ErrorCode::kBadData,
                name + " has no result for a task that the checkpoint recognises, such as " +
                    excerpt(tasks.front()));
  }
  const std::vector<TaskResult> results =
      complete_results(joined, checkpoint.config.length_sigma, log);
  const auto own = std::span(results).subspan(row, tasks.size());

  // The budgets of the first model, which are those of all in a checkpoint of a task table.
  std::vector<Budget> budgets;
  for (const HeadName& head : heads.names) {
    if (head.pair.model == 0 && head.target == Target::kQuality)
      budgets.push_back(head.pair.budget);
  }
  std::vector<std::size_t> all(tasks.size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  const auto columns = static_cast<Eigen::Index>(kHeadsPerPair * budgets.size());
  NewHeads added{{Eigen::MatrixXd(static_cast<Eigen::Index>(heads.dimension), columns),
                  Eigen::VectorXd::Zero(columns)},
                 {}};
  Eigen::Index column = 0;
  for (const Budget budget : budgets) {
    const TaskHeads fitted = fit_task_heads(own, all, budget);
    for (const TaskHead* head : {&fitted.quality, &fitted.tokens}) {
      added.fit.weights.col(column++) =
          Eigen::Map<const Eigen::VectorXd>(head->weights.data(), added.fit.weights.rows());
      added.spreads.push_back(head->spread);
    }
    if (budget.is_unlimited()) {
      report.mean_score = fitted.quality.weights.back();
      report.mean_tokens = fitted.tokens.weights.back();
    }
  }
  Checkpoint result = append(checkpoint, *model, budgets, added);
  result.config.training = provenance(checkpoint.config, table, report);
  if (report_out != nullptr) *report_out = std::move(report);
  return result;
}

std::string to_text(const AddedFromTasks& report) {
  char text[160];
  std::snprintf(
      text, sizeof text,
      " from its results for %zu of %zu tasks: mean score %.4f, mean length %.0f tokens.\n",
      report.tasks, report.tasks + report.estimated, report.mean_score, report.mean_tokens);
  return "Added " + report.model + text;
}

std::string to_json(const AddedFromTasks& report) {
  return nlohmann::ordered_json({{"model", report.model},
                                 {"tasks", report.tasks},
                                 {"estimated_tasks", report.estimated},
                                 {"mean_score", report.mean_score},
                                 {"mean_tokens", report.mean_tokens}})
      .dump(2);
}

}  // namespace r2router::train
