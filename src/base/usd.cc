#include "base/usd.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>

namespace r2router {

std::string usd_text(double amount) {
  char buffer[400];  // a double has up to 309 digits before its point, or 341 after it
  const auto end = std::to_chars(std::begin(buffer), std::end(buffer), std::abs(amount),
                                 std::chars_format::fixed)
                       .ptr;
  std::string digits(buffer, end);
  const std::size_t point = digits.find('.');
  if (point != digits.npos && point + 2 == digits.size()) digits += '0';  // $0.50
  return (amount < 0 ? "-$" : "$") + digits;
}

std::string usd_text(double amount, int significant_digits) {
  char buffer[64];
  const auto end =
      std::to_chars(std::begin(buffer), std::end(buffer), amount, std::chars_format::scientific,
                    std::clamp(significant_digits, 1, 17) - 1)
          .ptr;
  double rounded = amount;
  std::from_chars(buffer, end, rounded);
  return usd_text(rounded);
}

}  // namespace r2router
