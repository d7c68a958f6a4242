// The values that pass between the stages: models, budgets, (model, budget) pairs and decisions.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "r2router/error.h"
#include "r2router/export.h"
#include "r2router/pool.h"

namespace r2router {

/// The intended length of an answer in output tokens: a positive number, or no limit. Ordered by
/// size, unlimited last.
class Budget {
 public:
  /// No limit.
  constexpr Budget() = default;
  /// Throws Error(kInvalidArgument) unless `count` is positive.
  constexpr explicit Budget(std::uint32_t count) : tokens_(count) {
    if (count == 0 || count == kNoLimit) throw_bad_count(count);
  }
  static constexpr Budget unlimited() { return {}; }

  constexpr bool is_unlimited() const { return tokens_ == kNoLimit; }
  /// The number of tokens; only for a limited budget.
  constexpr std::uint32_t tokens() const { return tokens_; }
  /// "300", or "unlimited".
  R2ROUTER_EXPORT std::string to_string() const;

  friend constexpr auto operator<=>(Budget, Budget) = default;

 private:
  static constexpr std::uint32_t kNoLimit = UINT32_MAX;
  [[noreturn]] R2ROUTER_EXPORT static void throw_bad_count(std::uint32_t count);

  std::uint32_t tokens_ = kNoLimit;
};

/// A (model, budget) pair. `model` is an index into the Pool.
struct Pair {
  std::uint32_t model = 0;
  Budget budget = {};

  friend constexpr auto operator<=>(const Pair&, const Pair&) = default;
};

/// A pair with its predictions for one query.
struct Option {
  std::uint32_t model = 0;  ///< index into the Pool
  Budget budget = {};
  double quality = 0;        ///< predicted quality of the answer, in [0, 1]
  double output_tokens = 0;  ///< predicted length of the answer, tokens
  double cost_usd = 0;       ///< predicted cost of the call, USD
  /// (1 − λ)·quality − λ·cost_usd with Decision::lambda: the higher, the better. With
  /// Policy::risk_aversion k, quality − k·quality_spread, clipped to [0, 1], takes the place of
  /// quality.
  double utility = 0;
  /// The cap to send with the call (see CapRule). It is at least the budget, and also set for an
  /// unlimited budget.
  std::uint32_t max_tokens = 0;
  /// Upper bound on the cost of the call, USD: for the longest input, the longest answer within the
  /// cap, and the highest applicable prices. +∞ if the model's price is unknown.
  double worst_case_cost_usd = 0;
  /// Standard deviation of the error of `quality`: on queries kept out of training, or of an answer
  /// that is right with this probability, if the checkpoint predicts from tasks; 0 if unknown.
  double quality_spread = 0;

  friend bool operator==(const Option&, const Option&) = default;
};

/// Why the pair was chosen.
enum class Reason : std::uint8_t {
  kUtility,        ///< the highest utility
  kUsd,            ///< the highest quality − cost / willingness_to_pay
  kCheapest,       ///< the lowest cost of the pairs that meet all constraints
  kBest,           ///< the highest quality of the pairs that meet all constraints
  kQualityMissed,  ///< no pair has the required quality; this one has the highest
};

/// The reason as JSON output has it: "risk" (kUtility, as in the published package), "usd",
/// "cheapest", "best" or "quality_missed".
R2ROUTER_EXPORT std::string_view to_string(Reason reason) noexcept;

/// What can exclude a pair from a decision.
enum class Constraint : std::uint8_t {
  kModels,           ///< Policy::allow, deny and available_only
  kMaxCost,          ///< max_cost_usd
  kMaxOutputTokens,  ///< max_output_tokens, of the policy or of the ModelSpec
  kContext,          ///< ModelSpec::context_tokens
  kMaxLatency,       ///< max_latency_ms
  kQuality,          ///< min_quality and quality_fraction
  kRequirements,     ///< QuerySize::requirements
};
inline constexpr std::size_t kConstraints = 7;

/// "models", "max_cost", "max_output_tokens", "context", "max_latency", "quality", "requirements".
R2ROUTER_EXPORT std::string_view to_string(Constraint constraint) noexcept;

/// A task that an encoder has recognised, and its share of the text.
struct TaskShare {
  std::string task;
  double share = 0;  ///< in (0, 1]

  friend bool operator==(const TaskShare&, const TaskShare&) = default;
};

/// Why a pair was chosen.
struct Explanation {
  std::optional<Option> runner_up = {};  ///< the next best; empty: there is no other
  double margin = 0;                     ///< by how much the `utility` of the chosen pair is higher
  /// The chance that the chosen pair is the better of the two by the decision's λ, if errors of
  /// quality are independent and normal: Φ(difference of expected utilities / (1 − λ)√(σ₁² + σ₂²)).
  /// Errors for one query are in fact correlated, so the true chance is closer to 0 or 1. Empty
  /// where spreads are unknown or there is no runner-up.
  std::optional<double> win_probability = {};
  /// For each Constraint, how many of the trained pairs violate it; a pair may violate several.
  std::array<std::uint32_t, kConstraints> left_out = {};
  /// Tasks that the checkpoint's encoder recognises in the text: every task with a share of 1 % or
  /// more, the largest first. Empty: the encoder does not recognise tasks.
  std::vector<TaskShare> tasks = {};
  /// How similar the text is to the training texts of the tasks, from 0 to 1: the sum of the shares
  /// of all tasks. Empty: unknown.
  std::optional<double> familiarity = {};

  /// Whether win_probability is at least 95 %.
  bool confident() const { return win_probability && *win_probability >= 0.95; }

  friend bool operator==(const Explanation&, const Explanation&) = default;
};

/// The router's answer for one query: the chosen pair, and on request all others.
/// A plain value: copy it, keep it, pass it between threads.
struct Decision {
  Option chosen = {};
  Reason reason = Reason::kUtility;
  /// Every admitted pair, best first; empty unless RouteOptions::rank was set.
  std::vector<Option> ranking = {};
  /// Empty unless RouteOptions::explain was set.
  std::optional<Explanation> explanation = {};
  double lambda = 0;  ///< the λ that was used, for any objective
  /// The cost limit in effect, USD. It covers a call with all its retries and fallbacks.
  std::optional<double> max_cost_usd = {};
  std::int64_t input_tokens = 0;      ///< the query's length that costs were computed with
  std::int64_t max_input_tokens = 0;  ///< the length that worst cases were computed with
  std::uint32_t images = 0;           ///< of the query
  std::shared_ptr<const Pool> pool = {};

  /// False if no pair has the required quality.
  bool constraint_met() const { return reason != Reason::kQualityMissed; }
  /// The chosen model.
  const ModelSpec& model() const { return (*pool)[chosen.model]; }
  /// The model of any of this decision's options.
  const ModelSpec& model(const Option& option) const { return (*pool)[option.model]; }
};

/// Token counts reported for an answer.
struct Usage {
  std::int64_t prompt_tokens = 0;
  std::int64_t completion_tokens = 0;   ///< with the reasoning tokens
  std::int64_t reasoning_tokens = 0;    ///< billed, but not part of the text
  std::int64_t cached_tokens = 0;       ///< of prompt_tokens, read from the provider's cache
  std::int64_t cache_write_tokens = 0;  ///< of prompt_tokens, written to it

  friend bool operator==(const Usage&, const Usage&) = default;
};

}  // namespace r2router
