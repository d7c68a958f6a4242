#include "gateway/spending/money.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace r2router::gateway {
namespace {

// A cost is computed in a few steps, each with a relative error of 2⁻⁵³. Without this tolerance, a
// worst case of exactly 12 units could become 13, which is safe but surprising.
constexpr double kTolerance = 1e-6;  // units

Money clamped(double units) {
  if (std::isnan(units)) return {Money::kMost};
  return {static_cast<std::int64_t>(std::clamp(units, 0.0, static_cast<double>(Money::kMost)))};
}

}  // namespace

Money Money::rounded_up(double usd) noexcept {
  const double units = usd * 1e9;
  return clamped(units <= std::floor(units) + kTolerance ? std::floor(units) : std::ceil(units));
}

Money Money::nearest(double usd) noexcept { return clamped(std::round(usd * 1e9)); }

std::string Money::decimal() const {
  const bool negative = nano < 0;
  const auto magnitude =
      negative ? 0 - static_cast<std::uint64_t>(nano) : static_cast<std::uint64_t>(nano);
  std::string fraction = std::to_string(magnitude % 1'000'000'000);
  fraction.insert(0, 9 - fraction.size(), '0');
  fraction.erase(fraction.find_last_not_of('0') + 1);
  std::string text = (negative ? "-" : "") + std::to_string(magnitude / 1'000'000'000);
  return fraction.empty() ? text : text + "." + fraction;
}

}  // namespace r2router::gateway
