// The durable part of a ledger: charges per key and day, leases, and rows for reports.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "r2router/llm/endpoint.h"

#include "gateway/spending/calendar.h"
#include "gateway/spending/limits.h"
#include "gateway/spending/money.h"
#include "gateway/spending/report.h"

namespace r2router::gateway {

/// The limits on money by index: day, month, total.
inline constexpr std::size_t kPeriods = 3;
inline std::array<std::optional<Money>, kPeriods> money_limits(const Limits& limits) {
  return {limits.per_day, limits.per_month, limits.total};
}

/// The spending on one day with one model under one tag.
struct SpendEntry {
  std::string model = {}, tag = {};
  Spend spend = {};
};

/// The changes of a process for one key and day.
struct ExchangeEntry {
  std::string key = {};
  Day day = 0;
  Limits limits = {};
  std::vector<SpendEntry> rows = {};  ///< settled and unsettled since the last exchange
  Money spent = {};                   ///< their sum, to be charged
  Money reserved = {};                ///< by unfinished requests
  Money need = {};                    ///< additional need of waiting requests
  Money want = {};                    ///< requested lease in addition to `reserved`
  /// The limits have changed: a lease that they no longer allow is reduced.
  bool recheck = false;
};

/// Entries with different (key, day). The number is larger than in the process's last exchange; the
/// same number means the same exchange again, after a failure whose outcome is unknown.
struct Exchange {
  std::uint64_t number = 0;
  std::vector<ExchangeEntry> entries;
};

/// The state of one key and day after an exchange. The sums of a day, month or total without a
/// limit are unspecified.
struct Standing {
  Money lease = {};                          ///< of this process
  std::array<Money, kPeriods> charged = {};  ///< settled and unsettled
  std::array<Money, kPeriods> leased = {};   ///< by all processes
};

/// The lowest rest of all limits; negative if more than the limit is used.
inline Money headroom(const Limits& limits, const Standing& standing) {
  Money least = {Money::kMost};
  const auto allowed = money_limits(limits);
  for (std::size_t i = 0; i < kPeriods; ++i) {
    if (allowed[i]) least = std::min(least, *allowed[i] - standing.charged[i] - standing.leased[i]);
  }
  return least;
}

/// The lease after the entry's amount was charged, and before it is increased or reduced. It always
/// covers the reserved amounts.
inline Money charged_lease(Money lease, const ExchangeEntry& entry) {
  return std::max(lease - entry.spent, entry.reserved);
}

/// The following change of the lease. `headroom`: after the charge. A process takes at most a
/// quarter of the headroom unless it needs more, so that other processes can take a part.
inline Money lease_change(Money lease, const ExchangeEntry& entry, Money headroom) {
  const std::int64_t free = lease.nano - entry.reserved.nano, rest = headroom.nano;
  std::int64_t change = std::min<std::int64_t>(entry.want.nano - free, 0);
  if (entry.want.nano > free && rest > 0) {
    const std::int64_t most = std::max(entry.need.nano - free, rest / 4);
    change = std::min({entry.want.nano - free, most, rest});
  }
  if (entry.recheck) change = std::min(change, std::max(-free, rest));
  return {change};
}

/// A store. Used by one thread at a time. Failures are Errors; the message is a sentence.
class Store {
 public:
  virtual ~Store() = default;

  /// Charges what was spent, and changes the leases by the two functions above. The result is
  /// durable when this returns. Returns the standing of each entry. After an Error the same
  /// exchange is tried again.
  virtual std::vector<Standing> exchange(const Exchange& exchange) = 0;

  using Visit = std::function<void(Day day, std::string_view key, const SpendEntry& entry)>;
  /// Calls visit() for all rows of the days, of one key or of all. Several rows may have the same
  /// key, day, model and tag.
  virtual void visit(Day from, Day to, const std::optional<std::string>& key,
                     const Visit& visit) = 0;

  /// The last day with a row or a lease; empty: none.
  virtual std::optional<Day> last_day() = 0;

  /// Called regularly: shows that this process is alive, and detects others that are not.
  virtual void maintain() = 0;
};

std::unique_ptr<Store> make_memory_store();
/// See open_ledger().
std::unique_ptr<Store> open_sqlite_store(const std::string& path);
std::unique_ptr<Store> open_redis_store(const std::string& url, const llm::Secret& password);

}  // namespace r2router::gateway
