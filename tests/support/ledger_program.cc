// A gateway's worth of spending without the gateway: requests of several keys in several threads,
// which a test kills. Prints one line for each request that the upstream bills, before it is
// settled, and one after each flush that says how many of them are durable:
//
//     bill KEY NANO
//     durable COUNT
//
// Arguments: the ledger's location, a seed, and NAME=LIMIT of each key (nano-USD in total; empty:
// without a limit).
#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <future>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <unistd.h>

#include "r2router/error.h"

#include "gateway/spending/ledger.h"

namespace {

using namespace r2router::gateway;

/// Written at once, so that a line is complete or missing.
void print(const std::string& line) {
  if (write(STDOUT_FILENO, line.data(), line.size()) != static_cast<ssize_t>(line.size())) _exit(3);
}

Outcome reserve(Ledger& ledger, const std::shared_ptr<Account>& account, Money worst) {
  auto promise = std::make_shared<std::promise<Outcome>>();
  auto late = promise->get_future();
  auto outcome = ledger.reserve(account, {.worst_case = worst}, Instant::now(),
                                [promise](Outcome value) { promise->set_value(std::move(value)); });
  return outcome ? std::move(*outcome) : late.get();
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 4) return 2;
  const auto ledger = [&] {
    for (int attempt = 1;; ++attempt) {
      try {
        return open_ledger({.location = arguments[1]});
      } catch (const r2router::Error&) {  // a server that is slow on a busy machine
        if (attempt == 10) throw;
      }
    }
  }();
  const auto seed = static_cast<unsigned>(std::atoi(arguments[2]));
  std::vector<std::pair<std::string, std::shared_ptr<Account>>> keys;
  for (int i = 3; i < count; ++i) {
    const std::string text = arguments[i];
    const std::size_t equal = text.find('=');
    Limits limits;
    if (equal + 1 < text.size()) limits.total = Money{std::atoll(text.c_str() + equal + 1)};
    keys.emplace_back(text.substr(0, equal), ledger->account(text.substr(0, equal), limits));
  }
  // The order of settling and of printing "durable" matters; see settle below.
  std::mutex settling;
  std::uint64_t settled = 0;
  std::vector<std::jthread> threads;
  for (unsigned thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      std::mt19937_64 random(seed * 4 + thread);
      std::vector<std::pair<std::string, Reservation>> open;
      for (;;) {
        const auto& [name, account] = keys[random() % keys.size()];
        const Money worst{1 + static_cast<std::int64_t>(random() % 1'000'000)};
        Outcome outcome = reserve(*ledger, account, worst);
        if (auto* reservation = std::get_if<Reservation>(&outcome)) {
          open.emplace_back(name, std::move(*reservation));
        } else {
          usleep(1000);
        }
        if (open.size() < 6 && (open.empty() || random() % 2 == 0)) continue;
        std::swap(open[random() % open.size()], open.back());
        auto [billed_key, reservation] = std::move(open.back());
        open.pop_back();
        const auto most = static_cast<std::uint64_t>(reservation.amount().nano);
        const Money bill{1 + static_cast<std::int64_t>(random() % most)};
        const std::lock_guard lock(settling);
        print("bill " + billed_key + " " + std::to_string(bill.nano) + "\n");
        reservation.settle({.cost = bill, .model = "m"});
        ++settled;
      }
    });
  }
  threads.emplace_back([&] {
    for (;;) {
      std::uint64_t before = 0;
      {
        const std::lock_guard lock(settling);
        before = settled;
      }
      if (ledger->flush(std::chrono::seconds{10})) {
        print("durable " + std::to_string(before) + "\n");
      }
      usleep(20'000);
    }
  });
}
