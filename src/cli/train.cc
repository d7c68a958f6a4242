// r2-router train: an outcome table in, a checkpoint out.
#include "r2router/train/train.h"

#include <string>
#include <tuple>
#include <utility>

#include <nlohmann/json.hpp>

#include "r2router/eval/router_evaluation.h"
#include "r2router/train/task_table.h"

#include "base/file.h"
#include "cli/command.h"
#include "cli/help_texts.h"  // written by CMake
#include "cli/learning_options.h"

namespace r2router::cli {
namespace {

using Json = nlohmann::ordered_json;

struct TrainSettings {
  OutcomeSettings data;
  LearningSettings learning;
  std::string output, task_table, prompts, vectors, prior;
  train::TaskTrainOptions tasks;
  bool hard_cap = false, json = false;
};

/// Trains on results by task.
Checkpoint train_on_tasks(TrainSettings& settings, train::TaskTrainReport* report) {
  train::TaskTrainOptions& options = settings.tasks;
  options.seed = settings.learning.recipe.options.seed;
  options.threads = settings.learning.recipe.options.threads;
  options.progress = print_progress();
  options.log = print_warnings();
  if (!settings.vectors.empty()) {
    options.wordpieces = train::read_wordpiece_vectors(settings.vectors);
  }
  const train::TaskTable table =
      train::read_task_table(settings.task_table, read_pool(settings.learning.pool), options.log);
  return train::train(table, train::read_task_prompts(settings.prompts), options, report);
}

void train_on_tasks_only(TrainSettings& settings) {
  train::TaskTrainReport report;
  const Checkpoint checkpoint = train_on_tasks(settings, &report);
  save_checkpoint(checkpoint, settings.output);
  print_report(settings.json, settings.output, to_json(report, checkpoint),
               to_text(report, checkpoint));
}

void train_checkpoint(TrainSettings& settings) {
  train::TrainRecipe& recipe = settings.learning.recipe;
  if (!settings.prior.empty() || !settings.task_table.empty()) {
    recipe.prior = std::make_shared<const Checkpoint>(
        settings.prior.empty() ? train_on_tasks(settings, nullptr)
                               : load_checkpoint(settings.prior, print_warnings()));
  }
  const OutcomeData data = read_training_data(settings.data, settings.learning, settings.hard_cap);
  recipe.options.holdout = settings.data.holdout.value_or(kDefaultHoldout);
  recipe.options.progress = print_progress();
  recipe.options.log = print_warnings();
  train::TrainReport report;
  Checkpoint checkpoint = train::train(data, recipe, &report);
  save_checkpoint(checkpoint, settings.output);
  Json json = Json::parse(to_json(report, checkpoint));
  std::string text = to_text(report, checkpoint);
  if (report.held_out_queries > 0) {
    if (const auto evaluation = eval::evaluate_held_out(
            Router(std::move(checkpoint)), data, recipe.options.holdout, recipe.options.log)) {
      json["evaluation"] = Json::parse(to_json(*evaluation, false));
      text += "\n" + to_text(*evaluation);
    }
  }
  print_report(settings.json, settings.output, json.dump(), text);
}

}  // namespace

void add_train_command(CLI::App& app) {
  Command<TrainSettings> command(app, "train",
                                 "Fit a checkpoint to outcomes of your own models and queries",
                                 std::string(kTrainHelp) + "\n" + kFeaturesHelp);
  add_outcome_options(command.app, command->data, true);
  add_learning_options(command.app, command->learning);
  Options& add = command.add;
  CLI::Option* table =
      add("--task-table", command->task_table, "FILE",
          "Results by task, to train on instead of outcomes, or as their prior; see below");
  add("--prompts", command->prompts, "FILE",
      "With --task-table: texts with their task and source; the same formats")
      ->needs(table);
  table->needs("--prompts");
  add("--vectors", command->vectors, "CHECKPOINT",
      "With --task-table: a checkpoint, such as the default one, of which the vectors of "
      "wordpieces "
      "are used to recognise words that no prompt has")
      ->needs(table);
  add("--data-date", command->tasks.data_date, "DATE",
      "With --task-table: the date of the results, such as 2026-08-22, which info shows")
      ->needs(table);
  CLI::Option* prior = add("--prior", command->prior, "DIR",
                           "Checkpoint to begin with, such as one of --task-table; see below");
  add("--output", command->output, "DIR", "The checkpoint's folder, which must not exist yet")
      ->required();
  add.choice("--budgets", command->hard_cap, {{"given", false}, {"hard-cap", true}},
             "given: as the outcomes have them; hard-cap: derive limited budgets from unlimited "
             "answers, cut off at the budget, a cut one scoring 0");
  train::TrainRecipe& recipe = command->learning.recipe;
  add("--budget-prompt", recipe.budget_prompt, "TEXT",
      "Instruction that the models received under a limited budget, with {budget} in its place");
  add("--embedding-model", recipe.embedding_model, "NAME",
      "With --embeddings: the model that made them, which a server must serve")
      ->needs("--embeddings");
  add("--folds", recipe.options.folds, "N", "Folds of the cross-validation");
  add("--seed", recipe.options.seed, "N", "Varies the folds");
  add("--json", command->json, "Print one JSON object");
  command.app.get_option("--queries")->required(false)->needs("--outcomes");
  command.app.get_option("--outcomes")->required(false)->needs("--queries");
  for (const char* other : {"--embeddings", "--budgets", "--budget-prompt", "--predictor",
                            "--alpha", "--features", "--topics", "--cost"}) {
    table->excludes(other);
  }
  for (const char* other :
       {"--task-table", "--pool", "--token-limits", "--budgets", "--budget-prompt", "--predictor",
        "--alpha", "--features", "--topics", "--embedding-model"}) {
    prior->excludes(other);
  }
  command.runs([&app = command.app](TrainSettings& settings) {
    const auto given = [&](const char* option) { return app.count(option) > 0; };
    if (!given("--pool") && !given("--prior")) throw CLI::RequiredError("--pool");
    io::check_new_folder(settings.output);  // before hours of work
    if (given("--task-table")) {
      if (given("--token-limits")) settings.tasks.token_limits = settings.learning.token_limits;
      if (!given("--queries")) return train_on_tasks_only(settings);
    }
    if (!given("--queries")) {
      throw CLI::ValidationError(
          "nothing to train on: give --queries and --outcomes, or --task-table and --prompts");
    }
    const PredictorKind predictor = settings.learning.recipe.options.predictor;
    for (const auto& [option, allowed, choice] :
         {std::tuple("--token-limits", settings.hard_cap, "--budgets hard-cap"),
          std::tuple("--alpha", predictor == PredictorKind::kRidge, "--predictor ridge"),
          std::tuple("--neighbours", predictor == PredictorKind::kKnn, "--predictor knn")}) {
      if (given(option) && !allowed && !given("--task-table")) {
        throw CLI::ValidationError(std::string(option) + " is only for " + choice);
      }
    }
    train_checkpoint(settings);
  });
}

}  // namespace r2router::cli
