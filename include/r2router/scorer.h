// Stage 2: embedding -> predicted quality and length of every (model, budget) pair.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "r2router/export.h"
#include "r2router/types.h"

namespace r2router {

/// A view of a query's embedding in either precision, valid for the duration of a call.
using EmbeddingView = std::variant<std::span<const float>, std::span<const double>>;

/// Largest magnitude of an embedding's numbers: products of larger ones could overflow.
inline constexpr double kLargestEmbeddingElement = 1e250;

/// The first number of an embedding, or of several, that is NaN, infinite, or above
/// kLargestEmbeddingElement in magnitude; empty if all are usable.
R2ROUTER_EXPORT std::optional<std::size_t> find_bad_element(EmbeddingView embedding) noexcept;

/// Raw predictions for one query, one element for each of Scorer::pairs(): the values of the heads
/// and length curves, without clipping or a floor, which decide() applies.
struct Predictions {
  std::vector<double> quality;  ///< may be outside [0, 1]
  std::vector<double>
      tokens;  ///< predicted output tokens; for a pair without a length head, its budget
};

/// Fast predictions of a batch, with a proven bound on their distance from the exact ones.
/// They rule out most pairs, so that only near-ties need exact arithmetic. For row q and pair p:
/// |quality[q·P + p] − exact| ≤ scale[q]·quality_error[p], tokens likewise.
struct Estimates {
  std::vector<double> quality;  ///< rows × pairs
  std::vector<double> tokens;   ///< rows × pairs
  std::vector<double> scale;    ///< one for each row; not finite if the embedding has a NaN, an
                                ///< infinity or a number that is too large
  /// One for each pair, owned by the scorer; 0: the estimate is exact. Empty: all estimates are
  /// exact.
  std::span<const double> quality_error;
  std::span<const double> tokens_error;  ///< likewise
};

/// Predicts quality and length of every pair from an embedding. Derive from it to use your own
/// predictor: implement dimension(), pairs() and predict(). Implementations are immutable; every
/// method may be called from many threads.
class R2ROUTER_EXPORT Scorer {
 public:
  virtual ~Scorer() = default;

  /// Length of the embeddings it accepts.
  virtual std::size_t dimension() const = 0;

  /// The predicted pairs, grouped by model in pool order, and within a model in the decision's tie
  /// order.
  virtual std::span<const Pair> pairs() const = 0;

  /// Exact predictions (float64 arithmetic) for one embedding of dimension() numbers, none beyond
  /// ±kLargestEmbeddingElement.
  /// Reuses the vectors of `out`.
  virtual void predict(EmbeddingView embedding, Predictions& out) const = 0;

  /// Exact prediction of one pair, bit-identical to predict(). By default calls predict().
  virtual void predict_pair(EmbeddingView embedding, std::size_t pair, double& quality,
                            double& tokens) const;

  /// Bounded estimates for `rows` embeddings, row after row in `embeddings`. Reuses the vectors of
  /// `out`. By default calls predict() for each row.
  virtual void estimate(EmbeddingView embeddings, std::size_t rows, Estimates& out) const;

  /// False: no length is predicted for this pair, and its predicted tokens are its budget. By
  /// default true for every pair.
  virtual bool predicts_length(std::size_t pair) const;
};

/// What a head predicts.
enum class Target : std::uint8_t { kQuality, kTokens };

/// The name of a head: its pair and its target.
struct HeadName {
  Pair pair;
  Target target = Target::kQuality;

  friend constexpr auto operator<=>(const HeadName&, const HeadName&) = default;
};

/// Linear regressors, prediction = weights·x + intercept, as a checkpoint holds them.
struct LinearHeads {
  std::size_t dimension = 0;
  /// Grouped by model, each model's quality heads in the decision's tie order. Each pair has
  /// exactly one quality head and at most one length head; an unlimited pair must have one.
  std::vector<HeadName> names = {};
  /// names.size() × dimension, row-major, in the precision the checkpoint has.
  std::variant<std::vector<float>, std::vector<double>> weights = {};
  std::vector<double> intercepts = {};  ///< names.size()
};

/// k-nearest neighbours. A head's prediction for an embedding x is the mean of its targets over the
/// `neighbours` training queries of greatest cosine similarity to x (in a tie, the first); for x =
/// 0, which has no direction, over all queries.
struct NearestNeighbours {
  /// The weight of a neighbour in the mean.
  enum class Weighting : std::uint8_t {
    kUniform,     ///< equal weights
    kSimilarity,  ///< its cosine similarity, or 0 below 0; equal weights if all are below 0
  };

