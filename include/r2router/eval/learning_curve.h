// Learning curves: how well a router does after training on a number of outcomes, on top of a prior
// and from scratch.
//
//     const auto prior = r2router::load_checkpoint("my-task-router");
//     std::cout << to_text(r2router::eval::learning_curve(prior, data));
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "r2router/checkpoint.h"
#include "r2router/eval/contenders.h"
#include "r2router/export.h"
#include "r2router/outcomes.h"
#include "r2router/train/train.h"

namespace r2router::eval {

struct LearningCurveOptions {
  /// Numbers of queries to train on, > 0. Numbers above that of the training queries are ignored;
  /// all training queries are always added as the last number.
  std::vector<std::uint32_t> queries = {50, 100, 200, 500, 1000, 2000, 5000};
  /// One query in this many is held out of training, and evaluated on; ≥ 2.
  std::uint32_t holdout = kDefaultHoldout;
  std::uint64_t seed = 0;  ///< varies which queries come first
  /// How routers are trained, except for the holdout and the prior.
  train::TrainRecipe recipe = {};
};

struct LearningPoint {
  std::size_t queries = 0;
  DeferralMetrics prior;   ///< trained on top of the prior
  double prior_alpha = 0;  ///< the chosen penalty on the distance from it; 0: unchanged
  std::optional<DeferralMetrics> scratch = {};  ///< trained without it; empty: too few queries
};

struct LearningCurve {
  std::size_t held_out_queries = 0;
  DeferralMetrics mean_curve;         ///< no features, from all training queries
  DeferralMetrics prior;              ///< the prior itself
  std::vector<LearningPoint> points;  ///< by the number of queries
};

/// Trains routers on growing parts of the data, each of which contains the previous one, and
/// evaluates them on the held-out queries that have an outcome of every pair. Only models with
/// outcomes are compared. If the prior's budgets are hard caps, unlimited outcomes are cut off at
/// them. Throws what train() and evaluate_checkpoint() throw, and Error(kInvalidArgument) for
/// options out of range.
R2ROUTER_EXPORT LearningCurve learning_curve(const Checkpoint& prior, const OutcomeData& data,
                                             const LearningCurveOptions& options = {});

/// A table with a line for each number of queries, and the same as a JSON object.
R2ROUTER_EXPORT std::string to_text(const LearningCurve& curve);
R2ROUTER_EXPORT std::string to_json(const LearningCurve& curve);

}  // namespace r2router::eval
