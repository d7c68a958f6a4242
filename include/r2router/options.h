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
  /// (ties go
  /// to the first pair in pool order), reported figures rounded, a negative token prediction
  /// counted as
  /// 0 tokens, unavailable models not left out. For released checkpoints.
  kReference,
  /// The same objective without those faults: unrounded risk, ties go to the cheaper pair,
  /// predicted
  /// tokens at least the checkpoint's token floor, unavailable models left out. For our own
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

/// Options of one routing call. A field left empty takes the checkpoint's value.
struct RouteOptions {
  /// Weight of cost (USD) against quality, in [0, 1]: 0 looks at quality alone, 1 at cost alone.
  std::optional<double> lambda = {};
  /// Length of the query in tokens, ≥ 0. Left empty: estimated from the text, or 100 for an
  /// embedding.
  std::optional<std::int64_t> input_tokens = {};
  /// Names of the only models to consider; empty admits all. An unknown name is an error.
  std::vector<std::string> allow = {};
  /// Names of models to leave out.
  std::vector<std::string> deny = {};
  /// Leave out models that are not available. Left empty: as the rules say.
  std::optional<bool> available_only = {};
  /// Least number of tokens that any answer is assumed to take. Left empty: as the rules say.
  std::optional<double> token_floor = {};
  /// Decide by other rules than the checkpoint's.
  std::optional<DecisionRules> rules = {};
  /// Consider only pairs whose worst-case cost, Option::worst_case_cost_usd, is at most this, USD,
  /// ≥ 0. A cap is lowered to fit, but not below the pair's budget.
  std::optional<double> max_cost_usd = {};
  /// Most tokens that the query can turn out to have, with all that is sent beside it, for
  /// worst-case costs, ≥ input_tokens. Left empty: input_tokens where that is set, or else
  /// most_input_tokens() of a text, and 100 for an embedding.
  std::optional<std::int64_t> max_input_tokens = {};
  CapRule cap = {};
  /// Stops waiting for a server of embeddings: the call then throws Error(kCancelled).
  std::stop_token cancel = {};
  /// Also fill Decision::ranking; costs a few tens of microseconds.
  bool rank = false;
};

/// Options of one call for an answer.
struct GenerateOptions {
  double temperature = 0.7;  ///< ≥ 0
  /// Seconds for all attempts, waits and fallbacks together. Left empty: the endpoint's total.
  std::optional<double> timeout = {};
  /// How many other models may be tried after the chosen one has failed. Needs Decision::ranking.
  std::uint32_t max_fallbacks = 2;
  /// Name the fallbacks to the provider too (the request's "models"), which then tries them itself:
  /// the cap stays the chosen pair's, the bill follows the model that answers.
  bool provider_fallback = false;
  /// Set: the answer is streamed, and this is called with each piece of its text, in order, on the
  /// calling thread. Pieces end between characters. What it throws ends the call and passes
  /// through.
  std::function<void(std::string_view text)> on_text = {};
  /// Stops the call: it returns within 100 ms with the failure kCancelled.
  std::stop_token cancel = {};
};

}  // namespace r2router
