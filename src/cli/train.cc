// r2-router train: an outcome table in, a checkpoint out.
#include "r2router/train/train.h"

#include <algorithm>
#include <string>
#include <tuple>
#include <utility>

#include <nlohmann/json.hpp>

#include "r2router/eval/router_evaluation.h"
#include "r2router/train/task_table.h"

#include "base/file.h"
#include "cli/command.h"
#include "cli/learning_options.h"

namespace r2router::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFooter = R"(Examples:
  r2-router train --queries queries.jsonl --outcomes outcomes.jsonl --pool models.json \
    --budgets hard-cap --output my-router
  r2-router train --queries queries.jsonl --outcomes outcomes.jsonl --pool models.json \
    --budgets hard-cap --predictor knn --features characters:3-3 --output my-knn-router
  r2-router train --task-table results.csv --prompts prompts.jsonl --pool models.json \
    --output my-task-router

--budgets hard-cap derives limited budgets from unlimited answers. --pool takes any JSON file with
an object "models" like that of a checkpoint's config.json.

--task-table trains on results by task instead of outcomes: rows of "model", "task", "score" (0 to
1), "output_tokens", and optionally "questions", "length_spread" and "cost_usd". --prompts are texts
with their "task" and "source", from which the router learns to recognise tasks.
)";

struct Settings {
  OutcomeSettings data;
  LearningSettings learning;
  std::string output, budget_prompt, embedding_model, task_table, prompts, data_date;
  bool hard_cap = false, json = false;
  bool own_token_limits = false;  // --token-limits is given
};

/// Predictions for prompted budgets hold under the wording of the prompt alone.
void check_budget_prompt(const OutcomeTable& table, const Settings& settings) {
  const bool limited = std::ranges::any_of(
      table.pairs, [](const Pair& pair) { return !pair.budget.is_unlimited(); });
  if (!limited || table.budget_mode != BudgetMode::kPrompted) return;
  if (settings.budget_prompt.find("{budget}") != std::string::npos) return;
  throw CLI::ValidationError(
      "--budget-prompt: the outcomes have limited budgets; give the instruction that the models "
      "received, with {budget} in place of the number");
}

void train_checkpoint(Settings& settings) {
  io::check_new_folder(settings.output);  // before hours of work
  const OutcomeData data = read_training_data(settings.data, settings.learning, settings.hard_cap);
  check_budget_prompt(data.table, settings);
  train::TrainOptions& options = settings.learning.recipe.options;
  options.holdout = settings.data.holdout.value_or(kDefaultHoldout);
  options.progress = print_progress();
  options.log = print_warnings();

  train::TrainReport report;
  Checkpoint checkpoint = train::train(data, settings.learning.recipe, &report);
  if (!data.embeddings.empty()) checkpoint.config.embedding_model = settings.embedding_model;
  checkpoint.config.budget_prompt = settings.budget_prompt;
  save_checkpoint(checkpoint, settings.output);

  Json json = {{"checkpoint", settings.output}};
  json.update(Json::parse(to_json(report, checkpoint)));
  std::string text = to_text(report, checkpoint) + "Wrote " + settings.output + ".\n";
  if (report.held_out_queries > 0) {
    // The checkpoint is kept even if it cannot be measured on these queries.
    try {
      eval::EvaluationOptions how;
      how.against = {"standard"};
      how.resampling.resamples = eval::kDefaultResamples;
      how.log = print_warnings();
      const eval::RouterEvaluation evaluation =
          eval::evaluate_checkpoint(Router(std::move(checkpoint)), data, options.holdout, how);
      json["evaluation"] = Json::parse(to_json(evaluation, false));
      text += "\n" + to_text(evaluation);
    } catch (const Error& error) {
      print_remark("warning", std::string("not evaluated: ") + error.what());
    }
  }
  print(settings.json ? json.dump(2) + '\n' : text);
}

