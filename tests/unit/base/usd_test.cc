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
