// How long a query is, where its size does not say.
#pragma once

#include <string_view>

#include "r2router/query.h"

#include "route/decide.h"

namespace r2router::internal {

/// Estimated from the text or the messages; kDefaultInputTokens if there are none.
InputTokens estimate_length(const Query& query, std::string_view budget_prompt);

/// The text that a query without an embedding is routed by. Throws Error(kInvalidArgument) if there
/// is none, or nothing but white space.
std::string_view routed_text(const Query& query);

}  // namespace r2router::internal
