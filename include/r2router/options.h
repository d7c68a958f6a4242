// Options of one call, as a plain struct. Set the fields that you need.
#pragma once

#include <cstdint>
#include <optional>
#include <stop_token>

#include "r2router/policy.h"

namespace r2router {

/// Options of one routing call. Properties of the query are in query.h.
struct RouteOptions {
  /// Settings of the choice. Empty ones default to the checkpoint's.
  Policy policy = {};
  /// Also fill Decision::ranking; costs a few tens of microseconds.
  bool rank = false;
  /// Also fill Decision::explanation; costs a few tens of microseconds.
  bool explain = false;
  /// Number of threads that route a matrix or a column, including the calling thread; 0: one for
  /// each core. Results do not depend on it. Not used for single queries.
  std::uint32_t threads = 0;
  /// Cancels a wait for an embedding server: the call then throws Error(kCancelled).
  std::stop_token cancel = {};
};

}  // namespace r2router
