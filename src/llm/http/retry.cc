#include "llm/http/retry.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <random>
#include <string>

#include <curl/curl.h>

#include "llm/http/call.h"

namespace r2router::llm {
namespace {

using Seconds = std::chrono::duration<double>;

/// Sleeps until `end` or a stop, whichever comes first; false for a stop.
bool sleep_until(Clock::time_point end, const std::stop_token& cancel) {
  std::mutex mutex;
  std::condition_variable_any condition;
  std::unique_lock lock(mutex);
  condition.wait_until(lock, cancel, end, [] { return false; });
  return !cancel.stop_requested();
}

}  // namespace

ErrorCode classify(int status) {
  switch (status) {
    case 401:
    case 403:
      return ErrorCode::kAuthentication;
    case 402:
      return ErrorCode::kCredit;
    case 429:
      return ErrorCode::kRateLimited;
    case 408:  // these three are transient: timeout, conflict and "too early"
    case 409:
    case 425:
      return ErrorCode::kServer;
    default:
      return status >= 500 ? ErrorCode::kServer : ErrorCode::kRefused;
  }
}

double backoff_delay(const RetryPolicy& policy, std::uint32_t retry, double random) {
  const double most = policy.first_delay * std::exp2(std::min(retry, 60U));
  return random * std::min(most, policy.max_delay);
}

std::optional<double> parse_retry_after(std::string_view value,
                                        std::chrono::system_clock::time_point now) {
  double seconds = 0;
  const auto [end, error] =
      std::from_chars(value.data(), value.data() + value.size(), seconds, std::chars_format::fixed);
  if (end == value.data() + value.size() && error != std::errc::invalid_argument) {
    if (error == std::errc::result_out_of_range) return HUGE_VAL;
    if (!std::isfinite(seconds) || seconds < 0) return std::nullopt;
    return seconds;
  }
  const std::time_t date = curl_getdate(std::string(value).c_str(), nullptr);
  if (date == -1) return std::nullopt;
  return std::max(0.0, Seconds(std::chrono::system_clock::from_time_t(date) - now).count());
}

TryResult judge(const RetryPolicy& policy, const Response& response) {
  TryResult result;
  if (response.failure) {
    const ErrorCode code = response.failure->code;
    result.retryable =
        !response.answered && (code == ErrorCode::kConnection || code == ErrorCode::kTimeout);
    // A truncated answer with a success status may be charged.
    result.possibly_charged = response.sent && response.status < 400;
  } else {
    result.retryable = std::ranges::find(policy.statuses, response.status) != policy.statuses.end();
  }
  if (const std::string* value = find_header(response.headers, "retry-after")) {
    result.retry_after = parse_retry_after(*value, std::chrono::system_clock::now());
  }
  return result;
}

Ended with_retries(const RetryPolicy& policy, Clock::time_point deadline,
                   const std::stop_token& cancel, std::uint32_t max_charges,
                   const std::function<TryResult()>& make_try) {
  const Call call(cancel);
  std::minstd_rand random(std::random_device{}());
  std::uint32_t charges = 0;
  for (std::uint32_t retry = 0;;) {
    const TryResult result = make_try();
    if (!result.retryable && !result.changed) return Ended::kSettled;
    charges += result.possibly_charged;
    if (!result.changed && retry >= policy.max_retries) return Ended::kRetries;
    if (charges >= max_charges) return Ended::kCharges;
    if (result.changed) {
      if (cancel.stop_requested()) return Ended::kCancelled;
      if (Clock::now() >= deadline) return Ended::kDeadline;
      continue;
    }
    if (result.retry_after.value_or(0) > policy.max_retry_after) return Ended::kServer;
    const Seconds delay(result.retry_after.value_or(
        backoff_delay(policy, retry++, std::uniform_real_distribution<double>(0, 1)(random))));
    const Clock::time_point now = Clock::now();
    if (Seconds(deadline - now) <= delay) return Ended::kDeadline;
    if (!sleep_until(now + std::chrono::duration_cast<Clock::duration>(delay), call.token())) {
      return Ended::kCancelled;
    }
  }
}

}  // namespace r2router::llm
