// Policies: what a user wants from a choice, as a plain value.
//
//     Policy policy = load_policy("cheap.json");            // or a named one: find_policy()
//     policy = merge(policy, {.max_cost_usd = 0.01, .deny = {{"*-mini"}}});
//     Decision decision = router.route_text("Who wrote Faust?", {.policy = policy});
//
// As JSON, members have the names of the fields below, and "cap" is an object:
//
//     {"willingness_to_pay": 0.0021, "max_cost_usd": 0.01, "cap": {"margin": 0.1}}
//
// Front ends find the same settings, with their types, ranges and descriptions, in settings.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "r2router/export.h"

namespace r2router {

/// Which arithmetic turns predictions into a choice.
enum class DecisionRules : std::uint8_t {
  /// Exactly what the published Python package does: risk compared after rounding to 8 decimals
  /// (ties go to the first pair in pool order), reported figures rounded, a negative token
  /// prediction counted as 0 tokens, unavailable models not left out. For released checkpoints.
  /// Objectives other than risk, which that package does not have, are not rounded.
  kReference,
  /// The same objective without those faults: unrounded risk, ties go to the larger budget,
  /// predicted tokens at least the checkpoint's token floor, unavailable models left out, and a
  /// pair without a length head not charged more than the unlimited answer. For our own
  /// checkpoints.
  kCorrected,
};

/// What the chosen pair is the best at, among the pairs that satisfy every constraint.
enum class Objective : std::uint8_t {
  kRisk,      ///< highest (1 − λ)·quality − λ·cost, the reference's
  kUsd,       ///< highest quality − cost / willingness_to_pay: λ = 1 / (1 + willingness_to_pay)
  kCheapest,  ///< lowest predicted cost: λ = 1
  kBest,      ///< highest predicted quality: λ = 0
};

/// From a budget to the cap that is sent with the call. A budget alone is a request that a model
/// may overrun; the cap is what bounds the bill.
///   limited:    max(minimum, ⌈budget·(1 + margin)⌉)
///   unlimited:  `unlimited`
struct CapRule {
  static constexpr double kMargin = 0.2;
  static constexpr std::uint32_t kMinimum = 16;
  static constexpr std::uint32_t kUnlimited = 8192;

  /// Room above a budget that is only requested in the prompt, ≥ 0: a slightly longer answer should
  /// not be cut off. Empty: kMargin, and 0 if the budget itself is a hard cap.
  std::optional<double> margin = {};
  /// Least cap that providers accept, tokens, ≥ 1. Empty: kMinimum.
  std::optional<std::uint32_t> minimum = {};
  /// Cap of a budget without limit, tokens, ≥ minimum. Empty: kUnlimited.
  std::optional<std::uint32_t> unlimited = {};

  friend bool operator==(const CapRule&, const CapRule&) = default;
};

/// Every setting that a choice depends on. An empty one takes the checkpoint's value. Constraints
/// hold together, in any combination. If no pair meets a constraint on quality, the best one is
/// returned (Decision::constraint_met()); if the other constraints leave no pair, routing throws.
struct Policy {
  // What the chosen pair is the best at. One trade-off: merge() replaces these three together.

  /// Empty: kUsd if willingness_to_pay is set, kCheapest if only a quality is asked for, else
  /// kRisk.
  std::optional<Objective> objective = {};
  /// Weight of cost (USD) against quality, in [0, 1]: 0 looks at quality alone, 1 at cost alone.
  /// Only for kRisk.
  std::optional<double> lambda = {};
  /// USD that quality 1 instead of 0 is worth for a query, > 0. Only for kUsd, which needs it.
  std::optional<double> willingness_to_pay = {};

  // Quality.

