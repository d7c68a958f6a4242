// Ridge regression of a new model's heads towards a mixture of the checkpoint's.
//
// All heads of the new model share their probes, so one eigendecomposition K = U·Λ·Uᵀ of the
// centred Gram matrix serves every head and every strength α. In the rotated coordinates z = Uᵀ·y
// and G = Uᵀ·F, where the columns of F are what the mixture's heads predict, ridge regression from
// a mixture leaves z − G·c scaled by D⁻¹ = (Λ/α + 1)⁻¹, and the shares c are those of generalised
// least squares: (Gᵀ·D⁻¹·G + β·v)·c = Gᵀ·D⁻¹·z + β·v/m.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <Eigen/Core>

#include "r2router/train/train.h"

namespace r2router::train {

/// The heads of the checkpoint that a new head may be a mixture of.
struct Mixture {
  std::vector<std::uint32_t> models;
  Eigen::MatrixXd weights;      ///< dimension × heads
  Eigen::MatrixXd predictions;  ///< probes × heads, without intercepts, which centring removes
  Eigen::MatrixXd
      residuals;  ///< probes × those of the heads whose outcomes are known for every probe
};

Mixture find_mixture(const Checkpoint& checkpoint, const OutcomeTable& table, Budget budget,
                     Target target, std::span<const std::uint32_t> probes,
                     const Eigen::MatrixXd& embeddings);

/// Throws Error(kUnsupported) for a checkpoint with another predictor.
const LinearHeads& linear_heads(const Checkpoint& checkpoint);

/// Probes that heads are fitted to, rotated. Rows of every matrix given are probes in this order.
struct Rotated {
  std::vector<Eigen::Index> probes;
  Eigen::RowVectorXd gram_mean;  ///< of the probes' rows of the Gram matrix, by column
  double gram_grand_mean = 0;
  Eigen::VectorXd eigenvalues;
  Eigen::MatrixXd eigenvectors;

  Rotated(const Eigen::MatrixXd& gram, std::vector<Eigen::Index> some);

  /// Products of other probes, centred in the same way, with the eigenvectors.
  Eigen::MatrixXd project(const Eigen::MatrixXd& gram,
                          const std::vector<Eigen::Index>& others) const;
};

/// Columns of the probes' data, in rotated coordinates.
struct RotatedColumns {
  Eigen::RowVectorXd means;
  double variance = 0;  ///< mean over the columns of the sum of squares about the mean
  Eigen::MatrixXd values;

  RotatedColumns(const Rotated& rotated, const Eigen::MatrixXd& all);
};

/// One head's data.
struct RotatedHead {
  RotatedColumns target;    ///< z
  RotatedColumns mixture;   ///< G and v
  RotatedColumns controls;  ///< residuals of the heads in the mixture

  RotatedHead(const Rotated& rotated, const Eigen::VectorXd& targets, const Mixture& all)
      : target(rotated, targets),
        mixture(rotated, all.predictions),
        controls(rotated, all.residuals) {}
};

/// The shares c of the mixture, a, so that w = Σ cⱼ·wⱼ + Xᵀ·U·a, and the mean that is left of the
/// target when the controls' is taken out.
struct Solution {
  Eigen::VectorXd shares;
  Eigen::VectorXd rest;
  double mean = 0;
};

/// For one α and each β.
std::vector<Solution> solve(const Rotated& rotated, const RotatedHead& head, double alpha,
                            const std::vector<double>& share_penalties);

}  // namespace r2router::train
