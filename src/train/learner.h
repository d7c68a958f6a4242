// What training asks of each kind of predictor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "r2router/eval/contenders.h"
#include "r2router/outcomes.h"
#include "r2router/train/train.h"

namespace r2router::internal {

/// What is learned from; borrowed by learners, which it must outlive.
struct LearningProblem {
  const OutcomeTable& table;
  std::span<const float> embeddings;  ///< queries × dimension, row after row; finite
  std::size_t dimension = 0;
  /// The queries of each fold, ascending; a query in no fold takes no part.
  std::vector<std::vector<std::uint32_t>> folds;
  const TrainOptions& options;
  std::size_t threads = 1;
};

/// Throws Error(kInvalidArgument) unless there is one embedding of finite numbers for each query.
void check_embeddings(const OutcomeTable& table, std::span<const float> embeddings,
                      std::size_t dimension);

/// Heads are numbered by pair: its quality head, then its length head.
inline constexpr std::size_t kHeadsPerPair = 2;

/// The names of all heads, in the order of their numbers.
std::vector<HeadName> name_heads(const OutcomeTable& table);

/// Queries × heads: the table's scores and lengths side by side. NaN: not observed.
std::vector<double> head_targets(const OutcomeTable& table);

/// Fits predictors of one kind under several settings, of which cross-validation chooses one.
/// Results do not depend on the number of threads.
class Learner {
 public:
  virtual ~Learner() = default;

  /// How many settings there are to choose from.
  virtual std::size_t settings() const = 0;

  /// Of equally good settings the one of greatest caution is chosen.
  virtual double caution(std::size_t setting) const = 0;

  /// For each of `settings`, what a predictor fitted to all other folds predicts for these queries
  /// of the fold `left_out`.
  virtual std::vector<PredictionTable> predict_left_out(std::size_t left_out,
                                                        std::span<const std::uint32_t> queries,
                                                        std::span<const std::size_t> settings) = 0;

  /// The predictor of a setting, fitted to all folds.
  virtual Predictor fit(std::size_t setting) = 0;

  /// Puts down the setting that was chosen, and what each is worth.
  virtual void report(std::size_t chosen, std::span<const DeferralMetrics> metrics,
                      TrainReport& report) const = 0;

  /// How the predictor was fitted, for people.
  virtual std::string method() const = 0;

  /// The members of a JSON object that tell a setting.
  virtual std::string describe(std::size_t setting) const = 0;
};

std::unique_ptr<Learner> make_ridge_learner(const LearningProblem& problem);
std::unique_ptr<Learner> make_knn_learner(const LearningProblem& problem);
std::unique_ptr<Learner> make_mlp_learner(const LearningProblem& problem);

}  // namespace r2router::internal
