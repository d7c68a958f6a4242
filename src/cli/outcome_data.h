// What the train and eval commands share: reading an outcome table as the options say.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

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

/// --holdout, where it is not given and no checkpoint was trained with another.
inline constexpr std::uint32_t kDefaultHoldout = 5;

/// Adds --queries, --outcomes, --ignore-unknown-models, --dataset, --embeddings and --holdout to
/// `command`. `settings` must
/// outlive it.
void add_outcome_options(CLI::App& command, OutcomeSettings& settings);

/// Adds --cost to `command`: what curves measure costs in. `settings` must outlive it.
void add_cost_option(CLI::App& command, OutcomeSettings& settings);

/// An outcome table and, if --embeddings was given, its queries' embeddings.
struct OutcomeData {
  OutcomeTable table;
  std::vector<float> embeddings = {};  ///< queries × dimension, or empty
  std::size_t dimension = 0;
};

/// Reads --embeddings, if it was given, for the queries of data.table. Throws what io::read_npy()
/// throws, and Error(kBadData) if they are not one for each query.
void read_embeddings(const OutcomeSettings& settings, OutcomeData& data);

/// Reads the outcomes of the pool's models. Throws what read_outcomes() and io::read_npy() throw,
/// and Error(kBadData) if the embeddings are not one for each query or no query is of the dataset.
OutcomeData read_outcome_data(const OutcomeSettings& settings, const Pool& pool);

/// --holdout, or what the checkpoint of this config was trained with. Warns if that is everything
/// there was.
std::uint32_t holdout_of(const OutcomeSettings& settings, const Config& config);

/// The limited budgets of a config, which a hard cap is derived for.
std::vector<std::uint32_t> limits_of(const Config& config);

/// The outcomes as a checkpoint of this config is trained on them: unlimited ones cut off at its
/// budgets if those are a hard cap.
OutcomeTable as_trained(const OutcomeTable& table, const Config& config);

/// The data of these queries (indices into data.table.queries).
OutcomeData select_rows(const OutcomeData& data, std::span<const std::uint32_t> rows);

/// The part of the data that is held out, or the part that is not.
OutcomeData select_part(const OutcomeData& data, std::uint32_t holdout, bool held_out);

}  // namespace r2router::cli
