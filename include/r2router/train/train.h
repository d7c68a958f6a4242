// Training: an outcome table and embeddings -> a checkpoint.
//
// Every (model, budget) pair gets two heads: one predicts the score, one the length of the answer
// within its budget, so that a limited budget is charged for what it will really use. They are
// linear and fitted by ridge regression, or ask the nearest neighbours, or share a perceptron.
// Settings, such as the ridge penalty α, are those with the best area under the cross-validated
// deferral curve: the α of least squared error leaves heads so noisy that the choice of the best
// pair picks up the noise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "r2router/checkpoint.h"
#include "r2router/encoder.h"
#include "r2router/eval/contenders.h"
#include "r2router/export.h"
#include "r2router/outcomes.h"

namespace r2router {

/// Called now and then on the thread that trains: what is being done, and how much of it is done.
using ProgressCallback =
    std::function<void(std::string_view stage, std::size_t done, std::size_t total)>;

/// How a multilayer perceptron is trained: by Adam on mini-batches, to the cross-entropy of every
/// score and of every length as a fraction of the longest. Source: Kingma and Ba, "Adam: a method
/// for stochastic optimization", 2015.
struct MlpOptions {
  std::vector<std::uint32_t> hidden = {256, 128, 64};  ///< outputs of each hidden layer, ≥ 1
  double learning_rate = 0.0003;                       ///< > 0
  /// The share of the embedding's numbers that each query goes without, drawn anew every time, from
  /// 0 to below 1: without it the few hundred thousand weights learn the queries by heart. Source:
  /// Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014.
  double dropout = 0.7;
  std::uint32_t batch = 128;        ///< queries in a mini-batch, ≥ 1
  std::uint32_t most_epochs = 200;  ///< ≥ 1
  /// Training ends after this many epochs without a lower loss on a validation fold, ≥ 1. That fold
  /// is neither trained on nor predicted, so TrainOptions::folds must be 3 or more.
  std::uint32_t patience = 5;
};

struct TrainOptions {
  PredictorKind predictor = PredictorKind::kRidge;
  /// Ridge: penalties to choose from, each > 0, on the scale of sums over queries (as
  /// scikit-learn's), edited copies included.
  std::vector<double> alphas = {10, 20, 30, 50, 80, 120, 200};
  /// Nearest neighbours: how many to choose from, each ≥ 1. Each is tried with both weightings.
  std::vector<std::uint32_t> neighbours = {5, 10, 20, 40, 80, 160, 320, 640};
  MlpOptions mlp = {};
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
  /// Gets a warning if queries have no outcome, which are then not trained on, or lack some, which
  /// are trained on but not measured.
  LogCallback log = {};
};

/// One α and what its heads are worth on queries that they were not fitted to, lengths not yet
/// corrected.
struct AlphaResult {
  double alpha = 0;
  DeferralMetrics metrics;
};

/// A number of neighbours with a weighting, and what it is worth likewise.
struct NeighboursResult {
  std::uint32_t neighbours = 0;
  NearestNeighbours::Weighting weighting = NearestNeighbours::Weighting::kUniform;
  DeferralMetrics metrics;
};

/// What training found out on its way.
struct TrainReport {
  std::size_t training_queries = 0;  ///< without edited copies
  std::size_t held_out_queries = 0;
  std::size_t heads = 0;
  /// Of the chosen settings, cross-validated, with the lengths corrected.
  DeferralMetrics metrics = {};
  double alpha = 0;                      ///< ridge: the chosen one
  std::vector<AlphaResult> alphas = {};  ///< cross-validated, in the order of TrainOptions::alphas
  NeighboursResult neighbours = {};      ///< nearest neighbours: the chosen number and weighting
  std::vector<NeighboursResult> neighbour_counts = {};  ///< cross-validated, all that were tried
  std::uint32_t epochs = 0;                             ///< perceptron: passes over the queries
  DeferralMetrics mean_curve;  ///< of no features at all, on the same folds
  double default_lambda = 0;
  /// The cross-validated outcome at the default λ, among available models.
  double default_score = 0;
  double default_cost = 0;  ///< USD, as a fraction of best_available.unit
  BestSingle best_available = {};
};

/// Fits a checkpoint to embeddings computed elsewhere: table.queries.size() × dimension, row after
/// row. The settings of the predictor (α; neighbours and weighting) are those of the best
/// cross-validated AUDC over the whole pool; of equals the largest α or the most neighbours. A
/// perceptron is trained for as many epochs as were best, in the median, for the folds' own.
///
/// Lengths are then corrected, where there are queries enough (some 125 of every five folds): each
/// length head gets a curve, by isotonic regression of the observed lengths on those that were
/// predicted without the query's fold. AUDC and the default λ are those of corrected lengths, each
/// fold's by curves from the others.
///
/// Settings are compared by the table's cost_measure. Decisions weigh quality against money, so the
/// default λ is chosen by USD whatever the measure is. Where all models are free it is 0.
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

/// How a router is trained on data: the encoder is not used if the data has embeddings.
struct TrainRecipe {
  LexicalEncoderSpec encoder = {.features = {LexicalFeatures{}}};
  /// The encoder learns to recognise all datasets of the data, of which there must be two or more.
  bool topics = false;
  /// Trains on the copies of add_perturbed_copies() too.
  bool augment = false;
  TrainOptions options = {};
};

/// Reads KIND:SHORTEST-LONGEST[*WEIGHT] with the kind words or characters, such as
/// "characters:3-5*0.5". Throws Error(kInvalidArgument) for anything else.
R2ROUTER_EXPORT LexicalFeatures parse_features(std::string_view text);

/// Fits a checkpoint to the data: to its embeddings if it has some, else with the lexical encoder.
/// Throws what the other overloads throw, and Error(kInvalidArgument) for topics of fewer than two
/// datasets.
R2ROUTER_EXPORT Checkpoint train(const OutcomeData& data, const TrainRecipe& recipe,
                                 TrainReport* report = nullptr);

/// What train() found, as a few lines of text.
R2ROUTER_EXPORT std::string to_text(const TrainReport& report, const Checkpoint& checkpoint);

/// The same as a JSON object, with the checkpoint's record of its training.
R2ROUTER_EXPORT std::string to_json(const TrainReport& report, const Checkpoint& checkpoint);

/// How a model is added to a checkpoint.
struct AddModelOptions {
  /// Queries that the new heads are fitted to, from 20 to 2,000.
  std::uint32_t probes = 300;
  /// Strengths of the penalty on the distance from the mixture, > 0 and ascending, on the scale of
  /// TrainOptions::alphas.
  std::vector<double> alphas = {300, 1000, 3000, 10000};
  /// Strengths of the penalty that keeps the mixture near equal shares, > 0 and ascending: at 1 the
  /// equal shares count as much as the probes.
  std::vector<double> share_penalties = {0.1, 1, 10};
  std::uint32_t folds = 5;    ///< as TrainOptions::folds, over the probes
  std::uint32_t holdout = 5;  ///< as TrainOptions::holdout
  std::uint64_t seed = 0;     ///< varies which queries are probes, and their folds
  std::uint32_t threads = 0;  ///< as TrainOptions::threads
  ProgressCallback progress = {};
  /// Gets a warning if queries lack an outcome of one of the model's pairs, which leaves them out.
  LogCallback log = {};
};

/// How well heads of one kind predict.
struct AddedHeads {
  double alpha = 0;  ///< the chosen strengths
  double share_penalty = 0;
  /// For each model of the checkpoint its share in the mixture, averaged over budgets.
  std::vector<double> shares = {};
  /// Root-mean-square errors on the probes, cross-validated: of the heads, and of predicting each
  /// pair's mean. Lengths are in tokens.
  double error = 0, mean_error = 0;
};

/// The new heads beside heads fitted to all the outcomes that there are, by ridge regression with
/// an α of TrainOptions::alphas that is chosen as add_model() chooses its own.
struct FullTraining {
  std::size_t training_queries = 0;                   ///< what those are fitted to
  std::size_t held_out_queries = 0;                   ///< what both are tried on
  double quality_error = 0, added_quality_error = 0;  ///< root-mean-square
  double tokens_error = 0, added_tokens_error = 0;
  Checkpoint checkpoint = {};  ///< the pool with the fully trained heads
};

struct AddModelReport {
  std::size_t probes = 0;
  AddedHeads quality = {}, tokens = {};
  /// Only if there are more outcomes than probes, and some are held out.
  std::optional<FullTraining> full = {};
};

/// Adds the model `name` of the table to a checkpoint of linear heads, at the pool's end, from its
/// outcomes on a few queries. A head w of the new model minimises
///     Σ (y − w·x − b)² + α·|w − Σ cⱼ·wⱼ|² + β·v·Σ (cⱼ − 1/m)²
/// over the probes, the mixture's shares cⱼ included: wⱼ are the m heads of the checkpoint for the
/// same budget and target, and v is the mean over j of Σ (wⱼ·x − its mean)². α and β, one choice
/// for the quality heads and one for the lengths, are the largest whose cross-validated squared
/// error is within one standard error of the least. Where the checkpoint has no such head, it is a
/// plain ridge regression. If the table has outcomes of the checkpoint's models on the probes as
/// well, they tell whether the probes are harder than queries are on the whole, and b makes up for
/// it. Heads, settings and pool of the checkpoint stay as they are but for Config::training, which
/// records both. Length curves are straight for the new heads. If it has spreads, those of the new
/// heads are of their cross-validated errors.
///
/// Probes are the queries not held out that have an outcome of each of the model's pairs, the first
/// of an order by hash. Edited copies take no part. `embeddings` are those that the checkpoint's
/// heads take, as in train().
///
/// Throws Error(kUnsupported) if the checkpoint's heads are not linear; Error(kInvalidArgument) for
/// options out of range, embeddings that do not fit, a model that the table does not have or that
/// the pool has already; Error(kBadData) if there are fewer than 20 probes or all are in one fold,
/// or the model's budgets are not among the checkpoint's.
R2ROUTER_EXPORT Checkpoint add_model(const Checkpoint& checkpoint, const OutcomeTable& table,
                                     std::span<const float> embeddings, const std::string& name,
                                     const AddModelOptions& options = {},
                                     AddModelReport* report = nullptr);

/// The checkpoint's models, then the model `name` of `pool` if the checkpoint does not have it:
/// what outcomes for add_model() are read with. `file` is only for the error message. Throws
/// Error(kNotFound) if neither has it.
R2ROUTER_EXPORT Pool extend_pool(const Config& config, const Pool& pool, const std::string& name,
                                 const std::string& file = {});

/// What add_model() found, as a few lines of text.
R2ROUTER_EXPORT std::string to_text(const AddModelReport& report, const std::string& name);

/// The same as a JSON object. `pool` is that of the new checkpoint, whose last model was added.
R2ROUTER_EXPORT std::string to_json(const AddModelReport& report, const Pool& pool);

}  // namespace r2router
