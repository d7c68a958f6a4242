#include "base/decimal.h"

#include <charconv>
#include <cmath>
#include <cstdio>
#include <system_error>

namespace r2router {
namespace {

constexpr double kPowersOfTen[] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                   1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};

double round_through_text(double value, int digits) noexcept {
  char text[400];  // the longest double has 309 digits before the point
  const auto written =
      std::to_chars(text, text + sizeof(text), value, std::chars_format::fixed, digits);
  double rounded = value;
  std::from_chars(text, written.ptr, rounded);
  return rounded;
}

}  // namespace

double round_decimal(double value, int digits) noexcept {
  const double power = kPowersOfTen[digits];
  const double scaled = value * power;
  // Below 2^51 the product is off by less than 2^-2 of the distance kept from a tie here, so the
  // integer is correct; an integer over an exact power of ten then rounds correctly. (Powers up to
  // 10^22 are exact doubles.)
  if (std::abs(scaled) < 1e9) {
    const double nearest = std::nearbyint(scaled);
    if (std::abs(std::abs(scaled - nearest) - 0.5) > 1e-6) return nearest / power;
  }
  return std::isfinite(value) ? round_through_text(value, digits) : value;
}

std::string decimal(double value, int digits) {
  char text[400];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string with_thousands(std::uint64_t number) {
  std::string digits = std::to_string(number);
  for (std::size_t end = digits.size(); end > 3; end -= 3) digits.insert(end - 3, 1, ',');
  return digits;
}

}  // namespace r2router
