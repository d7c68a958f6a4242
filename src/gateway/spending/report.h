// Spending reports: rows for GET /v1/spend.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "gateway/spending/money.h"

namespace r2router::gateway {

/// Sums over requests.
struct Spend {
  Money settled = {};  ///< as billed
  /// Possibly spent, and counted against the limits: the worst cases of requests whose outcome is
  /// unknown, and the rest of the leases of killed processes.
  Money unsettled = {};
  /// For requests with a baseline: the cost with the baseline model, and the actual cost (part of
  /// `settled`).
  Money baseline = {}, compared = {};
  std::int64_t requests = 0;
  std::int64_t input_tokens = 0;  ///< with the cached and cache-write tokens
  std::int64_t cached_tokens = 0;
  std::int64_t cache_write_tokens = 0;
  std::int64_t output_tokens = 0;  ///< with the reasoning tokens
  std::int64_t reasoning_tokens = 0;

  Spend& operator+=(const Spend& other);
  friend bool operator==(const Spend&, const Spend&) = default;
};

/// Which rows to report.
struct SpendQuery {
  std::chrono::sys_days from = {};      ///< the first day, UTC
  std::chrono::sys_days to = {};        ///< the last day
  std::optional<std::string> key = {};  ///< the name of a key; empty: all
  /// The columns to group by. Without any, there is one row.
  bool by_day = false, by_key = false, by_model = false, by_tag = false;
};

/// One group. Fields that are not grouped by are empty. The unsettled amount of a process that was
/// killed has no model and no tag.
struct SpendRow {
  std::optional<std::chrono::sys_days> day = {};
  std::string key = {}, model = {}, tag = {};
  Spend spend = {};
};

struct SpendReport {
  SpendQuery query = {};
  std::vector<SpendRow> rows = {};  ///< ordered by day, key, model, tag
  Spend total = {};                 ///< of the rows
};

/// {"from": …, "to": …, "rows": […], "total": {…}}. Amounts are in USD, written exactly. A row has
/// "baseline_usd" and "saved_usd" if any of its requests stated a baseline.
std::string to_json(const SpendReport& report);

}  // namespace r2router::gateway
