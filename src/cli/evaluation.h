// Evaluating a router on outcomes: a checkpoint on the queries that it was not trained on, or a
// recipe for training by cross-validation.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "r2router/eval.h"
#include "r2router/router.h"

#include "cli/learning_options.h"
#include "cli/outcome_data.h"

namespace r2router::cli {

/// Resamples, unless another number is asked for.
inline constexpr std::uint32_t kDefaultResamples = 1000;

/// What to compare, and how closely.
struct EvaluationSettings {
  /// Policies to stand beside the router, by name, in any case and with hyphens for spaces; "knn-7"
  /// is CARROT-KNN of 7 neighbours, "standard" all that need no search for neighbours, "models" all
  /// single models; in cross-validation "ridge-router", "knn-router" and "mlp-router" are routers
  /// with that kind of predictor, trained on the same queries. Empty: everything but those.
  std::vector<std::string> against = {};
  bool available_only = false;
  bool by_dataset = false;
  ResampleOptions resampling = {};
  bool warn = true;  ///< print warnings of outcomes that are left out
};

/// How much more area a router has under its curve than another policy.
struct Gain {
  double audc = 0;
  std::optional<Interval> interval = {};
};

/// Policies beside each other, and where they come from.
struct RouterEvaluation {
  Evaluation evaluation;
  std::vector<DatasetEvaluation> datasets = {};  ///< if they were asked for
  /// What the default λ comes to in routing, so without unavailable models; after cross-validation
  /// each fold's own default, and λ is NaN.
  double default_lambda = 0;
  ChosenEvaluation at_default;
  Gain over_mixing;         ///< over random mixing
  OutcomeTable table;       ///< the queries that were evaluated; complete
  std::uint32_t folds = 0;  ///< of the cross-validation; 0: a checkpoint was evaluated
  ResampleOptions resampling = {};
};

/// The data's own embeddings, or else those of the router's encoder: queries × router.dimension().
/// Throws Error(kInvalidArgument) if there are neither.
std::vector<float> embed(const Router& router, const OutcomeData& data);

/// Evaluates a checkpoint on the held-out part of the data, or on all of it if nothing is held out;
/// what other policies learn, they learn from the other part (or all). Throws Error(kNotFound) for
/// a policy that there is not, and what the functions of eval.h throw.
RouterEvaluation evaluate_checkpoint(const Router& router, const OutcomeData& data,
                                     std::uint32_t holdout, const EvaluationSettings& settings);

/// Trains and tests `folds` (≥ 2) times, so that every query is evaluated by a router, and beside
/// policies, that did not see its text. Throws as evaluate_checkpoint() and train() do.
RouterEvaluation cross_validate(const OutcomeData& data, const LearningSettings& learning,
                                std::uint32_t folds, const EvaluationSettings& settings);

}  // namespace r2router::cli
