// r2-router add-model: a new model for a checkpoint, from a few of its outcomes.
#include <string>

#include <nlohmann/json.hpp>

#include "r2router/eval/router_evaluation.h"
#include "r2router/train/task_table.h"

#include "base/decimal.h"
#include "base/file.h"
#include "cli/command.h"
#include "cli/help_texts.h"  // written by CMake
#include "cli/learning_options.h"

namespace r2router::cli {
namespace {

struct AddModelSettings {
  OutcomeSettings data;
  std::string checkpoint_dir, pool, model, output, task_scores;
  train::AddModelOptions options;
  bool json = false;
};

void add_from_tasks(const AddModelSettings& settings, const Checkpoint& checkpoint,
                    const Pool& pool) {
  const auto table = train::read_task_table(settings.task_scores, pool, print_warnings());
  train::AddedFromTasks report;
  save_checkpoint(train::add_model(checkpoint, table, settings.model, print_warnings(), &report),
                  settings.output);
  print_report(settings.json, settings.output, to_json(report), to_text(report));
}

void add_model_to_checkpoint(AddModelSettings& settings) {
  io::check_new_folder(settings.output);  // before the work
  const Checkpoint checkpoint = load_checkpoint(settings.checkpoint_dir, print_warnings());
  const Pool pool = train::extend_pool(checkpoint.config, read_pool(settings.pool), settings.model,
                                       settings.pool);
  if (!settings.task_scores.empty()) return add_from_tasks(settings, checkpoint, pool);
  if (settings.data.files.queries.empty()) {
    throw CLI::ValidationError(
        "nothing to add it from: give --queries and --outcomes, or --task-scores");
  }
  OutcomeData data = read_outcome_data(settings.data.files, pool, settings.data.options);
  data.table = as_trained(data.table, checkpoint.config);
  settings.options.holdout = holdout_of(settings.data, checkpoint.config);
  settings.options.progress = print_progress();
  settings.options.log = print_warnings();
  train::AddModelReport report;
  const Checkpoint added =
      train::add_model(checkpoint, data.table, eval::embed(Router(checkpoint), data),
                       settings.model, settings.options, &report);
  save_checkpoint(added, settings.output);

  auto json = nlohmann::ordered_json::parse(to_json(report, added.config.models));
  std::string text = to_text(report, settings.model);
  if (const auto both = eval::compare_added_model(added, report, data, settings.options.holdout,
                                                  settings.options.log)) {
    json["audc"] = both->added.audc;
    json["full_training"]["audc"] = both->full.audc;
    text += "AUDC of the router on them: " + decimal(both->added.audc, 4) +
            "; with those heads: " + decimal(both->full.audc, 4) + ".\n";
  }
  print_report(settings.json, settings.output, json.dump(), text);
}

}  // namespace

void add_add_model_command(CLI::App& app) {
  Command<AddModelSettings> command(
      app, "add-model",
      "Add a model to a checkpoint from a few of its outcomes, without retraining", kAddModelHelp);
  add_outcome_options(command.app, command->data, false);
  Options& add = command.add;
  add("--checkpoint-dir", command->checkpoint_dir, "DIR", "The checkpoint to add it to")
      ->required();
  add("--pool", command->pool, "FILE", "Models and prices, JSON: the new one's are read")
      ->required();
  add("--model", command->model, "NAME", "The new model's name in the pool and outcomes")
      ->required();
  add("--output", command->output, "DIR", "The new checkpoint's folder, which must not exist yet")
      ->required();
  CLI::Option* scores =
      add("--task-scores", command->task_scores, "FILE",
          "Results by task, as for train --task-table, instead of --queries and --outcomes");
  command.app.get_option("--queries")->required(false)->needs("--outcomes")->excludes(scores);
  command.app.get_option("--outcomes")->required(false)->needs("--queries")->excludes(scores);
  add("--probes", command->options.probes, "N", "Queries to fit the new model's heads to");
  add("--seed", command->options.seed, "N", "Varies which queries are probes, and folds");
  add("--threads", command->options.threads, "N",
      "0: one for each core; the result is the same for any number");
  add("--json", command->json, "Print one JSON object");
  command.runs(add_model_to_checkpoint);
}

}  // namespace r2router::cli
