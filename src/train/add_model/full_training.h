// Heads fitted to every outcome of a new model, for comparison with those from a few probes.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include <Eigen/Core>

#include "r2router/train/train.h"

#include "train/add_model/append.h"
#include "train/add_model/new_model.h"

namespace r2router::train {

/// Errors of a fit: a query in each row, a head in each column.
Eigen::MatrixXd errors_of(const LinearFit& fit, const Eigen::MatrixXd& embeddings,
                          const Eigen::MatrixXd& targets);

/// Squared errors averaged over the heads of a target, for each query.
Eigen::VectorXd mean_squares(const Eigen::MatrixXd& errors, Target target);

/// Heads fitted to every outcome, without any mixture.
NewHeads fit_fully(const OutcomeTable& table, const NewModel& model,
                   std::span<const float> embeddings, std::size_t dimension,
                   const AddModelOptions& options, std::size_t threads);

}  // namespace r2router::train