  /// Least predicted quality, in [0, 1].
  std::optional<double> min_quality = {};
  /// Least share, in [0, 1], of the highest quality that is predicted for the query among the pairs
  /// that the other constraints leave.
  std::optional<double> quality_fraction = {};
  /// Penalises uncertainty, k ≥ 0: k standard deviations of its prediction error
  /// (Option::quality_spread) are subtracted from every quality before it is weighed or compared
  /// with a quality that is asked for. Needs a checkpoint that has spreads. Empty: 0.
  std::optional<double> risk_aversion = {};

  // Limits.

  /// Most that a call may cost at worst, Option::worst_case_cost_usd, USD, ≥ 0. A cap is lowered to
  /// fit, but not below the pair's budget.
  std::optional<double> max_cost_usd = {};
  /// Largest cap, tokens, ≥ 1. A cap is lowered to fit, as above; so it is where the query and the
  /// cap would not both fit into the model's context.
  std::optional<std::uint32_t> max_output_tokens = {};
  /// Longest predicted time of an answer, milliseconds, ≥ 0: the model's time to first token, and
  /// the predicted length at its speed (not the cap: an answer seldom comes near it). A model whose
  /// two figures are unknown is left out.
  std::optional<double> max_latency_ms = {};

  // Models.

  /// Names of the only models to consider, at least one; empty admits all. `*` matches any
  /// characters and `?` one, in upper or lower case. What matches no name is compared with the
  /// catalogue names, with and without their "vendor/". What matches nothing is an error.
  std::optional<std::vector<std::string>> allow = {};
  /// Names of models to leave out, likewise.
  std::optional<std::vector<std::string>> deny = {};
  /// Leave out models that are not available. Empty: true under the corrected rules.
  std::optional<bool> available_only = {};

  // What is predicted, and what is sent.

  /// Consider the budgets between a model's trained ones too, with quality and length interpolated
  /// linearly (the paper's eq. 9). Never worse in the objective, and exact. Empty: false.
  std::optional<bool> continuous = {};
  /// With `continuous`: count on a larger budget for at least the quality of the smaller ones.
  std::optional<bool> monotone = {};
  /// Least number of tokens that any answer is assumed to take, ≥ 0.
  std::optional<double> token_floor = {};
  std::optional<DecisionRules> rules = {};
  CapRule cap = {};

  friend bool operator==(const Policy&, const Policy&) = default;
};

/// `base`, with every setting that `override` sets in place of its own. This is the one rule of
/// precedence: flags over a policy file, a line's keys over flags, a call over a named policy.
/// objective, lambda and willingness_to_pay are one trade-off: if `override` sets any of them, none
/// of `base`'s remains.
R2ROUTER_EXPORT Policy merge(const Policy& base, const Policy& override);

/// Reads a policy. `file` is only for error messages. A member "calibration" (an object) says where
/// the settings come from, and is ignored. Throws Error(kBadConfig) with the JSON pointer of what
/// is wrong; contradictions between settings are found when they are used.
R2ROUTER_EXPORT Policy parse_policy(std::string_view json, const std::string& file = "policy.json");

/// Reads a policy file. Throws Error(kNotFound), Error(kIo) and what parse_policy() throws.
R2ROUTER_EXPORT Policy load_policy(const std::string& path);

/// The settings that are not empty as JSON text; parse_policy() gives them back. Throws
/// Error(kInvalidArgument) for a value that is out of range or a name that is not UTF-8.
R2ROUTER_EXPORT std::string to_json(const Policy& policy);

/// Where a checkpoint's folder keeps the policy of a name: FOLDER/policies/NAME.json. Throws
/// Error(kInvalidArgument) for a name that has anything but letters, digits, - and _.
R2ROUTER_EXPORT std::string named_policy_path(std::string_view name,
                                              const std::string& checkpoint_folder);

/// The file that is meant by `policy`, which is the path of one that exists, or else the name of
/// one in the checkpoint's folder (empty: there is no folder). Throws Error(kNotFound) that lists
/// the names in the folder, the nearest first.
R2ROUTER_EXPORT std::string find_policy(const std::string& policy,
                                        const std::string& checkpoint_folder);

}  // namespace r2router
