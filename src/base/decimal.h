// Decimal numbers: rounding like Python's round(), and text for people.
#pragma once

#include <cstdint>
#include <string>

namespace r2router {

/// `value` correctly rounded to `digits` (0 to 15) decimals: the double nearest to the decimal that
/// is nearest to the exact binary value, ties to the even last digit. Returns values that are not
/// finite unchanged.
double round_decimal(double value, int digits) noexcept;

/// `value` with `digits` decimals, for example "0.6670".
std::string decimal(double value, int digits);

/// "1,234,567".
std::string with_thousands(std::uint64_t number);

}  // namespace r2router
