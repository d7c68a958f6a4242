// What a router believes of a pair: a prediction within the bounds that decide() sets under the
// corrected rules.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "r2router/eval/contenders.h"

namespace r2router::internal {

inline double believed_quality(double predicted) { return std::min(std::max(predicted, 0.0), 1.0); }

/// Tokens of the answer. A length that is the budget itself, as of a pair without a length head,
/// gives way to the model's unlimited length, which comes last of its pairs.
inline double believed_tokens(const OutcomeTable& table, const PredictionTable& predictions,
                              std::size_t query, std::size_t pair, double token_floor) {
  const Pair& own = table.pairs[pair];
  const double tokens = predictions.output_tokens[table.cell(query, pair)];
  if (own.budget.is_unlimited()) return std::max(tokens, token_floor);
  const double most = own.budget.tokens();
  double expected = tokens;
  if (tokens == most) {
    std::size_t last = pair;
    while (last + 1 < table.pairs.size() && table.pairs[last + 1].model == own.model) ++last;
    const double unlimited = predictions.output_tokens[table.cell(query, last)];
    if (table.pairs[last].budget.is_unlimited() && !std::isnan(unlimited)) expected = unlimited;
  }
  return std::min(std::max(expected, token_floor), most);
}

}  // namespace r2router::internal
