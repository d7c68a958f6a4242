// Amounts of US dollars as text for people. All output of money uses it.
#pragma once

#include <string>

namespace r2router {

/// "$0.0000125", "-$2", "$0.50": the shortest digits that read back as the same double, so that the
/// text can be used as a limit. Never an exponent.
std::string usd_text(double amount);

/// The same, rounded to `significant_digits` (at least 1).
std::string usd_text(double amount, int significant_digits);

}  // namespace r2router
