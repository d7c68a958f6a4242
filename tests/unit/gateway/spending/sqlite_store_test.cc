#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "r2router/error.h"

#include "gateway/spending/ledger.h"
#include "gateway/spending/store.h"
#include "support/errors.h"
#include "support/full_disk.h"
#include "support/ledger.h"
#include "support/temporary_folder.h"

namespace r2router::gateway {
namespace {

using testing::HandClock;
using testing::kLongTime;
using testing::total;

void run_sql(const std::string& path, const std::string& sql) {
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &database), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(database, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
      << sqlite3_errmsg(database);
  sqlite3_close(database);
}

Reservation take(Ledger& ledger, const std::shared_ptr<Account>& account, Money worst,
                 Instant now) {
  Outcome outcome = testing::reserve(ledger, account, {.worst_case = worst}, now);
  if (const auto* refusal = std::get_if<Refusal>(&outcome)) {
    ADD_FAILURE() << refusal->message();
    return {};
  }
  return std::get<Reservation>(std::move(outcome));
}

/// An exchange of one entry.
Exchange exchange_of(std::uint64_t number, Day day, Money spent, Money reserved, Money want,
                     Limits limits) {
  ExchangeEntry entry = {.key = "key", .day = day, .limits = limits};
  if (spent != Money{}) entry.rows.push_back({.model = "m", .spend = {.settled = spent}});
  entry.spent = spent;
  entry.reserved = reserved;
  entry.need = entry.want = want;
  return {.number = number, .entries = {entry}};
}

Spend spent_in(Store& store) {
  Spend sum;
  store.visit(0, 1'000'000, {},
              [&](Day, std::string_view, const SpendEntry& entry) { sum += entry.spend; });
  return sum;
}

TEST(SqliteStore, FilesAreForTheirUserAlone) {
  const testing::TemporaryFolder folder;
  HandClock clock;
  Ledger ledger(open_sqlite_store(folder / "spend.db"), testing::options_with(clock));
  take(ledger, ledger.account("key", {}), Money{5}, clock.now()).settle({.cost = Money{5}});
  EXPECT_TRUE(ledger.flush(kLongTime));
  EXPECT_EQ(folder.names().size(), 4U);  // the database, -wal, -shm and -owners
  for (const std::string& name : folder.names()) {
    struct stat status = {};
    ASSERT_EQ(stat((folder / name).c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600U) << name;
  }
}

TEST(SqliteStore, LeaseOfAProcessThatHasGoneIsUnsettledAndOfOneThatLivesIsNot) {
  const testing::TemporaryFolder folder;
  const std::string path = folder / "spend.db";
  const Limits limits = {.total = Money{1000}};
  auto a = open_sqlite_store(path), b = open_sqlite_store(path);
  EXPECT_EQ(a->exchange(exchange_of(1, 20000, {}, {}, Money{300}, limits))[0].lease, Money{300});
  EXPECT_EQ(b->exchange(exchange_of(1, 20000, Money{50}, {}, Money{400}, limits))[0].lease,
            Money{400});
  b->maintain();
  EXPECT_EQ(spent_in(*b).unsettled, Money{});
  a.reset();  // without giving its lease back
  b->maintain();
  b->maintain();
  EXPECT_EQ(spent_in(*b).settled, Money{50});
  EXPECT_EQ(spent_in(*b).unsettled, Money{300});
  // It still counts as spent: 1000 - 50 - 300 are left, of which 400 are leased already.
  const Standing standing = b->exchange(exchange_of(2, 20000, {}, {}, Money{999}, limits))[0];
  EXPECT_EQ(standing.lease, Money{650});
  EXPECT_EQ(standing.charged[2], Money{350});
  EXPECT_EQ(standing.leased[2], Money{650});
}

TEST(SqliteStore, TheSameExchangeIsDoneOnce) {
  const testing::TemporaryFolder folder;
  const auto store = open_sqlite_store(folder / "spend.db");
  const Limits limits = {.per_day = Money{1000}};
  store->exchange(exchange_of(1, 20000, {}, Money{100}, Money{200}, limits));
  const Exchange exchange = exchange_of(2, 20000, Money{80}, Money{20}, Money{100}, limits);
  const Standing first = store->exchange(exchange)[0], second = store->exchange(exchange)[0];
  EXPECT_EQ(spent_in(*store).settled, Money{80});
  EXPECT_EQ(first.lease, second.lease);
  EXPECT_EQ(first.charged[0], second.charged[0]);
  EXPECT_EQ(first.leased[0], second.leased[0]);
}

TEST(SqliteStore, RefusesFilesThatAreNoLedger) {
  const testing::TemporaryFolder folder;
  const auto refused = [&](const std::string& name, ErrorCode code, const std::string& part) {
    testing::expect_error(code, part, [&] { open_sqlite_store(folder / name); });
    testing::expect_error(code, name, [&] { open_sqlite_store(folder / name); });
  };
  testing::put_file(folder / "text.db", std::string(5000, 'x'));
  refused("text.db", ErrorCode::kBadData, "damaged or not a ledger");
  run_sql(folder / "other.db", "CREATE TABLE things (name)");
  refused("other.db", ErrorCode::kBadData, "another program");
  open_sqlite_store(folder / "newer.db");
  run_sql(folder / "newer.db", "PRAGMA user_version = 99");
  refused("newer.db", ErrorCode::kUnsupported, "version 99, expected at most 1");
  refused("missing/spend.db", ErrorCode::kNotFound, "No such file");
  std::filesystem::create_directory(folder / "folder.db");
  refused("folder.db", ErrorCode::kIo, "Is a directory");
}

TEST(SqliteStore, FindsDamage) {
  const testing::TemporaryFolder folder;
  const std::string path = folder / "spend.db";
  {
    HandClock clock;
    Ledger ledger(open_sqlite_store(path), testing::options_with(clock));
    const auto account = ledger.account("key", {});
    for (int i = 0; i < 500; ++i) {
      take(ledger, account, Money{5}, clock.now())
          .settle({.cost = Money{5}, .model = "a model with a long name " + std::to_string(i)});
    }
  }
  const std::string good = testing::read_file(path);
  ASSERT_GT(good.size(), 30'000U);
  int found = 0;
  for (std::size_t page = 0; page < good.size(); page += 4096) {
    std::string bad = good;
    for (std::size_t i = page + 8; i < page + 1000; ++i) bad[i] = static_cast<char>(i * 37);
    testing::put_file(path, bad);
    try {
      open_sqlite_store(path);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kBadData) << error.what();
      EXPECT_EQ(error.where().file, path);
      ++found;
    }
  }
  // All but the pages of tables without rows.
  EXPECT_GE(found, static_cast<int>(good.size() / 4096) - 3);
  testing::put_file(path, good.substr(0, good.size() / 2));
  testing::expect_error(ErrorCode::kBadData, "damaged", [&] { open_sqlite_store(path); });
}

TEST(SqliteStore, OpenedByManyThreadsAtOnce) {
  const testing::TemporaryFolder folder;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&] {
        HandClock clock;
        Ledger ledger(open_sqlite_store(folder / "spend.db"), testing::options_with(clock));
        take(ledger, ledger.account("key", {.total = Money{800}}), Money{100}, clock.now())
            .settle({.cost = Money{100}});
      });
    }
  }
  HandClock clock;
  Ledger ledger(open_sqlite_store(folder / "spend.db"), testing::options_with(clock));
  EXPECT_EQ(total(ledger).settled, Money{800});
}

