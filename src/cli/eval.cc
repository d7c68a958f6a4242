// r2-router eval: what a checkpoint's choices, or those of routers trained for the purpose, would
// have cost and scored.
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "r2router/error.h"
#include "r2router/eval/router_evaluation.h"
#include "r2router/eval/routerarena.h"

#include "base/file.h"
#include "cli/commands.h"
#include "cli/learning_options.h"
#include "cli/outcome_data.h"
#include "cli/output.h"
#include "cli/usage_error.h"

namespace r2router::cli {
namespace {

constexpr const char* kFooter = R"(
Examples:
  r2-router eval --checkpoint-dir my-router --queries queries.jsonl --outcomes outcomes.jsonl
  r2-router eval --folds 5 --queries queries.jsonl --outcomes outcomes.jsonl --pool models.json \
    --budgets hard-cap --report report.html

The router is compared with a point router (its own heads, unlimited budgets only), the mean curve
(no features: each pair's mean score and length), CARROT-KNN with 5 and with 80 neighbours (knn-5,
knn-80), random mixing of single models, an oracle that knows every outcome, and each single model.
--against chooses among them, and with --folds can add routers with other predictors:
ridge-router, knn-router, mlp-router. A checkpoint trained for a hard cap is evaluated on unlimited
outcomes cut off at its budgets. With --folds no checkpoint is needed: every query is routed by a
router that was trained without its text.
)";

struct Settings {
  OutcomeSettings data;
  LearningSettings learning;
  EvaluationOptions evaluation{.resampling = {.resamples = kDefaultResamples}};
  std::string checkpoint_dir, budgets, curves, report, predictions;
  std::vector<std::string> routerarena;
  std::uint32_t folds = 0;
  bool perturb = false, json = false;
};

/// What there is to report.
struct Findings {
  RouterEvaluation evaluation;
  std::optional<Stability> stability = {};  ///< if --perturb asks for it
};

/// The outcomes of --routerarena, after the predictions were written if they were asked for. Only
/// policies that learn nothing from them stand beside the router, and none of them are held out.
OutcomeData read_routerarena(Settings& settings, const Router& router) {
  CachedResults results = read_cached_results(
      settings.routerarena, router.pool(),
      {.ignore_unknown_models = settings.data.ignore_unknown_models, .log = print_warnings()});
  OutcomeData data{.table = results.table};
  data.table.cost_measure = settings.data.cost;
  if (!settings.data.embeddings.empty()) read_embeddings(settings.data.embeddings, data);
  if (!settings.predictions.empty()) {
    const std::vector<std::uint32_t> choices = choose_models(router, results, embed(router, data));
    io::write_file(settings.predictions, predictions_json(results, choices));
  }
  if (complete_queries(data.table).empty()) {
    throw Error(ErrorCode::kBadData,
                "no query has a score of every model, so nothing can be evaluated: expected "
                "\"evaluation_result\" with a \"score\"" +
                    std::string(settings.predictions.empty()
                                    ? ""
                                    : "; the predictions were written all the same"),
                {.file = settings.routerarena.front()});
  }
  settings.data.holdout = 0;
  settings.evaluation.against = {"oracle", "random mixing", "models"};
  return data;
}

Findings evaluate_settings(Settings& settings) {
  settings.evaluation.log = print_warnings();
  if (settings.folds > 0) {
    const OutcomeData data =
        read_training_data(settings.data, settings.learning, settings.budgets == "hard-cap");
    check_topics(data.table, settings.learning);
    settings.learning.recipe.options.progress = print_progress();
    return {cross_validate(data, settings.learning.recipe, settings.folds, settings.evaluation)};
  }
  const Router router = Router::from_pretrained(settings.checkpoint_dir, {.log = print_warnings()});
  OutcomeData data = settings.routerarena.empty() ? read_outcome_data(settings.data, router.pool())
                                                  : read_routerarena(settings, router);
  const bool hard_cap = settings.budgets.empty()
                            ? router.config().budget_mode == BudgetMode::kHardCap
                            : settings.budgets == "hard-cap";
  if (hard_cap) data.table = apply_hard_cap(data.table, limited_budgets(router.config()));
  const std::uint32_t holdout = holdout_of(settings.data, router.config());
  Findings findings = {evaluate_checkpoint(router, data, holdout, settings.evaluation)};
  if (settings.perturb) {
    findings.stability = measure_stability(router, data.table, holdout);
  }
  return findings;
}

void run_eval(Settings& settings) {
  const auto [result, stability] = evaluate_settings(settings);
  if (!settings.curves.empty()) io::write_file(settings.curves, curves_csv(result));
  if (!settings.report.empty()) io::write_file(settings.report, to_html(result));
  Output output;
  if (settings.json) {
    auto json = nlohmann::ordered_json::parse(to_json(result));
    if (stability) json["perturbed"] = nlohmann::ordered_json::parse(to_json(*stability));
    output.write(json.dump(2) + '\n');
  } else {
    output.write(to_text(result));
    if (stability) output.write("\n" + to_text(*stability));
  }
  output.flush();
}

}  // namespace

