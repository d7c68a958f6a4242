// The strengths of the penalties, by cross-validation on the probes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <Eigen/Core>

#include "r2router/train/train.h"

#include "train/add_model/mixture.h"
#include "train/learner.h"

namespace r2router::train {

/// A head's squared errors, summed as its spread counts them: a quality is used clipped, and so it
/// is measured.
double sum_squares(const Eigen::ArrayXd& errors, const Eigen::ArrayXd& truth, Target target);

/// Squared errors on the probes that heads were not fitted to.
struct CrossValidated {
  // Averaged over the heads of a target.
  Eigen::MatrixXd errors[kHeadsPerPair];  ///< for each target, (α, β) in this order × probes
  Eigen::VectorXd mean_errors[kHeadsPerPair];  ///< of predicting the mean, for each probe
  Eigen::MatrixXd sums;                        ///< (α, β) × heads, as sum_squares()
};

CrossValidated cross_validate(const Eigen::MatrixXd& gram, const Eigen::MatrixXd& targets,
                              const std::vector<Mixture>& mixtures,
                              const std::vector<std::uint32_t>& fold_of,
                              const AddModelOptions& options, std::size_t threads);

/// The largest strengths whose error is within one standard error of the least. What is least by a
/// hair leaves noise in the heads, and the choice of the best pair picks it up. Source: Hastie,
/// Tibshirani, Friedman, "The Elements of Statistical Learning", section 7.10. `errors`: strengths,
/// ascending, × queries.
Eigen::Index choose_cautiously(const Eigen::MatrixXd& errors);

}  // namespace r2router::train
