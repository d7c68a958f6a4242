// Evaluation: the cost and score of a router's choices on queries with known outcomes.
//
// A contender is swept over the trade-off λ. Each setting gives a mean cost and a mean score of the
// chosen pairs, computed from their outcomes. The deferral curve is the staircase of the best score
// at each cost. Costs are in USD, or in the unit of OutcomeTable::cost_measure. On curves they are
// fractions of the mean cost of the best single model: the one with the highest mean score when
// used without a limit for every query (the cheaper one if two are equal).
//
// If the best single model is free, costs on curves are fractions of the mean cost of the most
// expensive single model. If all models are free, every setting costs 0: the curve is one step, its
// area is the best score of any setting, and λ has no effect. In that case, use length or latency
// as the cost.
//
// evaluate() sweeps the contenders, measures their curves and computes an interval for every figure
// by resampling the queries. It is composed of the functions before it.
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

namespace r2router::eval {

/// The outcome of one setting of a contender, averaged over the queries.
struct SweepPoint {
  double lambda = 0;
  double cost = 0;  ///< USD, tokens or seconds
  double score = 0;
};

/// A corner of a deferral curve: `score` is reached at costs of at least `cost`.
struct DeferralPoint {
  double cost = 0;  ///< fraction of BestSingle::unit, in [0, 1]
  double score = 0;
  double lambda = 0;  ///< the setting that reaches it
};

/// Metrics of a deferral curve y(x).
struct DeferralMetrics {
  double audc = 0;  ///< area under y(x) over x in [0, 1]; y is 0 left of the first corner
  std::optional<double>
      qnc;          ///< least x with y ≥ the best single model's score; empty: not reached
  double peak = 0;  ///< highest y; 0 for an empty curve
  std::optional<double> c95;  ///< least x with y ≥ 0.95 × the best single model's score; or empty
};

/// The single model with the highest mean score when used without a limit for every query.
struct BestSingle {
  std::uint32_t model = 0;  ///< index into the table's models
  double score = 0;         ///< mean
  double cost = 0;          ///< mean: USD, tokens or seconds
  /// The model whose mean cost is the unit of costs on curves: this one, or the most expensive
  /// single model if this one is free.
  std::uint32_t unit_model = 0;
  double unit = 0;  ///< that cost; 1 if all models are free

