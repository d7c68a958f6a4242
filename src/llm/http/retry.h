// When a request is retried, and after how long.
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

/// The code for an HTTP error status (400 and above).
ErrorCode classify(int status);

/// Seconds to wait before retry number `retry` (from 0), for a `random` number in [0, 1]: full
/// jitter over exponential growth.
double backoff_delay(const RetryPolicy& policy, std::uint32_t retry, double random);

/// Parses a Retry-After header, a number of seconds or an HTTP date: seconds to wait, at least 0.
/// Empty for anything else.
std::optional<double> parse_retry_after(std::string_view value,
                                        std::chrono::system_clock::time_point now);

/// The outcome of one attempt.
struct TryResult {
  bool retryable = false;
  /// The next attempt sends another request. It is made immediately and does not count as a retry.
  bool changed = false;
  std::optional<double> retry_after = {};  ///< seconds, as the server asks
  bool possibly_charged = false;
};

/// The default classification of a response. Retryable: the policy's statuses, and connections that
/// failed or timed out before any part of an answer. Possibly charged: requests that were sent and
/// not answered.
TryResult judge(const RetryPolicy& policy, const Response& response);

/// Why there were no more attempts.
enum class Ended : std::uint8_t {
  kSettled,    ///< the last attempt was not retryable: a success, or a permanent failure
  kRetries,    ///< the policy's retries are exhausted
  kDeadline,   ///< the next wait would exceed the deadline
  kServer,     ///< the server asks for a longer wait than the policy allows
  kCharges,    ///< another attempt could exceed the limit on charges
  kCancelled,  ///< while waiting
};

/// Makes attempts until one is settled, or the policy, the deadline, `max_charges` or `cancel`
/// prevents the next. The first is always made.
Ended with_retries(const RetryPolicy& policy, Clock::time_point deadline,
                   const std::stop_token& cancel, std::uint32_t max_charges,
                   const std::function<TryResult()>& make_try);

}  // namespace r2router::llm
