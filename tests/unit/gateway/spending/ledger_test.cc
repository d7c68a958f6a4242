// The same properties with every store.
#include "gateway/spending/ledger.h"

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/ledger.h"
#include "support/redis_server.h"
#include "support/temporary_folder.h"

namespace r2router::gateway {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::sys_days;
using testing::FaultyStore;
using testing::HandClock;
using testing::kLongTime;
using testing::total;

enum class Kind { kMemory, kSqlite, kRedis };

/// Where the ledgers of a test keep what they know.
class Place {
 public:
  explicit Place(Kind kind) : kind_(kind) {
    if (kind == Kind::kRedis && !testing::RedisServer::program().empty()) {
      redis_ = std::make_unique<testing::RedisServer>();
    }
  }
  std::unique_ptr<Store> open() const {
    if (kind_ == Kind::kMemory) return make_memory_store();
    return kind_ == Kind::kSqlite ? open_sqlite_store(folder_ / "spend.db")
                                  : open_redis_store(redis_->url(), {});
  }

 private:
  Kind kind_;
  testing::TemporaryFolder folder_;
  std::unique_ptr<testing::RedisServer> redis_;
};

std::string name_of_kind(const ::testing::TestParamInfo<Kind>& info) {
  return info.param == Kind::kMemory ? "Memory" : info.param == Kind::kSqlite ? "Sqlite" : "Redis";
}

class LedgerTest : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    if (GetParam() != Kind::kRedis) return;
#ifndef R2ROUTER_HAS_HIREDIS
    GTEST_SKIP() << "this build has no hiredis";
#endif
    if (testing::RedisServer::program().empty()) GTEST_SKIP() << "redis-server is not installed";
  }
};
class LedgerThreads : public LedgerTest {};
class SharedLedgerThreads : public LedgerTest {};

Reservation reserved(Ledger& ledger, const std::shared_ptr<Account>& account, Money worst,
                     Instant now) {
  Outcome outcome = testing::reserve(ledger, account, {.worst_case = worst}, now);
  const auto* refusal = std::get_if<Refusal>(&outcome);
  EXPECT_EQ(refusal, nullptr) << refusal->message();
  return refusal == nullptr ? std::get<Reservation>(std::move(outcome)) : Reservation();
}

Refusal refused(Ledger& ledger, const std::shared_ptr<Account>& account, Money worst, Instant now) {
  Outcome outcome = testing::reserve(ledger, account, {.worst_case = worst}, now);
  EXPECT_TRUE(std::holds_alternative<Refusal>(outcome));
  return std::holds_alternative<Refusal>(outcome) ? std::get<Refusal>(outcome) : Refusal{};
}

// A naive ledger: every amount by key and day.
struct Model {
  struct DaySums {
    Money settled, unsettled, reserved;
    bool stored = false;  // the store knows of the day
  };
  Limits limits;
  std::map<Day, DaySums> days;

  /// Whether the limits allow it.
  bool allows(Day today, Money worst) const {
    if (worst == Money{}) return true;
    Money sums[kPeriods] = {};
    for (const auto& [day, sum] : days) {
      const Money used = sum.settled + sum.unsettled + sum.reserved;
      if (day == today) sums[0] += used;
      if (month_of(day) == month_of(today)) sums[1] += used;
      sums[2] += used;
    }
    const auto most = money_limits(limits);
    for (std::size_t i = 0; i < kPeriods; ++i) {
      if (most[i] && sums[i] + worst > *most[i]) return false;
    }
    return true;
  }
};

