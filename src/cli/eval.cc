// r2-router eval: what a checkpoint's choices, or those of routers trained for the purpose, would
// have cost and scored.
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "r2router/eval/learning_curve.h"
#include "r2router/eval/router_evaluation.h"
#include "r2router/eval/routerarena.h"

#include "base/file.h"
#include "cli/command.h"
#include "cli/help_texts.h"  // written by CMake
#include "cli/learning_options.h"

namespace r2router::cli {
namespace {

struct EvalSettings {
  OutcomeSettings data;
  LearningSettings learning;
  eval::EvaluationOptions evaluation{.resampling = {.resamples = eval::kDefaultResamples}};
  std::string checkpoint_dir, curves, report, predictions;
  std::vector<std::string> routerarena;
  std::optional<bool> hard_cap = {};
  std::optional<std::uint32_t> folds = {};
  bool perturb = false, learning_curve = false, json = false;
};

/// The outcomes of --routerarena, after the predictions were written if they were requested.
OutcomeData read_routerarena(const EvalSettings& settings, const Router& router) {
  const eval::CachedResults results =
      eval::read_cached_results(settings.routerarena, router.pool(), settings.data.options);
  OutcomeData data{.table = results.table};
  data.table.cost_measure = settings.data.files.cost_measure;
  if (!settings.data.files.embeddings.empty())
    read_embeddings(settings.data.files.embeddings, data);
  if (!settings.predictions.empty()) {
    const std::vector<std::uint32_t> choices =
        eval::choose_models(router, results, eval::embed(router, data));
    io::write_file(settings.predictions, eval::predictions_json(results, choices));
  }
  return data;
}

/// The evaluation, and the stability of choices if --perturb requests it.
std::pair<eval::RouterEvaluation, std::optional<eval::Stability>> evaluate(EvalSettings& settings) {
  settings.evaluation.log = print_warnings();
  if (settings.folds) {
    const OutcomeData data =
        read_training_data(settings.data, settings.learning, settings.hard_cap.value_or(false));
    settings.learning.recipe.options.progress = print_progress();
    return {
        eval::cross_validate(data, settings.learning.recipe, *settings.folds, settings.evaluation),
        std::nullopt};
  }
  const Router router = Router::from_pretrained(settings.checkpoint_dir, {.log = print_warnings()});
  const bool cached = !settings.routerarena.empty();
  OutcomeData data =
      cached ? read_routerarena(settings, router)
             : read_outcome_data(settings.data.files, router.pool(), settings.data.options);
  const BudgetMode trained = router.config().budget_mode;
  if (settings.hard_cap.value_or(trained == BudgetMode::kHardCap)) {
    data.table = apply_hard_cap(data.table, limited_budgets(router.config()));
  }
  const std::uint32_t holdout = cached ? 0 : holdout_of(settings.data, router.config());
  auto evaluation = cached ? eval::evaluate_cached_results(router, data, settings.evaluation,
                                                           settings.routerarena[0])
                           : eval::evaluate_checkpoint(router, data, holdout, settings.evaluation);
  if (!settings.perturb) return {std::move(evaluation), std::nullopt};
  return {std::move(evaluation), eval::measure_stability(router, data.table, holdout)};
}

void print_learning_curve(const EvalSettings& settings) {
  const Checkpoint prior = load_checkpoint(settings.checkpoint_dir, print_warnings());
  const eval::LearningCurve curve = eval::learning_curve(
      prior, read_outcome_data(settings.data.files, prior.config.models, settings.data.options),
      {.holdout = holdout_of(settings.data, prior.config)});
  print(settings.json ? to_json(curve) + '\n' : to_text(curve));
}

void run_eval(EvalSettings& settings) {
  if (settings.routerarena.empty() && settings.data.files.queries.empty()) {
    throw CLI::ValidationError("nothing to evaluate on: give --queries and --outcomes");
  }
  if (settings.learning_curve) return print_learning_curve(settings);
  const auto [result, stability] = evaluate(settings);
  if (!settings.curves.empty()) io::write_file(settings.curves, curves_csv(result));
  if (!settings.report.empty()) io::write_file(settings.report, to_html(result));
  if (settings.json) {
    auto json = nlohmann::ordered_json::parse(to_json(result));
    if (stability) json["perturbed"] = nlohmann::ordered_json::parse(to_json(*stability));
    print(json.dump(2) + '\n');
  } else {
    print(to_text(result) + (stability ? "\n" + to_text(*stability) : ""));
  }
}

}  // namespace

void add_eval_command(CLI::App& app) {
  Command<EvalSettings> command(
      app, "eval", "Compare a checkpoint, or training, with other policies on known outcomes",
      std::string(kEvalHelp) + "\n" + kFeaturesHelp);
  add_outcome_options(command.app, command->data, true);
  command.app.get_option("--queries")->required(false)->needs("--outcomes");
  command.app.get_option("--outcomes")->required(false)->needs("--queries");
  Options& add = command.add;
  add("--checkpoint-dir", command->checkpoint_dir, "DIR",
      "Checkpoint folder; default: the one that came with r2-router");
  add.choice("--budgets", command->hard_cap, {{"hard-cap", true}, {"given", false}},
             "hard-cap: cut unlimited outcomes off at limited budgets; given: the outcomes have "
             "budgets; default: as the checkpoint was trained, given with --folds");
  add("--available-only", command->evaluation.available_only,
      "Leave out models marked as unavailable, as route does by default");
  add("--against", command->evaluation.against, "NAMES",
      "Policies to compare with: NAME[,NAME...], such as mean-curve,knn-20,models; default: all");
  add("--by-dataset", command->evaluation.by_dataset, "Also evaluate each dataset alone");
  add("--resamples", command->evaluation.resampling.resamples, "N",
      "Resamples of the queries that intervals are made from; 0: no intervals",
      whole_number_in(0, 1000000));
  add("--seed", command->evaluation.resampling.seed, "N", "Varies the resamples");
  add("--curves", command->curves, "FILE.csv", "Also write every sweep to a CSV file");
  add("--report", command->report, "FILE.html",
      "Also write a page with charts and tables, one HTML file that needs no other");
  add("--json", command->json, "Print one JSON object");
  CLI::Option* routerarena =
      add("--routerarena", command->routerarena, "FILE.jsonl",
          "Instead of --queries and --outcomes: cached results of RouterArena, JSON lines, one "
          "file or more; nothing is learned from them")
          ->delimiter('\0')
          ->allow_extra_args();
  add("--predictions", command->predictions, "FILE.json",
      "Also write the choices at the default λ as RouterArena's prediction file")
      ->needs(routerarena);
  CLI::Option* folds = add("--folds", command->folds, "K",
                           "Train and test this many times instead of evaluating a checkpoint",
                           whole_number_in(2, 100));
  for (CLI::Option* option : add_learning_options(command.app, command->learning)) {
    option->needs(folds)->group("With --folds");
  }
  folds->needs("--pool");
  add("--perturb", command->perturb,
      "Also route meaning-preserving edits of each query, and tell how often the choice stays")
      ->excludes(folds);
  for (const char* other : {"--queries", "--outcomes", "--dataset", "--holdout", "--against"}) {
    routerarena->excludes(other);
  }
  add("--learning-curve", command->learning_curve,
      "Train on more and more of the outcomes instead, on top of the checkpoint and from scratch")
      ->excludes(routerarena);
  for (const char* other : {"--checkpoint-dir", "--holdout", "--routerarena", "--learning-curve"}) {
    folds->excludes(other);
  }
  command.runs(run_eval);
}

}  // namespace r2router::cli
