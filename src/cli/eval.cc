// r2-router eval: what a checkpoint's choices would have cost and scored.
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "r2router/router.h"

#include "cli/commands.h"
#include "cli/evaluation_report.h"
#include "cli/outcome_data.h"
#include "cli/output.h"
#include "cli/stability_report.h"
#include "io/file.h"

namespace r2router::cli {
namespace {

constexpr const char* kFooter = R"(
Example:
  r2-router eval --queries queries.jsonl.gz --outcomes outcomes.jsonl.gz --dataset mmlu_pro

The router stands beside a point router (its own heads, unlimited budgets only), the mean curve
(no features: each pair's mean score and length), random mixing of single models, an oracle that
knows every outcome, and each single model. A checkpoint trained for a hard cap is evaluated on
unlimited outcomes cut off at its budgets.)";

struct Settings {
  OutcomeSettings data;
  std::string checkpoint_dir, budgets, curve;
  bool available_only = false, perturb = false, json = false;
};

void evaluate_checkpoint(const Settings& settings) {
  const Router router = Router::from_pretrained(settings.checkpoint_dir, {.log = print_warnings()});
  OutcomeData data = read_outcome_data(settings.data, router.pool());
  const bool hard_cap = settings.budgets.empty()
                            ? router.config().budget_mode == BudgetMode::kHardCap
                            : settings.budgets == "hard-cap";
  if (hard_cap) data.table = apply_hard_cap(data.table, limits_of(router.config()));
  const RouterEvaluation result =
      evaluate_router(router, data, settings.data.holdout, settings.available_only);
  if (!settings.curve.empty()) io::write_file(settings.curve, curves_csv(result.evaluation));
  nlohmann::ordered_json json = evaluation_json(result, data.table);
  std::string text = evaluation_text(result, data.table);
  if (settings.perturb) {
    const Stability stability = measure_stability(router, data.table, settings.data.holdout);
    json["perturbed"] = stability_json(stability);
    text += "\n" + stability_text(stability);
  }
  Output output;
  output.write(settings.json ? json.dump(2) + '\n' : text);
  output.flush();
}

}  // namespace

void add_eval_command(CLI::App& app, int&) {
  CLI::App* command =
      app.add_subcommand("eval", "Compare a checkpoint with other policies on known outcomes");
  command->footer(kFooter);
  const auto settings = std::make_shared<Settings>();
  add_outcome_options(*command, settings->data);
  command
      ->add_option("--checkpoint-dir", settings->checkpoint_dir,
                   "Checkpoint folder; default: the one that came with r2-router")
      ->type_name("DIR");
  command
      ->add_option("--budgets", settings->budgets,
                   "hard-cap: cut unlimited outcomes off at the checkpoint's budgets; given: the "
                   "outcomes have budgets; default: as the checkpoint was trained")
      ->check(CLI::IsMember({"hard-cap", "given"}))
      ->type_name("MODE");
  command->add_flag("--available-only", settings->available_only,
                    "Leave out models marked as unavailable, as route does by default");
  command->add_flag("--perturb", settings->perturb,
                    "Also route meaning-preserving edits of each query, and tell how often the "
                    "choice stays");
  command->add_option("--curve", settings->curve, "Also write every deferral curve to a CSV file")
      ->type_name("FILE.csv");
  command->add_flag("--json", settings->json, "Print one JSON object");
  command->callback([settings] { evaluate_checkpoint(*settings); });
}

}  // namespace r2router::cli
