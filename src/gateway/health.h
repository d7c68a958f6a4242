// Keeps track of failing models and endpoints. Requests avoid them for a while.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "r2router/error.h"
#include "r2router/llm/client.h"

#include "llm/http/transport.h"

namespace r2router::gateway {

/// A circuit breaker. After kThreshold consecutive failures, it opens: no requests are sent for
/// kFirstPause. After this pause, it allows one request at a time as a probe. A success closes the
/// breaker; each failure doubles the pause, up to kLongestPause. Thread-safe.
class Breaker {
 public:
  using Clock = llm::Clock;
  static constexpr std::uint32_t kThreshold = 3;
  static constexpr std::chrono::seconds kFirstPause{5}, kLongestPause{300};

  /// Whether a request may be sent.
  bool allows(Clock::time_point now) const;
  /// Called when a request is sent. Its end must be reported with one of the functions below.
  void on_start(Clock::time_point now);
  void on_success();
  /// `retry_after`: the server's Retry-After, in seconds.
  void on_failure(Clock::time_point now, std::optional<double> retry_after);
  /// Reports an end that does not depend on the server: a cancelled call, or an error of the
  /// request.
  void on_neutral();

  bool is_open() const { return open_until_ != 0; }

 private:
  /// After this time, a probe without a reported end is considered lost.
  static constexpr std::chrono::seconds kLongestProbe{600};

  // Nanoseconds of the clock; 0: none.
  std::atomic<std::int64_t> open_until_ = 0, probe_until_ = 0;
  std::atomic<std::uint32_t> failures_ = 0;  // in a row
};

/// What a failure is attributed to.
enum class Blame : std::uint8_t { kNobody, kModel, kEndpoint };
Blame blame_for(ErrorCode code);

/// The condition of a model at an endpoint, or of an endpoint.
struct Condition {
  Breaker breaker;
  std::atomic<std::size_t> in_flight = 0;  ///< requests
  /// The field for the cap that the server requires for this model; kAutomatic: unknown.
  std::atomic<llm::CapField> cap_field = llm::CapField::kAutomatic;
};

/// The conditions of all models and endpoints by name. They outlive reloads. Thread-safe.
class Health {
 public:
  std::shared_ptr<Condition> condition(const std::string& name);

 private:
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Condition>> conditions_;
};

}  // namespace r2router::gateway
