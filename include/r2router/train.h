// Training: an outcome table and embeddings -> a checkpoint.
//
// Every (model, budget) pair gets two linear heads fitted by ridge regression: one predicts the
// score, one the length of the answer within its budget, so that a limited budget is charged for
// what it will really use. The penalty α is the one with the best area under the cross-validated
// deferral curve: the α of least squared error leaves heads so noisy that the choice of the best
// pair picks up the noise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "r2router/checkpoint.h"
#include "r2router/embedder.h"
#include "r2router/eval.h"
#include "r2router/export.h"
#include "r2router/outcomes.h"

namespace r2router {

/// Called now and then on the thread that trains: what is being done, and how much of it is done.
using ProgressCallback =
    std::function<void(std::string_view stage, std::size_t done, std::size_t total)>;

struct TrainOptions {
  /// Ridge penalties to choose from, each > 0, on the scale of sums over queries (as
  /// scikit-learn's), edited copies included.
  std::vector<double> alphas = {10, 20, 30, 50, 80, 120, 200};
  /// Cross-validation folds, ≥ 2. A fold is made of whole texts: equal texts share it, and edited
  /// copies (add_perturbed_copies()) that of their original. Copies are not measured on.
  std::uint32_t folds = 5;
  /// One text in this many, as is_held_out() says, is kept out of training altogether; 0: none.
  std::uint32_t holdout = 5;
  /// Varies which texts share a fold.
  std::uint64_t seed = 0;
  /// 0: as many as the machine has. The result is the same, bit for bit, for any number.
  std::uint32_t threads = 0;
  ProgressCallback progress = {};
};

/// One α and what its heads are worth on queries that they were not fitted to.
struct AlphaResult {
  double alpha = 0;
  DeferralMetrics metrics;
};

/// What training found out on its way.
struct TrainReport {
  std::size_t training_queries = 0;  ///< without edited copies
  std::size_t held_out_queries = 0;
  std::size_t heads = 0;
  double alpha = 0;                      ///< the chosen one
  DeferralMetrics metrics = {};          ///< at the chosen α, cross-validated
  std::vector<AlphaResult> alphas = {};  ///< cross-validated, in the order of TrainOptions::alphas
  DeferralMetrics mean_curve;            ///< of no features at all, on the same folds
  double default_lambda = 0;
  /// The cross-validated outcome at the default λ, among available models.
  double default_score = 0;
  double default_cost = 0;  ///< fraction of the best available single model's cost
};

/// Fits a checkpoint to embeddings computed elsewhere: table.queries.size() × dimension, row after
/// row. α is the one of the best cross-validated AUDC over the whole pool, the largest of equals.
///
/// The checkpoint decides by the corrected rules. Its default λ reaches 95 % of the best single
/// model's score at least cost on queries that the heads were not fitted to; if no λ reaches that,
/// it is the one of the best score. Only available models count there, since those are what a user
/// is served. Its token floor is the 1 % quantile of the lengths of unlimited answers.
///
/// Throws Error(kBadData) for a table that cannot be learned from: empty, fewer queries than folds,
/// a pair with outcomes in fewer than two folds, no complete query; Error(kInvalidArgument) for
/// options out of range, a wrong number of embeddings or one that is not finite.
R2ROUTER_EXPORT Checkpoint train(const OutcomeTable& table, std::span<const float> embeddings,
                                 std::size_t dimension, const TrainOptions& options = {},
                                 TrainReport* report = nullptr);

/// Fits a checkpoint that brings its own lexical encoder. If encoder.has_idf, its weights are
/// 1 + ln((1 + n)/(1 + n_j)) for n training texts, n_j of which have a feature in dimension j.
///
/// If encoder.topics names datasets of the table, the encoder learns to tell them, by ridge
/// regression (α = 1) of whether a query is of the dataset; queries of no such dataset take no
/// part. Heads are fitted to shares from scores that did not learn from the query's own fold, so
/// that they meet shares as uncertain in training as later (stacking: Wolpert, "Stacked
/// generalization", 1992). Throws Error(kBadData) for a topic that no training query is of.
R2ROUTER_EXPORT Checkpoint train(const OutcomeTable& table, const LexicalEncoderSpec& encoder,
                                 const TrainOptions& options = {}, TrainReport* report = nullptr);

}  // namespace r2router
