// Amounts of money as integers, so that sums are exact and do not depend on their order.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

namespace r2router::gateway {

/// An amount in nano-USD (10⁻⁹ USD). One token at $0.001 per million costs one unit, and an int64
/// holds $9.2 billion. A cost computed in double is rounded once, when it becomes Money; a worst
/// case is rounded up, so that a bill which does not exceed it in double does not as Money.
struct Money {
  std::int64_t nano = 0;

  /// The largest single amount: $9,000,000, below 2⁵³ units, which every store compares exactly.
  /// Limits, reservations and costs are at most that.
  static constexpr std::int64_t kMost = 9'000'000'000'000'000;

  /// Rounded up to a unit. NaN, ∞ and anything above kMost become kMost; a negative value 0.
  static Money rounded_up(double usd) noexcept;
  /// Rounded to the nearest unit and clamped in the same way.
  static Money nearest(double usd) noexcept;
  double usd() const noexcept { return static_cast<double>(nano) / 1e9; }
  /// All digits, as in JSON: "0.000012".
  std::string decimal() const;

  friend constexpr auto operator<=>(const Money&, const Money&) = default;
  friend constexpr Money operator+(Money a, Money b) { return {a.nano + b.nano}; }
  friend constexpr Money operator-(Money a, Money b) { return {a.nano - b.nano}; }
  constexpr Money& operator+=(Money other) { return nano += other.nano, *this; }
  constexpr Money& operator-=(Money other) { return nano -= other.nano, *this; }
};

}  // namespace r2router::gateway
