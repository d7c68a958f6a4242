// What keys and spending limits add to a request: the search for its key, and reserving and
// settling its cost, alone and with other threads. Pin it to as many cores as threads: taskset -c
// 0,1 build/release/bench/ledger_bench
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

#include "gateway/spending/keys.h"
#include "gateway/spending/ledger.h"
#include "gateway/spending/store.h"
#include "support/ledger.h"
#include "support/temporary_folder.h"

namespace r2router::gateway {
namespace {

constexpr Money kLimit{Money::kMost}, kWorst{10'000'000}, kCost{100'000};

/// A ledger in memory (range 0) or in a file (range 1), with a key per thread, or one for all.
struct Setting {
  Setting(const benchmark::State& state, int keys)
      : ledger(state.range(0) == 0 ? make_memory_store() : open_sqlite_store(folder / "spend.db"),
               {}) {
    for (int i = 0; i < keys; ++i) {
      accounts.push_back(
          ledger.account("key " + std::to_string(i),
                         {.per_day = kLimit, .tokens_per_minute = std::uint64_t{1} << 60}));
    }
  }

  testing::TemporaryFolder folder;
  Ledger ledger;
  std::vector<std::shared_ptr<Account>> accounts;
};

std::unique_ptr<Setting> setting;

void set_up_shared(const benchmark::State& state) { setting = std::make_unique<Setting>(state, 1); }
void set_up_own(const benchmark::State& state) {
  setting = std::make_unique<Setting>(state, state.threads());
}
void tear_down(const benchmark::State& /*state*/) { setting.reset(); }

void BM_ReserveAndSettle(benchmark::State& state) {
  const auto& accounts = setting->accounts;
  const auto account = accounts[static_cast<std::size_t>(state.thread_index()) % accounts.size()];
  const Usage usage = {.prompt_tokens = 500, .completion_tokens = 200};
  std::int64_t waited = 0;
  std::optional<Outcome> late;
  std::atomic<bool> arrived = false;
  for (auto _ : state) {
    auto outcome = setting->ledger.reserve(account, {.worst_case = kWorst, .tokens = 1000},
                                           Instant::now(), [&](Outcome value) {
                                             late = std::move(value);
                                             arrived = true;
                                             arrived.notify_one();
                                           });
    if (!outcome) {
      ++waited;
      arrived.wait(false);
      arrived = false;
      outcome.emplace(std::move(*late));
    }
    auto* reservation = std::get_if<Reservation>(&*outcome);
    if (reservation == nullptr) {
      state.SkipWithError(std::get<Refusal>(*outcome).message().c_str());
      break;
    }
    reservation->settle(
        {.cost = kCost, .usage = usage, .model = "anthropic/claude-sonnet-4", .tag = "team"});
  }
  state.counters["waited"] = static_cast<double>(waited);
}
BENCHMARK(BM_ReserveAndSettle)
    ->Name("BM_ReserveAndSettle/shared_key")
    ->Setup(set_up_shared)
    ->Teardown(tear_down)
    ->ArgName("file")
    ->Arg(0)
    ->Arg(1)
    ->ThreadRange(1, 2)
    ->UseRealTime();
BENCHMARK(BM_ReserveAndSettle)
    ->Name("BM_ReserveAndSettle/own_key")
    ->Setup(set_up_own)
    ->Teardown(tear_down)
    ->ArgName("file")
    ->Arg(0)
    ->Arg(1)
    ->Threads(2)
    ->UseRealTime();

void BM_FindKey(benchmark::State& state) {
  std::vector<Key> list;
  std::string text;
  for (std::int64_t i = 0; i < state.range(0); ++i) {
    text = make_key();
    list.push_back({.name = std::to_string(i), .hash = hash_key(text)});
  }
  const Keys keys(list);
  for (auto _ : state) benchmark::DoNotOptimize(keys.find(text));
}
BENCHMARK(BM_FindKey)->Arg(1)->Arg(1000);

}  // namespace
}  // namespace r2router::gateway
