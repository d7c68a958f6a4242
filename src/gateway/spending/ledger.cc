// The thread that exchanges with the store. Event loops only change accounts, and enlist accounts
// that have something to write. The thread takes a snapshot of these, and applies the result of the
// exchange. An exchange that fails may nevertheless have been committed, so the same one is
// repeated before the next. The store recognises it by its number.
#include "gateway/spending/ledger.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "gateway/spending/account.h"
#include "gateway/spending/store.h"

namespace r2router::gateway {
namespace {

using Clock = std::chrono::steady_clock;

// Rows that may wait in memory while the store cannot be written, about 20 MB.
constexpr std::size_t kMostRows = 100'000;
// Pause after a failure of the store.
constexpr std::chrono::seconds kRetry{1};
// How often unused leases are checked.
constexpr std::chrono::seconds kReview{1};
constexpr std::chrono::seconds kMaintenance{10};

constexpr const char* kClosed = "the gateway is shutting down";

}  // namespace

struct Ledger::State final : AccountOwner {
  State(std::unique_ptr<Store> durable, Options chosen)
      : options(std::move(chosen)), store(std::move(durable)) {
    if (const auto last = store->last_day()) last_day = *last;
  }

  // AccountOwner.

  void enlist(std::shared_ptr<Account> account, bool urgently) override {
    const std::lock_guard lock(mutex);
    if (closed) return;
    enlisted.push_back(std::move(account));
    if (!urgently && enlisted_since) return;
    if (!enlisted_since) enlisted_since = Clock::now();
    urgent = urgent || urgently;
    wake.notify_one();
  }

  std::optional<std::string> problem() const override {
    if (!failing) return {};
    const std::lock_guard lock(mutex);
    return problem_text.empty() ? std::nullopt : std::optional(problem_text);
  }

  // A clock that is set back a little, as at midnight, continues the day that has begun. A clock
  // that is set back further was wrong before, so its new time is used. No day is counted twice,
  // since the store keeps the spending of each day.
  Day day(Instant now) override {
    const Day today = day_of(now);
    Day last = last_day;
    while (begins(today, last)) {
      if (last_day.compare_exchange_weak(last, today)) return today;
    }
    return last;
  }

  Day current_day(Instant now) const override {
    const Day today = day_of(now), last = last_day;
    return begins(today, last) ? today : last;
  }

  static bool begins(Day today, Day last) { return today > last || today < last - 1; }

  bool full() const override { return rows >= kMostRows; }
  void add_row() override { ++rows; }

  // The ledger's thread.

  void run() {
    auto next_maintenance = Clock::now() + kMaintenance;
    for (;;) {
      std::vector<std::shared_ptr<Account>> accounts;
      std::vector<std::function<void(bool)>> due;
      std::uint64_t ticket = 0;
      bool closing = false;
      {
        std::unique_lock lock(mutex);
        for (auto now = Clock::now(); !urgent && !stopping; now = Clock::now()) {
          const auto deadline = std::min(next_exchange(), next_maintenance);
          if (now >= deadline) break;
          wake.wait_until(lock, deadline);
        }
        accounts.swap(enlisted);
        enlisted_since.reset();
        urgent = false;
        ticket = flush_asked;
        closing = stopping;
        due.swap(reports);
      }
      active.insert(std::make_move_iterator(accounts.begin()),
                    std::make_move_iterator(accounts.end()));
      const bool written = exchange_all(closing);
      last_review = Clock::now();
      {
        const std::lock_guard lock(mutex);
        if (written) flush_done = ticket;
        flush_tried = ticket;
      }
      flushed.notify_all();
      if (!due.empty() || Clock::now() >= next_maintenance) {
        next_maintenance = Clock::now() + kMaintenance;
        try {
          store->maintain();
        } catch (const Error&) {
          // It is tried again soon, and an exchange reports the problem.
        }
      }
      for (const auto& report : due) report(written);
      if (closing) break;
    }
    const std::lock_guard lock(mutex);
    closed = true;
    failing = true;
    problem_text = kClosed;
  }

  Clock::time_point next_exchange() const {
    if (failing) return last_review + kRetry;
    if (enlisted_since) return *enlisted_since + options.flush_interval;
    return active.empty() ? Clock::time_point::max() : last_review + kReview;
  }

  bool exchange_all(bool closing) {
    // Accounts that were enlisted while the previous exchange was repeated have to be written too.
    if (!exchange.entries.empty() && !exchange_with_store()) return refuse_waiting(closing);
    if (closing) refuse_waiting(closing);
    const Instant now = options.clock();
    for (const auto& account : active) account->snapshot(now, closing, exchange.entries);
    if (!exchange.entries.empty()) {
      ++exchange.number;
      if (!exchange_with_store()) return refuse_waiting(closing);
    }
    std::erase_if(active, [](const auto& account) { return !account->holds_lease(); });
    return true;
  }

  bool refuse_waiting(bool closing) {
    const std::string reason = closing ? kClosed : problem().value_or("");
    for (const auto& account : active) account->refuse_waiting(reason);
    return false;
  }

  bool exchange_with_store() {
    std::vector<Standing> standings;
    try {
      standings = store->exchange(exchange);
    } catch (const Error& error) {
      set_problem(error.message(), error.what());
      return false;
    }
    set_problem({}, {});
    ++exchanges;
    const Instant now = options.clock();
    for (std::size_t i = 0; i < standings.size(); ++i) {
      const ExchangeEntry& entry = exchange.entries[i];
      rows -= entry.rows.size();
      accounts_by_name(entry.key)->apply(entry, standings[i], now);
    }
    exchange.entries.clear();
    return true;
  }

