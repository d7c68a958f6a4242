// The outcomes that a model is added from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <Eigen/Core>

#include "r2router/train/train.h"

#include "train/learner.h"

namespace r2router::train {

inline constexpr std::uint32_t kFewestProbes = 20;

/// The new model's part of the table.
struct NewModel {
  ModelSpec spec;
  std::vector<std::size_t> columns = {};     ///< its pairs in the table
  std::vector<Budget> budgets = {};          ///< of each column
  std::vector<std::uint32_t> outcomes = {};  ///< queries to learn from, in the order of probes
  std::vector<std::uint32_t> held_out = {};  ///< queries that are not

  std::size_t heads() const { return kHeadsPerPair * columns.size(); }
};

/// Throws Error(kInvalidArgument) or Error(kBadData).
NewModel find_model(const Checkpoint& checkpoint, const OutcomeTable& table,
                    const std::string& name, const AddModelOptions& options);

/// Targets of all heads for some queries, a query in each row.
Eigen::MatrixXd gather_targets(const OutcomeTable& table, const NewModel& model,
                               std::span<const std::uint32_t> queries);

Eigen::MatrixXd gather_embeddings(std::span<const float> embeddings, std::size_t dimension,
                                  std::span<const std::uint32_t> queries);

}  // namespace r2router::train
