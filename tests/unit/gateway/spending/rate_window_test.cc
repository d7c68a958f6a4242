#include "gateway/spending/rate_window.h"

#include <cstdint>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace r2router::gateway {
namespace {

struct Event {
  std::int64_t second;
  std::uint64_t count;
};

// Compared with a list of all events.
TEST(RateWindow, CountsWhatAListOfEventsCounts) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 50; ++round) {
    RateWindow window;
    std::vector<Event> events;
    std::int64_t now = -50 + round * 40;  // the steady clock may start anywhere
    if (now < 0) now = 0;
    const auto counted = [&](std::int64_t at) {
      std::uint64_t sum = 0;
      for (const Event& event : events) sum += event.second > at - 61 ? event.count : 0;
      return sum;
    };
    for (int step = 0; step < 400; ++step) {
      now += static_cast<std::int64_t>(random() % 20 == 0 ? random() % 200 : random() % 3);
      ASSERT_EQ(window.used(now), counted(now));
      const std::uint64_t limit = 100, count = random() % 40;
      const auto admitted = window.admits(count, limit);
      ASSERT_TRUE(admitted);
      std::int64_t expected = now;
      while (counted(expected) + count > limit) ++expected;
      ASSERT_EQ(std::max(*admitted, now), expected);
      ASSERT_EQ(window.fits(count, limit), expected == now);
      if (expected == now) {
        window.add(now, count);
        events.push_back({now, count});
      }
      if (!events.empty() && random() % 2 == 0) {
        Event& event = events[random() % events.size()];
        const std::uint64_t actual = random() % 40;
        window.correct(event.second, event.count, actual);
        event.count = actual;  // outside the window it does not count either way
      }
    }
    EXPECT_FALSE(window.admits(101, 100));
  }
}

// Threads read the clock before they take turns.
TEST(RateWindow, SecondThatIsAlreadyPastCountsInTheWindowOfTheLast) {
  RateWindow window;
  window.used(1001);
  window.add(1001, 5);
  EXPECT_EQ(window.used(1000), 5U);
  EXPECT_TRUE(window.fits(5, 10));
  EXPECT_FALSE(window.fits(6, 10));
  window.add(1000, 5);
  EXPECT_EQ(window.used(1001), 10U);
  EXPECT_EQ(window.admits(1, 10), 1061);
  EXPECT_EQ(window.admits(6, 10), 1062);
  window.used(2000);
  window.add(1001, 5);  // long ago
  EXPECT_EQ(window.used(2000), 0U);
}

TEST(RateWindow, CorrectionOfWhatItDidNotCountIsNoCredit) {
  RateWindow window;
  EXPECT_EQ(window.used(1000), 0U);
  window.correct(1000, 500, 20);
  EXPECT_EQ(window.used(1000), 0U);
  window.add(1000, 7);
  EXPECT_EQ(window.used(1000), 7U);
}

}  // namespace
}  // namespace r2router::gateway
