// What the train and eval commands share: how heads are fitted to an outcome table.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "r2router/train.h"

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
  LexicalEncoderSpec encoder;
  std::vector<std::string> features = {"words:1-1"};
  TrainOptions train;
  bool topics = false;   ///< the encoder recognises the datasets that are trained on
  bool augment = false;  ///< edits of each query are trained on too
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

/// Fits a checkpoint to the data: to its embeddings if it has some, else with the built-in encoder.
/// Throws what train() throws, and CLI::ValidationError for topics of fewer than two datasets.
Checkpoint train_on(const OutcomeData& data, const LearningSettings& settings,
                    const TrainOptions& options, TrainReport* report = nullptr);

/// Shows the progress of training on standard error if that is a terminal; else empty.
ProgressCallback print_progress();

}  // namespace r2router::cli
