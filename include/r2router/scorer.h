// Stage 2: embedding -> predicted quality and length of every (model, budget) pair.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "r2router/export.h"
#include "r2router/types.h"

namespace r2router {

/// A query's embedding as the caller has it, in either precision; borrowed for the length of a
/// call.
using EmbeddingView = std::variant<std::span<const float>, std::span<const double>>;

/// Raw predictions for one query, one element for each of Scorer::pairs(): as the heads give them,
/// neither clipped nor floored (that is the decision's work, since the rules differ in it).
struct Predictions {
  std::vector<double> quality;  ///< may lie outside [0, 1]
  std::vector<double>
      tokens;  ///< predicted output tokens; for a pair without a length head, its budget
};

/// Predictions of a whole batch made in float32, with a proven bound on their distance from the
/// exact ones, so that most pairs can be ruled out cheaply and only near-ties need exact
/// arithmetic. For row q and pair p: |quality[q·P + p] − exact| ≤ scale[q]·quality_error[p], tokens
/// likewise.
struct Estimates {
  std::vector<double> quality;            ///< rows × pairs
  std::vector<double> tokens;             ///< rows × pairs
  std::vector<double> scale;              ///< one for each row; not finite if the embedding is not
  std::span<const double> quality_error;  ///< one for each pair; owned by the scorer
  std::span<const double> tokens_error;   ///< one for each pair; owned by the scorer
};

/// Predicts quality and length of every pair from an embedding.
/// Implementations are immutable; every method may be called from many threads.
class R2ROUTER_EXPORT Scorer {
 public:
  virtual ~Scorer() = default;

  /// Length of the embeddings it accepts.
  virtual std::size_t dimension() const = 0;

  /// What it predicts: grouped by model in pool order, and in the decision's tie order within a
  /// model.
  virtual std::span<const Pair> pairs() const = 0;

  /// Exact predictions (float64 arithmetic) for one embedding of dimension() finite numbers.
  /// Reuses the vectors of `out`.
  virtual void predict(EmbeddingView embedding, Predictions& out) const = 0;

  /// Exact prediction of one pair: bit for bit what predict() gives for it.
  virtual void predict_pair(EmbeddingView embedding, std::size_t pair, double& quality,
                            double& tokens) const = 0;

  /// Bounded estimates for `rows` embeddings, row after row in `embeddings`. Reuses the vectors of
  /// `out`.
  virtual void estimate(EmbeddingView embeddings, std::size_t rows, Estimates& out) const = 0;
};

/// What a linear head predicts.
enum class Target : std::uint8_t { kQuality, kTokens };

/// The name of a linear head: which pair, and which of its properties.
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
  std::vector<HeadName> names;
  /// names.size() × dimension, row-major, in the precision the checkpoint has.
  std::variant<std::vector<float>, std::vector<double>> weights;
  std::vector<double> intercepts;  ///< names.size()
};

/// A scorer over linear heads. float32 screening and float64 arithmetic give results that are
/// identical on every kernel: only speed depends on the machine. `kernel`: a name from
/// available_kernels(), or empty for the fastest. Throws Error(kBadCheckpoint) when shapes, names
/// or finiteness are wrong; Error(kNotFound) for a kernel that this machine cannot run.
R2ROUTER_EXPORT std::shared_ptr<const Scorer> make_linear_scorer(const LinearHeads& heads,
                                                                 std::string_view kernel = {});

/// Names of the compute kernels that this machine can run, slowest first: "baseline" always, then
/// for x86-64 "avx2" (AVX2 and FMA) and "avx512" (AVX-512 F, BW, DQ, VL).
R2ROUTER_EXPORT std::vector<std::string> available_kernels();

}  // namespace r2router
