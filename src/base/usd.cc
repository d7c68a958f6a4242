#include "base/usd.h"

#include <charconv>
#include <iterator>

namespace r2router {

std::string usd_text(double amount) {
  char digits[400];  // a double has up to 309 digits before its point, or 341 behind it
  const auto end =
      std::to_chars(std::begin(digits), std::end(digits), amount, std::chars_format::fixed).ptr;
  return "$" + std::string(digits, end);
}

}  // namespace r2router
