// What a caller may set for one call. Plain structs: change the fields you care about.
#pragma once

#include <cstdint>
#include <optional>
#include <stop_token>

#include "r2router/policy.h"

namespace r2router {

/// Options of one routing call. What concerns the query is in query.h.
struct RouteOptions {
  /// What the choice depends on. What it leaves empty is as the checkpoint's policy says.
  Policy policy = {};
  /// Also fill Decision::ranking; costs a few tens of microseconds.
  bool rank = false;
  /// Also fill Decision::explanation; costs a few tens of microseconds.
  bool explain = false;
  /// Stops waiting for a server of embeddings: the call then throws Error(kCancelled).
  std::stop_token cancel = {};
};

}  // namespace r2router