  bool is_free() const { return cost == 0; }
  bool all_free = false;  ///< of the single models
};

/// Raw predictions for every query of a table: queries × table.pairs. A NaN in both marks a pair
/// that the router does not know, which is never chosen.
struct PredictionTable {
  std::vector<double> quality = {};
  std::vector<double> output_tokens = {};
  /// As PairFacts::predicts_length, one for each of table.pairs; empty: every length is predicted.
  std::vector<bool> predicts_length = {};
};

/// Options of a sweep, which uses the corrected rules of decide().
struct SweepOptions {
  double token_floor = 0;       ///< minimum assumed length of an answer, tokens
  bool available_only = false;  ///< leave out models that are not available
  bool unlimited_only = false;  ///< leave out limited budgets, as a point router does
};

/// The pair that each query gets at each setting of a sweep.
struct ChosenPairs {
  std::size_t settings = 0;
  std::vector<std::uint32_t> pairs;  ///< queries × settings: indices into the table's pairs
};

/// Expected cost in USD of an answer of `output_tokens` to a query of `input_tokens`, to which
/// model.instruction_tokens are added. Equals Option::cost_usd for a query without images.
R2ROUTER_EXPORT double cost_usd(const ModelSpec& model, std::int64_t input_tokens,
                                double output_tokens) noexcept;

/// Cost of an answer of `output_tokens` by table.cost_measure: USD, tokens or seconds. NaN for the
/// latency of a model whose speed is unknown.
R2ROUTER_EXPORT double answer_cost(const OutcomeTable& table, std::size_t query, std::size_t pair,
                                   double output_tokens) noexcept;

/// RouterArena's score of a mean accuracy A in [0, 1] at a mean cost in USD a query. With c the
/// cost of 1,000 queries, clamped to [0.0044, 200], C = (log2 200 − log2 c)/(log2 200 − log2
/// 0.0044) and β = 0.1, it is (1 + β)·A·C/(β·A + C); 0 if both A and C are 0. Source: RouterArena
/// (arXiv 2510.00202).
R2ROUTER_EXPORT double routerarena_score(double accuracy, double cost_usd) noexcept;

/// Needs complete queries. Throws Error(kBadData) if no (available) model has unlimited outcomes,
/// if there are no queries, or if costs are latencies and the speed of a model is unknown.
R2ROUTER_EXPORT BestSingle best_single(const OutcomeTable& table, bool available_only = false);

/// Settings to sweep: λ = 0, then λ = w/(1 + w) on a logarithmic grid of the exchange rate w (score
/// per USD) from 10⁻³ to 10⁶ per `reference_cost`, then λ = 1; ascending. The ends choose the best
/// quality and the lowest cost at any prices.
R2ROUTER_EXPORT std::vector<double> lambda_grid(double reference_cost, std::size_t steps = 300);

/// Chooses a pair for every query at every λ, exactly as decide() does. Throws Error(kBadData) if
/// a query is not complete, Error(kInvalidArgument) if sizes disagree or no pair is left to choose.
R2ROUTER_EXPORT ChosenPairs choose_pairs(const OutcomeTable& table,
                                         const PredictionTable& predictions,
                                         std::span<const double> lambdas,
                                         const SweepOptions& options = {});

/// The true outcomes of choices, averaged over the queries; one point for each λ. Throws
/// Error(kInvalidArgument) if sizes disagree.
R2ROUTER_EXPORT std::vector<SweepPoint> average(const OutcomeTable& table,
                                                const ChosenPairs& choices,
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
/// after row. `pool` is the pool of the scorer's pairs. Its models are matched with the table's by
/// name. Throws Error(kInvalidArgument) for a wrong number of embeddings, and Error(kBadData) if
/// the scorer can choose a pair that has no outcomes in the table.
R2ROUTER_EXPORT PredictionTable predict(const OutcomeTable& table, const Pool& pool,
                                        const Scorer& scorer, std::span<const float> embeddings);

/// Predictions without features: for every query the pair's mean score and length in `training`,
/// which must have the same pairs. Throws Error(kInvalidArgument) otherwise.
R2ROUTER_EXPORT PredictionTable predict_means(const OutcomeTable& table,
                                              const OutcomeTable& training);

/// Predictions of CARROT-KNN: for every query the pairs' mean scores and lengths over the `k`
/// complete queries of `training` whose embeddings have the highest cosine similarity to its own.
/// Of equals, the first counts. The search is exact and skips training queries of the same text.
/// Both tables have the same pairs and one embedding of `dimension` numbers for each query; a zero
/// embedding has similarity 0 to all. Throws Error(kInvalidArgument) if sizes or pairs disagree or
/// k is 0, and Error(kBadData) if there are fewer than k such queries. Source: CARROT (arXiv
/// 2502.03261).
R2ROUTER_EXPORT PredictionTable predict_neighbours(const OutcomeTable& table,
                                                   std::span<const float> embeddings,
                                                   const OutcomeTable& training,
                                                   std::span<const float> training_embeddings,
                                                   std::size_t dimension, std::size_t k);

/// The true outcomes as predictions.
R2ROUTER_EXPORT PredictionTable predict_oracle(const OutcomeTable& table);

/// `predictions` with only one entry of each model that the table has under several instructions:
/// the one with the best mean score in `training`, the cheaper of equals. Empty if the table has
/// no instructions. `training` must have the same pairs.
R2ROUTER_EXPORT std::optional<PredictionTable> keep_best_instructions(
    const OutcomeTable& table, const PredictionTable& predictions, const OutcomeTable& training);

/// A bin of similar predictions, and the outcomes observed for them.
struct CalibrationBin {
  double predicted = 0;   ///< mean predicted quality, after clipping to [0, 1]
  double observed = 0;    ///< mean true score
  std::size_t cells = 0;  ///< (query, pair) cells
};

/// How reliable a contender's predictions are, and which models it chooses.
struct Reliability {
  /// For each λ, the mean cost and quality that the contender predicted for its own choices.
  std::vector<SweepPoint> predicted;
  std::vector<double> shares;  ///< λ × table.models: share of queries routed to a model
  std::vector<CalibrationBin> calibration;  ///< ascending, of about equally many cells each
};

/// Compares predictions with outcomes. `choices`: those made from the predictions. Throws what
/// choose_pairs() and average() throw.
R2ROUTER_EXPORT Reliability check_reliability(
    const OutcomeTable& table, const PredictionTable& predictions, const ChosenPairs& choices,
    std::span<const double> lambdas, const SweepOptions& options = {}, std::size_t bins = 10);

/// The 2.5 % and 97.5 % quantiles of a figure over the resamples. Empty: not reached there.
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
  /// Empty without resampling.
  std::optional<MetricIntervals> intervals = {};
  /// The first contender's metric minus this one's, on the same resamples. A cost that is not
  /// reached counts as infinite, so an empty low end is −∞ and an empty high end ∞. Empty for the
  /// first contender itself.
  std::optional<MetricIntervals> advantage = {};
};

/// A routing strategy, given by its predictions.
struct Contender {
  std::string name;
  PredictionTable predictions;  ///< for every query of the table
  SweepOptions sweep = {};
};

/// The standard comparison: "router" (these predictions), "one instruction per
/// model" (keep_best_instructions(), if the table has instructions), "mean curve"
/// (predict_means()) and "oracle". If the table has limited budgets, also "point router" and
/// "unlimited mean curve", which do not use them.
R2ROUTER_EXPORT std::vector<Contender> standard_contenders(const OutcomeTable& table,
                                                           const PredictionTable& predictions,
                                                           const OutcomeTable& training,
                                                           const SweepOptions& sweep = {});

/// Resampling of the queries with replacement (the bootstrap; Efron and Tibshirani, "An
/// Introduction to the Bootstrap", section 13.3). All contenders use the same resamples, and the
/// best single model of all queries is the reference in each.
struct ResampleOptions {
  std::uint32_t resamples = 0;  ///< 0: no intervals
  std::uint64_t seed = 0;
  /// Called before each resample of the contenders, on the calling thread. An exception ends the
  /// evaluation and propagates.
  std::function<void(std::size_t done, std::size_t total)> progress = {};
};

/// The results of all contenders.
struct Evaluation {
  std::size_t queries = 0;
  BestSingle best_single;
  std::vector<double> lambdas;  ///< the swept settings
  /// The contenders in their order, then "random mixing" (of single models, along their hull), then
  /// each single model under its own name.
  std::vector<ContenderResult> policies;
  Reliability reliability;  ///< of the first contender
};

/// Evaluates contenders on the complete queries of a table. `available_only` excludes
/// unavailable models from the single models and from the reference. Throws
/// Error(kInvalidArgument) if there is no contender, and what the functions above throw.
R2ROUTER_EXPORT Evaluation evaluate(const OutcomeTable& table,
                                    std::span<const Contender> contenders,
                                    bool available_only = false,
                                    const ResampleOptions& resampling = {});

/// The outcome of one choice for each query, such as that of a router at its default λ.
struct ChosenEvaluation {
  double score = 0;        ///< mean
  double cost = 0;         ///< mean: USD, tokens or seconds
  double score_share = 0;  ///< of the best single model's score; 0 if that is 0
  double cost_share = 0;   ///< of BestSingle::unit
  /// Empty without resampling.
  std::optional<Interval> score_interval = {}, score_share_interval = {}, cost_share_interval = {};
};

/// Evaluates one pair for each query of a complete table against `best`, its best_single(), on
/// the resamples that evaluate() draws. Throws Error(kInvalidArgument) if there is not
/// one pair for each query.
R2ROUTER_EXPORT ChosenEvaluation evaluate_chosen(const OutcomeTable& table,
                                                 std::span<const std::uint32_t> pairs,
                                                 const BestSingle& best,
                                                 const ResampleOptions& resampling = {});

/// An evaluation of one dataset against its own best single model.
struct DatasetEvaluation {
  std::string dataset;
  Evaluation evaluation;
};

/// Evaluates each dataset that the table's complete queries name, in the order of the names.
R2ROUTER_EXPORT std::vector<DatasetEvaluation> evaluate_datasets(
    const OutcomeTable& table, std::span<const Contender> contenders, bool available_only = false,
    const ResampleOptions& resampling = {});

}  // namespace r2router::eval