  std::size_t dimension = 0;
  std::vector<HeadName> names = {};  ///< under the same rules as LinearHeads::names
  std::uint32_t neighbours = 0;      ///< k, from 1 to the number of queries
  Weighting weighting = Weighting::kUniform;
  std::vector<float> embeddings = {};  ///< queries × dimension, row-major; of any length
  std::vector<float> targets = {};     ///< queries × names.size(), row-major
};

/// A fully connected layer.
struct DenseLayer {
  std::vector<float> weights = {};  ///< outputs × inputs, row-major
  std::vector<float> biases = {};   ///< outputs
};

/// A multilayer perceptron shared by all heads. Its last layer has one output for each head. Every
/// layer computes weights·input + biases, max(0, ·) is applied between layers, and head i predicts
/// scales[i] / (1 + exp(−output[i])). Inputs and values between layers are clamped to ±10¹⁵⁰.
struct MultilayerPerceptron {
  std::size_t dimension = 0;
  std::vector<HeadName> names = {};     ///< under the same rules as LinearHeads::names
  std::vector<DenseLayer> layers = {};  ///< 1 to 64; the first takes `dimension` inputs
  /// The largest prediction of each head, > 0: 1 for a quality; for a length, the budget or the
  /// longest answer in training.
  std::vector<double> scales = {};
};

/// Observed lengths of answers as a function of a length head's prediction: piecewise linear
/// through the points, with slope 1 beyond them. Corrects predicted costs for the shrinkage of the
/// heads towards the mean. The shrinkage itself improves the choice of a pair.
struct LengthCurve {
  std::vector<double> predicted = {};  ///< tokens predicted by the head, ascending; two or more
  std::vector<double> observed = {};   ///< tokens, one for each: ≥ 0, non-decreasing
};

/// The data of a predictor, of one of the kinds.
using Predictor = std::variant<LinearHeads, NearestNeighbours, MultilayerPerceptron>;

/// Names of a predictor's heads.
R2ROUTER_EXPORT const std::vector<HeadName>& head_names(const Predictor& predictor);

/// Length of the embeddings that a predictor takes.
R2ROUTER_EXPORT std::size_t dimension_of(const Predictor& predictor);

/// A scorer with linear heads. It estimates in int8 or float32 and predicts exactly in float64.
/// Results are identical for every kernel; only the speed depends on the machine. `kernel`: a name
/// from available_kernels(), or empty for the fastest. Throws Error(kBadCheckpoint) for wrong
/// shapes or names and for numbers that are not finite; Error(kNotFound) for a kernel that this
/// machine cannot run.
R2ROUTER_EXPORT std::shared_ptr<const Scorer> make_linear_scorer(const LinearHeads& heads,
                                                                 std::string_view kernel = {});

/// A scorer with nearest neighbours. The search is exact: it rules out queries in float32 and
/// compares the rest in float64. All predictions are exact, so Estimates have bounds of 0, and
/// predict_pair() takes as long as predict(). Results, `kernel` and errors: as for
/// make_linear_scorer().
R2ROUTER_EXPORT std::shared_ptr<const Scorer> make_knn_scorer(const NearestNeighbours& neighbours,
                                                              std::string_view kernel = {});

/// A scorer with a multilayer perceptron, in float64 arithmetic. Its error bounds are 0. Otherwise
/// as make_knn_scorer().
R2ROUTER_EXPORT std::shared_ptr<const Scorer> make_mlp_scorer(
    const MultilayerPerceptron& perceptron, std::string_view kernel = {});

/// The scorer for this kind of predictor, with its lengths corrected by `curves`: one for each
/// length head in the order of their names, or none. Throws as make_linear_scorer() does.
R2ROUTER_EXPORT std::shared_ptr<const Scorer> make_scorer(const Predictor& predictor,
                                                          std::span<const LengthCurve> curves = {},
                                                          std::string_view kernel = {});

/// Names of the compute kernels that this machine can run, slowest first: "baseline" always, then
/// for x86-64 "avx2" (AVX2 and FMA), "avx512" (AVX-512 F, BW, DQ, VL) and "avx512vnni" (also VNNI).
R2ROUTER_EXPORT std::vector<std::string> available_kernels();

}  // namespace r2router