/// Trains on results by task.
void train_on_tasks(const Settings& settings) {
  io::check_new_folder(settings.output);
  train::TaskTrainOptions options;
  options.seed = settings.learning.recipe.options.seed;
  options.threads = settings.learning.recipe.options.threads;
  options.data_date = settings.data_date;
  if (settings.own_token_limits) options.token_limits = settings.learning.token_limits;
  options.progress = print_progress();
  options.log = print_warnings();
  const train::TaskTable table = train::read_task_table(
      settings.task_table, read_pool(settings.learning.pool), print_warnings());
  train::TaskTrainReport report;
  const Checkpoint checkpoint =
      train::train(table, train::read_task_prompts(settings.prompts), options, &report);
  save_checkpoint(checkpoint, settings.output);
  if (settings.json) {
    Json json = {{"checkpoint", settings.output}};
    json.update(Json::parse(to_json(report, checkpoint)));
    print(json.dump(2) + '\n');
  } else {
    print(to_text(report, checkpoint) + "Wrote " + settings.output + ".\n");
  }
}

/// There is one kind of data, complete, and no option of the other.
void check_sources(const CLI::App& app, bool tasks) {
  const auto given = [&](const char* option) { return app.count(option) > 0; };
  if (!tasks && !given("--prompts") && !given("--data-date")) {
    if (given("--queries") && given("--outcomes")) return;
    throw CLI::ValidationError(
        std::string(given("--queries")    ? "--outcomes is"
                    : given("--outcomes") ? "--queries is"
                                          : "--queries and --outcomes are") +
        " missing: give --queries and --outcomes, or --task-table and --prompts");
  }
  if (!tasks || !given("--prompts")) {
    throw CLI::ValidationError(
        "--task-table and --prompts go together: the results of each task, and texts from which "
        "the tasks are recognised");
  }
  for (const char* option :
       {"--queries", "--outcomes", "--embeddings", "--holdout", "--budgets", "--budget-prompt",
        "--predictor", "--features", "--topics", "--cost"}) {
    if (given(option)) {
      throw CLI::ValidationError(std::string(option) + " is not for --task-table");
    }
  }
}

}  // namespace

void add_train_command(CLI::App& app) {
  Command<Settings> command(app, "train",
                            "Fit a checkpoint to outcomes of your own models and queries",
                            std::string(kFooter) + kFeaturesHelp);
  add_outcome_options(command.app, command->data);
  add_cost_option(command.app, command->data);
  add_learning_options(command.app, command->learning);
  command.app.get_option("--pool")->required();
  Options& add = command.add;
  for (const char* option : {"--queries", "--outcomes"}) {
    command.app.get_option(option)->required(false);
  }
  add("--task-table", command->task_table, "FILE",
      "Results by task, to train on instead of --queries and --outcomes; see below");
  add("--prompts", command->prompts, "FILE",
      "With --task-table: texts with their task and source; the same formats");
  add("--data-date", command->data_date, "DATE",
      "With --task-table: the date of the results, such as 2026-08-22, which info shows");
  add("--output", command->output, "DIR", "The checkpoint's folder, which must not exist yet")
      ->required();
  add.choice("--budgets", command->hard_cap, {{"given", false}, {"hard-cap", true}},
             "given: as the outcomes have them; hard-cap: derive limited budgets from unlimited "
             "answers, cut off at the budget, a cut one scoring 0");
  add("--budget-prompt", command->budget_prompt, "TEXT",
      "Instruction that the models received under a limited budget, with {budget} in its place");
  add("--embedding-model", command->embedding_model, "NAME",
      "With --embeddings: the model that made them, which a server must serve")
      ->needs("--embeddings");
  add("--folds", command->learning.recipe.options.folds, "N", "Folds of the cross-validation");
  add("--seed", command->learning.recipe.options.seed, "N", "Varies the folds");
  add("--json", command->json, "Print one JSON object");
  command.runs([&app = command.app](Settings& settings) {
    settings.own_token_limits = app.count("--token-limits") > 0;
    const bool tasks = app.count("--task-table") > 0;
    check_sources(app, tasks);
    if (tasks) return train_on_tasks(settings);
    const PredictorKind predictor = settings.learning.recipe.options.predictor;
    for (const auto& [option, allowed, choice] :
         {std::tuple("--token-limits", settings.hard_cap, "--budgets hard-cap"),
          std::tuple("--alpha", predictor == PredictorKind::kRidge, "--predictor ridge"),
          std::tuple("--neighbours", predictor == PredictorKind::kKnn, "--predictor knn")}) {
      if (app.count(option) > 0 && !allowed) {
        throw CLI::ValidationError(std::string(option) + " is only for " + choice);
      }
    }
    train_checkpoint(settings);
  });
}

}  // namespace r2router::cli
