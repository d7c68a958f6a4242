// The interface of training to each kind of predictor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "r2router/eval/contenders.h"
#include "r2router/outcomes.h"
#include "r2router/train/train.h"

#include "base/json_writer.h"
#include "train/ridge.h"

namespace r2router::train {

/// The data to learn from. Must outlive the learners that use it.
struct LearningProblem {
  const OutcomeTable& table;
  std::span<const float> embeddings;  ///< queries × dimension, row after row; finite
  std::size_t dimension = 0;
  /// The queries of each fold, ascending; a query in no fold is not used.
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

/// Queries × heads: the table's scores and lengths, interleaved. NaN: not observed.
std::vector<double> head_targets(const OutcomeTable& table);

/// Fits predictors of one kind under several settings, of which cross-validation chooses one.
/// Results do not depend on the number of threads.
class Learner {
 public:
  virtual ~Learner() = default;

  /// The number of settings to choose from.
  virtual std::size_t settings() const = 0;

  /// Of equally good settings, the one with the largest value is chosen.
  virtual double caution(std::size_t setting) const = 0;

  /// For each of `settings`, predictions for these queries of the fold `left_out` by a predictor
  /// fitted to all other folds.
  virtual std::vector<eval::PredictionTable> predict_left_out(
      std::size_t left_out, std::span<const std::uint32_t> queries,
      std::span<const std::size_t> settings) = 0;

  /// The predictor of a setting, fitted to all folds.
  virtual Predictor fit(std::size_t setting) = 0;

  /// Records the chosen setting and the metrics of each.
  virtual void report(std::size_t chosen, std::span<const eval::DeferralMetrics> metrics,
                      TrainReport& report) const = 0;

  /// A description of the method for the training record.
  virtual std::string method() const = 0;

  /// Writes the setting as members of an object.
  virtual void describe(std::size_t setting, ObjectWriter& object) const = 0;
};

/// Heads for each α, fitted to all folds or all but one.
using FitHeads = std::function<std::vector<LinearFit>(std::span<const double> alphas,
                                                      std::optional<std::size_t> left_out)>;

/// With heads that are fitted to the problem's queries.
std::unique_ptr<Learner> make_ridge_learner(const LearningProblem& problem);
/// With heads that are fitted to other queries too; the problem's are only predicted.
std::unique_ptr<Learner> make_ridge_learner(const LearningProblem& problem, FitHeads fit_heads);
std::unique_ptr<Learner> make_knn_learner(const LearningProblem& problem);
std::unique_ptr<Learner> make_mlp_learner(const LearningProblem& problem);
/// Linear heads by ridge regression towards those of `prior`, which must outlive the learner. The
/// predictor has all heads of the prior. Throws as train() with a prior does.
std::unique_ptr<Learner> make_prior_learner(const LearningProblem& problem,
                                            const Checkpoint& prior);

/// Chooses the setting and the default λ by cross-validation on the problem's queries, and makes
/// the checkpoint. `report` has the numbers of queries and heads.
Checkpoint fit_checkpoint(const LearningProblem& problem, Learner& learner, TrainReport& report);

}  // namespace r2router::train
