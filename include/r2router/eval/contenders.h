// Evaluation: what a router's choices would have cost and scored on queries with known outcomes.
//
// A policy is swept over the trade-off λ; each setting gives a mean cost and a mean score, both
// *true* ones of the chosen pairs. The deferral curve is the staircase of the best score at each
// cost. Costs are in USD, or in what OutcomeTable::cost_measure says, and on curves they are
// fractions of the mean cost of the best single model: the one with the highest mean score when
// used without a limit for every query (the cheaper one if two are equal).
//
// If the best single model is free, costs on curves are fractions of the dearest single model's: a
// setting at 0 pays nothing, and whatever is paid buys no more than what is free already. If all
// models are free, every setting is at cost 0: a curve is one step, its area the best score of any
// setting, and λ changes nothing. Length and latency still tell settings apart then.
//
// evaluate() does all of it: it sweeps the policies, measures their curves and gives every figure
// an interval by resampling the queries. The functions before it are its parts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
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
struct SweepPoint {
  double lambda = 0;
  double cost = 0;  ///< USD, tokens or seconds
  double score = 0;
};

/// A corner of a deferral curve: from `cost` on, `score` can be had.
struct DeferralPoint {
  double cost = 0;  ///< fraction of BestSingle::unit, in [0, 1]
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
  double cost = 0;          ///< mean: USD, tokens or seconds
  /// The model whose mean cost is the unit of costs on curves: this one, or if it is free the
  /// dearest single model.
  std::uint32_t unit_model = 0;
  double unit = 0;  ///< that cost; 1 if all models are free

