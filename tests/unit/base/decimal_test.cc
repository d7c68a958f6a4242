#include "base/decimal.h"

#include <cmath>
#include <limits>
#include <random>

#include <gtest/gtest.h>

#include "support/rounding.h"

namespace r2router {
namespace {

using testing::through_printf;

TEST(RoundDecimal, GivesWhatPythonGives) {
  // Each right-hand side was printed by CPython 3.11's round().
  EXPECT_EQ(round_decimal(0.125, 2), 0.12);
  EXPECT_EQ(round_decimal(0.375, 2), 0.38);
  EXPECT_EQ(round_decimal(2.675, 2), 2.67);
  EXPECT_EQ(round_decimal(1.005, 2), 1.0);
  EXPECT_EQ(round_decimal(5.015, 2), 5.01);
  EXPECT_EQ(round_decimal(2.5, 0), 2.0);
  EXPECT_EQ(round_decimal(-2.5, 0), -2.0);
  EXPECT_EQ(round_decimal(1862.85, 1), 1862.8);
  EXPECT_EQ(round_decimal(1e300, 8), 1e300);
  EXPECT_TRUE(std::signbit(round_decimal(-1e-9, 8)));
}

TEST(RoundDecimal, AgreesWithPrintfOnRandomValuesAndNearTies) {
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> exponent(-12, 12);
  for (int i = 0; i < 200'000; ++i) {
    const double value = std::pow(10.0, exponent(random)) * (random() % 2 == 0 ? 1 : -1);
    for (const int digits : {1, 4, 8}) {
      ASSERT_EQ(round_decimal(value, digits), through_printf(value, digits)) << value;
    }
  }
  // Values that lie as close to a tie as a double can.
  for (int i = 0; i < 200'000; ++i) {
    const double tie = (static_cast<double>(random() % 20'000) + 0.5) / 1e8;
    for (const double value : {tie, std::nextafter(tie, 0.0), std::nextafter(tie, 1.0)}) {
      ASSERT_EQ(round_decimal(value, 8), through_printf(value, 8)) << value;
    }
  }
}

TEST(RoundDecimal, LeavesWhatIsNotFinite) {
  EXPECT_TRUE(std::isnan(round_decimal(std::numeric_limits<double>::quiet_NaN(), 4)));
  EXPECT_EQ(round_decimal(std::numeric_limits<double>::infinity(), 4),
            std::numeric_limits<double>::infinity());
}

TEST(WithThousands, SetsCommas) {
  EXPECT_EQ(with_thousands(0), "0");
  EXPECT_EQ(with_thousands(999), "999");
  EXPECT_EQ(with_thousands(1000), "1,000");
  EXPECT_EQ(with_thousands(1234567), "1,234,567");
}

}  // namespace
}  // namespace r2router