TEST_P(LedgerTest, AdmitsExactlyWhatANaiveLedgerAdmits) {
  const unsigned seeds = GetParam() == Kind::kMemory ? 20 : 2;  // the others wait for disks
  for (unsigned seed = 1; seed <= seeds; ++seed) {
    std::mt19937_64 random(seed);
    const auto below = [&](std::uint64_t end) { return static_cast<std::int64_t>(random() % end); };
    const Place place(GetParam());
    HandClock clock(sys_days{std::chrono::year{2026} / 1 / 28}, 12);
    auto ledger = std::make_unique<Ledger>(place.open(), testing::options_with(clock));
    std::array<Model, 3> models;
    std::array<std::shared_ptr<Account>, 3> accounts;
    const auto change_limits = [&](std::size_t i) {
      Limits& limits = models[i].limits;
      limits = {};
      if (i == 0 || below(2) == 0) limits.per_day = Money{50 + below(300)};
      if (i == 1 || below(2) == 0) limits.per_month = Money{100 + below(900)};
      if (below(2) == 0) limits.total = Money{400 + below(1500)};
    };
    const auto open_accounts = [&] {
      for (std::size_t i = 0; i < accounts.size(); ++i) {
        accounts[i] = ledger->account("key " + std::to_string(i), models[i].limits);
      }
    };
    for (std::size_t i = 0; i < models.size(); ++i) change_limits(i);
    open_accounts();
    struct Open {
      std::size_t account;
      Day day;
      Reservation reservation;
    };
    std::vector<Open> open;
    Day last_day = 0;
    // The day that a request is charged to. Called whenever the clock was changed, so that the
    // ledger sees what the model sees.
    const auto today = [&] {
      const Day day = day_of(clock.now());
      if (day != last_day - 1) last_day = day;
      auto unlimited = ledger->account("any", {});
      reserved(*ledger, unlimited, Money{}, clock.now()).release();
      return last_day;
    };
    int admitted = 0, denied = 0;
    for (int step = 0; step < 1500; ++step) {
      const std::int64_t action = below(100);
      if (action < 50) {
        const auto i = static_cast<std::size_t>(below(accounts.size()));
        const Money worst{below(40)};
        const Day day = today();
        Outcome outcome =
            testing::reserve(*ledger, accounts[i], {.worst_case = worst}, clock.now());
        const bool allowed = models[i].allows(day, worst);
        if (allowed && std::holds_alternative<Refusal>(outcome)) {
          // Only for a moment: another day's lease is about to be given back.
          ASSERT_TRUE(std::get<Refusal>(outcome).retry_after);
          ASSERT_TRUE(ledger->flush(kLongTime));
          clock.advance(seconds{1});
          ASSERT_EQ(today(), day);
          outcome = testing::reserve(*ledger, accounts[i], {.worst_case = worst}, clock.now());
        }
        ASSERT_EQ(std::holds_alternative<Reservation>(outcome), allowed)
            << "seed " << seed << ", step " << step;
        ++(allowed ? admitted : denied);
        if (!allowed) continue;
        models[i].days[day].reserved += worst;
        open.push_back({i, day, std::get<Reservation>(std::move(outcome))});
      } else if (action < 90 && !open.empty()) {
        std::swap(open[static_cast<std::size_t>(below(open.size()))], open.back());
        Open entry = std::move(open.back());
        open.pop_back();
        Model::DaySums& sums = models[entry.account].days[entry.day];
        const Money amount = entry.reservation.amount();
        sums.reserved -= amount;
        const std::int64_t way = below(10);
        if (way < 6) {
          const Money cost{below(static_cast<std::uint64_t>(amount.nano) + 1)};
          sums.settled += cost;
          sums.stored = true;
          entry.reservation.settle({.cost = cost, .model = "m"});
        } else if (way < 8) {
          entry.reservation.release();
        } else {
          sums.unsettled += amount;
          sums.stored = true;
          if (way == 8) entry.reservation.abandon({.model = "m"});
        }
      } else if (action < 94) {
        clock.advance(milliseconds{below(20 * 3600 * 1000)});
        today();
      } else if (action < 96) {
        // The clock goes back: a little, or by days.
        clock.set(clock.now().wall - hours{below(2) == 0 ? below(20) : 48 + below(100)});
        today();
      } else if (action < 98) {
        const auto i = static_cast<std::size_t>(below(accounts.size()));
        change_limits(i);
        accounts[i] = ledger->account("key " + std::to_string(i), models[i].limits);
      } else if (action == 98) {
        EXPECT_TRUE(ledger->flush(kLongTime));
      } else if (GetParam() != Kind::kMemory) {
        // A new process. What is reserved now has nobody to settle it: it is unsettled at the
        // latest when the owner is known to be gone.
        for (Open& entry : open) {
          Model::DaySums& sums = models[entry.account].days[entry.day];
          sums.reserved -= entry.reservation.amount();
          sums.stored = sums.stored || entry.reservation.amount() != Money{};
          sums.unsettled += entry.reservation.amount();
        }
        ledger.reset();
        open.clear();
        ledger = std::make_unique<Ledger>(place.open(), testing::options_with(clock));
        open_accounts();
        last_day = 0;
        for (const Model& model : models) {
          for (const auto& [day, sums] : model.days) {
            if (sums.stored) last_day = std::max(last_day, day);
          }
        }
        today();
      }
    }
    EXPECT_GT(admitted, 100);
    EXPECT_GT(denied, 50);
    open.clear();
    const SpendReport report =
        testing::report(*ledger, {.from = sys_days{std::chrono::year{2025} / 1 / 1},
                                  .to = sys_days{std::chrono::year{2030} / 1 / 1},
                                  .by_day = true,
                                  .by_key = true});
    std::map<std::pair<std::string, Day>, Spend> reported;
    for (const SpendRow& row : report.rows) reported[{row.key, day_of(*row.day)}] = row.spend;
    for (std::size_t i = 0; i < models.size(); ++i) {
      for (const auto& [day, sums] : models[i].days) {
        const Spend& spend = reported[{"key " + std::to_string(i), day}];
        EXPECT_EQ(spend.settled, sums.settled);
        EXPECT_EQ(spend.unsettled, sums.unsettled + sums.reserved);
      }
    }
  }
}

