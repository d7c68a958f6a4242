// Amounts of US dollars in text for people: the only place that formats money.
#pragma once

#include <string>

namespace r2router {

/// "$0.0000125", "-$2", "$0.50": all the digits that the amount needs to read back as the same
/// double, so that it can be given as a limit. Never an exponent.
std::string usd_text(double amount);

/// The same, rounded to so many significant digits (at least 1).
std::string usd_text(double amount, int significant_digits);

}  // namespace r2router
