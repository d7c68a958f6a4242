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

/// Sums over queries, of which everything that ridge regression needs is made.
struct RidgeSums {
  Eigen::MatrixXd gram;      ///< Σ x·xᵀ, lower triangle
  Eigen::VectorXd rows;      ///< Σ x
  Eigen::MatrixXd products;  ///< Σ x·yᵀ, dimension × heads; a missing y counts as 0
  Eigen::VectorXd targets;   ///< Σ y, heads

  static RidgeSums zero(std::size_t dimension, std::size_t heads);
  RidgeSums& operator+=(const RidgeSums& other);
};

/// Adds `sign` times the sums over some queries of the problem to `gram` and `rows`, in an order
/// that does not depend on the number of threads.
void add_gram(const RidgeProblem& problem, std::span<const std::uint32_t> queries, double sign,
              std::size_t threads, Eigen::MatrixXd& gram, Eigen::VectorXd& rows);

/// Adds the sums over some queries to `products` and `targets` likewise.
void add_products(const RidgeProblem& problem, std::span<const std::uint32_t> queries,
                  std::size_t threads, Eigen::MatrixXd& products, Eigen::VectorXd& targets);

/// Fits heads that saw the same `seen` queries for each α. `sums` are over those queries, with a
/// column of products for each of `heads`, whose columns of fits[α] are set. Throws as
/// RidgeSolver::fit().
void solve(RidgeSums sums, double seen, std::span<const std::size_t> heads, bool has_intercepts,
           std::span<const double> alphas, std::size_t threads, std::span<LinearFit> fits);

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

  void find_groups();

  const RidgeProblem& problem_;
  std::size_t threads_;
  std::vector<Group> groups_;
  std::vector<RidgeSums> folds_;
  RidgeSums total_;
};

/// Predictions in float32, queries.size() × heads, row-major. `embeddings`: rows of the fit's
/// dimension, of which `queries` are indices.
using Predicted = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
Predicted predict_heads(std::span<const float> embeddings, const LinearFit& fit,
                        std::span<const std::uint32_t> queries, std::size_t threads);

}  // namespace r2router::train