/// What an upstream and an auditor see, who know of a reservation only after it was made, and of
/// its end before the ledger does: at most what the ledger counts.
class Auditor {
 public:
  explicit Auditor(std::optional<Money> limit) : limit_(limit) {}

  void begin(Money worst) {
    const std::lock_guard lock(mutex_);
    reserved_ += worst;
    if (limit_ && billed_ + reserved_ > *limit_) exceeded_ = true;
  }
  void end(Money worst, Money bill) {
    const std::lock_guard lock(mutex_);
    reserved_ -= worst;
    billed_ += bill;
    bills_ += bill == Money{} ? 0 : 1;
  }
  bool exceeded() const { return exceeded_; }
  Money billed() const { return billed_; }
  std::int64_t bills() const { return bills_; }

 private:
  const std::optional<Money> limit_;
  std::mutex mutex_;
  Money reserved_ = {}, billed_ = {};
  std::int64_t bills_ = 0;
  bool exceeded_ = false;
};

/// Requests of a key in a thread, until `count` were admitted or it is refused for good.
void spend(Ledger& ledger, const std::shared_ptr<Account>& account, Auditor& auditor,
           const HandClock& clock, unsigned seed, int count) {
  std::mt19937_64 random(seed);
  std::vector<Reservation> open;
  const auto end_one = [&] {
    std::swap(open[random() % open.size()], open.back());
    Reservation reservation = std::move(open.back());
    open.pop_back();
    const Money worst = reservation.amount();
    const Money bill =
        random() % 8 == 0 ? Money{} : Money{1 + static_cast<std::int64_t>(random() % worst.nano)};
    auditor.end(worst, bill);
    if (bill == Money{}) {
      reservation.release();
    } else {
      reservation.settle({.cost = bill, .model = random() % 2 == 0 ? "a" : "b", .tag = "t"});
    }
  };
  for (int i = 0; i < count; ++i) {
    const Money worst{1 + static_cast<std::int64_t>(random() % 1000)};
    Outcome outcome = testing::reserve(ledger, account, {.worst_case = worst}, clock.now());
    if (auto* reservation = std::get_if<Reservation>(&outcome)) {
      auditor.begin(worst);
      open.push_back(std::move(*reservation));
    }
    if (!open.empty() && (open.size() > 8 || random() % 2 == 0)) end_one();
  }
  while (!open.empty()) end_one();
}

