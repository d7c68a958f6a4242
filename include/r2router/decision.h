// Stage 3: predictions + prices + options -> Decision. Pure: no I/O, no clock, no randomness.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "r2router/export.h"
#include "r2router/options.h"
#include "r2router/query.h"
#include "r2router/scorer.h"
#include "r2router/types.h"

namespace r2router {

/// λ if neither the call nor the checkpoint sets one.
inline constexpr double kDefaultLambda = 0.99999;
/// PairFacts::length_sigma if the checkpoint does not set it.
inline constexpr double kDefaultLengthSigma = 1;
inline constexpr double kHighestLengthSigma = 4;

/// Facts about a pair that do not depend on the query.
struct PairFacts {
  double quality_spread = 0;  ///< as Option::quality_spread; 0: unknown
  /// The spread depends on the query instead: √(q·(1 − q)) for a predicted quality q, the standard
  /// deviation for an answer that is right with probability q. It is large where q is an average
  /// over many tasks.
  bool spread_by_quality = false;
  bool predicts_length = true;  ///< false: it has no length head, see decide()
  /// Standard deviation of the logarithm of an answer's length around its prediction, in (0, 4].
  /// Only used for unlimited pairs, whose caps it determines.
  double length_sigma = kDefaultLengthSigma;
};

/// Chooses the pair with the highest utility = (1 − λ)·quality − λ·cost (arXiv 2602.02823, eq. 3)
/// among those that meet every constraint, where
///   quality = predicted quality clipped to [0, 1],
///   tokens  = predicted length clamped to [floor, budget]; under the corrected rules, a pair whose
///             length is not predicted takes the length of the model's unlimited pair,
///   cost    = (input_tokens + instruction_tokens)·input_price/10⁶ + tokens·output_price/10⁶ (USD),
/// where instruction_tokens is ModelSpec::instruction_tokens, and prices are those of the tier that
/// contains the input length (Prices). Fees for the request and for images are added. Every
/// Objective maps to a value of λ.
///
/// Utilities within 10⁻¹¹·((1 − λ) + |utility|) of the highest are a tie: they differ by rounding
/// error. A tie goes to the pair with the largest budget, where an unlimited budget is the largest,
/// so that fewest answers are cut off; then to the cheaper pair, to the higher quality, to the
/// larger cap, and to the model that comes first in the pool. Under the reference rules with
/// Objective::kUtility, ties go to the first pair in pool order.
///
/// Models that are known to lack a required capability are left out.
///
/// A cap (CapRule) must not exceed max_output_tokens, the model's own limit of that name, the rest
/// of the context, or the limit set by max_cost_usd. In each price tier that an input of at most
/// max_input_tokens + most_instruction tokens can reach, the last of these is
///   (max_cost_usd − fees − longest_input·highest_input/10⁶) / (highest_output/10⁶)
/// tokens: highest_input is the highest of the prices of plain, cached and cache-writing input,
/// highest_output the higher of the prices of plain output and reasoning, and most_instruction the
/// larger of instruction_tokens and the bound on the instruction's text, as in most_input_tokens().
/// Under max_cost_usd, a model whose price is unknown is left out. A cap that exceeds these limits
/// is lowered, but never below the pair's budget or the cap rule's minimum; if that is not enough,
/// the pair is left out. For an unlimited pair, the predicted length, bounded by the cap rule and
/// the model's own limit, takes the place of the budget.
///
/// `pairs` and `predictions`: as a Scorer returns them; every pair's model indexes `*pool`.
/// `defaults`: the checkpoint's policy (Config::default_policy()), which fills in the settings that
/// the options leave empty. Its trade-off (objective, lambda, willingness_to_pay) is ignored if the
/// options require a quality, and its token_floor applies only under the corrected rules. `facts`:
/// one for each pair; empty: no spreads are known, and every length is predicted. `size`: that of
/// the query. Thread-safe. Throws Error(kInvalidArgument) for an option outside its range, options
/// that contradict each other, a negative or missing size, sizes that disagree, an unknown model
/// name, or options that exclude every pair, Error(kBudget) if a higher max_cost_usd would admit
/// one, and Error(kUnsupported) for risk_aversion without spreads.
R2ROUTER_EXPORT Decision decide(const std::shared_ptr<const Pool>& pool,
                                std::span<const Pair> pairs, const Predictions& predictions,
                                const RouteOptions& options, const Policy& defaults = {},
                                std::span<const PairFacts> facts = {}, const QuerySize& size = {});

/// The decision as JSON on a single line, without a trailing line break: the members of the
/// published package's decision ("model", "openrouter_id", "budget", "predicted_quality",
/// "predicted_output_tokens", "predicted_cost_usd", "risk"), then "max_tokens" and
/// "worst_case_cost_usd"; "explanation" and "all_options" (the ranking) if the decision has them.
/// Numbers are written with the fewest digits that read back as the same double.
R2ROUTER_EXPORT std::string to_json(const Decision& decision);

/// A summary for people, one fact per line: the choice, its predictions, its cap, and the reason
/// for the choice if the decision has an explanation. Compares it with Decision::ranking if that is
/// not empty.
R2ROUTER_EXPORT std::string to_text(const Decision& decision);

/// The models in Decision::ranking, in pool order, as one line.
R2ROUTER_EXPORT std::string candidates_text(const Decision& decision);

/// A table of the first options in Decision::ranking, at most `most`.
R2ROUTER_EXPORT std::string ranking_text(const Decision& decision, std::size_t most = 15);

/// The reference's estimate of a text's input tokens: max(1, ⌊1.3 × words⌋), where words are
/// separated by Unicode white space, as in Python's str.split(). Invalid UTF-8 counts as text.
R2ROUTER_EXPORT std::int64_t estimate_input_tokens(std::string_view text) noexcept;

/// An upper bound on the input tokens that a call with this text is billed for: the bytes of the
/// text and of the budget instruction, since no tokenizer produces more tokens than bytes; those
/// that Unicode normalisation (NFC, NFKC) or conversion to lower case can add, which some
/// tokenizers do first; and 64 for the chat template around the two messages.
R2ROUTER_EXPORT std::int64_t most_input_tokens(std::string_view text,
                                               std::string_view budget_prompt) noexcept;

}  // namespace r2router
