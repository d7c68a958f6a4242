// Sums of ridge regression over queries that are added in batches and then forgotten.
//
// RidgeSolver has all queries, so it finds the heads that saw the same ones first, and then sums
// for those. Here a later batch may tell apart heads that saw the same queries so far. The pairs
// are therefore divided into groups, which are split when a query has outcomes of a part of a
// group. A split copies the sums of a group; nothing is summed again. Most queries usually have the
// outcomes of most pairs, so the sums over all queries are kept once, and each group has a
// correction: what its own sums differ by. A group that saw every query has none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "r2router/types.h"

#include "train/ridge.h"

namespace r2router::train {

/// Plain data; the file format has the same members.
struct GroupedSums {
  /// Σ x·xᵀ (lower triangle), Σ x and the number of queries. If that is 0, so are the sums,
  /// whatever the size of the matrix.
  struct Moments {
    Eigen::MatrixXd gram = {};
    Eigen::VectorXd rows = {};
    double queries = 0;

    bool empty() const { return queries == 0; }
    void add(const Moments& other, double sign);
  };
  struct Fold {
    Moments all;                       ///< over the queries that have any outcome
    std::vector<Moments> corrections;  ///< of each group: its own moments less `all`, so ≤ 0
    Eigen::MatrixXd products;          ///< Σ x·yᵀ, dimension × heads; a missing y counts as 0
    Eigen::VectorXd targets;           ///< Σ y, heads
  };

  std::size_t dimension = 0;
  std::vector<Pair> pairs = {};  ///< ascending; two heads each
  /// Of each pair. Groups are numbered by their first pair.
  std::vector<std::size_t> groups = {};
  std::vector<Fold> folds = {};

  GroupedSums(std::size_t dimension, std::size_t folds);

  /// Adds the queries of problem.folds. The problem has the two heads of each of `pairs`, all of
  /// which are in this->pairs.
  void add(const RidgeProblem& problem, std::span<const Pair> pairs, std::size_t threads);
  /// Adds the sums of other queries, of the same dimension and folds.
  void merge(const GroupedSums& other);
  /// Adds pairs, which saw none of the queries so far.
  void extend(std::span<const Pair> more);

  std::size_t group_count() const { return folds.front().corrections.size(); }
  /// The number of a fold's queries that the pair saw.
  double seen(std::size_t fold, std::size_t pair) const {
    return folds[fold].all.queries + folds[fold].corrections[groups[pair]].queries;
  }
  /// As RidgeSolver::fit().
  std::vector<LinearFit> fit(std::span<const double> alphas, std::optional<std::size_t> left_out,
                             std::size_t threads) const;

 private:
  /// Splits groups, so that the pairs of each have the same key.
  template <typename Key>
  void split(const std::vector<Key>& keys);
};

}  // namespace r2router::train
