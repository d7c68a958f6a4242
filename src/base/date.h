// Calendar dates as text.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace r2router::internal {

/// Parses "2026-01-31"; empty for another form or a day that no calendar has.
std::optional<std::chrono::sys_days> parse_date(std::string_view text);

/// Formats a date of the years 0 to 9999 in the same form.
std::string date_text(std::chrono::sys_days date);

}  // namespace r2router::internal
