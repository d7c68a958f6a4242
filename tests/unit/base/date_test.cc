#include "base/date.h"

#include <gtest/gtest.h>

namespace r2router::internal {
namespace {

using std::chrono::days;

TEST(Date, ReadsWhatItWrites) {
  const auto epoch = parse_date("1970-01-01");
  ASSERT_TRUE(epoch);
  EXPECT_EQ(epoch->time_since_epoch(), days(0));
  for (int day = -20'000; day < 40'000; day += 7) {
    const std::chrono::sys_days date{days(day)};
    ASSERT_EQ(parse_date(date_text(date)), date) << date_text(date);
  }
  EXPECT_EQ(date_text(*parse_date("2028-02-29") + days(1)), "2028-03-01");
}

TEST(Date, IsNothingElse) {
  for (const char* text : {"", "2026-1-31", "2026-02-29", "2026-13-01", "2026-00-01", "2026-01-00",
                           "2026-01-32", "2026/01/31", "2026-01-31 ", "+026-01-31", "2026-01-3x"}) {
    EXPECT_FALSE(parse_date(text)) << text;
  }
}

}  // namespace
}  // namespace r2router::internal
