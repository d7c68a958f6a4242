// Policies: the settings of a decision, as a plain value.
//
//     Policy policy = load_policy("cheap.json");            // or a named one: find_policy()
//     policy = merge(policy, {.max_cost_usd = 0.01, .deny = {{"*-mini"}}});
//     Decision decision = router.route_text("Who wrote Faust?", {.policy = policy});
//
// In JSON, members are named like the fields below, and "cap" is an object:
//
//     {"willingness_to_pay": 0.0021, "max_cost_usd": 0.01, "cap": {"margin": 0.1}}
//
// settings.h describes the same settings for front ends, with types, ranges and help.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "r2router/export.h"

namespace r2router {

/// The arithmetic that turns predictions into a choice.
enum class DecisionRules : std::uint8_t {
  /// Matches the published Python package exactly: utilities are rounded to 8 decimals before they
  /// are compared, ties go to the first pair in pool order, reported figures are rounded, a
  /// negative
  /// token prediction counts as 0 tokens, and unavailable models are considered. For released
  /// checkpoints.
  /// Objectives other than utility do not exist in that package and are not rounded.
  kReference,
  /// The same objective, corrected: utility is not rounded, ties go to the larger budget, predicted
  /// tokens are at least the token floor, unavailable models are ignored, and a pair without a
  /// length head does not cost more than the unlimited answer. For our own checkpoints.
  kCorrected,
};

/// What the choice maximises or minimises among the pairs that satisfy all constraints.
enum class Objective : std::uint8_t {
  kUtility,   ///< highest (1 − λ)·quality − λ·cost, as in the reference
  kUsd,       ///< highest quality − cost / willingness_to_pay: λ = 1 / (1 + willingness_to_pay)
  kCheapest,  ///< lowest predicted cost: λ = 1
  kBest,      ///< highest predicted quality: λ = 0
};

/// How the cap of a call is derived from its budget. A model may exceed a budget; the cap bounds
/// the bill.
///   limited:    max(minimum, ⌈budget·(1 + margin)⌉)
///   unlimited:  `unlimited` if set; otherwise the 99th percentile of the predicted length,
///               ⌈mean·exp(2.326·σ − σ²/2)⌉ for a log-normal length (PairFacts::length_sigma),
///               rounded up to a multiple of kMultiple and clamped to [kFloor, kMost]
/// No cap exceeds ModelSpec::max_output_tokens, which replaces kMost if it is set.
struct CapRule {
  static constexpr double kMargin = 0.2;
  static constexpr std::uint32_t kMinimum = 16;
  static constexpr std::uint32_t kFloor = 1024, kMost = 65536, kMultiple = 64;

  /// Margin above a budget that is only requested in the prompt, ≥ 0, so that a slightly longer
  /// answer is not cut off. Empty: kMargin, or 0 if the budget is a hard cap.
  std::optional<double> margin = {};
  /// Lowest cap that providers accept, tokens, ≥ 1. Empty: kMinimum.
  std::optional<std::uint32_t> minimum = {};
  /// Cap of the unlimited budget, tokens, ≥ minimum. Empty: by the predicted length, see above.
  std::optional<std::uint32_t> unlimited = {};

  friend bool operator==(const CapRule&, const CapRule&) = default;
};

/// All settings of a choice. Empty settings fall back to the checkpoint's. All constraints apply
/// together. If no pair meets a constraint on quality, the best pair is returned
/// (Decision::constraint_met()). If another constraint excludes every pair, routing throws.
struct Policy {
  // Objective. These three are one trade-off: merge() replaces them together.

  /// Empty: kUsd if willingness_to_pay is set, kCheapest if only a quality is required, else
  /// kUtility.
  std::optional<Objective> objective = {};
  /// Weight of cost (USD) against quality, in [0, 1]: 0 ignores cost, 1 ignores quality. Only for
  /// kUtility.
  std::optional<double> lambda = {};
  /// Value of a perfect answer (quality 1) over a useless one (0), USD per query, > 0. Required by
  /// kUsd, invalid otherwise.
  std::optional<double> willingness_to_pay = {};

  // Quality.

