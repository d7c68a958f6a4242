// Evaluating a router on outcomes: a checkpoint on the queries that it was not trained on, or a
// recipe for training by cross-validation. eval/contenders.h has the parts.
//
//     auto data = r2router::OutcomeData{.table = r2router::read_outcomes(queries, outcomes, pool)};
//     auto result = r2router::eval::cross_validate(data, {}, 5);
//     std::cout << r2router::eval::to_text(result);  // tables
//     r2router::eval::to_html(result);               // a page with charts
//
// Costs are in the unit of OutcomeTable::cost_measure; scores and shares are from 0 to 1. All
// functions are thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "r2router/eval/contenders.h"
#include "r2router/export.h"
#include "r2router/outcomes.h"
#include "r2router/router.h"
#include "r2router/train/train.h"

namespace r2router::eval {

/// The default number of resamples.
inline constexpr std::uint32_t kDefaultResamples = 1000;

/// A router and its name in a comparison.
struct NamedRouter {
  std::string name;
  Router router;
};

/// Options of an evaluation.
struct EvaluationOptions {
  /// The name of the evaluated router.
  std::string name = "router";
  /// Other routers to compare it with on the same queries. The data must have outcomes of all their
  /// pairs.
  std::vector<NamedRouter> rivals = {};
  /// Contenders to compare the router with, by name. Case is ignored, and hyphens may replace
  /// spaces. "knn-7" is CARROT-KNN with 7 neighbours, "standard" means all that need no search for
  /// neighbours, "models" all single models. In cross-validation, "ridge-router", "knn-router" and
  /// "mlp-router" are routers with that kind of predictor, trained on the same queries. Empty: all
  /// except these routers.
  std::vector<std::string> against = {};
  bool available_only = false;  ///< leave out models that are not available
  bool by_dataset = false;      ///< also evaluate each dataset on its own
  ResampleOptions resampling = {};
  /// Called on the calling thread before each contender predicts ("predicting") and before each
  /// resample ("resampling"). An exception ends the evaluation and propagates.
  train::ProgressCallback progress = {};
  /// Receives warnings about ignored outcomes.
  LogCallback log = {};
};

/// How much larger the area under a router's curve is than that of another contender.
struct Gain {
  double audc = 0;
  std::optional<Interval> interval = {};
};

/// A router and its contenders, compared.
struct RouterEvaluation {
  Evaluation evaluation;
  std::vector<DatasetEvaluation> datasets = {};  ///< if requested
  /// The default λ, used with available models only. After cross-validation, which uses each fold's
  /// own default, NaN.
  double default_lambda = 0;
  ChosenEvaluation at_default;
  Gain over_mixing;         ///< over random mixing
  OutcomeTable table;       ///< the queries that were evaluated; complete
  std::uint32_t folds = 0;  ///< of the cross-validation; 0: a checkpoint was evaluated
  ResampleOptions resampling = {};
};

/// The data's own embeddings, or else those of the router's encoder: queries × router.dimension().
/// Throws Error(kInvalidArgument) if there are neither or they have another dimension.
R2ROUTER_EXPORT std::vector<float> embed(const Router& router, const OutcomeData& data);

/// Evaluates a checkpoint on the part of the data that `holdout` keeps out of training (one query
/// in that many; 0: on all of it). Contenders learn from the other part (or all). Throws
/// Error(kNotFound) for an unknown contender, and what the functions of eval/contenders.h throw.
R2ROUTER_EXPORT RouterEvaluation evaluate_checkpoint(const Router& router, const OutcomeData& data,
                                                     std::uint32_t holdout,
                                                     const EvaluationOptions& options = {});

/// Evaluates a router after its training. If the held-out queries cannot be evaluated, the result
/// is empty, and `log` receives the reason. Uses kDefaultResamples, and compares with "standard".
R2ROUTER_EXPORT std::optional<RouterEvaluation> evaluate_held_out(const Router& router,
                                                                  const OutcomeData& data,
                                                                  std::uint32_t holdout,
                                                                  const LogCallback& log = {});

/// Trains and tests `folds` (≥ 2) times, so that every query is evaluated by a router and
/// contenders that did not see its text. Ignores recipe.options.holdout. Throws as
/// evaluate_checkpoint() and train() do.
R2ROUTER_EXPORT RouterEvaluation cross_validate(const OutcomeData& data,
                                                const train::TrainRecipe& recipe,
                                                std::uint32_t folds,
                                                const EvaluationOptions& options = {});

/// How often choices stay the same when queries are edited without changing their meaning.
struct Stability {
  /// Shares of queries, 0 to 1.
  struct Shares {
    std::string edit;  ///< its kind; "all" for all of them
    double same_model = 0;
    double same_pair = 0;
  };
  std::size_t queries = 0;
  double lambda = 0;
  std::vector<Shares> shares;  ///< each kind of edit, then all
};

/// Routes the held-out queries (all if `holdout` is 0), and each after every kind of edit, at the
/// router's default λ. Throws Error(kUnsupported) for a router that cannot route text, and
/// Error(kBadData) if there are no queries. Calls `progress` before each query ("editing").
R2ROUTER_EXPORT Stability measure_stability(const Router& router, const OutcomeTable& table,
                                            std::uint32_t holdout,
                                            const train::ProgressCallback& progress = {});

/// A router with a new model and the one with fully trained heads on the same queries.
struct AddedModelComparison {
  DeferralMetrics added, full;
};

/// Compares the results of add_model() on the held-out queries that every model answered. Empty if
/// there are none, or the report has no full training, or they cannot be evaluated, which is a
/// warning: the new checkpoint does not depend on it.
R2ROUTER_EXPORT std::optional<AddedModelComparison> compare_added_model(
    const Checkpoint& added, const train::AddModelReport& report, const OutcomeData& data,
    std::uint32_t holdout, const LogCallback& log = {});

// Reports.

/// A summary of three sentences, one per line: the cost of 95 % of the best single model's score,
/// whether the router is better than random mixing, and the score and cost of its default setting.
R2ROUTER_EXPORT std::string summary_text(const RouterEvaluation& result);

/// The summary, then tables with a line for each contender: metrics and, with resampling,
/// their intervals and the router's advantage. Then the same for each dataset.
R2ROUTER_EXPORT std::string to_text(const RouterEvaluation& result);

/// The same figures as a JSON object. With `details`, also every point of every sweep, and the
/// reliability of the router's predictions.
R2ROUTER_EXPORT std::string to_json(const RouterEvaluation& result, bool details = true);

/// Every setting of every contender as CSV:
/// policy,lambda,cost_usd,cost,score,routerarena,on_curve; with costs by length or latency
/// cost_tokens or cost_seconds, and no RouterArena score. For random mixing, the rows are the
/// corners of its hull, without λ.
R2ROUTER_EXPORT std::string curves_csv(const RouterEvaluation& result);

/// A self-contained HTML page without scripts or external resources.
R2ROUTER_EXPORT std::string to_html(const RouterEvaluation& result);

/// A table with a line for each kind of edit.
R2ROUTER_EXPORT std::string to_text(const Stability& stability);
R2ROUTER_EXPORT std::string to_json(const Stability& stability);

}  // namespace r2router::eval
