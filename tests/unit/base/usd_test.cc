#include "base/usd.h"

#include <cstdlib>
#include <limits>
#include <string>

#include <gtest/gtest.h>

namespace r2router {
namespace {

TEST(UsdText, HasNoExponentAndNoDigitTooMany) {
  EXPECT_EQ(usd_text(0), "$0");
  EXPECT_EQ(usd_text(2), "$2");
  EXPECT_EQ(usd_text(0.05), "$0.05");
  EXPECT_EQ(usd_text(0.00001), "$0.00001");
  EXPECT_EQ(usd_text(1e21), "$1000000000000000000000");
}

TEST(UsdText, LooksLikeMoney) {
  EXPECT_EQ(usd_text(0.5), "$0.50");
  EXPECT_EQ(usd_text(12.5), "$12.50");
  EXPECT_EQ(usd_text(-0.25), "-$0.25");
  EXPECT_EQ(usd_text(3.1e-06), "$0.0000031");
}

TEST(UsdText, IsRoundedToSignificantDigits) {
  EXPECT_EQ(usd_text(3.14159e-06, 2), "$0.0000031");
  EXPECT_EQ(usd_text(0.0390246907, 4), "$0.03902");
  EXPECT_EQ(usd_text(0.99999, 3), "$1");
  EXPECT_EQ(usd_text(123456.7, 2), "$120000");
  EXPECT_EQ(usd_text(0.1 + 0.2, 6), "$0.30");
  EXPECT_EQ(usd_text(0, 4), "$0");
  EXPECT_EQ(usd_text(-1.26e-9, 2), "-$0.0000000013");
  EXPECT_EQ(usd_text(std::numeric_limits<double>::denorm_min(), 1).substr(0, 6), "$0.000");
}

TEST(UsdText, ReadsBackAsTheSameAmount) {
  using Limits = std::numeric_limits<double>;
  for (const double amount : {0.1 + 0.2, 1.0 / 3e7, 4.013275757460036e-05, Limits::max(),
                              Limits::min(), 2.2250738585072011e-308, Limits::denorm_min()}) {
    const std::string text = usd_text(amount);
    EXPECT_EQ(std::strtod(text.c_str() + 1, nullptr), amount) << text;
  }
}

}  // namespace
}  // namespace r2router
