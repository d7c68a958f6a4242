// The request parameters that a pool entry may omit or set.
#pragma once

#include <algorithm>
#include <array>
#include <string_view>

namespace r2router::internal {

inline constexpr std::string_view kMaxTokens = "max_tokens";
inline constexpr std::string_view kMaxCompletionTokens = "max_completion_tokens";

/// False for parameters that every request has.
inline bool may_be_omitted(std::string_view parameter) {
  return !parameter.empty() && parameter != "model" && parameter != "messages" &&
         parameter != "stream";
}

/// False for parameters that the router sets itself, or that make an answer cost more than the
/// bound.
inline bool may_be_required(std::string_view parameter) {
  constexpr std::array<std::string_view, 29> kNot = {"",
                                                     "model",
                                                     "messages",
                                                     "stream",
                                                     "stream_options",
                                                     kMaxTokens,
                                                     "max_output_tokens",
                                                     kMaxCompletionTokens,
                                                     "n",
                                                     "best_of",
                                                     "num_completions",
                                                     "num_return_sequences",
                                                     "candidate_count",
                                                     "max_new_tokens",
                                                     "n_predict",
                                                     "prediction",
                                                     "preset",
                                                     "models",
                                                     "route",
                                                     "provider",
                                                     "plugins",
                                                     "tools",
                                                     "functions",
                                                     "web_search_options",
                                                     "search_parameters",
                                                     "enable_search",
                                                     "service_tier",
                                                     "modalities",
                                                     "audio"};
  return std::ranges::find(kNot, parameter) == kNot.end();
}

}  // namespace r2router::internal