  /// `text` is for clients, `details` for the log.
  void set_problem(const std::string& text, const std::string& details) {
    const bool failed = !text.empty();
    {
      const std::lock_guard lock(mutex);
      problem_text = text;
    }
    if (failing.exchange(failed) == failed || !options.log) return;
    options.log(
        failed ? LogLevel::kWarning : LogLevel::kInfo,
        failed ? "the ledger cannot be written: " + details : "the ledger can be written again");
  }

  std::shared_ptr<Account> accounts_by_name(const std::string& name) {
    const std::lock_guard lock(mutex);
    return accounts.at(name);
  }

  /// `written`: the store contains everything that was settled.
  std::variant<SpendReport, Failure> report(const SpendQuery& query, bool written) {
    using Group =
        std::tuple<std::optional<std::chrono::sys_days>, std::string, std::string, std::string>;
    std::map<Group, Spend> groups;
    const auto add = [&](Day day, std::string_view key, const SpendEntry& entry) {
      Group group;
      if (query.by_day) std::get<0>(group) = date_of(day);
      if (query.by_key) std::get<1>(group) = key;
      if (query.by_model) std::get<2>(group) = entry.model;
      if (query.by_tag) std::get<3>(group) = entry.tag;
      groups[group] += entry.spend;
    };
    const Day from = day_of(query.from), to = day_of(query.to);
    try {
      store->visit(from, to, query.key, add);
    } catch (const Error& error) {
      return Failure{.code = error.code(), .message = error.what()};
    }
    if (!written) {
      const auto add_unwritten = [&](Day day, const std::string& key, const SpendEntry& entry) {
        if (day >= from && day <= to && (!query.key || *query.key == key)) add(day, key, entry);
      };
      for (const ExchangeEntry& entry : exchange.entries) {
        for (const SpendEntry& row : entry.rows) add_unwritten(entry.day, entry.key, row);
      }
      for (const auto& account : active) {
        account->visit_rows(
            [&](Day day, const SpendEntry& entry) { add_unwritten(day, account->name(), entry); });
      }
    }
    SpendReport report = {.query = query};
    if (!query.by_day && !query.by_key && !query.by_model && !query.by_tag) groups[{}];
    for (auto& [group, spend] : groups) {
      const auto& [day, key, model, tag] = group;
      report.rows.push_back({day, key, model, tag, spend});
      report.total += spend;
    }
    return report;
  }

  const Options options;
  std::atomic<Day> last_day = 0;
  std::atomic<std::size_t> rows = 0;
  std::atomic<bool> failing = false;
  std::atomic<std::uint64_t> exchanges = 0;

  mutable std::mutex mutex;
  std::condition_variable wake, flushed;
  std::unordered_map<std::string, std::shared_ptr<Account>> accounts;
  std::vector<std::shared_ptr<Account>> enlisted;
  std::optional<Clock::time_point> enlisted_since;
  std::vector<std::function<void(bool)>> reports;
  std::uint64_t flush_asked = 0, flush_tried = 0, flush_done = 0;
  bool urgent = false, stopping = false, closed = false;
  std::string problem_text;

  // Of the thread.
  std::unique_ptr<Store> store;
  Exchange exchange;  // with entries: in progress
  std::set<std::shared_ptr<Account>> active;
  Clock::time_point last_review = {};
  std::thread thread;
};

Ledger::Ledger(std::unique_ptr<Store> store, Options options)
    : state_(std::make_shared<State>(std::move(store), std::move(options))) {
  state_->thread = std::thread([state = state_.get()] { state->run(); });
}

Ledger::~Ledger() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->wake.notify_one();
  state_->thread.join();
  // Reservations may outlive the ledger, and keep their accounts and the state alive.
  state_->store.reset();
  state_->active.clear();
  const std::lock_guard lock(state_->mutex);
  state_->enlisted.clear();
  state_->accounts.clear();
}

std::shared_ptr<Account> Ledger::account(const std::string& name, const Limits& limits) {
  std::shared_ptr<Account> account;
  {
    const std::lock_guard lock(state_->mutex);
    auto& entry = state_->accounts[name];
    if (!entry) entry = std::make_shared<Account>(name, state_);
    account = entry;
  }
  account->set_limits(limits);
  return account;
}

std::optional<Outcome> Ledger::reserve(const std::shared_ptr<Account>& account,
                                       const Demand& demand, Instant now, Callback later) {
  return account->reserve(demand, now, std::move(later));
}

bool Ledger::flush(std::chrono::milliseconds timeout) {
  std::unique_lock lock(state_->mutex);
  const std::uint64_t ticket = ++state_->flush_asked;
  state_->urgent = true;
  state_->wake.notify_one();
  state_->flushed.wait_for(lock, timeout, [&] { return state_->flush_tried >= ticket; });
  return state_->flush_done >= ticket;
}

void Ledger::report(const SpendQuery& query,
                    std::function<void(std::variant<SpendReport, Failure>)> done) {
  const std::lock_guard lock(state_->mutex);
  state_->reports.push_back([state = state_.get(), query, done = std::move(done)](bool written) {
    done(state->report(query, written));
  });
  state_->urgent = true;
  state_->wake.notify_one();
}

LedgerStatus Ledger::status() const {
  return {.problem = state_->problem().value_or(""),
          .waiting = state_->rows,
          .exchanges = state_->exchanges};
}

}  // namespace r2router::gateway
