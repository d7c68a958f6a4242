// What the train and eval commands share: how heads are fitted to an outcome table.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "r2router/train/train.h"

#include "cli/outcome_data.h"

namespace CLI {
class App;
}

namespace r2router::cli {

/// Options that say which models to train for, and how.
struct LearningSettings {
  std::string pool;
  std::vector<std::string> models;
  double coverage = 0.99;
  std::vector<std::uint32_t> token_limits = {10, 30, 50, 100, 200, 300, 500, 1000};
  std::vector<std::string> features = {"words:1-1"};
  TrainRecipe recipe;
};

/// Adds --pool, --models, --coverage, --token-limits, the built-in encoder's options, --predictor,
/// --alpha, --neighbours and --threads to `command`, whose --embeddings exclude the encoder's;
/// returns the names of those added. `settings` must outlive it.
std::vector<std::string> add_learning_options(CLI::App& command, LearningSettings& settings);

/// What --features lists; explains its syntax to the footer of --help.
extern const char* const kFeaturesHelp;

/// Reads the outcomes of the models that --models names, or of those that answered nearly all
/// queries, and derives limited budgets from unlimited answers if `hard_cap`. Also reads --features
/// into the encoder. Throws what read_outcome_data() throws, Error(kBadData) if no model is left,
/// and CLI::ValidationError for bad features.
OutcomeData read_training_data(const OutcomeSettings& outcomes, LearningSettings& settings,
                               bool hard_cap);

/// Throws CLI::ValidationError for --topics if the queries name fewer than two datasets.
void check_topics(const OutcomeTable& table, const LearningSettings& settings);

/// Shows the progress of training on standard error if that is a terminal; else empty.
ProgressCallback print_progress();

}  // namespace r2router::cli
