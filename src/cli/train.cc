// r2-router train: an outcome table in, a checkpoint out.
#include "r2router/train/train.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "r2router/eval/router_evaluation.h"

#include "cli/commands.h"
#include "cli/learning_options.h"
#include "cli/outcome_data.h"
#include "cli/output.h"
#include "cli/usage_error.h"

namespace r2router::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFooter = R"(Examples:
  r2-router train --queries queries.jsonl --outcomes outcomes.jsonl --pool models.json \
    --budgets hard-cap --output my-router
  r2-router train --queries queries.jsonl --outcomes outcomes.jsonl --pool models.json \
    --budgets hard-cap --predictor knn --features characters:3-3 --output my-knn-router

--budgets hard-cap derives limited budgets from unlimited answers. --pool takes any JSON file with
an object "models" like that of a checkpoint's config.json.
)";

struct Settings {
  OutcomeSettings data;
  LearningSettings learning;
  std::string output, budgets = "given", budget_prompt, embedding_model;
  bool json = false;
};

/// Predictions for prompted budgets hold under the wording of the prompt alone.
void check_budget_prompt(const OutcomeTable& table, const Settings& settings) {
  const bool limited = std::any_of(table.pairs.begin(), table.pairs.end(),
                                   [](const Pair& pair) { return !pair.budget.is_unlimited(); });
  if (!limited || table.budget_mode != BudgetMode::kPrompted) return;
  if (settings.budget_prompt.find("{budget}") != std::string::npos) return;
  throw CLI::ValidationError(
      "--budget-prompt: the outcomes have limited budgets; give the words that told the models, "
      "with {budget} in place of the number");
}

Json report_json(const Settings& settings, const Checkpoint& checkpoint,
                 const TrainReport& report) {
  return {{"checkpoint", settings.output},
          {"training_queries", report.training_queries},
          {"held_out_queries", report.held_out_queries},
          {"heads", report.heads},
          {"predictor", to_string(checkpoint.config.predictor)},
          {"alpha", settings.learning.recipe.options.predictor == PredictorKind::kRidge
                        ? Json(report.alpha)
                        : Json()},
          {"default_lambda", report.default_lambda},
          {"training", Json::parse(checkpoint.config.training)}};
}

void train_checkpoint(Settings& settings) {
  check_output_folder(settings.output);
  const OutcomeData data =
      read_training_data(settings.data, settings.learning, settings.budgets == "hard-cap");
  check_budget_prompt(data.table, settings);
  check_topics(data.table, settings.learning);
  TrainOptions& options = settings.learning.recipe.options;
  options.holdout = settings.data.holdout.value_or(kDefaultHoldout);
  options.progress = print_progress();
  options.log = print_warnings();

  TrainReport report;
  Checkpoint checkpoint = train(data, settings.learning.recipe, &report);
  if (!data.embeddings.empty()) checkpoint.config.embedding_model = settings.embedding_model;
  checkpoint.config.budget_prompt = settings.budget_prompt;
  save_checkpoint(checkpoint, settings.output);

  Json json = report_json(settings, checkpoint, report);
  std::string text = to_text(report, checkpoint) + "Wrote " + settings.output + ".\n";
  if (report.held_out_queries > 0) {
    EvaluationOptions evaluated;
    evaluated.against = {"standard"};
    evaluated.resampling.resamples = kDefaultResamples;
    evaluated.log = print_warnings();
    // The checkpoint is kept even if it cannot be measured on these queries.
    try {
      const RouterEvaluation evaluation =
          evaluate_checkpoint(Router(std::move(checkpoint)), data, options.holdout, evaluated);
      json["evaluation"] = Json::parse(to_json(evaluation, false));
      text += "\n" + to_text(evaluation);
    } catch (const Error& error) {
      print_remark("warning", std::string("not evaluated: ") + error.what());
    }
  }
  Output output;
  output.write(settings.json ? json.dump(2) + '\n' : text);
  output.flush();
}

}  // namespace

void add_train_command(CLI::App& app, int&) {
  CLI::App* command =
      app.add_subcommand("train", "Fit a checkpoint to outcomes of your own models and queries");
  command->footer(std::string(kFooter) + kFeaturesHelp);
  const auto settings = std::make_shared<Settings>();
  add_outcome_options(*command, settings->data);
  add_cost_option(*command, settings->data);
  add_learning_options(*command, settings->learning);
  command->get_option("--pool")->required();
  command
      ->add_option("--output", settings->output,
                   "The checkpoint's folder, which must not exist yet")
      ->required()
      ->type_name("DIR");
  command
      ->add_option("--budgets", settings->budgets,
                   "given: as the outcomes have them; hard-cap: derive limited budgets from "
                   "unlimited answers, cut off at the budget, a cut one scoring 0")
      ->check(one_of({"given", "hard-cap"}))
      ->capture_default_str()
      ->type_name("MODE");
  command
      ->add_option("--budget-prompt", settings->budget_prompt,
                   "What the models were told under a limited budget; {budget} stands for it")
      ->type_name("TEXT");

  command
      ->add_option("--embedding-model", settings->embedding_model,
                   "With --embeddings: the model that made them, which a server must serve")
      ->needs("--embeddings")
      ->type_name("NAME");
  command
      ->add_option("--folds", settings->learning.recipe.options.folds,
                   "Folds of the cross-validation")
      ->capture_default_str()
      ->type_name("N");
  command->add_option("--seed", settings->learning.recipe.options.seed, "Varies the folds")
      ->capture_default_str()
      ->type_name("N");
  command->add_flag("--json", settings->json, "Print one JSON object");
  command->callback([command, settings] {
    if (command->count("--token-limits") > 0 && settings->budgets != "hard-cap") {
      throw CLI::ValidationError("--token-limits is only for --budgets hard-cap");
    }
    const PredictorKind predictor = settings->learning.recipe.options.predictor;
    if (command->count("--alpha") > 0 && predictor != PredictorKind::kRidge) {
      throw CLI::ValidationError("--alpha is only for --predictor ridge");
    }
    if (command->count("--neighbours") > 0 && predictor != PredictorKind::kKnn) {
      throw CLI::ValidationError("--neighbours is only for --predictor knn");
    }
    train_checkpoint(*settings);
  });
}

}  // namespace r2router::cli
