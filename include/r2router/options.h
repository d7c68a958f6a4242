// What a caller may set for one call. Plain structs: change the fields you care about.
#pragma once

#include <cstdint>
#include <optional>
#include <stop_token>

#include "r2router/policy.h"

namespace r2router {

/// Options of one routing call.
struct RouteOptions {
  /// What the choice depends on. What it leaves empty is as the checkpoint's policy says.
  Policy policy = {};
  /// Length of the query in tokens, ≥ 0. Empty: estimated from the text, or 100 for an embedding.
  std::optional<std::int64_t> input_tokens = {};
  /// Most tokens that the query can turn out to have, with all that is sent with it, for worst-case
  /// costs and context lengths, ≥ input_tokens. Empty: input_tokens if that is set, or else
  /// most_input_tokens() of a text, and 100 for an embedding.
  std::optional<std::int64_t> max_input_tokens = {};
  /// Images that are sent with the query, for models that charge for them.
  std::uint32_t images = 0;
  /// Also fill Decision::ranking; costs a few tens of microseconds.
  bool rank = false;
  /// Also fill Decision::explanation; costs a few tens of microseconds.
  bool explain = false;
  /// Stops waiting for a server of embeddings: the call then throws Error(kCancelled).
  std::stop_token cancel = {};
};

}  // namespace r2router
