// What the train and eval commands share: reading an outcome table as the options say.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "r2router/outcomes.h"

namespace CLI {
class App;
}

namespace r2router::cli {

/// Options that say which outcomes to use.
struct OutcomeSettings {
  std::string queries, outcomes, dataset, embeddings;
  std::optional<std::uint32_t> holdout = {};  ///< empty: not given
  bool ignore_unknown_models = false;
  CostMeasure cost = CostMeasure::kUsd;
};

/// Adds --queries, --outcomes, --ignore-unknown-models, --dataset, --embeddings and --holdout to
/// `command`. `settings` must outlive it.
void add_outcome_options(CLI::App& command, OutcomeSettings& settings);

/// Adds --cost to `command`: what curves measure costs in. `settings` must outlive it.
void add_cost_option(CLI::App& command, OutcomeSettings& settings);

/// Reads the outcomes of the pool's models and their --embeddings. Throws what read_outcomes() and
/// read_embeddings() throw, and Error(kBadData) if no query is of --dataset.
OutcomeData read_outcome_data(const OutcomeSettings& settings, const Pool& pool);

/// --holdout, or what the checkpoint of this config was trained with. Warns if that is everything
/// there was.
std::uint32_t holdout_of(const OutcomeSettings& settings, const Config& config);

}  // namespace r2router::cli