  bool is_free() const { return cost == 0; }
  bool all_free = false;  ///< of the single models
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

/// The pair that each query gets at each setting of a sweep.
struct ChosenPairs {
  std::size_t settings = 0;
  std::vector<std::uint32_t> pairs;  ///< queries × settings: indices into the table's pairs
};

/// USD that an answer of `output_tokens` is expected to cost to a query of `input_tokens`, to which
/// model.instruction_tokens are added: as decide() computes Option::cost_usd for a query without
/// images.
R2ROUTER_EXPORT double cost_usd(const ModelSpec& model, std::int64_t input_tokens,
                                double output_tokens) noexcept;

/// What an answer of `output_tokens` costs, as table.cost_measure says: USD, tokens or seconds. A
/// latency of a model whose speeds are unknown is NaN.
R2ROUTER_EXPORT double answer_cost(const OutcomeTable& table, std::size_t query, std::size_t pair,
                                   double output_tokens) noexcept;

/// RouterArena's score of a mean accuracy A in [0, 1] at a mean cost in USD a query. With c the
/// cost of 1,000 queries, held within [0.0044, 200], C = (log2 200 − log2 c)/(log2 200 − log2
/// 0.0044) and β = 0.1, it is (1 + β)·A·C/(β·A + C); 0 where both A and C are. Source: RouterArena
/// (arXiv 2510.00202).
R2ROUTER_EXPORT double routerarena_score(double accuracy, double cost_usd) noexcept;

/// Needs complete queries. Throws Error(kBadData) if no (available) model has unlimited outcomes,
/// if there are no queries, or if costs are latencies and the speed of a model is not known.
R2ROUTER_EXPORT BestSingle best_single(const OutcomeTable& table, bool available_only = false);

/// Settings to sweep: λ = 0, then λ = w/(1 + w) on a logarithmic grid of the exchange rate w (score
/// per USD) from 10⁻³ to 10⁶ per `reference_cost`, then λ = 1; ascending. Its ends are the
/// best-quality and the cheapest policy whatever the prices are.
R2ROUTER_EXPORT std::vector<double> lambda_grid(double reference_cost, std::size_t steps = 300);

/// Chooses a pair for every query at every λ, exactly as decide() would. Throws Error(kBadData) if
/// a query is not complete, Error(kInvalidArgument) if sizes disagree or no pair is left to choose.
R2ROUTER_EXPORT ChosenPairs choose_pairs(const OutcomeTable& table,
                                         const PredictionTable& predictions,
                                         std::span<const double> lambdas,
                                         const SweepOptions& options = {});

/// The true outcomes of choices, averaged over the queries; one point for each λ. Throws
/// Error(kInvalidArgument) if sizes disagree.
R2ROUTER_EXPORT std::vector<SweepPoint> average(const OutcomeTable& table, const ChosenPairs& choices,
                                                std::span<const double> lambdas);

/// average() of choose_pairs(). Throws what they throw.
R2ROUTER_EXPORT std::vector<SweepPoint> sweep(const OutcomeTable& table,
                                              const PredictionTable& predictions,
                                              std::span<const double> lambdas,
                                              const SweepOptions& options = {});

/// The staircase of the best score at each cost ≤ `reference_cost`: cost and score both strictly
/// ascend.
R2ROUTER_EXPORT std::vector<DeferralPoint> deferral_curve(std::span<const SweepPoint> points,
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

/// Predictions of CARROT-KNN: for every query the pairs' mean scores and lengths over the `k`
/// complete queries of `training` whose embeddings have the highest cosine with its own; of equals
/// the first. The search is exact, and passes over training queries of the same text. Both tables
/// have the same pairs and one embedding of `dimension` numbers for each query; a zero embedding
/// has cosine 0 with all. Throws Error(kInvalidArgument) if sizes or pairs disagree or k is 0, and
/// Error(kBadData) if there are fewer than k such queries. Source: CARROT (arXiv 2502.03261).
R2ROUTER_EXPORT PredictionTable predict_neighbours(const OutcomeTable& table,
                                                   std::span<const float> embeddings,
                                                   const OutcomeTable& training,
                                                   std::span<const float> training_embeddings,
                                                   std::size_t dimension, std::size_t k);

/// Predictions that are the truth.
R2ROUTER_EXPORT PredictionTable predict_oracle(const OutcomeTable& table);

/// `predictions` without all but one of the entries that are one model under several instructions:
/// the entry with the best mean score in `training`, the cheaper of equals. Empty if the table has
/// no instructions. `training` must have the same pairs.
R2ROUTER_EXPORT std::optional<PredictionTable> keep_best_instructions(
    const OutcomeTable& table, const PredictionTable& predictions, const OutcomeTable& training);

/// Predictions that are close to `predicted` in the mean, and what was observed of them.
struct CalibrationBin {
  double predicted = 0;   ///< mean predicted quality, after clipping to [0, 1]
  double observed = 0;    ///< mean true score
  std::size_t cells = 0;  ///< (query, pair) cells
};

/// How far a policy's predictions can be trusted, and what it chooses.
struct Reliability {
  /// For each λ the mean cost and quality that the policy predicted of its own choices.
  std::vector<SweepPoint> predicted;
  std::vector<double> shares;  ///< λ × table.models: share of queries a model gets
  std::vector<CalibrationBin>
      calibration;  ///< ascending; equally many cells each, as far as can be
};

/// Compares predictions with the truth; `choices` are what they led to. Throws what choose_pairs()
/// and average() throw.
R2ROUTER_EXPORT Reliability check_reliability(
    const OutcomeTable& table, const PredictionTable& predictions, const ChosenPairs& choices,
    std::span<const double> lambdas, const SweepOptions& options = {}, std::size_t bins = 10);

/// Where a figure lies in 95 % of the resamples: from their 2.5 % quantile to their 97.5 %
/// quantile. Empty: not reached there.
struct Interval {
  std::optional<double> low, high;
};

/// An interval for each of the metrics.
struct MetricIntervals {
  Interval audc, qnc, peak, c95;
};

/// A contender's sweep, curve and metrics.
struct ContenderResult {
  std::string name;
  std::vector<SweepPoint> points = {};  ///< every setting; empty for random mixing
  std::vector<DeferralPoint> curve =
      {};  ///< the staircase; for random mixing the corners of a hull
  DeferralMetrics metrics = {};
  /// Empty unless resampling was asked for.
  std::optional<MetricIntervals> intervals = {};
  /// The first policy's metric minus this one's, on the same resamples; a cost that is not reached
  /// counts as infinite, so that an empty low end is −∞ and an empty high end ∞. Not there for the
  /// first policy itself.
  std::optional<MetricIntervals> advantage = {};
};

/// A routing strategy by its predictions.
struct Contender {
  std::string name;
  PredictionTable predictions;  ///< for every query of the table
  SweepOptions sweep = {};
};

/// What a router must always be compared with: "router" (these predictions), "one instruction per
/// model" (keep_best_instructions(), if the table has instructions), "mean curve"
/// (predict_means()), "oracle"; and if the table has limited budgets, "point router" and "unlimited
/// mean curve", which may not use them.
R2ROUTER_EXPORT std::vector<Contender> standard_contenders(const OutcomeTable& table,
                                                           const PredictionTable& predictions,
                                                           const OutcomeTable& training,
                                                           const SweepOptions& sweep = {});

/// Resampling of the queries, with replacement (the bootstrap; Efron and Tibshirani, "An
/// Introduction to the Bootstrap", section 13.3). All policies see the same resamples, and the best
/// single model of all queries is the reference in each.
struct ResampleOptions {
  std::uint32_t resamples = 0;  ///< 0: no intervals
  std::uint64_t seed = 0;
  /// Called before each resample of the contenders, on the calling thread. What it throws ends the
  /// evaluation.
  std::function<void(std::size_t done, std::size_t total)> progress = {};
};

/// Policies beside each other.
struct Evaluation {
  std::size_t queries = 0;
  BestSingle best_single;
  std::vector<double> lambdas;  ///< that were swept
  /// The contenders in their order, then "random mixing" (of single models, along their hull), then
  /// each single model under its own name.
  std::vector<ContenderResult> policies;
  Reliability reliability;  ///< of the first contender
};

/// Evaluates contenders on the complete queries of a table. `available_only` leaves models that are
/// not available out of the single models and so out of the reference. Throws
/// Error(kInvalidArgument) if there is no contender, and what the functions above throw.
R2ROUTER_EXPORT Evaluation evaluate(const OutcomeTable& table,
                                    std::span<const Contender> contenders,
                                    bool available_only = false,
                                    const ResampleOptions& resampling = {});

/// What one choice for every query comes to, such as that of a router at its default λ.
struct ChosenEvaluation {
  double score = 0;        ///< mean
  double cost = 0;         ///< mean: USD, tokens or seconds
  double score_share = 0;  ///< of the best single model's score; 0 if that is 0
  double cost_share = 0;   ///< of BestSingle::unit
  /// Empty unless resampling was asked for.
  std::optional<Interval> score_interval = {}, score_share_interval = {}, cost_share_interval = {};
};

/// Evaluates one pair for each query of a complete table against `best`, which best_single() gave
/// of it, on the resamples that evaluate() draws. Throws Error(kInvalidArgument) if there is not
/// one pair for each query.
R2ROUTER_EXPORT ChosenEvaluation evaluate_chosen(const OutcomeTable& table,
                                                 std::span<const std::uint32_t> pairs,
                                                 const BestSingle& best,
                                                 const ResampleOptions& resampling = {});

/// The queries of one dataset evaluated alone: against their own best single model.
struct DatasetEvaluation {
  std::string dataset;
  Evaluation evaluation;
};

/// Evaluates each dataset that the table's complete queries name, in the order of the names.
R2ROUTER_EXPORT std::vector<DatasetEvaluation> evaluate_datasets(
    const OutcomeTable& table, std::span<const Contender> contenders, bool available_only = false,
    const ResampleOptions& resampling = {});

}  // namespace r2router
