// Ledgers in tests: a clock that is set by hand, and calls that wait for their outcome.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "gateway/spending/ledger.h"
#include "gateway/spending/store.h"

namespace r2router::testing {

inline constexpr std::chrono::minutes kLongTime{2};

/// Both clocks; only the wall clock can go back. Thread-safe.
class HandClock {
 public:
  /// Noon of a day in the middle of a month.
  HandClock() : HandClock(std::chrono::sys_days{std::chrono::year{2026} / 10 / 15}, 12) {}
  HandClock(std::chrono::sys_days day, int hour) { set(day + std::chrono::hours{hour}); }

  gateway::Instant now() const {
    return {std::chrono::sys_time<std::chrono::milliseconds>{std::chrono::milliseconds{wall_}},
            std::chrono::steady_clock::time_point{std::chrono::milliseconds{steady_}}};
  }
  void set(std::chrono::sys_time<std::chrono::milliseconds> wall) {
    wall_ = wall.time_since_epoch().count();
  }
  void advance(std::chrono::milliseconds time) {
    wall_ += time.count();
    steady_ += time.count();
  }

 private:
  std::atomic<std::int64_t> wall_ = 0, steady_ = 1'000'000;
};

inline gateway::Ledger::Options options_with(const HandClock& clock) {
  return {.flush_interval = std::chrono::milliseconds{5},
          .clock = [&clock] { return clock.now(); }};
}

/// The outcome, also if it comes later.
inline gateway::Outcome reserve(gateway::Ledger& ledger,
                                const std::shared_ptr<gateway::Account>& account,
                                const gateway::Demand& demand, gateway::Instant now) {
  auto promise = std::make_shared<std::promise<gateway::Outcome>>();
  auto late = promise->get_future();
  auto outcome = ledger.reserve(account, demand, now, [promise](gateway::Outcome value) {
    promise->set_value(std::move(value));
  });
  if (outcome) return std::move(*outcome);
  return late.get();
}

inline gateway::SpendReport report(gateway::Ledger& ledger, const gateway::SpendQuery& query) {
  std::promise<std::variant<gateway::SpendReport, Failure>> promise;
  ledger.report(query, [&](auto value) { promise.set_value(std::move(value)); });
  auto value = promise.get_future().get();
  if (const auto* failure = std::get_if<Failure>(&value)) {
    throw Error(failure->code, failure->message);
  }
  return std::get<gateway::SpendReport>(std::move(value));
}

/// Everything that was ever spent, of one key or all.
inline gateway::Spend total(gateway::Ledger& ledger, std::optional<std::string> key = {}) {
  return report(ledger, {.from = std::chrono::sys_days{std::chrono::year{1970} / 1 / 1},
                         .to = std::chrono::sys_days{std::chrono::year{2999} / 1 / 1},
                         .key = std::move(key)})
      .total;
}

/// A store that fails by order, before or after it has done what was asked.
class FaultyStore final : public gateway::Store {
 public:
  enum class Fault { kNone, kBefore, kAfter };

  FaultyStore(std::unique_ptr<gateway::Store> store, std::function<Fault()> fault)
      : store_(std::move(store)), fault_(std::move(fault)) {}

  std::vector<gateway::Standing> exchange(const gateway::Exchange& exchange) override {
    const Fault fault = fault_();
    if (fault == Fault::kBefore) throw Error(ErrorCode::kIo, "no space is left");
    auto standings = store_->exchange(exchange);
    if (fault == Fault::kAfter) throw Error(ErrorCode::kConnection, "the connection broke");
    return standings;
  }
  void visit(gateway::Day from, gateway::Day to, const std::optional<std::string>& key,
             const Visit& visit) override {
    store_->visit(from, to, key, visit);
  }
  std::optional<gateway::Day> last_day() override { return store_->last_day(); }
  void maintain() override { store_->maintain(); }

 private:
  std::unique_ptr<gateway::Store> store_;
  std::function<Fault()> fault_;
};

}  // namespace r2router::testing
