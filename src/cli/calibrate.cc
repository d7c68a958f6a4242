// r2-router calibrate: from a sample of queries and a target to a policy file.
#include "r2router/eval/calibrate.h"

#include <filesystem>
#include <string>

#include "r2router/outcomes.h"
#include "r2router/policy.h"
#include "r2router/router.h"

#include "base/file.h"
#include "cli/command.h"
#include "cli/help_texts.h"  // written by CMake
#include "cli/learning_options.h"
#include "cli/router_options.h"

namespace r2router::cli {
namespace {

struct CalibrateSettings {
  OutcomeSettings data;
  RouterSettings router;
  std::string target, output, name;
  eval::CalibrationOptions options;
};

OutcomeData read_data(const OutcomeSettings& settings, const Router& router) {
  const OutcomeFiles& files = settings.files;
  const OutcomeData data = read_outcome_data(files, router.pool(), settings.options);
  if (data.embeddings.empty() && !router.encoder()) throw missing_encoder(router);
  return eval::calibration_data(data, router.config(), settings.holdout, print_warnings(),
                                files.queries);
}

void calibrate_policy(CalibrateSettings& settings) {
  if (settings.output.empty() && settings.name.empty()) {
    throw CLI::ValidationError("no place for the policy: give --name or --output");
  }
  find_checkpoint(settings.router);
  const eval::CalibrationTarget target = eval::parse_target(settings.target);
  const std::string file = settings.name.empty()
                               ? settings.output
                               : named_policy_path(settings.name, settings.router.checkpoint_dir);
  const Policy base = read_policy(settings.router);
  const Router router = load_router(settings.router);
  const eval::CalibrationSample sample = eval::sample_options(
      router, read_data(settings.data, router), base, settings.data.files.outcomes);
  const eval::Calibration calibration =
      eval::calibrate(sample.options, target, settings.options, sample.realised);
  if (!settings.name.empty()) io::make_folder(std::filesystem::path(file).parent_path().string());
  io::write_file(file, to_json(base, calibration));
  print(to_text(calibration, sample.incomplete) + "Policy:             " + file + '\n');
}

}  // namespace

void add_calibrate_command(CLI::App& app) {
  Command<CalibrateSettings> command(app, "calibrate",
                                     "Find the setting that meets a target, and keep it in a file",
                                     kCalibrateHelp);
  add_outcome_options(command.app, command->data, false);
  CLI::Option* outcomes = command.app.get_option("--outcomes")->required(false);
  command.app.get_option("--dataset")->needs(outcomes);
  command.app.get_option("--holdout")->needs(outcomes);
  Options& add = command.add;
  add("--target", command->target, "TARGET", "What to meet, see below")->required();
  CLI::Option* output =
      add("--output", command->output, "FILE.json", "Policy file to write or replace");
  add("--name", command->name, "NAME",
      "Instead of --output: keep the policy in the checkpoint's folder, where route --policy NAME "
      "and Python find it; letters, digits, - and _")
      ->excludes(output);
  add("--policy", command->router.policy, "FILE.json|NAME", "Policy whose constraints shall hold");
  add.choice("--setting", command->options.setting,
             {{"willingness-to-pay", eval::CalibratedSetting::kWillingnessToPay},
              {"fraction", eval::CalibratedSetting::kQualityFraction}},
             "What to find: willingness-to-pay, the cheapest way to a mean; or fraction, the share "
             "of its best quality that every query gets");
  add_router_options(command.app, command->router);
  add("--resamples", command->options.resamples, "N", "Resamples of the bootstrap");
  add("--seed", command->options.seed, "N", "Seed of the bootstrap");
  add_embedding_options(command.app, command->router);
  command.runs(calibrate_policy);
}

}  // namespace r2router::cli
