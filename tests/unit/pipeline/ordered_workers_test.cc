#include "pipeline/ordered_workers.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <latch>
#include <numeric>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace r2router::internal {
namespace {

using ::testing::ElementsAre;

TEST(OrderedWorkersThreads, TellInOrderWhatFinishesOutOfOrder) {
  std::mt19937 random(7);
  std::vector<int> told;  // no lock: the tellers take turns
  std::atomic<int> running = 0;
  std::atomic<int> most_running = 0;
  OrderedWorkers workers(8);
  for (int i = 0; i < 400; ++i) {
    const std::chrono::microseconds pause(random() % 500);
    workers.add([&, i, pause] {
      const int now = ++running;
      for (int most = most_running; now > most && !most_running.compare_exchange_weak(most, now);) {
      }
      std::this_thread::sleep_for(pause);
      --running;
      return [&told, i] { told.push_back(i); };
    });
  }
  workers.finish();
  std::vector<int> expected(400);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(told, expected);
  EXPECT_GT(most_running, 1);
  EXPECT_LE(most_running, 8);
}

TEST(OrderedWorkersThreads, TellEachAsSoonAsItsTurnComes) {
  std::latch first_may_end(1);
  std::latch told_first(1);
  std::atomic<bool> second_told = false;
  OrderedWorkers workers(2);
  workers.add([&] {
    first_may_end.wait();
    return [&] { told_first.count_down(); };
  });
  workers.add([&] { return [&] { second_told = true; }; });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_FALSE(second_told);
  first_may_end.count_down();
  told_first.wait();  // without finish()
  workers.finish();
  EXPECT_TRUE(second_told);
}

TEST(OrderedWorkersThreads, HoldABoundedNumberOfJobs) {
  std::latch first_may_end(1);
  std::atomic<int> added = 0;
  std::atomic<int> begun = 0;
  OrderedWorkers workers(2);
  std::thread adder([&] {
    for (int i = 0; i < 1000; ++i) {
      workers.add([&, i] {
        ++begun;
        if (i == 0) first_may_end.wait();
        return [] {};
      });
      ++added;
    }
    workers.finish();
  });
  // All but the first end immediately, but their results must wait for it.
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_LE(added, 8);
  EXPECT_LE(begun, 8);
  first_may_end.count_down();
  adder.join();
  EXPECT_EQ(begun, 1000);
}

TEST(OrderedWorkersThreads, PassOnWhatAJobThrows) {
  std::vector<int> told;
  OrderedWorkers workers(1);
  workers.add([&] { return [&] { told.push_back(0); }; });
  workers.add([]() -> OrderedWorkers::Deliver { throw std::runtime_error("a job"); });
  EXPECT_THROW(
      {
        workers.add(
            [&] { return [&] { told.push_back(2); }; });  // throws if the job has run by now
        workers.finish();
      },
      std::runtime_error);
  EXPECT_THROW(workers.add([] { return [] {}; }), std::runtime_error);
  EXPECT_THAT(told, ElementsAre(0));
}

TEST(OrderedWorkersThreads, PassOnWhatATellerThrowsAndTellNothingMore) {
  std::vector<int> told;
  OrderedWorkers workers(4);
  bool thrown = false;
  try {
    for (int i = 0; i < 100; ++i) {
      workers.add([&told, i] {
        return [&told, i] {
          if (i == 3) throw std::runtime_error("the disk is full");
          told.push_back(i);
        };
      });
    }
    workers.finish();
  } catch (const std::runtime_error&) {
    thrown = true;
  }
  EXPECT_TRUE(thrown);
  EXPECT_THAT(told, ElementsAre(0, 1, 2));
}

TEST(OrderedWorkersThreads, DropWhatHasNotBegunWhenTheyGo) {
  std::atomic<int> begun = 0;
  {
    OrderedWorkers workers(1);
    std::latch running(1);
    workers.add([&] {
      ++begun;
      running.count_down();
      std::this_thread::sleep_for(std::chrono::milliseconds(500));
      return [] {};
    });
    workers.add([&] {
      ++begun;
      return [] {};
    });
    running.wait();
  }
  EXPECT_EQ(begun, 1);
}

}  // namespace
}  // namespace r2router::internal
