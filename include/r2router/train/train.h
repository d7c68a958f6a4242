// Training: trains a checkpoint on an outcome table and embeddings.
//
// Every (model, budget) pair has two heads: one predicts the score, the other the length of the
// answer within the budget, so that the predicted cost of a limited budget is that of the tokens
// actually used. Heads are linear and fitted by ridge regression, use k-nearest neighbours, or are
// outputs of one perceptron. Settings, such as the ridge penalty α, are chosen by the area under
// the cross-validated deferral curve. The heads with the smallest squared error are so noisy that
// the choice of the best pair often selects an overestimated one.
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

#include "r2router/checkpoint.h"
#include "r2router/encoder.h"
#include "r2router/eval/contenders.h"
#include "r2router/export.h"
#include "r2router/outcomes.h"

namespace r2router::train {

/// Called on the training thread with the current stage and its progress.
using ProgressCallback =
    std::function<void(std::string_view stage, std::size_t done, std::size_t total)>;

/// How a multilayer perceptron is trained: with Adam on mini-batches. The loss is the cross-entropy
/// of every score, and of every length as a fraction of the longest. Source: Kingma and Ba, "Adam:
/// a method for stochastic optimization", 2015.
struct MlpOptions {
  std::vector<std::uint32_t> hidden = {256, 128, 64};  ///< outputs of each hidden layer, ≥ 1
  double learning_rate = 0.0003;                       ///< > 0
  /// The share of the embedding's numbers that is dropped at random for each query, from 0 to below
  /// 1. Without it, the few hundred thousand weights memorise the queries. Source: Srivastava et
  /// al., "Dropout: a simple way to prevent neural networks from overfitting", 2014.
  double dropout = 0.7;
  std::uint32_t batch = 128;        ///< queries in a mini-batch, ≥ 1
  std::uint32_t most_epochs = 200;  ///< ≥ 1
  /// Training ends after this many epochs without a lower loss on a validation fold, ≥ 1. That fold
  /// is neither trained on nor predicted, so TrainOptions::folds must be 3 or more.
  std::uint32_t patience = 5;
};

struct TrainOptions {
  PredictorKind predictor = PredictorKind::kRidge;
  /// Ridge: penalties to choose from, each > 0, on the scale of sums over queries (as in
  /// scikit-learn), including edited copies.
  std::vector<double> alphas = {10, 20, 30, 50, 80, 120, 200};
  /// With a prior: penalties on the distance from its heads, > 0 and ascending, on the same scale.
  /// The largest ones leave the prior unchanged.
  std::vector<double> prior_alphas = {0.3, 1, 3, 10, 30, 100, 300, 1000, 1e4, 1e6};
  /// Nearest neighbours: values of k to choose from, each ≥ 1. Each is tried with both weightings.
  std::vector<std::uint32_t> neighbours = {5, 10, 20, 40, 80, 160, 320, 640};
  MlpOptions mlp = {};
  /// Cross-validation folds, ≥ 2. Queries of equal text share a fold, and edited copies
  /// (add_perturbed_copies()) share that of their original. Copies are not evaluated.
  std::uint32_t folds = 5;
  /// One text in this many is held out of training (is_held_out()); 0: none.
  std::uint32_t holdout = 5;
  /// Varies which texts share a fold.
  std::uint64_t seed = 0;
  /// 0: one for each core. The result is the same, bit for bit, for any number.
  std::uint32_t threads = 0;
  ProgressCallback progress = {};
  /// Receives a warning if queries have no outcome and are ignored, or lack some and are used for
  /// training but not for evaluation.
  LogCallback log = {};
};

/// One α and the cross-validated metrics of its heads, before lengths are corrected.
struct AlphaResult {
  double alpha = 0;
  eval::DeferralMetrics metrics;
};

/// A number of neighbours with a weighting, and its cross-validated metrics.
struct NeighboursResult {
  std::uint32_t neighbours = 0;
  NearestNeighbours::Weighting weighting = NearestNeighbours::Weighting::kUniform;
  eval::DeferralMetrics metrics;
};

/// Results of training other than the checkpoint.
struct TrainReport {
  std::size_t training_queries = 0;  ///< without edited copies
  std::size_t held_out_queries = 0;
  std::size_t heads = 0;
  /// Of the chosen settings, cross-validated, with the lengths corrected.
  eval::DeferralMetrics metrics = {};
  double alpha = 0;                      ///< ridge: the chosen one
  std::vector<AlphaResult> alphas = {};  ///< cross-validated, in the order of the options
  NeighboursResult neighbours = {};      ///< nearest neighbours: the chosen number and weighting
  std::vector<NeighboursResult> neighbour_counts = {};  ///< cross-validated, all that were tried
  std::uint32_t epochs = 0;                             ///< perceptron: passes over the queries
  eval::DeferralMetrics mean_curve;                     ///< without features, on the same folds
  double default_lambda = 0;
  /// The cross-validated outcome at the default λ, among available models.
  double default_score = 0;
  double default_cost = 0;  ///< USD, as a fraction of best_available.unit
  eval::BestSingle best_available = {};
};

/// Fits a checkpoint to given embeddings: table.queries.size() × dimension, row after row. The
/// settings of the predictor (α, or neighbours and weighting) are those with the highest
/// cross-validated AUDC over the whole pool; in a tie, the largest α or number of neighbours. A
/// perceptron is trained for the median of the folds' best numbers of epochs.
///
/// With enough queries (about 125 for five folds), lengths are then corrected: each length head
/// gets a curve, fitted by isotonic regression of the observed lengths on out-of-fold predictions.
/// AUDC and the default λ are computed from corrected lengths; each fold is corrected by curves
/// fitted to the others.
///
/// Settings are compared by the table's cost_measure. Decisions weigh quality against money, so the
/// default λ is always chosen by USD. It is 0 if all models are free.
///
/// The checkpoint uses the corrected rules. Its default λ reaches 95 % of the best single model's
/// score at the lowest cost on queries that the heads were not fitted to. If no λ reaches that, it
/// is the λ with the best score. Only available models are considered, since only those are chosen.
/// The token floor is the 1 % quantile of the lengths of unlimited answers.
///
/// Throws Error(kBadData) for a table that cannot be used: empty, fewer queries than folds,
/// a pair with outcomes in fewer than two folds, no complete query; Error(kInvalidArgument) for
/// options out of range, a wrong number of embeddings or one that is not finite.
R2ROUTER_EXPORT Checkpoint train(const OutcomeTable& table, std::span<const float> embeddings,
                                 std::size_t dimension, const TrainOptions& options = {},
                                 TrainReport* report = nullptr);

/// Fits a checkpoint on top of another one, such as one from results by task. Each head w₀, b₀ is
/// changed by the v, c that minimise
///     Σ (y − (w₀ + v)·x − b₀ − c)² + α·(|v|² + c²)
/// over the outcomes. α, the same for all heads, is the largest of TrainOptions::prior_alphas whose
/// cross-validated squared error of the scores is within one standard error of the minimum. With
/// few outcomes, α is therefore large, and the result is close to the prior. The area under the
/// deferral curve would be too noisy a criterion.
///
/// The pool, the encoder, length curves and the default policy with its λ are those of the prior;
/// so are the heads of models without outcomes in the table. Spreads of changed heads are their
/// cross-validated errors, if the prior has spreads. `embeddings` are the input of the prior's
/// heads. With outcomes of fewer than kFewestOutcomes queries, the result is the prior, with a
/// warning.
///
/// Throws as above, and Error(kUnsupported) if the prior's heads are not linear; Error(kBadData)
/// for outcomes of a model or budget that the prior does not have.
R2ROUTER_EXPORT Checkpoint train(const Checkpoint& prior, const OutcomeTable& table,
                                 std::span<const float> embeddings,
                                 const TrainOptions& options = {}, TrainReport* report = nullptr);

/// Minimum number of queries to change a prior.
inline constexpr std::size_t kFewestOutcomes = 20;

/// Fits a checkpoint with its own lexical encoder. If encoder.has_idf, its weights are
/// 1 + ln((1 + n)/(1 + n_j)) for n training texts, n_j of which have a feature in dimension j.
///
/// If encoder.topics names datasets of the table, the encoder learns to recognise them, by ridge
/// regression (α = 1) of whether a query belongs to the dataset; queries of other datasets are not
/// used. Heads are fitted to out-of-fold shares, which are as uncertain as the shares of new
/// queries (stacking: Wolpert, "Stacked generalization", 1992). Throws Error(kBadData) for a topic
/// without a training query.
R2ROUTER_EXPORT Checkpoint train(const OutcomeTable& table, const LexicalEncoderSpec& encoder,
                                 const TrainOptions& options = {}, TrainReport* report = nullptr);

/// How a router is trained on data. The encoder is ignored if the data has embeddings.
struct TrainRecipe {
  LexicalEncoderSpec encoder = {.features = {LexicalFeatures{}}};
  /// The encoder learns to recognise the datasets of the data, of which there must be two or more.
  bool topics = false;
  /// Also trains on the copies of add_perturbed_copies().
  bool augment = false;
  /// The instruction that the models received under a limited budget, with "{budget}" in place of
  /// the number of tokens; it becomes Config::budget_prompt. Required if the data has prompted
  /// budgets, since predictions are only valid for the wording of the prompt.
  std::string budget_prompt = {};
  /// The model that made the embeddings of the data; it becomes Config::embedding_model.
  std::string embedding_model = {};
  /// The checkpoint to start from. Its budgets are used, and its encoder unless the data has
  /// embeddings. If the budgets are hard caps, limited outcomes are derived from unlimited answers.
  std::shared_ptr<const Checkpoint> prior = {};
  TrainOptions options = {};
};

/// Parses KIND:SHORTEST-LONGEST[*WEIGHT], where KIND is words or characters, such as
/// "characters:3-5*0.5". Throws Error(kInvalidArgument) for anything else.
R2ROUTER_EXPORT LexicalFeatures parse_features(std::string_view text);

/// Fits a checkpoint to the data: to its embeddings if it has any, otherwise with the lexical
/// encoder. Throws what the other overloads throw, and Error(kInvalidArgument) if `topics` is set
/// with fewer than two datasets, or budgets are prompted without a budget_prompt.
R2ROUTER_EXPORT Checkpoint train(const OutcomeData& data, const TrainRecipe& recipe,
                                 TrainReport* report = nullptr);

/// The report as a few lines of text.
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
  /// Strengths of the penalty that keeps the mixture near equal shares, > 0 and ascending. At 1,
  /// equal shares weigh as much as the probes.
  std::vector<double> share_penalties = {0.1, 1, 10};
  std::uint32_t folds = 5;    ///< as TrainOptions::folds, over the probes
  std::uint32_t holdout = 5;  ///< as TrainOptions::holdout
  std::uint64_t seed = 0;     ///< varies which queries are probes, and their folds
  std::uint32_t threads = 0;  ///< as TrainOptions::threads
  ProgressCallback progress = {};
  /// Receives a warning if queries lack an outcome of one of the model's pairs and are ignored.
  LogCallback log = {};
};

