// What scorers share that know no cheaper arithmetic than the exact one.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "r2router/scorer.h"

namespace r2router::score {

/// A scorer whose estimates are its exact predictions, with bounds of 0.
class ExactScorer : public Scorer {
 public:
  std::size_t dimension() const final { return dimension_; }
  std::span<const Pair> pairs() const final { return pairs_; }
  bool predicts_length(std::size_t pair) const final;
  void predict(EmbeddingView embedding, Predictions& out) const final;
  void predict_pair(EmbeddingView embedding, std::size_t pair, double& quality,
                    double& tokens) const final;
  void estimate(EmbeddingView embeddings, std::size_t rows, Estimates& out) const final;

 protected:
  /// Throws Error(kBadCheckpoint) for names that lay_out() refuses, or a dimension of 0.
  ExactScorer(std::size_t dimension, std::span<const HeadName> names);

  /// Predictions of every head for `rows` embeddings of finite numbers: rows × heads. A row's
  /// predictions do not depend on the other rows.
  virtual void predict_heads(std::span<const double> embeddings, std::size_t rows,
                             std::span<double> out) const = 0;

 private:
  void predict_rows(EmbeddingView embeddings, std::size_t rows, std::vector<double>& quality,
                    std::vector<double>& tokens) const;

  std::size_t dimension_;
  std::size_t heads_;
  std::vector<Pair> pairs_;
  std::vector<std::size_t> quality_head_;
  std::vector<std::size_t> tokens_head_;  ///< kNoHead where the budget itself is predicted
  std::vector<double> no_error_;          ///< a 0 for each pair
};

}  // namespace r2router::score
