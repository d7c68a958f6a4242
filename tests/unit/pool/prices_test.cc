#include "pool/prices.h"

#include <algorithm>
#include <cmath>
#include <random>

#include <gtest/gtest.h>

#include "support/prices.h"

namespace r2router::internal {
namespace {

using testing::bill;
using testing::random_prices;

// Over all lengths of input, and all tokens of a kind: bills are linear in each kind, so that the
// highest is among these.
TEST(WorstCaseCost, IsTheHighestOfAllBills) {
  std::mt19937_64 random(101);
  std::size_t below_the_end = 0, cache = 0, reasoning = 0;
  for (int i = 0; i < 300; ++i) {
    const Prices prices = random_prices(random);
    const auto most_input = static_cast<std::int64_t>(random() % 400);
    const auto cap = static_cast<std::int64_t>(random() % 500);
    const auto images = static_cast<std::uint32_t>(random() % 4);
    double highest = 0;
    std::int64_t length = 0;
    int kind = 0;
    for (std::int64_t n = 0; n <= most_input; ++n) {
      for (int k = 0; k < 6; ++k) {
        const double usd = bill(prices, k % 3 == 0 ? n : 0, k % 3 == 1 ? n : 0, k % 3 == 2 ? n : 0,
                                k < 3 ? cap : 0, k < 3 ? 0 : cap, images);
        if (usd <= highest) continue;
        highest = usd, length = n, kind = k;
      }
    }
    const double worst = worst_case_cost(prices, most_input, images, static_cast<double>(cap));
    ASSERT_NEAR(worst, highest, 1e-12 * highest);
    below_the_end += length < most_input;
    cache += kind % 3 != 0;
    reasoning += kind >= 3;

    Usage usage{.prompt_tokens = static_cast<std::int64_t>(random() % (most_input + 1)),
                .completion_tokens = static_cast<std::int64_t>(random() % (cap + 1))};
    usage.cached_tokens = static_cast<std::int64_t>(random() % (usage.prompt_tokens + 1));
    usage.cache_write_tokens =
        static_cast<std::int64_t>(random() % (usage.prompt_tokens - usage.cached_tokens + 1));
    usage.reasoning_tokens = static_cast<std::int64_t>(random() % (usage.completion_tokens + 1));
    const double charged = charge(prices, usage, images).value();
    ASSERT_NEAR(
        charged,
        bill(prices, usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens,
             usage.cached_tokens, usage.cache_write_tokens,
             usage.completion_tokens - usage.reasoning_tokens, usage.reasoning_tokens, images),
        1e-12 * worst);
    ASSERT_LE(charged, worst * (1 + 1e-12));
  }
  // Each of them must decide often, or it is not tested.
  EXPECT_GT(below_the_end, 15U);
  EXPECT_GT(cache, 100U);
  EXPECT_GT(reasoning, 80U);
}

TEST(WorstCaseCost, OfAnUnknownPriceIsInfinite) {
  const Prices prices{.input = 1, .output = 1, .unknown = {{"web_search", "0.01"}}};
  EXPECT_EQ(worst_case_cost(prices, 10, 0, 10), INFINITY);
  EXPECT_EQ(affordable_cap(prices, 10, 0, 1e9, 500), -1);
  EXPECT_EQ(affordable_cap(prices, 10, 0, INFINITY, 500), 500);
  EXPECT_FALSE(charge(prices, {.prompt_tokens = 1, .completion_tokens = 1}, 0));
}

TEST(AffordableCap, IsTheLargestThatFits) {
  std::mt19937_64 random(102);
  std::size_t none = 0, some = 0, all = 0;
  for (int i = 0; i < 3000; ++i) {
    const Prices prices = random_prices(random);
    const auto most_input = static_cast<std::int64_t>(random() % 400);
    const auto images = static_cast<std::uint32_t>(random() % 4);
    const double limit = static_cast<double>(random() % 1000) / 1e5;
    const auto fits = [&](double cap) {
      return worst_case_cost(prices, most_input, images, cap) <= limit;
    };
    const double cap = affordable_cap(prices, most_input, images, limit, 500);
    none += cap < 0;
    all += cap == 500;
    some += cap >= 0 && cap < 500;
    ASSERT_TRUE(cap < 0 || fits(cap));
    ASSERT_TRUE(cap == 500 || !fits(cap + 1));
  }
  EXPECT_GT(none, 100U);
  EXPECT_GT(some, 100U);
  EXPECT_GT(all, 100U);
}

TEST(ExpectedCost, IsThatOfTheTierOfTheInput) {
  const Prices prices{.input = 1,
                      .output = 10,
                      .cached_input = 0.1,
                      .cache_write = 9,
                      .reasoning = 90,
                      .per_request = 0.5,
                      .per_image = 0.25,
                      .tiers = {{.above_input_tokens = 1000, .input = 2, .per_image = 0.125},
                                {.above_input_tokens = 2000, .output = 5}}};
  EXPECT_DOUBLE_EQ(expected_cost(prices, 1000, 2).cost(100), 0.001 + 0.001 + 0.5 + 0.5);
  EXPECT_DOUBLE_EQ(expected_cost(prices, 1001, 2).cost(100), 0.002002 + 0.001 + 0.5 + 0.25);
  EXPECT_DOUBLE_EQ(expected_cost(prices, 2001, 0).cost(100), 0.004002 + 0.0005 + 0.5);
}

// Servers' counts need not add up.
TEST(Charge, TakesNoTokenTwice) {
  const Prices prices{
      .input = 1e6, .output = 1e6, .cached_input = 1e5, .cache_write = 2e6, .reasoning = 3e6};
  EXPECT_DOUBLE_EQ(charge(prices,
                          {.prompt_tokens = 10,
                           .completion_tokens = 4,
                           .reasoning_tokens = 9,
                           .cached_tokens = 8,
                           .cache_write_tokens = 8},
                          0)
                       .value(),
                   8 * 0.1 + 2 * 2 + 4 * 3);
}

}  // namespace
}  // namespace r2router::internal
