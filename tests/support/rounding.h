// An independent route to Python's round().
#pragma once

#include <cstdio>
#include <cstdlib>

namespace r2router::testing {

/// The C library's printf rounds the exact binary value, ties to even, and strtod reads back the
/// nearest double.
inline double through_printf(double value, int digits) {
  char text[400];
  std::snprintf(text, sizeof(text), "%.*f", digits, value);
  return std::strtod(text, nullptr);
}

}  // namespace r2router::testing
