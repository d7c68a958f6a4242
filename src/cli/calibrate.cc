// r2-router calibrate: from a sample of queries and a target to a policy file.
#include "r2router/eval/calibrate.h"

#include <filesystem>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>

#include "r2router/outcomes.h"
#include "r2router/policy.h"
#include "r2router/router.h"

#include "base/file.h"
#include "cli/commands.h"
#include "cli/load_router.h"
#include "cli/outcome_data.h"
#include "cli/output.h"
#include "cli/policy_options.h"
#include "cli/servers.h"
#include "cli/usage_error.h"

namespace r2router::cli {
namespace {

constexpr const char* kFooter = R"(
Examples:
  r2-router calibrate --queries queries.jsonl --target 0.05/1k --output cheap.json
  r2-router calibrate --queries queries.jsonl --target "95% of best" --output good.json
  r2-router calibrate --queries queries.jsonl --target "quality 0.6" --policy limits.json \
    --output q.json
  r2-router calibrate --checkpoint-dir my-router --queries queries.jsonl \
    --outcomes outcomes.jsonl --target "95% of best" --name good
  r2-router route --checkpoint-dir my-router --policy good --query "Which organ makes insulin?"

Targets are means over the queries: a cost in USD for 1,000 queries (0.05/1k, 0.05 USD/1k or, in
single quotes, '$0.05/1k') or for one ('$0.00005'), a share of the quality of each query's best
option, or a quality. In double quotes a shell would replace $0 by its own name. Targets are met by
predictions, or with --outcomes by the real costs and scores of the answers; the best option is then
the one with the best prediction. Of the settings that meet a quality the lowest is chosen, and of
those that meet a cost the highest. Intervals hold 95 % of bootstrap resamples of the queries.

With --outcomes, a checkpoint that was trained for a hard cap is calibrated on unlimited outcomes
cut off at its budgets. An answer that is longer than its cap is counted as cut off, with a score of
0. Queries without an outcome of every option are left out. Predictions are too optimistic for
queries that the checkpoint was trained on. Only the queries that the --holdout of train kept out
are used; if the checkpoint was trained on none of the queries, give --holdout 0.)";

struct Settings {
  OutcomeSettings data;
  std::string checkpoint_dir, pool, policy, target, setting = "willingness-to-pay";
  std::string output, name;
  ServerSettings servers;
  CalibrationOptions options;
};

OutcomeData read_data(const OutcomeSettings& settings, const Router& router) {
  OutcomeData data;
  if (settings.outcomes.empty()) {
    data.table.queries = read_queries(settings.queries);
    if (!settings.embeddings.empty()) read_embeddings(settings.embeddings, data);
  } else {
    data = read_outcome_data(settings, router.pool());
    data.table = as_trained(data.table, router.config());
    const std::uint32_t holdout = holdout_of(settings, router.config());
    if (holdout > 0) data = select_part(data, holdout, true);
    if (data.table.queries.empty()) {
      throw Error(ErrorCode::kBadData,
                  "none of the queries is one that --holdout " + std::to_string(holdout) +
                      " keeps out of training: give more, or --holdout 0 if none was trained on",
                  {.file = settings.queries});
    }
  }
  if (!data.embeddings.empty() && data.dimension != router.dimension()) {
    throw Error(ErrorCode::kBadData,
                "the file has rows of " + std::to_string(data.dimension) + " numbers: expected " +
                    std::to_string(router.dimension()) +
                    ", made by the encoder that the checkpoint was trained with (" +
                    router.config().embedding_model + ")",
                {.file = settings.embeddings});
  }
  if (data.embeddings.empty() && !router.encoder()) {
    throw Error(ErrorCode::kInvalidArgument,
                "the checkpoint has no encoder of its own: name a server that serves " +
                    router.config().embedding_model +
                    " with --embed-url, or give the queries' embeddings with --embeddings");
  }
  return data;
}

void calibrate_policy(const Settings& settings) {
  const CalibrationTarget target = parse_target(settings.target);
  const std::string file =
      settings.name.empty()
          ? settings.output
          : named_policy_path(settings.name, checkpoint_folder(settings.checkpoint_dir));
  const Policy base = read_policy(settings.policy, settings.checkpoint_dir);
  const Router router = load_router(settings.checkpoint_dir, settings.pool, settings.servers);
  if (!settings.data.outcomes.empty() && base.continuous.value_or(false)) {
    throw Error(ErrorCode::kInvalidArgument,
                "the policy is continuous, but there are no outcomes of budgets between the "
                "trained ones: leave out --outcomes, or \"continuous\" in the policy",
                {.file = settings.policy});
  }
  const CalibrationSample sample =
      sample_options(router, read_data(settings.data, router), base, settings.data.outcomes);
  const Calibration calibration =
      calibrate(sample.options, target, settings.options, sample.realised);
  if (!settings.name.empty()) io::make_folder(std::filesystem::path(file).parent_path().string());
  io::write_file(file, to_json(base, calibration));
  Output output;
  output.write(to_text(calibration, sample.incomplete) + "Policy:             " + file + '\n');
  output.flush();
}

}  // namespace

void add_calibrate_command(CLI::App& app, int&) {
  CLI::App* command = app.add_subcommand(
      "calibrate", "Find the setting that meets a target, and keep it in a file");
  command->footer(kFooter);
  const auto settings = std::make_shared<Settings>();
  const auto text = [command](const char* name, std::string& value, const char* description,
                              const char* type) {
    return command->add_option(name, value, description)->type_name(type);
  };
  add_outcome_options(*command, settings->data);
  CLI::Option* outcomes = command->get_option("--outcomes")->required(false);
  command->get_option("--dataset")->needs(outcomes);
  command->get_option("--holdout")->needs(outcomes);
  text("--target", settings->target, "What to meet, see below", "TARGET")->required();
  CLI::Option* output =
      text("--output", settings->output, "Policy file to write or replace", "FILE.json");
  text("--name", settings->name,
       "Instead of --output: keep the policy in the checkpoint's folder, where route --policy NAME "
       "and Python find it; letters, digits, - and _",
       "NAME")
      ->excludes(output);
  text("--policy", settings->policy, "Policy whose constraints shall hold", "FILE.json|NAME");
  text(
      "--setting", settings->setting,
      "What to find: willingness-to-pay, the cheapest way to a mean; or fraction, the share of its "
      "best quality that every query gets",
      "NAME")
      ->check(one_of({"willingness-to-pay", "fraction"}))
      ->capture_default_str();
  text("--checkpoint-dir", settings->checkpoint_dir,
       "Checkpoint folder; default: the one that came with r2-router", "DIR");
  text("--pool", settings->pool, "Take prices and availability from this pool file, as route does",
       "FILE.json");
  command->add_option("--resamples", settings->options.resamples, "Resamples of the bootstrap")
      ->capture_default_str()
      ->type_name("N");
  command->add_option("--seed", settings->options.seed, "Seed of the bootstrap")
      ->capture_default_str()
      ->type_name("N");
  add_embedding_server_options(*command, settings->servers);
  command->callback([command, settings] {
    if (command->count("--output") + command->count("--name") == 0) {
      throw CLI::ValidationError("no place for the policy: give --name or --output");
    }
    settings->options.setting = settings->setting == "fraction"
                                    ? CalibratedSetting::kQualityFraction
                                    : CalibratedSetting::kWillingnessToPay;
    settings->checkpoint_dir = checkpoint_for(settings->checkpoint_dir, settings->servers);
    calibrate_policy(*settings);
  });
}

}  // namespace r2router::cli
