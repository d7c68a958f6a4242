#include "gateway/spending/money.h"

#include <cmath>
#include <limits>
#include <random>

#include <gtest/gtest.h>

#include "r2router/pool.h"

#include "pool/prices.h"

namespace r2router::gateway {
namespace {

TEST(Money, RoundsOnceAndClamps) {
  EXPECT_EQ(Money::nearest(0.1).nano, 100'000'000);
  EXPECT_EQ(Money::nearest(1.4e-9).nano, 1);
  EXPECT_EQ(Money::rounded_up(1.1e-9).nano, 2);
  // 0.1 + 0.2 is a little more than 0.3 as a double.
  EXPECT_EQ(Money::rounded_up(0.1 + 0.2).nano, 300'000'000);
  EXPECT_EQ(Money::rounded_up(-1).nano, 0);
  EXPECT_EQ(Money::nearest(-1e-9).nano, 0);
  for (const double huge : {1e9, 1e300, std::numeric_limits<double>::infinity(), std::nan("")}) {
    EXPECT_EQ(Money::rounded_up(huge).nano, Money::kMost);
    EXPECT_EQ(Money::nearest(huge).nano, Money::kMost);
  }
}

TEST(Money, DecimalTextIsExact) {
  EXPECT_EQ(Money{0}.decimal(), "0");
  EXPECT_EQ(Money{1}.decimal(), "0.000000001");
  EXPECT_EQ(Money{-1'500'000'000}.decimal(), "-1.5");
  EXPECT_EQ(Money{12'000'000'000}.decimal(), "12");
  EXPECT_EQ(Money{9'223'372'036'854'775'807}.decimal(), "9223372036.854775807");
  EXPECT_EQ(Money{std::numeric_limits<std::int64_t>::min()}.decimal(), "-9223372036.854775808");
}

// A bill never exceeds the reservation because of rounding.
TEST(Money, NoBillExceedsTheWorstCaseOfItsCall) {
  std::mt19937_64 random(7);
  std::uniform_real_distribution<double> price(0, 80);
  std::uniform_int_distribution<std::int64_t> tokens(0, 200'000);
  for (int i = 0; i < 20'000; ++i) {
    Prices prices;
    prices.input = price(random);
    prices.output = price(random);
    if (i % 2 == 0) prices.cached_input = price(random) / 10;
    if (i % 3 == 0) prices.reasoning = price(random);
    Usage usage = {.prompt_tokens = tokens(random), .completion_tokens = tokens(random)};
    if (i % 2 == 0) usage.cached_tokens = usage.prompt_tokens / 3;
    usage.reasoning_tokens = i % 5 == 0 ? usage.completion_tokens : usage.completion_tokens / 4;
    const auto cap = static_cast<double>(usage.completion_tokens);
    const double worst = internal::worst_case_cost(prices, usage.prompt_tokens, 0, cap);
    const double bill = *internal::charge(prices, usage, 0);
    EXPECT_LE(Money::nearest(bill), Money::rounded_up(worst)) << bill << " " << worst;
  }
}

}  // namespace
}  // namespace r2router::gateway
