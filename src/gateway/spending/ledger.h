// Spending limits: a request reserves its worst case before it is sent, and settles its cost
// afterwards.
//
//     auto ledger = open_ledger({.location = "spend.db"});
//     auto account = ledger->account(key.name, key.limits);        // at each (re)load
//     auto outcome = ledger->reserve(account, {.worst_case = worst, .tokens = estimate},
//                                    Instant::now(), [&](Outcome late) { loop.post(…); });
//     …                                                            // Refusal: answer 429
//     reservation.settle({.cost = Money::nearest(usd), .usage = usage, .model = model});
//
// A limit is a guarantee: over all processes that share a ledger, settled + unsettled + reserved ≤
// limit, for any concurrency and even if a process is killed, provided that no bill exceeds its
// reservation. If one does, the excess is recorded and reduces the remaining amount.
//
// How it works: the store (a SQLite file, Redis, or memory) contains, for each key and day, the
// charged amount and the *leases* of the processes. A lease is an amount that a process may spend.
// It is durable before it is used, and other processes count it as spent. A process reserves within
// its lease in memory, so a request needs no disk access. A thread of the ledger exchanges with the
// store, at most `flush_interval` after a settlement: in one transaction, it charges the settled
// amount, reduces the lease by this amount, and increases or decreases the rest of the lease
// according to demand. If a process is killed, the rest of its lease is *unsettled*, since it is
// unknown how much of it was spent. It remains counted as spent, and is reported separately from
// settled amounts. Therefore,
//
//     settled ≤ billed ≤ settled + unsettled
//
// holds for each key with a spending limit, even if processes are killed, and settled = billed
// after flush() if no requests are in progress. A key without a limit never waits for a lease, so
// its billed amount may exceed the upper bound by the amount reserved within the last
// `flush_interval`.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "r2router/error.h"
#include "r2router/llm/endpoint.h"
#include "r2router/types.h"

#include "gateway/spending/limits.h"
#include "gateway/spending/money.h"
#include "gateway/spending/report.h"

namespace r2router::gateway {

class Store;

/// A key's account with a ledger. Keep the pointer for as long as the configuration has the key.
class Account;

/// The demand of a request.
struct Demand {
  Money worst_case = {};     ///< Money::rounded_up() of the highest bill
  std::uint64_t tokens = 0;  ///< estimate of input and output, for tokens_per_minute
  /// For requests_per_minute. 0 for another attempt of a request that was already admitted.
  std::uint32_t requests = 1;
};

/// The cost of a request.
struct Settlement {
  Money cost = {};  ///< Money::nearest() of the bill
  Usage usage = {};
  std::string_view model = {};
  std::string_view tag = {};
  /// Cost of the same request with the baseline model.
  std::optional<Money> baseline = {};
  /// 0 if another attempt of the same request is counted.
  std::uint32_t requests = 1;
};

/// The right to spend up to an amount. End it with one of the three functions below, on any thread.
/// If it is destroyed before, it is abandoned. It may outlive the ledger, but is then not recorded.
class Reservation {
 public:
  Reservation() = default;
  Reservation(Reservation&& other) noexcept;
  Reservation& operator=(Reservation&& other) noexcept;
  ~Reservation() { abandon({}); }

  /// False once it has ended.
  explicit operator bool() const { return account_ != nullptr; }
  Money amount() const { return amount_; }

  /// The request was billed. A cost above amount() is recorded in full.
  void settle(const Settlement& settlement);
  /// The request was not billed: not sent, or rejected by HTTP status.
  void release();
  /// The request was sent, but its cost will not be known: the whole amount counts as spent, and is
  /// reported as unsettled. Ignores the cost.
  void abandon(const Settlement& settlement);

 private:
  friend class Account;

  std::shared_ptr<Account> account_;
  std::int32_t day_ = 0;  // since 1970
  Money amount_ = {};
  std::uint64_t tokens_ = 0;
  std::int64_t second_ = 0;  // of the rate limits
};

using Outcome = std::variant<Reservation, Refusal>;

/// The state of a ledger, for health checks and metrics.
struct LedgerStatus {
  std::string problem = {};     ///< why the store cannot be written; empty: it can
  std::size_t waiting = 0;      ///< rows of settled costs that are not written yet
  std::uint64_t exchanges = 0;  ///< transactions since the start
};

/// See the top of this file. Thread-safe. Only flush() and the destructor wait for the store.
class Ledger {
 public:
  struct Options {
    /// Maximum delay until settled costs are written and leases are replenished.
    std::chrono::milliseconds flush_interval{100};
    /// The wall clock, for leases of days when nothing is reserved.
    std::function<Instant()> clock = Instant::now;
    /// Called on the ledger's thread when the store can no longer be written, and when it can
    /// again.
    LogCallback log = {};
  };

  Ledger(std::unique_ptr<Store> store, Options options);
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;
  /// Writes what is settled and returns the unused part of all leases. Requests that wait for a
  /// lease are refused.
  ~Ledger();

  /// The account of this name, which need not exist yet. `limits` replaces its limits for later
  /// requests. All accounts of one name are the same.
  std::shared_ptr<Account> account(const std::string& name, const Limits& limits);

  /// Called once, on the ledger's thread. Must not block or throw.
  using Callback = std::function<void(Outcome)>;

  /// Returns the outcome, if it can be decided in memory; otherwise takes a lease first and passes
  /// the outcome to `later`, possibly before reserve() returns. `later` is called unless this
  /// returns a value. The outcome for an account without spending limits is always returned
  /// immediately.
  std::optional<Outcome> reserve(const std::shared_ptr<Account>& account, const Demand& demand,
                                 Instant now, Callback later);

  /// Waits until everything settled before is durable, at most `timeout`. Returns whether it is.
  bool flush(std::chrono::milliseconds timeout);

  /// Passes the report, with everything settled before, to `done` on the ledger's thread; or the
  /// failure to read the store.
  void report(const SpendQuery& query,
              std::function<void(std::variant<SpendReport, Failure>)> done);

  LedgerStatus status() const;

 private:
  friend class Account;
  struct State;

  std::shared_ptr<State> state_;
};

struct LedgerLocation {
  /// Path of a SQLite file on a local disk, which is created if it does not exist (mode 0600);
  /// "redis://[USER@]HOST[:PORT][/DATABASE]"; or empty: in memory, where limits apply to this
  /// process only and start again with it.
  std::string location = {};
  llm::Secret password = {};  ///< of Redis
};

/// Throws Error(kIo) or Error(kNotFound) if the file cannot be opened or written, Error(kBadData)
/// if it is damaged or not a ledger, Error(kUnsupported) for a file of a newer version or Redis in
/// a build without it, Error(kConnection) or Error(kAuthentication) if Redis cannot be used.
std::unique_ptr<Ledger> open_ledger(const LedgerLocation& location, Ledger::Options options = {});

}  // namespace r2router::gateway
