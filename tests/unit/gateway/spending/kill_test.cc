// Processes that are killed while they spend.
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <sqlite3.h>

#include "gateway/spending/ledger.h"
#include "support/ledger.h"
#include "support/process.h"
#include "support/redis_server.h"
#include "support/temporary_folder.h"

namespace r2router::gateway {
namespace {

struct Bills {
  Money all, durable;
};

/// The bills by key in what a program printed. A line that was not finished was not billed.
std::map<std::string, Bills> bills_in(const std::string& out) {
  std::vector<std::pair<std::string, Money>> bills;
  std::size_t durable = 0;
  for (const std::string& line : testing::lines_of(out.substr(0, out.rfind('\n') + 1))) {
    std::istringstream words(line);
    std::string what, key;
    std::int64_t amount = 0;
    words >> what;
    if (what == "durable") {
      words >> durable;
    } else {
      words >> key >> amount;
      bills.emplace_back(key, Money{amount});
    }
    EXPECT_FALSE(words.fail()) << line;
  }
  std::map<std::string, Bills> sums;
  for (std::size_t i = 0; i < bills.size(); ++i) {
    sums[bills[i].first].all += bills[i].second;
    if (i < durable) sums[bills[i].first].durable += bills[i].second;
  }
  return sums;
}

std::string integrity_of(const std::string& path) {
  sqlite3* database = nullptr;
  std::string result;
  sqlite3_open(path.c_str(), &database);
  sqlite3_exec(
      database, "PRAGMA integrity_check",
      [](void* out, int, char** values, char**) {
        *static_cast<std::string*>(out) += values[0];
        return 0;
      },
      &result, nullptr);
  sqlite3_close(database);
  return result;
}

int kills() {
  const char* text = std::getenv("R2ROUTER_LEDGER_KILLS");
  return text == nullptr ? 8 : std::atoi(text);
}

/// Starts programs, three at a time, and kills each at a random moment. Checks that no key exceeds
/// its limit and that what is billed lies between settled and settled + unsettled.
template <typename EachKill>
void kill_and_check(const std::string& location, bool dead_are_certain, EachKill each_kill) {
  const std::map<std::string, std::int64_t> limits = {
      {"tight", 40'000'000}, {"middle", 2'000'000'000}, {"wide", 900'000'000'000}, {"open", -1}};
  std::vector<std::string> keys;
  for (const auto& [name, limit] : limits) {
    keys.push_back(name + "=" + (limit < 0 ? "" : std::to_string(limit)));
  }
  std::mt19937 random(11);
  unsigned seed = 0;
  const auto start = [&] {
    std::vector<std::string> arguments = {R2ROUTER_LEDGER_PROGRAM, location,
                                          std::to_string(++seed)};
    arguments.insert(arguments.end(), keys.begin(), keys.end());
    auto process = std::make_unique<testing::Process>(arguments);
    // It spends, so a kill hits it at work.
    EXPECT_TRUE(testing::wait_until(
        [&] { return process->out().find("bill") != std::string::npos || seed > 60; }));
    return process;
  };
  std::vector<std::unique_ptr<testing::Process>> running;
  for (int i = 0; i < 3; ++i) running.push_back(start());
  std::map<std::string, Bills> billed;
  const auto kill_one = [&] {
    std::swap(running[random() % running.size()], running.back());
    running.back()->signal(SIGKILL);
    const testing::Outcome outcome = running.back()->wait();
    EXPECT_EQ(outcome.exit_code, 128 + SIGKILL) << outcome.err;
    running.pop_back();
    for (const auto& [key, bills] : bills_in(outcome.out)) {
      billed[key].all += bills.all;
      billed[key].durable += bills.durable;
    }
  };
  for (int i = 0; i < kills(); ++i) {
    std::this_thread::sleep_for(std::chrono::microseconds{random() % 200'000});
    kill_one();
    running.push_back(start());
    each_kill();
  }
  while (!running.empty()) kill_one();
  for (const auto& [key, bills] : billed) {
    if (limits.at(key) >= 0) {
      EXPECT_LE(bills.all.nano, limits.at(key)) << key;
    }
  }
  const auto ledger = open_ledger({.location = location});
  for (const auto& [key, limit] : limits) {
    const Spend spend = testing::total(*ledger, key);
    EXPECT_GE(spend.settled, billed[key].durable) << key;
    EXPECT_LE(spend.settled, billed[key].all) << key;
    if (limit < 0) continue;
    if (dead_are_certain) {
      EXPECT_GE(spend.settled + spend.unsettled, billed[key].all) << key;
    }
    EXPECT_LE((spend.settled + spend.unsettled).nano, limit) << key;
    // Whatever is reported, a new process gets no more than what was not billed.
    const auto account = ledger->account(key, {.total = Money{limit}});
    const Outcome outcome =
        testing::reserve(*ledger, account,
                         {.worst_case = Money{limit} - billed[key].all + Money{1}}, Instant::now());
    EXPECT_TRUE(std::holds_alternative<Refusal>(outcome)) << key;
  }
  EXPECT_GT(billed["open"].all, Money{});
  EXPECT_GT(billed["wide"].durable, Money{});
}

TEST(LedgerKill, SqliteFileSharedByProcessesThatAreKilled) {
  const testing::TemporaryFolder folder;
  const std::string path = folder / "spend.db";
  kill_and_check(path, true, [] {});
  EXPECT_EQ(integrity_of(path), "ok");
}

TEST(LedgerKill, RedisSharedByProcessesThatAreKilled) {
#ifndef R2ROUTER_HAS_HIREDIS
  GTEST_SKIP() << "this build has no hiredis";
#endif
  if (testing::RedisServer::program().empty()) GTEST_SKIP() << "redis-server is not installed";
  testing::RedisServer server;
  int count = 0;
  // Processes fall silent; whether they have ended is not known for a minute. Redis itself is
  // killed too, now and then.
  kill_and_check(server.url(), false, [&] {
    if (++count % 4 != 0) return;
    server.kill();
    server.start();
  });
}

}  // namespace
}  // namespace r2router::gateway
