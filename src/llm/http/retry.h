// When a request is sent again, and how long that waits.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string_view>

#include "r2router/error.h"
#include "r2router/llm/endpoint.h"

#include "llm/http/transport.h"

namespace r2router::llm {

/// What an HTTP status of an error (400 and up) means.
ErrorCode classify(int status);

/// Seconds to wait before retry number `retry` (from 0), for a `random` number in [0, 1]: full
/// jitter over exponential growth.
double backoff_delay(const RetryPolicy& policy, std::uint32_t retry, double random);

/// Seconds that a Retry-After header asks for: a number of them, or the time until an HTTP date; at
/// least 0. Empty for anything else.
std::optional<double> parse_retry_after(std::string_view value,
                                        std::chrono::system_clock::time_point now);

/// What one try came to.
struct TryResult {
  bool retryable = false;
  /// The next try sends something else. It is made at once and does not count as a retry.
  bool changed = false;
  std::optional<double> retry_after = {};  ///< seconds, as the server asks
  bool possibly_charged = false;
};

/// The usual judgement of a response: retryable are the policy's statuses, and a failed or
/// timed-out connection of which no part of an answer came. Possibly charged is what was sent and
/// not answered.
TryResult judge(const RetryPolicy& policy, const Response& response);

/// Why there were no more tries.
enum class Ended : std::uint8_t {
  kSettled,    ///< the last try was not retryable: a success, or a failure that would come again
  kRetries,    ///< the policy's number of retries is spent
  kDeadline,   ///< the next wait would outlive the deadline
  kServer,     ///< the server asks for a longer wait than the policy admits
  kCharges,    ///< the next try could be charged beyond the limit
  kCancelled,  ///< while waiting
};

/// Makes tries until one is settled or the policy, the deadline, `max_charges` or `cancel` forbids
/// the next. The first is always made.
Ended with_retries(const RetryPolicy& policy, Clock::time_point deadline,
                   const std::stop_token& cancel, std::uint32_t max_charges,
                   const std::function<TryResult()>& make_try);

}  // namespace r2router::llm
