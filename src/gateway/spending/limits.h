// The spending and rate limits of a key, and the reason for a refusal.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "gateway/spending/money.h"

namespace r2router::gateway {

/// The time of an event, on both clocks. An event loop may read them once per iteration.
struct Instant {
  std::chrono::sys_time<std::chrono::milliseconds> wall = {};  ///< UTC: days and months
  std::chrono::steady_clock::time_point steady = {};           ///< rates

  static Instant now() {
    return {std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now()),
            std::chrono::steady_clock::now()};
  }
};

/// The limits of a key. Empty: unlimited. Days and months begin at midnight UTC; a request is
/// charged to the day on which it was reserved, even if it ends on the next.
struct Limits {
  std::optional<Money> per_day = {};
  std::optional<Money> per_month = {};
  std::optional<Money> total = {};  ///< since the ledger was created
  /// In any 60 seconds, counted separately by each process.
  std::optional<std::uint64_t> requests_per_minute = {};
  std::optional<std::uint64_t> tokens_per_minute = {};

  bool limits_money() const { return per_day || per_month || total; }

  friend bool operator==(const Limits&, const Limits&) = default;
};

/// The limit that a request was refused for.
enum class LimitKind : std::uint8_t {
  kRequestsPerMinute,
  kTokensPerMinute,
  kPerDay,
  kPerMonth,
  kTotal,
  /// No limit is known to be reached, but the ledger cannot be written, so no further lease can be
  /// taken.
  kLedger,
};

/// "requests_per_minute", "per_day", …: as the limits are named in the configuration; "ledger".
const char* name_of(LimitKind kind);

/// Why a request may not be sent.
struct Refusal {
  LimitKind limit = LimitKind::kLedger;

  // kPerDay, kPerMonth, kTotal.
  Money allowed = {};   ///< the limit
  Money spent = {};     ///< of it, settled and unsettled
  Money reserved = {};  ///< of it, held by unfinished requests and by the leases of other processes
  Money needed = {};    ///< the request's worst case

  // kRequestsPerMinute, kTokensPerMinute.
  std::uint64_t allowed_count = 0;
  std::uint64_t used_count =
      0;  ///< in the last 60 seconds, with the estimates of unfinished requests

  std::uint64_t needed_count = 0;

  std::string problem = {};  ///< kLedger: the reason, without a full stop

  /// When the same request could be admitted: a free slot of the minute, or the start of the next
  /// day or month; one second if the limit is only reached because of unfinished requests. Empty:
  /// never.
  std::optional<std::chrono::milliseconds> retry_after = {};

  bool is_of_money() const {
    return limit == LimitKind::kPerDay || limit == LimitKind::kPerMonth ||
           limit == LimitKind::kTotal;
  }
  Money left() const { return std::max(Money{}, allowed - spent - reserved); }

  /// One or two sentences for the caller: the limit, the rest, and when it resets.
  std::string message() const;
};

}  // namespace r2router::gateway