TEST_P(LedgerThreads, NeverExceedALimitAndLoseNothing) {
  const Place place(GetParam());
  HandClock clock;
  Ledger ledger(place.open(), testing::options_with(clock));
  const std::array<std::optional<Money>, 3> limits = {Money{700'000}, Money{10'000'000}, {}};
  std::array<std::unique_ptr<Auditor>, 3> auditors;
  std::array<std::shared_ptr<Account>, 3> accounts;
  for (std::size_t i = 0; i < limits.size(); ++i) {
    auditors[i] = std::make_unique<Auditor>(limits[i]);
    accounts[i] = ledger.account("key " + std::to_string(i), {.total = limits[i]});
  }
  {
    std::vector<std::jthread> threads;
    for (unsigned seed = 0; seed < 6; ++seed) {
      threads.emplace_back([&, seed] {
        spend(ledger, accounts[seed % 3], *auditors[seed % 3], clock, seed, 10'000);
      });
    }
  }
  for (std::size_t i = 0; i < limits.size(); ++i) {
    EXPECT_FALSE(auditors[i]->exceeded());
    const Spend sums = total(ledger, "key " + std::to_string(i));
    EXPECT_EQ(sums.settled, auditors[i]->billed());
    EXPECT_EQ(sums.unsettled, Money{});
    EXPECT_EQ(sums.requests, auditors[i]->bills());
    if (!limits[i]) continue;
    // Everything that is left can be reserved, and no more.
    clock.advance(seconds{1});
    const Money left = *limits[i] - sums.settled;
    refused(ledger, accounts[i], left + Money{1}, clock.now());
    reserved(ledger, accounts[i], left, clock.now()).release();
  }
}

TEST_P(SharedLedgerThreads, OfSeveralLedgersExceedNoLimit) {
  if (GetParam() == Kind::kMemory) GTEST_SKIP() << "memory is not shared";
  const Place place(GetParam());
  HandClock clock;
  const Limits limits = {.per_day = Money{600'000}};
  Auditor auditor(limits.per_day);
  {
    std::vector<std::unique_ptr<Ledger>> ledgers;
    std::vector<std::shared_ptr<Account>> accounts;
    for (int i = 0; i < 3; ++i) {
      ledgers.push_back(std::make_unique<Ledger>(place.open(), testing::options_with(clock)));
      accounts.push_back(ledgers.back()->account("key", limits));
    }
    std::vector<std::jthread> threads;
    for (unsigned seed = 0; seed < 6; ++seed) {
      threads.emplace_back(
          [&, seed] { spend(*ledgers[seed % 3], accounts[seed % 3], auditor, clock, seed, 1500); });
    }
  }
  EXPECT_FALSE(auditor.exceeded());
  Ledger ledger(place.open(), testing::options_with(clock));
  EXPECT_EQ(total(ledger).settled, auditor.billed());
  EXPECT_EQ(total(ledger).unsettled, Money{});
  // The leases of all were given back.
  const auto account = ledger.account("key", limits);
  const Money left = *limits.per_day - auditor.billed();
  refused(ledger, account, left + Money{1}, clock.now());
  reserved(ledger, account, left, clock.now()).release();
}

TEST_P(LedgerThreads, ChargeOnceWhateverFails) {
  if (GetParam() == Kind::kMemory) GTEST_SKIP() << "memory does not fail";
  const Place place(GetParam());
  HandClock clock;
  std::mt19937_64 random(5);
  std::atomic<bool> repaired = false;
  Auditor auditor(Money{2'000'000});
  Ledger ledger(std::make_unique<FaultyStore>(place.open(),
                                              [&] {
                                                if (repaired) return FaultyStore::Fault::kNone;
                                                const auto draw = random() % 10;
                                                return draw < 1   ? FaultyStore::Fault::kBefore
                                                       : draw < 2 ? FaultyStore::Fault::kAfter
                                                                  : FaultyStore::Fault::kNone;
                                              }),
                testing::options_with(clock));
  const auto account = ledger.account("key", {.total = Money{2'000'000}});
  {
    std::vector<std::jthread> threads;
    for (unsigned seed = 0; seed < 3; ++seed) {
      threads.emplace_back([&, seed] {
        for (unsigned round = 0; round < 10; ++round) {
          spend(ledger, account, auditor, clock, seed * 100 + round, 300);
          ledger.flush(kLongTime);  // tries again now instead of in a second
        }
      });
    }
  }
  repaired = true;
  EXPECT_TRUE(ledger.flush(kLongTime));
  EXPECT_FALSE(auditor.exceeded());
  const Spend sums = total(ledger);
  EXPECT_EQ(sums.settled, auditor.billed());
  EXPECT_EQ(sums.requests, auditor.bills());
  EXPECT_GT(auditor.bills(), 300);
  const Money left = Money{2'000'000} - sums.settled;
  clock.advance(seconds{1});
  refused(ledger, account, left + Money{1}, clock.now());
  reserved(ledger, account, left, clock.now()).release();
}

TEST_P(LedgerTest, RefusalSaysWhichLimitWhatIsLeftAndWhenItResets) {
  const Place place(GetParam());
  HandClock clock;  // noon, 15 October
  Ledger ledger(place.open(), testing::options_with(clock));
  const Money dollar{1'000'000'000};
  const auto account = ledger.account("key", {.per_day = Money{3 * dollar.nano},
                                              .per_month = Money{4 * dollar.nano},
                                              .total = Money{5 * dollar.nano}});
  reserved(ledger, account, dollar, clock.now()).settle({.cost = dollar});
  Reservation held = reserved(ledger, account, dollar, clock.now());
  Refusal refusal = refused(ledger, account, Money{dollar.nano * 3 / 2}, clock.now());
  EXPECT_EQ(refusal.limit, LimitKind::kPerDay);
  EXPECT_EQ(refusal.spent, dollar);
  EXPECT_EQ(refusal.reserved, dollar);
  EXPECT_EQ(refusal.left(), dollar);
  // Only the unfinished request stands in the way.
  EXPECT_EQ(refusal.retry_after, milliseconds{1000});
  EXPECT_EQ(
      refusal.message(),
      "The request may cost up to $1.50. The key's limit is $3 per day (UTC): $1 is spent, $1 "
      "is reserved by unfinished requests, and $1 is left. Retry in 1 s.");
  std::move(held).settle({.cost = dollar});
  ASSERT_TRUE(ledger.flush(kLongTime));
  clock.advance(seconds{1});
  refusal = refused(ledger, account, Money{dollar.nano + 1}, clock.now());
  EXPECT_EQ(refusal.limit, LimitKind::kPerDay);
  EXPECT_EQ(refusal.retry_after, hours{12} - seconds{1});
  EXPECT_THAT(refusal.message(), ::testing::EndsWith("Retry in 12 h."));
  // Two are left this month, and the day does not stand in the way longer than the month does.
  refusal = refused(ledger, account, Money{dollar.nano * 5 / 2}, clock.now());
  EXPECT_EQ(refusal.limit, LimitKind::kPerMonth);
  EXPECT_EQ(refusal.retry_after, hours{24 * 16 + 12} - seconds{1});
  // Never.
  refusal = refused(ledger, account, Money{dollar.nano * 7 / 2}, clock.now());
  EXPECT_EQ(refusal.limit, LimitKind::kTotal);
  EXPECT_EQ(refusal.retry_after, std::nullopt);
}

TEST_P(LedgerTest, MidnightBeginsANewDayAndChargesARequestToTheDayOfItsReservation) {
  const Place place(GetParam());
  const sys_days day{std::chrono::year{2026} / 12 / 31};
  HandClock clock(day, 23);
  Ledger ledger(place.open(), testing::options_with(clock));
  const auto account = ledger.account("key", {.per_day = Money{100}, .per_month = Money{100}});
  Reservation before = reserved(ledger, account, Money{100}, clock.now());
  refused(ledger, account, Money{1}, clock.now());
  clock.advance(hours{1});
  // A new day, month and year. The old reservation does not count for it.
  Reservation after = reserved(ledger, account, Money{100}, clock.now());
  refused(ledger, account, Money{1}, clock.now());
  before.settle({.cost = Money{60}});
  refused(ledger, account, Money{1}, clock.now());
  after.settle({.cost = Money{70}});
  const auto of = [&](sys_days date) {
    return testing::report(ledger, {.from = date, .to = date}).total.settled;
  };
  EXPECT_EQ(of(day), Money{60});
  EXPECT_EQ(of(day + std::chrono::days{1}), Money{70});
}

TEST_P(LedgerTest, ClockThatJumpsNeitherResetsNorDoublesADay) {
  const Place place(GetParam());
  const sys_days day{std::chrono::year{2026} / 10 / 15};
  HandClock clock(day, 23);
  auto ledger = std::make_unique<Ledger>(place.open(), testing::options_with(clock));
  const Limits limits = {.per_day = Money{100}};
  auto account = ledger->account("key", limits);
  reserved(*ledger, account, Money{30}, clock.now()).settle({.cost = Money{30}});
  clock.advance(hours{2});
  reserved(*ledger, account, Money{100}, clock.now()).settle({.cost = Money{100}});
  // Back before midnight: the day that has begun goes on, in this process and in the next.
  clock.set(day + hours{23});
  refused(*ledger, account, Money{1}, clock.now());
  if (GetParam() != Kind::kMemory) {
    ledger.reset();
    ledger = std::make_unique<Ledger>(place.open(), testing::options_with(clock));
    account = ledger->account("key", limits);
    refused(*ledger, account, Money{1}, clock.now());
  }
  // A year ahead by mistake, and back. No day has more than its limit, and the clock is followed.
  clock.set(day + hours{24 * 365});
  reserved(*ledger, account, Money{100}, clock.now()).settle({.cost = Money{100}});
  clock.set(day + hours{23});
  refused(*ledger, account, Money{71}, clock.now());
  reserved(*ledger, account, Money{70}, clock.now()).settle({.cost = Money{70}});
  refused(*ledger, account, Money{1}, clock.now());
  clock.set(day + hours{25});
  refused(*ledger, account, Money{1}, clock.now());
  clock.set(day + hours{24 * 365});
  refused(*ledger, account, Money{1}, clock.now());
  clock.set(day + hours{50});
  reserved(*ledger, account, Money{100}, clock.now());
}

TEST_P(LedgerTest, BillAboveTheReservationIsRecordedAndReducesWhatIsLeft) {
  const Place place(GetParam());
  HandClock clock;
  Ledger ledger(place.open(), testing::options_with(clock));
  const auto account = ledger.account("key", {.total = Money{100}});
  Reservation other = reserved(ledger, account, Money{20}, clock.now());
  reserved(ledger, account, Money{10}, clock.now()).settle({.cost = Money{45}});
  EXPECT_EQ(total(ledger).settled, Money{45});
  clock.advance(seconds{1});
  refused(ledger, account, Money{36}, clock.now());
  reserved(ledger, account, Money{35}, clock.now()).settle({.cost = Money{500}});
  EXPECT_EQ(total(ledger).settled, Money{545});
  clock.advance(seconds{1});
  const Refusal refusal = refused(ledger, account, Money{1}, clock.now());
  EXPECT_EQ(refusal.spent, Money{545});
  EXPECT_EQ(refusal.left(), Money{});
  // Free requests can still be made.
  reserved(ledger, account, Money{}, clock.now()).settle({.cost = Money{}});
  other.settle({.cost = Money{20}});
  EXPECT_EQ(total(ledger).settled, Money{565});
}

TEST_P(LedgerTest, NewLimitsApplyToTheNextRequest) {
  const Place place(GetParam());
  HandClock clock;
  Ledger ledger(place.open(), testing::options_with(clock));
  auto account = ledger.account("key", {.per_day = Money{1'000'000}});
  // Holds a lease with much free.
  std::vector<Reservation> open;
  for (int i = 0; i < 100; ++i) open.push_back(reserved(ledger, account, Money{1000}, clock.now()));
  ASSERT_TRUE(ledger.flush(kLongTime));
  for (int i = 0; i < 50; ++i) open[static_cast<std::size_t>(i)].release();
  account = ledger.account("key", {.per_day = Money{50'100}});
  refused(ledger, account, Money{101}, clock.now());
  reserved(ledger, account, Money{100}, clock.now()).release();
  account = ledger.account("key", {.per_day = Money{40'000}});
  refused(ledger, account, Money{1}, clock.now());
  account = ledger.account("key", {});
  reserved(ledger, account, Money{1'000'000'000}, clock.now()).release();
  account = ledger.account("key", {.total = Money{50'001}});
  refused(ledger, account, Money{2}, clock.now());
}

TEST_P(LedgerTest, RatesHoldInAnySixtySecondsAndEstimatesAreReplaced) {
  const Place place(GetParam());
  HandClock clock;
  Ledger ledger(place.open(), testing::options_with(clock));
  const auto account = ledger.account("key", {.requests_per_minute = 3, .tokens_per_minute = 1000});
  const auto ask = [&](std::uint64_t tokens, std::uint32_t requests = 1) {
    return testing::reserve(ledger, account, {.tokens = tokens, .requests = requests}, clock.now());
  };
  Reservation first = std::get<Reservation>(ask(900));
  Refusal refusal = std::get<Refusal>(ask(101));
  EXPECT_EQ(refusal.limit, LimitKind::kTokensPerMinute);
  EXPECT_EQ(refusal.allowed_count, 1000U);
  EXPECT_EQ(refusal.used_count, 900U);
  EXPECT_EQ(refusal.retry_after, seconds{61});
  first.settle({.usage = {.prompt_tokens = 50, .completion_tokens = 50}});
  std::get<Reservation>(ask(900)).release();
  Reservation second = std::get<Reservation>(ask(900));
  // Another attempt of an admitted request is not another request.
  EXPECT_TRUE(std::holds_alternative<Reservation>(ask(0, 0)));
  refusal = std::get<Refusal>(ask(0));
  EXPECT_EQ(refusal.limit, LimitKind::kRequestsPerMinute);
  EXPECT_EQ(refusal.retry_after, seconds{61});
  // Never.
  EXPECT_EQ(std::get<Refusal>(ask(1001, 0)).retry_after, std::nullopt);
  clock.advance(seconds{60});
  EXPECT_TRUE(std::holds_alternative<Refusal>(ask(0)));
  const Instant before = clock.now();
  clock.advance(seconds{1});
  EXPECT_TRUE(std::holds_alternative<Reservation>(ask(999)));
  // A thread whose time is a little older.
  EXPECT_TRUE(std::holds_alternative<Reservation>(
      testing::reserve(ledger, account, {.tokens = 1}, before)));
  EXPECT_TRUE(
      std::holds_alternative<Refusal>(testing::reserve(ledger, account, {.tokens = 1}, before)));
}

TEST_P(LedgerTest, RefusedForMoneyDoesNotCountAsARequest) {
  const Place place(GetParam());
  HandClock clock;
  Ledger ledger(place.open(), testing::options_with(clock));
  const auto account = ledger.account("key", {.total = Money{10}, .requests_per_minute = 1});
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(refused(ledger, account, Money{11}, clock.now()).limit, LimitKind::kTotal);
  }
  reserved(ledger, account, Money{10}, clock.now()).release();
  EXPECT_EQ(refused(ledger, account, Money{1}, clock.now()).limit, LimitKind::kRequestsPerMinute);
}

TEST_P(LedgerTest, IdleLeaseIsGivenBackToOthers) {
  if (GetParam() == Kind::kMemory) GTEST_SKIP() << "memory is not shared";
  const Place place(GetParam());
  HandClock clock;
  const Limits limits = {.total = Money{1000}};
  Ledger a(place.open(), testing::options_with(clock)),
      b(place.open(), testing::options_with(clock));
  const auto account_a = a.account("key", limits), account_b = b.account("key", limits);
  reserved(a, account_a, Money{400}, clock.now()).release();
  clock.advance(seconds{6});
  EXPECT_TRUE(testing::wait_until([&] {
    Outcome outcome = testing::reserve(b, account_b, {.worst_case = Money{1000}}, clock.now());
    clock.advance(milliseconds{300});
    return std::holds_alternative<Reservation>(outcome);
  }));
}

TEST_P(LedgerTest, ReportGroupsByKeyModelDayAndTag) {
  const Place place(GetParam());
  HandClock clock;
  Ledger ledger(place.open(), testing::options_with(clock));
  const auto team = ledger.account("team", {.per_day = Money{1000}});
  const auto other = ledger.account("other", {});
  const Usage usage = {.prompt_tokens = 100,
                       .completion_tokens = 30,
                       .reasoning_tokens = 10,
                       .cached_tokens = 20,
                       .cache_write_tokens = 5};
  reserved(ledger, team, Money{50}, clock.now())
      .settle({.cost = Money{40}, .usage = usage, .model = "a", .tag = "x", .baseline = Money{70}});
  reserved(ledger, team, Money{50}, clock.now())
      .settle({.cost = Money{10}, .usage = usage, .model = "b", .tag = "x", .requests = 0});
  reserved(ledger, other, Money{50}, clock.now())
      .abandon({.usage = usage, .model = "a", .tag = ""});
  clock.advance(hours{24});
  reserved(ledger, other, Money{50}, clock.now()).settle({.cost = Money{3}, .model = "a"});
  SpendQuery query = {.from = sys_days{std::chrono::year{2026} / 10 / 15},
                      .to = sys_days{std::chrono::year{2026} / 10 / 16}};
  const SpendReport all = testing::report(ledger, query);
  ASSERT_EQ(all.rows.size(), 1U);
  const Spend expected = {.settled = {53},
                          .unsettled = {50},
                          .baseline = {70},
                          .compared = {40},
                          .requests = 3,
                          .input_tokens = 300,
                          .cached_tokens = 60,
                          .cache_write_tokens = 15,
                          .output_tokens = 90,
                          .reasoning_tokens = 30};
  EXPECT_EQ(all.rows[0].spend, expected);
  EXPECT_EQ(all.total, expected);
  query.by_model = query.by_tag = true;
  const SpendReport models = testing::report(ledger, query);
  ASSERT_EQ(models.rows.size(), 3U);
  EXPECT_EQ(models.rows[0].model, "a");
  EXPECT_EQ(models.rows[0].tag, "");
  EXPECT_EQ(models.rows[0].spend.settled, Money{3});
  EXPECT_EQ(models.rows[0].spend.unsettled, Money{50});
  EXPECT_EQ(models.rows[1].tag, "x");
  EXPECT_EQ(models.rows[1].spend.settled, Money{40});
  EXPECT_EQ(models.rows[2].model, "b");
  EXPECT_EQ(models.total, expected);
  query.by_day = true;
  query.key = "other";
  const SpendReport days = testing::report(ledger, query);
  ASSERT_EQ(days.rows.size(), 2U);
  EXPECT_EQ(days.rows[1].day, query.to);
  EXPECT_EQ(days.total.settled, Money{3});
  query.from = query.to;
  EXPECT_EQ(testing::report(ledger, query).rows.size(), 1U);
}

TEST_P(LedgerTest, WhileTheStoreFailsOnlyLimitedKeysAreRefusedAndNothingIsLost) {
  const Place place(GetParam());
  HandClock clock;
  std::atomic<bool> broken = true;
  std::mutex mutex;
  std::vector<std::string> log;
  Ledger::Options options = testing::options_with(clock);
  options.log = [&](LogLevel, std::string_view text) {
    const std::lock_guard lock(mutex);
    log.emplace_back(text);
  };
  Ledger ledger(
      std::make_unique<FaultyStore>(
          place.open(),
          [&] { return broken ? FaultyStore::Fault::kBefore : FaultyStore::Fault::kNone; }),
      options);
  const auto limited = ledger.account("limited", {.per_day = Money{1000}});
  const auto open = ledger.account("open", {});
  const Refusal refusal = refused(ledger, limited, Money{10}, clock.now());
  EXPECT_EQ(refusal.limit, LimitKind::kLedger);
  EXPECT_EQ(refusal.retry_after, milliseconds{1000});
  EXPECT_THAT(refusal.message(), ::testing::HasSubstr("no space is left"));
  EXPECT_EQ(ledger.status().problem, "no space is left");
  for (int i = 0; i < 1000; ++i) {
    reserved(ledger, open, Money{10}, clock.now())
        .settle({.cost = Money{7}, .model = "m" + std::to_string(i % 50)});
    if (i % 100 == 0) {
      EXPECT_FALSE(ledger.flush(kLongTime));
      EXPECT_EQ(refused(ledger, limited, Money{10}, clock.now()).limit, LimitKind::kLedger);
    }
  }
  // Reports have what is not written.
  EXPECT_EQ(total(ledger, "open").settled, Money{7000});
  EXPECT_GE(ledger.status().waiting, 50U);
  EXPECT_LE(ledger.status().waiting, 100U);
  broken = false;
  EXPECT_TRUE(ledger.flush(kLongTime));
  EXPECT_EQ(ledger.status().waiting, 0U);
  EXPECT_EQ(ledger.status().problem, "");
  EXPECT_EQ(total(ledger, "open").settled, Money{7000});
  EXPECT_EQ(total(ledger, "open").requests, 1000);
  reserved(ledger, limited, Money{10}, clock.now()).release();
  const std::lock_guard lock(mutex);
  EXPECT_EQ(log, (std::vector<std::string>{"the ledger cannot be written: no space is left",
                                           "the ledger can be written again"}));
}

TEST_P(LedgerTest, ReservationsMayOutliveTheLedger) {
  const Place place(GetParam());
  HandClock clock;
  auto ledger = std::make_unique<Ledger>(place.open(), testing::options_with(clock));
  const auto account = ledger->account("key", {.total = Money{1000}});
  Reservation settled = reserved(*ledger, account, Money{10}, clock.now());
  {
    const Reservation dropped = reserved(*ledger, account, Money{10}, clock.now());
    ledger.reset();
  }
  settled.settle({.cost = Money{10}});
}

TEST_P(LedgerTest, AMovedReservationEndsOnce) {
  const Place place(GetParam());
  HandClock clock;
  Ledger ledger(place.open(), testing::options_with(clock));
  const auto account = ledger.account("key", {.total = Money{1000}});
  Reservation a = reserved(ledger, account, Money{10}, clock.now());
  Reservation b = reserved(ledger, account, Money{20}, clock.now());
  b = std::move(a);  // abandons its own
  EXPECT_FALSE(a);   // NOLINT(bugprone-use-after-move)
  b.settle({.cost = Money{1}});
  b.settle({.cost = Money{1}});
  b.release();
  EXPECT_EQ(total(ledger).settled, Money{1});
  EXPECT_EQ(total(ledger).unsettled, Money{20});
}

INSTANTIATE_TEST_SUITE_P(Stores, LedgerTest,
                         ::testing::Values(Kind::kMemory, Kind::kSqlite, Kind::kRedis),
                         name_of_kind);
INSTANTIATE_TEST_SUITE_P(Stores, LedgerThreads,
                         ::testing::Values(Kind::kMemory, Kind::kSqlite, Kind::kRedis),
                         name_of_kind);
INSTANTIATE_TEST_SUITE_P(Stores, SharedLedgerThreads,
                         ::testing::Values(Kind::kMemory, Kind::kSqlite, Kind::kRedis),
                         name_of_kind);

}  // namespace
}  // namespace r2router::gateway
