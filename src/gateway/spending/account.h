// The state of a key in this process: its leases, the amounts reserved within them, and its rates.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "gateway/spending/calendar.h"
#include "gateway/spending/ledger.h"
#include "gateway/spending/rate_window.h"
#include "gateway/spending/store.h"

namespace r2router::gateway {

/// The interface of an account's ledger. Thread-safe.
class AccountOwner {
 public:
  virtual ~AccountOwner() = default;

  /// Enlists an account for the next exchange. `urgent`: requests wait for it. Called at most once
  /// until the next snapshot, unless it has become urgent.
  virtual void enlist(std::shared_ptr<Account> account, bool urgent) = 0;
  /// Why the store cannot be written; empty if no failure is known.
  virtual std::optional<std::string> problem() const = 0;
  /// The day to charge. It does not go back when the clock goes back by less than a day.
  virtual Day day(Instant now) = 0;
  /// The same, but without starting a new day. For the ledger's thread, whose `now` may be older
  /// than a change of the clock.
  virtual Day current_day(Instant now) const = 0;
  /// Whether the maximum number of rows waits to be written.
  virtual bool full() const = 0;
  /// Counts a row that waits to be written.
  virtual void add_row() = 0;
};

/// Thread-safe: one mutex, held for well under a microsecond and never while the store is used.
class Account : public std::enable_shared_from_this<Account> {
 public:
  Account(std::string name, std::shared_ptr<AccountOwner> owner)
      : name_(std::move(name)), owner_(std::move(owner)) {}

  void set_limits(const Limits& limits);
  std::optional<Outcome> reserve(const Demand& demand, Instant now, Ledger::Callback later);

  enum class End : std::uint8_t { kSettled, kReleased, kAbandoned };
  void finish(const Reservation& reservation, const Settlement& settlement, End end);

  // For the ledger's thread.

  /// Appends entries for the store. `closing`: leases are returned.
  void snapshot(Instant now, bool closing, std::vector<ExchangeEntry>& entries);
  /// Applies the outcome of an exchange, and decides on the requests that waited for it.
  void apply(const ExchangeEntry& entry, const Standing& standing, Instant now);
  /// Refuses the requests that wait.
  void refuse_waiting(const std::string& problem);
  /// Visits the rows of settled costs that no snapshot has taken.
  void visit_rows(const std::function<void(Day, const SpendEntry&)>& visit) const;
  /// Whether a part of a lease may have to be returned.
  bool holds_lease() const;

  const std::string& name() const { return name_; }

 private:
  struct Waiting {
    Demand demand;
    Instant since;
    Ledger::Callback later;
  };
  struct RowName {
    std::string model, tag;
  };
  struct RowView {
    std::string_view model, tag;
  };
  struct RowHash {
    using is_transparent = void;
    template <typename Name>
    std::size_t operator()(const Name& name) const {
      const std::hash<std::string_view> hash;
      return hash(name.model) * 31 + hash(name.tag);
    }
  };
  struct RowEqual {
    using is_transparent = void;
    template <typename A, typename B>
    bool operator()(const A& a, const B& b) const {
      return a.model == b.model && a.tag == b.tag;
    }
  };

  /// Only free(), the rest of the lease, may be reserved.
  struct DayState {
    Money lease;        ///< durable
    Money reserved;     ///< by unfinished requests
    Money spent;        ///< since the last snapshot
    Money in_exchange;  ///< spent, and part of the exchange in progress
    Money withheld;     ///< being returned in the exchange in progress
    std::unordered_map<RowName, Spend, RowHash, RowEqual> rows;  ///< of `spent`
    std::deque<Waiting> waiting;
    Standing standing;  ///< after the last exchange
    /// Until then, the standing's figures on other processes are considered current.
    std::chrono::steady_clock::time_point fresh_until = {};
    bool recheck = false;  ///< the limits have changed: no lease is valid until an exchange

    Money free() const { return lease - reserved - spent - in_exchange - withheld; }
  };

  std::optional<Refusal> check_rates(const Demand& demand, Instant now);
  void return_rates(const Demand& demand, Instant since);
  std::optional<Outcome> take(Day day, DayState& state, const Demand& demand, Instant now);
  Reservation make_reservation(Day day, DayState& state, const Demand& demand, Instant now);
  Refusal refusal(Day day, const DayState& state, Money needed, Instant now) const;
  void add_entry(Day day, DayState& state, bool used, std::vector<ExchangeEntry>& entries);
  void enlist(bool urgent);

  const std::string name_;
  const std::shared_ptr<AccountOwner> owner_;

  mutable std::mutex mutex_;
  Limits limits_;
  std::unique_ptr<RateWindow> requests_, tokens_;  // with a limit only
  std::map<Day, DayState> days_;
  bool enlisted_ = false, urgent_ = false;
  // The amount that is reserved between two exchanges, and how it has decayed.
  Money reserved_since_ = {}, demand_ = {};
  std::chrono::steady_clock::time_point last_reserve_ = {};
};

}  // namespace r2router::gateway