  /// Minimum predicted quality, in [0, 1].
  std::optional<double> min_quality = {};
  /// Minimum predicted quality as a fraction, in [0, 1], of the highest one among the pairs that
  /// satisfy the other constraints.
  std::optional<double> quality_fraction = {};
  /// Penalises uncertainty, k ≥ 0: subtracts k standard deviations of the prediction error
  /// (Option::quality_spread) from each predicted quality, before objective and constraints use it.
  /// Needs a checkpoint with spreads. Empty: 0.
  std::optional<double> risk_aversion = {};

  // Limits.

  /// Maximum worst-case cost of a call (Option::worst_case_cost_usd), USD, ≥ 0. Caps are lowered to
  /// fit, but not below the pair's budget.
  std::optional<double> max_cost_usd = {};
  /// Maximum cap, tokens, ≥ 1. Caps are lowered to fit, as above, and also if query and cap
  /// together exceed the model's context.
  std::optional<std::uint32_t> max_output_tokens = {};
  /// Maximum predicted time of an answer, milliseconds, ≥ 0: the model's time to first token plus
  /// the time for the predicted length at its speed (the cap is seldom reached). Excludes models
  /// unless both figures are known.
  std::optional<double> max_latency_ms = {};

  // Models.

  /// Models to consider, at least one; empty: all. `*` matches any characters and `?` one; case is
  /// ignored. A pattern that matches no name is compared with the catalogue names, with and without
  /// their "vendor/". A pattern that matches nothing is an error.
  std::optional<std::vector<std::string>> allow = {};
  /// Models to exclude, in the same form.
  std::optional<std::vector<std::string>> deny = {};
  /// Exclude unavailable models. Empty: true under the corrected rules.
  std::optional<bool> available_only = {};

  // Prediction and request.

  /// Also consider budgets between a model's trained ones, with quality and length interpolated
  /// linearly (the paper's eq. 9). The optimum is exact and never worse in the objective. Empty:
  /// false.
  std::optional<bool> continuous = {};
  /// With `continuous`: assume that a larger budget has at least the quality of the smaller ones.
  std::optional<bool> monotone = {};
  /// Minimum predicted length of an answer, tokens, ≥ 0.
  std::optional<double> token_floor = {};
  std::optional<DecisionRules> rules = {};
  CapRule cap = {};

  friend bool operator==(const Policy&, const Policy&) = default;
};

/// Returns `base` with each setting of `override` applied on top. All precedence follows this rule:
/// flags override a policy file, a line's keys override flags, a call overrides a named policy.
/// objective, lambda and willingness_to_pay are one trade-off: if `override` sets any of them, all
/// three come from it.
R2ROUTER_EXPORT Policy merge(const Policy& base, const Policy& override);

/// Reads a policy. `file` is only for error messages. A member "calibration" (an object) records
/// the origin of the settings and is ignored. Throws Error(kBadConfig) with the JSON pointer of the
/// invalid field. Contradictions between settings are reported when the policy is used.
R2ROUTER_EXPORT Policy parse_policy(std::string_view json, const std::string& file = "policy.json");

/// Reads a policy file. Throws Error(kNotFound), Error(kIo) and what parse_policy() throws.
R2ROUTER_EXPORT Policy load_policy(const std::string& path);

/// The non-empty settings as JSON text, which parse_policy() reads back. Throws
/// Error(kInvalidArgument) for a value that is out of range or a name that is not UTF-8.
R2ROUTER_EXPORT std::string to_json(const Policy& policy);

/// Path of a named policy in a checkpoint's folder: FOLDER/policies/NAME.json. Throws
/// Error(kInvalidArgument) for a name with characters other than letters, digits, - and _.
R2ROUTER_EXPORT std::string named_policy_path(std::string_view name,
                                              const std::string& checkpoint_folder);

/// Path of a policy file. `policy` is the path of an existing file or the name of a policy in the
/// checkpoint's folder (empty: no folder). Throws Error(kNotFound) that lists the names in the
/// folder, the most similar first.
R2ROUTER_EXPORT std::string find_policy(const std::string& policy,
                                        const std::string& checkpoint_folder);

}  // namespace r2router