void add_eval_command(CLI::App& app, int&) {
  CLI::App* command = app.add_subcommand(
      "eval", "Compare a checkpoint, or training, with other policies on known outcomes");
  command->footer(std::string(kFooter) + kFeaturesHelp);
  const auto settings = std::make_shared<Settings>();
  add_outcome_options(*command, settings->data);
  add_cost_option(*command, settings->data);
  CLI::Option* queries = command->get_option("--queries")->required(false);
  CLI::Option* outcomes = command->get_option("--outcomes")->required(false);
  command
      ->add_option("--checkpoint-dir", settings->checkpoint_dir,
                   "Checkpoint folder; default: the one that came with r2-router")
      ->type_name("DIR");
  command
      ->add_option("--budgets", settings->budgets,
                   "hard-cap: cut unlimited outcomes off at limited budgets; given: the outcomes "
                   "have budgets; default: as the checkpoint was trained, given with --folds")
      ->check(one_of({"hard-cap", "given"}))
      ->type_name("MODE");
  command->add_flag("--available-only", settings->evaluation.available_only,
                    "Leave out models marked as unavailable, as route does by default");
  command
      ->add_option("--against", settings->evaluation.against,
                   "Policies to compare with: NAME[,NAME...], such as mean-curve,knn-20,models; "
                   "default: all")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("NAMES");
  command->add_flag("--by-dataset", settings->evaluation.by_dataset,
                    "Also evaluate each dataset alone");
  command
      ->add_option("--resamples", settings->evaluation.resampling.resamples,
                   "Resamples of the queries that intervals are made from; 0: no intervals")
      ->check(whole_number_in(0, 1000000))
      ->capture_default_str()
      ->type_name("N");
  command->add_option("--seed", settings->evaluation.resampling.seed, "Varies the resamples")
      ->capture_default_str()
      ->type_name("N");
  command->add_option("--curves", settings->curves, "Also write every sweep to a CSV file")
      ->type_name("FILE.csv");
  command
      ->add_option("--report", settings->report,
                   "Also write a page with charts and tables, one HTML file that needs no other")
      ->type_name("FILE.html");
  command->add_flag("--json", settings->json, "Print one JSON object");

  CLI::Option* routerarena =
      command
          ->add_option("--routerarena", settings->routerarena,
                       "Instead of --queries and --outcomes: cached results of RouterArena, JSON "
                       "lines, one file or more; nothing is learned from them")
          ->excludes(queries)
          ->excludes(outcomes)
          ->excludes("--dataset")
          ->excludes("--holdout")
          ->excludes("--against")
          ->type_name("FILE.jsonl");
  command
      ->add_option("--predictions", settings->predictions,
                   "Also write the choices at the default λ as RouterArena's prediction file")
      ->needs(routerarena)
      ->type_name("FILE.json");
  CLI::Option* folds =
      command
          ->add_option("--folds", settings->folds,
                       "Train and test this many times instead of evaluating a checkpoint")
          ->check(whole_number_in(2, 100))
          ->excludes("--checkpoint-dir")
          ->excludes("--holdout")
          ->excludes(routerarena)
          ->type_name("K");
  for (const std::string& option : add_learning_options(*command, settings->learning)) {
    command->get_option(option)->needs(folds)->group("With --folds");
  }
  folds->needs("--pool");
  command
      ->add_flag("--perturb", settings->perturb,
                 "Also route meaning-preserving edits of each query, and tell how often the choice "
                 "stays")
      ->excludes(folds);
  command->callback([settings] {
    if (settings->routerarena.empty() && settings->data.queries.empty()) {
      throw CLI::ValidationError("--queries is required");
    }
    if (settings->routerarena.empty() && settings->data.outcomes.empty()) {
      throw CLI::ValidationError("--outcomes is required");
    }
    run_eval(*settings);
  });
}

}  // namespace r2router::cli