/// Prediction errors of the new heads of one target.
struct AddedHeads {
  double alpha = 0;  ///< the chosen strengths
  double share_penalty = 0;
  /// For each model of the checkpoint, its share in the mixture, averaged over budgets.
  std::vector<double> shares = {};
  /// Root-mean-square errors on the probes, cross-validated: of the heads, and of predicting each
  /// pair's mean. Lengths are in tokens.
  double error = 0, mean_error = 0;
};

/// A comparison of the new heads with heads fitted to all outcomes, by ridge regression with an α
/// of TrainOptions::alphas chosen as add_model() chooses its own.
struct FullTraining {
  std::size_t training_queries = 0;                   ///< of the fully trained heads
  std::size_t held_out_queries = 0;                   ///< that both are evaluated on
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

/// Adds the model `name` of the table to a checkpoint of linear heads, from its outcomes on a few
/// queries. The model is appended to the pool. A head w of the new model minimises
///     Σ (y − w·x − b)² + α·|w − Σ cⱼ·wⱼ|² + β·v·Σ (cⱼ − 1/m)²
/// over the probes, jointly with b and the shares cⱼ of the mixture. wⱼ are the m heads of the
/// checkpoint for the same budget and target, and v is the mean over j of Σ (wⱼ·x − its mean)². α
/// and β, chosen separately for quality and length heads, are the largest whose cross-validated
/// squared error is within one standard error of the minimum. If the checkpoint has no such heads,
/// this is plain ridge regression. If the table also has outcomes of the checkpoint's models on the
/// probes, they show whether the probes are harder than average queries, and b is corrected for it.
/// Heads, settings and pool of the checkpoint do not change, except Config::training, which records
/// both trainings. The length curves of the new heads are straight lines. If the checkpoint has
/// spreads, those of the new heads are their cross-validated errors.
///
/// Probes are queries that are not held out and have an outcome of each of the model's pairs: the
/// first ones in the order of a hash. Edited copies are not used. `embeddings` are the input of the
/// checkpoint's heads, as in train().
///
/// Throws Error(kUnsupported) if the checkpoint's heads are not linear; Error(kInvalidArgument) for
/// options out of range, embeddings that do not fit, a model that is not in the table or already in
/// the pool; Error(kBadData) if there are fewer than 20 probes or all are in one fold, or the
/// model's budgets are not among the checkpoint's.
R2ROUTER_EXPORT Checkpoint add_model(const Checkpoint& checkpoint, const OutcomeTable& table,
                                     std::span<const float> embeddings, const std::string& name,
                                     const AddModelOptions& options = {},
                                     AddModelReport* report = nullptr);

/// Returns the pool to read outcomes for add_model(): the checkpoint's models, then the model
/// `name` of `pool` if the checkpoint does not have it. `file` is only for the error message.
/// Throws Error(kNotFound) if neither has the model.
R2ROUTER_EXPORT Pool extend_pool(const Config& config, const Pool& pool, const std::string& name,
                                 const std::string& file = {});

/// The report as a few lines of text.
R2ROUTER_EXPORT std::string to_text(const AddModelReport& report, const std::string& name);

/// The same as a JSON object. `pool` is the pool of the new checkpoint; its last model is the added
/// one.
R2ROUTER_EXPORT std::string to_json(const AddModelReport& report, const Pool& pool);

}  // namespace r2router::train