TEST(SqliteStore, FolderThatCannotBeWritten) {
  const testing::TemporaryFolder folder;
  const auto outcome = testing::on_small_disk(folder.path(), 1 << 20, [&] {
    open_sqlite_store(folder / "spend.db");
    if (mount("none", folder.path().c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr) != 0) {
      return false;
    }
    for (const char* name : {"spend.db", "new.db"}) {
      try {
        open_sqlite_store(folder / name);
        return false;
      } catch (const Error& error) {
        if (error.code() != ErrorCode::kIo || error.where().file != folder / name ||
            std::string(error.what()).find("Read-only file system") == std::string::npos) {
          return false;
        }
      }
    }
    return true;
  });
  if (outcome == testing::SmallDisk::kNotPermitted) GTEST_SKIP() << "cannot mount";
  EXPECT_EQ(outcome, testing::SmallDisk::kPassed);
}

TEST(SqliteStore, FullDiskRefusesLimitedKeysAndLosesNothing) {
  const testing::TemporaryFolder folder;
  const auto outcome = testing::on_small_disk(folder.path(), 4 << 20, [&] {
    HandClock clock;
    Ledger ledger(open_sqlite_store(folder / "spend.db"), testing::options_with(clock));
    const auto open = ledger.account("open", {});
    const auto limited = ledger.account("limited", {.total = Money{1'000'000}});
    std::int64_t count = 0;
    const auto spend = [&] {
      Outcome taken = testing::reserve(ledger, open, {.worst_case = Money{5}}, clock.now());
      // Another model each time: each needs space.
      std::get<Reservation>(taken).settle(
          {.cost = Money{3}, .model = std::string(500, 'm') + std::to_string(++count)});
    };
    spend();
    if (!ledger.flush(kLongTime)) return false;
    {
      std::ofstream filler(folder / "filler");
      while (filler << std::string(4096, 'f') << std::flush) {
      }
    }
    // The log of the database may have some space of its own.
    do {
      for (int i = 0; i < 100; ++i) spend();
    } while (ledger.flush(kLongTime) && count < 100'000);
    if (ledger.status().problem.find("no space is left") == std::string::npos) return false;
    Outcome refused = testing::reserve(ledger, limited, {.worst_case = Money{5}}, clock.now());
    if (!std::holds_alternative<Refusal>(refused) ||
        std::get<Refusal>(refused).limit != LimitKind::kLedger ||
        std::get<Refusal>(refused).message().find("no space is left") == std::string::npos) {
      return false;
    }
    for (int i = 0; i < 100; ++i) spend();  // goes on
    if (total(ledger).settled != Money{3 * count}) return false;
    std::filesystem::remove(folder / "filler");
    if (!ledger.flush(kLongTime) || ledger.status().waiting != 0) return false;
    Outcome again = testing::reserve(ledger, limited, {.worst_case = Money{5}}, clock.now());
    if (!std::holds_alternative<Reservation>(again)) return false;
    std::get<Reservation>(again).release();
    return total(ledger).settled == Money{3 * count} && total(ledger).requests == count;
  });
  if (outcome == testing::SmallDisk::kNotPermitted) GTEST_SKIP() << "cannot mount";
  EXPECT_EQ(outcome, testing::SmallDisk::kPassed);
}

TEST(SqliteStore, FileThatIsDeletedWhileInUseIsNoticed) {
  const testing::TemporaryFolder folder;
  const std::string path = folder / "spend.db";
  HandClock clock;
  Ledger ledger(open_sqlite_store(path), testing::options_with(clock));
  const auto account = ledger.account("key", {.total = Money{1000}});
  take(ledger, account, Money{5}, clock.now()).settle({.cost = Money{5}});
  ASSERT_TRUE(ledger.flush(kLongTime));
  std::filesystem::remove(path);
  take(ledger, account, Money{1}, clock.now()).settle({.cost = Money{1}});
  EXPECT_FALSE(ledger.flush(kLongTime));
  Outcome outcome = testing::reserve(ledger, account, {.worst_case = Money{900}}, clock.now());
  ASSERT_TRUE(std::holds_alternative<Refusal>(outcome));
  EXPECT_NE(std::get<Refusal>(outcome).message().find("moved or deleted"), std::string::npos);
}

// Rows that wait are bounded: the rest is summed without details.
TEST(SqliteStore, BoundsWhatWaitsInMemory) {
  const testing::TemporaryFolder folder;
  HandClock clock;
  std::atomic<bool> broken = true;
  Ledger ledger(
      std::make_unique<testing::FaultyStore>(open_sqlite_store(folder / "spend.db"),
                                             [&] {
                                               return broken ? testing::FaultyStore::Fault::kBefore
                                                             : testing::FaultyStore::Fault::kNone;
                                             }),
      testing::options_with(clock));
  const auto account = ledger.account("key", {});
  for (int i = 0; i < 150'000; ++i) {
    take(ledger, account, Money{5}, clock.now())
        .settle({.cost = Money{3}, .model = std::to_string(i)});
  }
  EXPECT_LE(ledger.status().waiting, 100'001U);
  EXPECT_EQ(total(ledger).settled, Money{450'000});
  broken = false;
  EXPECT_TRUE(ledger.flush(kLongTime));
  EXPECT_EQ(ledger.status().waiting, 0U);
  EXPECT_EQ(total(ledger).settled, Money{450'000});
}

}  // namespace
}  // namespace r2router::gateway
