#include <random>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "r2router/error.h"

#include "gateway/spending/ledger.h"
#include "gateway/spending/store.h"
#include "support/errors.h"
#include "support/ledger.h"
#include "support/redis_server.h"

namespace r2router::gateway {
namespace {

using testing::expect_error;
using testing::HandClock;
using testing::kLongTime;
using testing::RedisServer;
using testing::total;

#ifndef R2ROUTER_HAS_HIREDIS

TEST(RedisStore, IsMissingInThisBuild) {
  expect_error(ErrorCode::kUnsupported, "hiredis",
               [] { open_ledger({.location = "redis://localhost"}); });
}

#else

class RedisStore : public ::testing::Test {
 protected:
  void SetUp() override {
    if (RedisServer::program().empty()) GTEST_SKIP() << "redis-server is not installed";
  }
};

Spend spent_in(Store& store) {
  Spend sum;
  store.visit(0, 1'000'000, {},
              [&](Day, std::string_view, const SpendEntry& entry) { sum += entry.spend; });
  return sum;
}

Exchange exchange_of(std::uint64_t number, Money spent, Money want, Limits limits) {
  ExchangeEntry entry = {.key = "key", .day = 20000, .limits = limits};
  if (spent != Money{}) entry.rows.push_back({.model = "m", .spend = {.settled = spent}});
  entry.spent = spent;
  entry.need = entry.want = want;
  return {.number = number, .entries = {entry}};
}

TEST(RedisStoreAddress, ThatIsInvalidIsRefusedWithoutItsPassword) {
  for (const char* url : {"redis://", "redis://host:port", "redis://host:0", "redis://host:70000",
                          "redis://host/name", "redis://:6379", "redis://host:"}) {
    expect_error(ErrorCode::kInvalidArgument, "expected \"redis://",
                 [&] { open_ledger({.location = url}); });
  }
  const Error error =
      testing::error_of([] { open_ledger({.location = "redis://user:secret@host:6379/0"}); });
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(std::string(error.what()).find("secret"), std::string::npos);
}

TEST_F(RedisStore, NamesTheServerThatCannotBeUsed) {
  std::string url;
  {
    const RedisServer server;
    url = server.url();
    open_ledger({.location = url + "/3"});
    expect_error(ErrorCode::kServer, "out of range",
                 [&] { open_ledger({.location = url + "/99"}); });
  }
  expect_error(ErrorCode::kConnection, url.substr(url.find("//") + 2),
               [&] { open_ledger({.location = url}); });
}

TEST_F(RedisStore, AuthenticatesWithPasswordAndUser) {
  const RedisServer server(
      {"--requirepass", "open sesame", "--user", "gateway", "on", ">another", "~*", "&*", "+@all"});
  expect_error(ErrorCode::kAuthentication, "NOAUTH",
               [&] { open_ledger({.location = server.url()}); });
  const Error error = testing::error_of(
      [&] { open_ledger({.location = server.url(), .password = llm::Secret("wrong words")}); });
  EXPECT_EQ(error.code(), ErrorCode::kAuthentication);
  EXPECT_EQ(std::string(error.what()).find("wrong words"), std::string::npos);
  open_ledger({.location = server.url(), .password = llm::Secret("open sesame")});
  std::string url = server.url();
  url.insert(url.find("//") + 2, "gateway@");
  open_ledger({.location = url, .password = llm::Secret("another")});
}

TEST_F(RedisStore, RefusesAServerThatMayForget) {
  const RedisServer server({"--maxmemory", "10mb", "--maxmemory-policy", "allkeys-lru"});
  expect_error(ErrorCode::kBadConfig, "noeviction",
               [&] { open_ledger({.location = server.url()}); });
  const RedisServer bounded({"--maxmemory", "10mb", "--maxmemory-policy", "noeviction"});
  open_ledger({.location = bounded.url()});
}

TEST_F(RedisStore, TheSameExchangeIsDoneOnceAndSurvivesARestart) {
  RedisServer server;
  const auto store = open_redis_store(server.url(), {});
  const Limits limits = {.per_day = Money{1000}, .per_month = Money{2000}, .total = Money{3000}};
  store->exchange(exchange_of(1, {}, Money{200}, limits));
  const Exchange exchange = exchange_of(2, Money{80}, Money{100}, limits);
  const Standing first = store->exchange(exchange)[0];
  // The scripts and the connection are gone, the numbers are not.
  server.kill();
  expect_error(ErrorCode::kConnection, "127.0.0.1", [&] { store->exchange(exchange); });
  server.start();
  const Standing second = store->exchange(exchange)[0];
  EXPECT_EQ(first.lease, Money{100});
  EXPECT_EQ(first.lease, second.lease);
  EXPECT_EQ(first.charged, second.charged);
  EXPECT_EQ(first.leased, second.leased);
  EXPECT_EQ(spent_in(*store).settled, Money{80});
  EXPECT_EQ(store->exchange(exchange_of(3, Money{5}, {}, limits))[0].charged[2], Money{85});
}

TEST_F(RedisStore, ComputesLeasesAsTheOthersDo) {
  const RedisServer server;
  const auto redis = open_redis_store(server.url(), {});
  const auto memory = make_memory_store();
  std::mt19937_64 random(9);
  const auto below = [&](std::uint64_t end) {
    return Money{static_cast<std::int64_t>(random() % end)};
  };
  for (std::uint64_t number = 1; number < 1500; ++number) {
    Exchange exchange = {.number = number, .entries = {}};
    for (const char* key : {"a", "b"}) {
      ExchangeEntry entry = {.key = key, .day = static_cast<Day>(20480 + random() % 12)};
      if (random() % 4 != 0) entry.limits.per_day = below(1000);
      if (random() % 4 != 0) entry.limits.per_month = below(5000);
      entry.limits.total = below(9'000'000'000'000'000);
      entry.spent = below(60);
      entry.rows.push_back({.model = "m", .spend = {.settled = entry.spent}});
      entry.reserved = below(60);
      entry.need = below(100);
      entry.want = entry.need + below(100);
      entry.recheck = random() % 3 == 0;
      exchange.entries.push_back(std::move(entry));
    }
    const auto expected = memory->exchange(exchange), found = redis->exchange(exchange);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      ASSERT_EQ(found[i].lease, expected[i].lease) << number;
      ASSERT_EQ(found[i].charged, expected[i].charged) << number;
      ASSERT_EQ(found[i].leased, expected[i].leased) << number;
    }
  }
}

TEST_F(RedisStore, ThatDoesNotAnswerRefusesLimitedKeysAndLosesNothing) {
  RedisServer server;
  HandClock clock;
  Ledger ledger(open_redis_store(server.url(), {}), testing::options_with(clock));
  const auto limited = ledger.account("limited", {.total = Money{1000}});
  const auto open = ledger.account("open", {});
  server.pause();
  const Outcome refused = testing::reserve(ledger, limited, {.worst_case = Money{5}}, clock.now());
  ASSERT_TRUE(std::holds_alternative<Refusal>(refused));
  EXPECT_NE(std::get<Refusal>(refused).message().find("no answer within 2 s"), std::string::npos);
  for (int i = 0; i < 10; ++i) {
    Outcome taken = testing::reserve(ledger, open, {.worst_case = Money{5}}, clock.now());
    std::get<Reservation>(taken).settle({.cost = Money{4}});
  }
  server.resume();
  EXPECT_TRUE(testing::wait_until([&] { return ledger.flush(kLongTime); }));
  EXPECT_EQ(total(ledger).settled, Money{40});
}

#endif

}  // namespace
}  // namespace r2router::gateway
