// What a caller may set for one call. Plain structs: change the fields you care about.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace r2router {

/// Which arithmetic turns predictions into a choice.
enum class DecisionRules : std::uint8_t {
  /// Exactly what the published Python package does: risk compared after rounding to 8 decimals
  /// (ties go to the first pair in pool order), reported figures rounded, a negative token
  /// prediction counted as 0 tokens, unavailable models not left out. For released checkpoints.
  /// Objectives other than risk, which that package does not have, are not rounded.
  kReference,
  /// The same objective without those faults: unrounded risk, ties go to the cheaper pair,
  /// predicted tokens at least the checkpoint's token floor, unavailable models left out, and a
  /// pair without a length head not charged more than the unlimited answer. For our own
  /// checkpoints.
  kCorrected,
};

/// From a budget to the cap that is sent with the call. A budget alone is a request that a model
/// may overrun; the cap is what bounds the bill.
///   limited:    max(minimum, ⌈budget·(1 + margin)⌉)
///   unlimited:  `unlimited`
struct CapRule {
  /// Room above a budget that the model is told to keep, ≥ 0: one that overruns it a little should
  /// not be cut off. Left empty: 0.2, and 0 where the budget itself is a hard cap.
  std::optional<double> margin = {};
  std::uint32_t minimum = 16;      ///< least cap that providers accept, tokens, ≥ 1
  std::uint32_t unlimited = 8192;  ///< cap of a budget without limit, tokens, ≥ `minimum`

  friend bool operator==(const CapRule&, const CapRule&) = default;
};

/// What the chosen pair is the best at. All weigh the pairs that satisfy every constraint.
enum class Objective : std::uint8_t {
  kRisk,      ///< highest (1 − λ)·quality − λ·cost, the reference's
  kUsd,       ///< highest quality − cost / willingness_to_pay: λ = 1 / (1 + willingness_to_pay)
  kCheapest,  ///< lowest predicted cost: λ = 1
  kBest,      ///< highest predicted quality: λ = 0
};

/// Options of one routing call. A field left empty takes the checkpoint's value.
/// Constraints hold together, in any combination. Those on quality give way where no pair meets
/// them (Decision::constraint_met()); where the others leave no pair there is an error.
struct RouteOptions {
  /// Left empty: kUsd where willingness_to_pay is set, kCheapest where only a quality is asked for,
  /// else kRisk.
  std::optional<Objective> objective = {};
  /// Weight of cost (USD) against quality, in [0, 1]: 0 looks at quality alone, 1 at cost alone.
  /// Only for kRisk.
  std::optional<double> lambda = {};
  /// USD that quality 1 instead of 0 is worth for this query, > 0. Only for kUsd, which needs it.
  std::optional<double> willingness_to_pay = {};
  /// Length of the query in tokens, ≥ 0. Left empty: estimated from the text, or 100 for an
  /// embedding.
  std::optional<std::int64_t> input_tokens = {};
  /// Names of the only models to consider; empty admits all. `*` stands for any characters and `?`
  /// for one. A name or pattern that no model of the pool has is an error.
  std::vector<std::string> allow = {};
  /// Names of models to leave out, likewise.
  std::vector<std::string> deny = {};
  /// Leave out models that are not available. Left empty: as the rules say.
  std::optional<bool> available_only = {};
  /// Least number of tokens that any answer is assumed to take. Left empty: as the rules say.
  std::optional<double> token_floor = {};
  /// Decide by other rules than the checkpoint's.
  std::optional<DecisionRules> rules = {};
  /// Consider only pairs with at least this predicted quality, in [0, 1].
  std::optional<double> min_quality = {};
  /// Consider only pairs with at least this share, in [0, 1], of the highest quality that is
  /// predicted for this query among the pairs that the other constraints leave.
  std::optional<double> quality_fraction = {};
  /// Standard deviations of its prediction error (Option::quality_spread) by which every quality is
  /// lowered, k ≥ 0, when it is weighed and compared with a quality that is asked for: the higher,
  /// the less a decision counts on uncertain predictions. Needs a checkpoint that has spreads.
  double risk_aversion = 0;
  /// Consider only pairs whose worst-case cost, Option::worst_case_cost_usd, is at most this, USD,
  /// ≥ 0. A cap is lowered to fit, but not below the pair's budget.
  std::optional<double> max_cost_usd = {};
  /// Consider only pairs whose cap is at most this, ≥ 1. A cap is lowered to fit, as above; so it
  /// is where the query and the cap would not both fit into the model's context.
  std::optional<std::uint32_t> max_output_tokens = {};
  /// Consider only pairs whose predicted answer takes at most this long, milliseconds, ≥ 0: the
  /// model's time to first token, and the predicted length at its speed (not the cap: an answer
  /// seldom comes near it). A model whose two figures are unknown is left out.
  std::optional<double> max_latency_ms = {};
  /// Consider the budgets between a model's trained ones too, with quality and length interpolated
  /// linearly (the paper's eq. 9). Never worse in the objective, and exact.
  bool continuous = false;
  /// With `continuous`: count on a larger budget for at least the quality of the smaller ones.
  bool monotone = false;
  /// Most tokens that the query can turn out to have, with all that is sent beside it, for
  /// worst-case costs and context lengths, ≥ input_tokens. Left empty: input_tokens where that is
  /// set, or else most_input_tokens() of a text, and 100 for an embedding.
  std::optional<std::int64_t> max_input_tokens = {};
  CapRule cap = {};
  /// Stops waiting for a server of embeddings: the call then throws Error(kCancelled).
  std::stop_token cancel = {};
  /// Also fill Decision::ranking; costs a few tens of microseconds.
  bool rank = false;
  /// Also fill Decision::explanation; costs a few tens of microseconds.
  bool explain = false;
};

/// Options of one call for an answer.
struct GenerateOptions {
  double temperature = 0.7;  ///< ≥ 0
  /// Seconds for all attempts, waits and fallbacks together. Left empty: the endpoint's total.
  std::optional<double> timeout = {};
  /// How many other models may be tried after the chosen one has failed. Needs Decision::ranking.
  std::uint32_t max_fallbacks = 2;
  /// Name the fallbacks to the provider too (the request's "models"), which then tries them itself:
  /// the messages and the cap stay the chosen pair's, so that models with another
  /// ModelSpec::instruction are not named; the bill follows the model that answers.
  bool provider_fallback = false;
  /// Set: the answer is streamed, and this is called with each piece of its text, in order, on the
  /// calling thread. Pieces end between characters. What it throws ends the call and passes
  /// through.
  std::function<void(std::string_view text)> on_text = {};
  /// Stops the call: it returns within 100 ms with the failure kCancelled.
  std::stop_token cancel = {};
};

}  // namespace r2router
