// Days and months in UTC. A day is the number of days since 1970-01-01.
#pragma once

#include <chrono>
#include <cstdint>

#include "gateway/spending/limits.h"

namespace r2router::gateway {

using Day = std::int32_t;

inline Day day_of(Instant now) {
  return static_cast<Day>(
      std::chrono::floor<std::chrono::days>(now.wall).time_since_epoch().count());
}

inline std::chrono::sys_days date_of(Day day) {
  return std::chrono::sys_days{std::chrono::days{day}};
}

inline Day day_of(std::chrono::sys_days date) {
  return static_cast<Day>(date.time_since_epoch().count());
}

/// The first day of the month of `day`.
inline Day month_of(Day day) {
  const std::chrono::year_month_day date = date_of(day);
  return day_of(std::chrono::sys_days{date.year() / date.month() / 1});
}

/// The first day of the next month.
inline Day next_month(Day day) {
  const std::chrono::year_month_day date = date_of(day);
  return day_of(std::chrono::sys_days{(date.year() / date.month() + std::chrono::months{1}) / 1});
}

/// Time until `day` begins.
inline std::chrono::milliseconds until(Day day, Instant now) { return date_of(day) - now.wall; }

}  // namespace r2router::gateway
