// Ridge regression of many heads on the same embeddings, in closed form.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <Eigen/Core>

namespace r2router::train {

/// What is fitted: `heads` targets for each query, and the folds that queries belong to.
struct RidgeProblem {
  std::span<const float> embeddings;  ///< queries × dimension, row after row; finite
  std::size_t dimension = 0;
  std::span<const double>
      targets;  ///< queries × heads, row after row; NaN: the head did not see it
  std::size_t heads = 0;
  /// The queries of each fold, ascending; a query in no fold takes no part.
  std::vector<std::vector<std::uint32_t>> folds;
  bool has_intercepts = true;  ///< false: intercepts are 0
};

/// Fitted heads, prediction = weights.col(h)·x + intercepts[h].
struct LinearFit {
  Eigen::MatrixXd weights;  ///< dimension × heads
  Eigen::VectorXd intercepts;
};

/// For each head, minimises Σ (y − w·x − b)² + α·|w|² over the queries that it saw; the intercept b
/// is not penalised: the data are centred in effect. Without intercepts, b is 0. All heads that saw
/// the same queries share one Gram matrix and, for each α, one Cholesky factorisation. The sums of
/// each fold are kept apart, so that leaving a fold out costs a subtraction and not another pass.
/// Everything is accumulated in float64, in an order that does not depend on the number of threads.
/// Source:
/// Hastie, Tibshirani, Friedman, "The Elements of Statistical Learning", section 3.4.1.
class RidgeSolver {
 public:
  /// Makes the one pass over the data. `problem` is borrowed and must outlive the solver.
  RidgeSolver(const RidgeProblem& problem, std::size_t threads);

  /// Fits every head for each α (> 0), on all folds or all but one. Throws Error(kBadData) if a
  /// head saw no query of those, and Error(kInvalidArgument) if an α is too small for the matrix to
  /// be factorised.
  std::vector<LinearFit> fit(std::span<const double> alphas,
                             std::optional<std::size_t> left_out = {}) const;

 private:
  /// Heads that saw the same queries.
  struct Group {
    std::vector<std::size_t> heads;
    std::vector<std::vector<std::uint32_t>> missing;  // of each fold, the queries they did not see
  };
  /// Sums over the queries of a fold.
  struct Sums {
    Eigen::MatrixXd gram;      // Σ x·xᵀ, lower triangle
    Eigen::VectorXd rows;      // Σ x
    Eigen::MatrixXd products;  // Σ x·yᵀ, dimension × heads; a missing y counts as 0
    Eigen::VectorXd targets;   // Σ y, heads
  };

  void find_groups();
  void add_gram(std::span<const std::uint32_t> queries, double sign, Eigen::MatrixXd& gram,
                Eigen::VectorXd& rows) const;
  Sums sum(std::span<const std::uint32_t> queries) const;

  const RidgeProblem& problem_;
  std::size_t threads_;
  std::vector<Group> groups_;
  std::vector<Sums> folds_;
  Sums total_;
};

/// Predictions in float32, queries.size() × heads, row-major.
using Predicted = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
Predicted predict_heads(const RidgeProblem& problem, const LinearFit& fit,
                        std::span<const std::uint32_t> queries, std::size_t threads);

}  // namespace r2router::train
