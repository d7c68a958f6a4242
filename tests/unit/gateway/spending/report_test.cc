#include "gateway/spending/report.h"

#include <chrono>
#include <string>

#include <gtest/gtest.h>

namespace r2router::gateway {
namespace {

TEST(SpendReport, JsonHasExactAmountsAndOnlyTheGroups) {
  using std::chrono::sys_days;
  const sys_days day{std::chrono::year{2026} / 10 / 15};
  SpendReport report = {
      .query = {.from = day, .to = day, .key = "team", .by_day = true, .by_model = true}};
  Spend spend = {.settled = {1'000'000'001},
                 .unsettled = {5},
                 .requests = 3,
                 .input_tokens = 10,
                 .output_tokens = 7};
  report.rows.push_back({.day = day, .model = "a/b", .spend = spend});
  spend.baseline = {3'000'000'001};
  spend.compared = {1'000'000'001};
  report.rows.push_back({.day = day, .spend = spend});
  for (const SpendRow& row : report.rows) report.total += row.spend;
  const std::string tokens =
      R"("input_tokens": 10, "cached_tokens": 0, "cache_write_tokens": 0, "output_tokens": 7, )"
      R"("reasoning_tokens": 0)";
  EXPECT_EQ(to_json(report),
            R"({"from": "2026-10-15", "to": "2026-10-15", "key": "team", "rows": [)"
            R"({"day": "2026-10-15", "model": "a/b", "settled_usd": 1.000000001, )"
            R"("unsettled_usd": 0.000000005, "requests": 3, )" +
                tokens +
                "}, "
                R"({"day": "2026-10-15", "model": null, "settled_usd": 1.000000001, )"
                R"("unsettled_usd": 0.000000005, "baseline_usd": 3.000000001, "saved_usd": 2, )"
                R"("requests": 3, )" +
                tokens +
                "}], "
                R"("total": {"settled_usd": 2.000000002, "unsettled_usd": 0.00000001, )"
                R"("baseline_usd": 3.000000001, "saved_usd": 2, "requests": 6, )"
                R"("input_tokens": 20, "cached_tokens": 0, "cache_write_tokens": 0, )"
                R"("output_tokens": 14, "reasoning_tokens": 0}})");
}

}  // namespace
}  // namespace r2router::gateway
