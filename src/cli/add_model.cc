// r2-router add-model: a new model for a checkpoint, from a few of its outcomes.
#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "r2router/eval/router_evaluation.h"

#include "cli/commands.h"
#include "cli/learning_options.h"
#include "cli/outcome_data.h"
#include "cli/output.h"

namespace r2router::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFooter = R"(
Examples:
  r2-router add-model --checkpoint-dir my-router --pool models.json --model new-model \
    --queries queries.jsonl --outcomes outcomes.jsonl --output my-router-2

A few hundred outcomes of the new model are enough: its heads begin as a mixture of the existing
heads, which do not change. Under a hard cap, limited budgets are derived from unlimited answers. If there are more outcomes than probes, the new heads are compared with heads fitted to all
of them, on the queries held out; if the file has the other models' outcomes too, so are the routers.)";

struct Settings {
  OutcomeSettings data;
  std::string checkpoint_dir, pool, model, output;
  AddModelOptions options;
  bool json = false;
};

Json heads_json(const AddedHeads& heads, const Pool& pool) {
  Json shares = Json::object();
  for (std::size_t i = 0; i < heads.shares.size(); ++i) shares[pool[i].name] = heads.shares[i];
  return {{"alpha", heads.alpha},
          {"share_penalty", heads.share_penalty},
          {"error", heads.error},
          {"mean_error", heads.mean_error},
          {"shares", shares}};
}

Json report_json(const Settings& settings, const Checkpoint& added, const AddModelReport& report,
                 const std::optional<AddedModelComparison>& comparison) {
  Json json = {{"checkpoint", settings.output},
               {"model", settings.model},
               {"probes", report.probes},
               {"quality", heads_json(report.quality, added.config.models)},
               {"tokens", heads_json(report.tokens, added.config.models)}};
  if (report.full) {
    json["full_training"] = {{"training_queries", report.full->training_queries},
                             {"held_out_queries", report.full->held_out_queries},
                             {"quality_error", report.full->quality_error},
                             {"added_quality_error", report.full->added_quality_error},
                             {"tokens_error", report.full->tokens_error},
                             {"added_tokens_error", report.full->added_tokens_error}};
  }
  if (comparison) {
    json["audc"] = comparison->added.audc;
    json["full_training"]["audc"] = comparison->full.audc;
  }
  return json;
}

/// Empty, with a warning, if routers cannot be measured on these queries: the new checkpoint is
/// kept.
std::optional<AddedModelComparison> compare(const Checkpoint& added, const AddModelReport& report,
                                            const OutcomeData& data, std::uint32_t holdout) {
  try {
    return compare_added_model(added, report, data, holdout);
  } catch (const Error& error) {
    print_remark("warning", std::string("routers not compared: ") + error.what());
    return std::nullopt;
  }
}

void add_model_to_checkpoint(Settings& settings) {
  check_output_folder(settings.output);
  const Checkpoint checkpoint = load_checkpoint(settings.checkpoint_dir, print_warnings());
  const Pool pool =
      extend_pool(checkpoint.config, read_pool(settings.pool), settings.model, settings.pool);
  OutcomeData data = read_outcome_data(settings.data, pool);
  data.table = as_trained(data.table, checkpoint.config);
  settings.options.holdout = holdout_of(settings.data, checkpoint.config);
  settings.options.progress = print_progress();
  settings.options.log = print_warnings();
  AddModelReport report;
  const Checkpoint added = add_model(checkpoint, data.table, embed(Router(checkpoint), data),
                                     settings.model, settings.options, &report);
  save_checkpoint(added, settings.output);

  const auto comparison = compare(added, report, data, settings.options.holdout);
  Output output;
  if (settings.json) {
    output.write(report_json(settings, added, report, comparison).dump(2) + '\n');
  } else {
    output.write(to_text(report, settings.model));
    if (comparison) {
      char text[128];
      std::snprintf(text, sizeof text,
                    "AUDC of the router on them: %.4f; with those heads: %.4f.\n",
                    comparison->added.audc, comparison->full.audc);
      output.write(text);
    }
    output.write("Wrote " + settings.output + ".\n");
  }
  output.flush();
}

}  // namespace

void add_add_model_command(CLI::App& app, int&) {
  CLI::App* command = app.add_subcommand(
      "add-model", "Add a model to a checkpoint from a few of its outcomes, without retraining");
  command->footer(kFooter);
  const auto settings = std::make_shared<Settings>();
  add_outcome_options(*command, settings->data);
  command->add_option("--checkpoint-dir", settings->checkpoint_dir, "The checkpoint to add it to")
      ->required()
      ->type_name("DIR");
  command->add_option("--pool", settings->pool, "Models and prices, JSON: the new one's are read")
      ->required()
      ->type_name("FILE");
  command->add_option("--model", settings->model, "The new model's name in the pool and outcomes")
      ->required()
      ->type_name("NAME");
  command
      ->add_option("--output", settings->output,
                   "The new checkpoint's folder, which must not exist yet")
      ->required()
      ->type_name("DIR");
  command
      ->add_option("--probes", settings->options.probes, "Queries to fit the new model's heads to")
      ->capture_default_str()
      ->type_name("N");
  command
      ->add_option("--seed", settings->options.seed, "Varies which queries are probes, and folds")
      ->capture_default_str()
      ->type_name("N");
  command
      ->add_option("--threads", settings->options.threads,
                   "0: one for each core; the result is the same for any number")
      ->capture_default_str()
      ->type_name("N");
  command->add_flag("--json", settings->json, "Print one JSON object");
  command->callback([settings] { add_model_to_checkpoint(*settings); });
}

}  // namespace r2router::cli
