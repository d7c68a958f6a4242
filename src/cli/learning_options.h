// What the commands on outcome tables share: which outcomes are read, and how heads are fitted to
// them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "r2router/train/train.h"

#include "cli/output.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace r2router::cli {

struct OutcomeSettings {
  OutcomeFiles files;
  ReadOptions options = {.log = print_warnings()};
  std::optional<std::uint32_t> holdout = {};  ///< empty: not given
};

/// Adds --queries, --outcomes, --ignore-unknown-models, --dataset, --embeddings and --holdout to
/// `command`, and --cost if it measures `costs`. `settings` must outlive it.
void add_outcome_options(CLI::App& command, OutcomeSettings& settings, bool costs);

/// --holdout, or what the checkpoint of this config was trained with. Warns if that is everything
/// there was.
std::uint32_t holdout_of(const OutcomeSettings& settings, const Config& config);

/// Which models to train for, and how.
struct LearningSettings {
  std::string pool;
  std::vector<std::string> models;
  double coverage = 0.99;
  std::vector<std::uint32_t> token_limits = {10, 30, 50, 100, 200, 300, 500, 1000};
  std::vector<std::string> features = {"words:1-1"};
  train::TrainRecipe recipe;
};

/// Adds --pool, --models, --coverage, --token-limits, the built-in encoder's options, --predictor,
/// --alpha, --neighbours and --threads to `command`, whose --embeddings exclude the encoder's;
/// returns those added. `settings` must outlive it.
std::vector<CLI::Option*> add_learning_options(CLI::App& command, LearningSettings& settings);

/// Reads the outcomes of the models that --models names, or of those that answered nearly all
/// queries, and derives limited budgets from unlimited answers if `hard_cap`. Also reads --features
/// into the encoder. Throws what read_outcome_data() throws, and Error(kBadData) if no model is
/// left.
OutcomeData read_training_data(const OutcomeSettings& outcomes, LearningSettings& settings,
                               bool hard_cap);

/// Prints what was trained as text, or as a JSON object that begins with the checkpoint's folder.
void print_report(bool as_json, const std::string& folder, const std::string& json,
                  const std::string& text);

/// Shows the progress of training on standard error if that is a terminal.
train::ProgressCallback print_progress();

}  // namespace r2router::cli
