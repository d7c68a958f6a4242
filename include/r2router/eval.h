// Evaluation: what a router's choices would have cost and scored on queries with known outcomes.
//
// A policy is swept over the trade-off λ; each setting gives a mean cost and a mean score, both
// *true* ones of the chosen pairs. The deferral curve is the staircase of the best score at each
// cost. Costs are fractions of the mean cost of the best single model: the one with the highest
// mean score when used without a limit for every query (the cheaper one if two are equal).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "r2router/export.h"
#include "r2router/outcomes.h"
#include "r2router/scorer.h"
#include "r2router/types.h"

namespace r2router {

/// What one setting of a policy comes to, averaged over the queries.
struct PolicyPoint {
  double lambda = 0;
  double cost_usd = 0;
  double score = 0;
};

/// A corner of a deferral curve: from `cost` on, `score` can be had.
struct DeferralPoint {
  double cost = 0;  ///< fraction of the best single model's cost, in [0, 1]
  double score = 0;
  double lambda = 0;  ///< the setting that reaches it
};

/// A deferral curve y(x) in numbers.
struct DeferralMetrics {
  double audc = 0;  ///< area under y(x) over x in [0, 1]; y is 0 left of the first corner
  std::optional<double>
      qnc;          ///< least x with y ≥ the best single model's score; empty: not reached
  double peak = 0;  ///< highest y; 0 for an empty curve
  std::optional<double> c95;  ///< least x with y ≥ 0.95 × the best single model's score; or empty
};

/// The most accurate single model, used without a limit for every query.
struct BestSingle {
  std::uint32_t model = 0;  ///< index into the table's models
  double score = 0;         ///< mean
  double cost_usd = 0;      ///< mean
};

/// Raw predictions for every query of a table: queries × table.pairs. A NaN in both marks a pair
/// that the router does not know, which is never chosen.
struct PredictionTable {
  std::vector<double> quality;
  std::vector<double> output_tokens;
};

/// How a sweep decides: by the corrected rules of decide(), query by query.
struct SweepOptions {
  double token_floor = 0;       ///< least tokens that any answer is assumed to take
  bool available_only = false;  ///< leave out models that are not available
  bool unlimited_only = false;  ///< leave out limited budgets, as a point router does
};

/// USD that an answer of `output_tokens` to a query of `input_tokens` costs.
R2ROUTER_EXPORT double cost_usd(const ModelSpec& model, std::int64_t input_tokens,
                                double output_tokens) noexcept;

/// Needs complete queries. Throws Error(kBadData) if no (available) model has unlimited outcomes,
/// if there are no queries, or if every answer of the best model is free.
R2ROUTER_EXPORT BestSingle best_single(const OutcomeTable& table, bool available_only = false);

/// Settings to sweep: λ = 0, then λ = w/(1 + w) on a logarithmic grid of the exchange rate w (score
/// per USD) from 10⁻³ to 10⁶ per `reference_cost`, then λ = 1; ascending. Its ends are the
/// best-quality and the cheapest policy whatever the prices are.
R2ROUTER_EXPORT std::vector<double> lambda_grid(double reference_cost, std::size_t steps = 300);

/// Chooses a pair for every query at every λ, exactly as decide() would, and averages the true
/// outcomes of the choices. Throws Error(kBadData) if a query is not complete,
/// Error(kInvalidArgument) if sizes disagree or no pair is left to choose.
R2ROUTER_EXPORT std::vector<PolicyPoint> sweep(const OutcomeTable& table,
                                               const PredictionTable& predictions,
                                               std::span<const double> lambdas,
                                               const SweepOptions& options = {});

/// The staircase of the best score at each cost ≤ `reference_cost`: cost and score both strictly
/// ascend.
R2ROUTER_EXPORT std::vector<DeferralPoint> deferral_curve(std::span<const PolicyPoint> points,
                                                          double reference_cost);

/// Metrics of a staircase.
R2ROUTER_EXPORT DeferralMetrics measure(std::span<const DeferralPoint> curve, double best_score);

/// Predictions of a scorer for the table's queries; embeddings: queries × scorer.dimension(), row
/// after row. `pool` is what the scorer's pairs refer to; it is matched with the table's models by
/// name. Throws Error(kInvalidArgument) for a wrong number of embeddings, and Error(kBadData) if
/// the scorer could choose a pair that the table has no outcomes of.
R2ROUTER_EXPORT PredictionTable predict(const OutcomeTable& table, const Pool& pool,
                                        const Scorer& scorer, std::span<const float> embeddings);

/// Predictions without features: for every query the pair's mean score and length in `training`,
/// which must have the same pairs. Throws Error(kInvalidArgument) otherwise.
R2ROUTER_EXPORT PredictionTable predict_means(const OutcomeTable& table,
                                              const OutcomeTable& training);

/// Predictions that are the truth.
R2ROUTER_EXPORT PredictionTable predict_oracle(const OutcomeTable& table);

/// A policy's curve and metrics.
struct Policy {
  std::string name;
  std::vector<DeferralPoint> curve = {};
  DeferralMetrics metrics = {};
};

/// A router beside what it must be compared with.
struct Evaluation {
  std::size_t queries = 0;
  BestSingle best_single;
  /// "router", "point router" (the same heads, unlimited budgets only), "mean curve" (no features),
  /// "mean curve, unlimited", "random mixing" (of single models, along their hull), "oracle", then
  /// each single model under its own name.
  std::vector<Policy> policies;
};

/// Evaluates predictions for the complete queries of a table beside the policies above. `training`,
/// with the same pairs, gives the mean curve its means. Throws what the functions above throw.
R2ROUTER_EXPORT Evaluation evaluate(const OutcomeTable& table, const PredictionTable& predictions,
                                    const OutcomeTable& training, const SweepOptions& options = {});

}  // namespace r2router
