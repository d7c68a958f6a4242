// Stage 3: predictions + prices + options -> Decision. Pure: no I/O, no clock, no randomness.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "r2router/export.h"
#include "r2router/options.h"
#include "r2router/scorer.h"
#include "r2router/types.h"

namespace r2router {

/// What a checkpoint says about deciding; RouteOptions overrides it call by call.
struct DecisionDefaults {
  double lambda = 0.99999;
  DecisionRules rules = DecisionRules::kReference;
  double token_floor = 0;  ///< least tokens of an answer under the corrected rules
};

/// Chooses the pair with the highest risk = (1 − λ)·quality − λ·cost (arXiv 2602.02823, eq. 3),
/// where
///   quality = predicted quality clipped to [0, 1],
///   tokens  = predicted length clamped to [floor, budget],
///   cost    = input_tokens·input_price/10⁶ + tokens·output_price/10⁶   (USD).
/// `pairs` and `predictions` as a Scorer gives them; every pair's model indexes `*pool`.
/// Safe from many threads. Throws Error(kInvalidArgument) for λ outside [0, 1], a negative or
/// missing size, sizes that disagree, an unknown model name, or options that leave no pair.
R2ROUTER_EXPORT Decision decide(const std::shared_ptr<const Pool>& pool,
                                std::span<const Pair> pairs, const Predictions& predictions,
                                const RouteOptions& options, const DecisionDefaults& defaults = {});

/// The reference's estimate of a text's input tokens: max(1, ⌊1.3 × words⌋), words being runs of
/// anything but Unicode white space (as Python's str.split() sees it). Invalid UTF-8 counts as
/// text.
R2ROUTER_EXPORT std::int64_t estimate_input_tokens(std::string_view text) noexcept;

}  // namespace r2router
