// What a caller may set for one call. Plain structs: change the fields you care about.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
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
  /// Also fill Decision::ranking; costs a few tens of microseconds.
  bool rank = false;
};

}  // namespace r2router
