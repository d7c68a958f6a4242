// Checks that numbers are finite, for arrays of any size.
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <type_traits>

namespace r2router {

/// True if every value is finite: no exponent has all bits set. Branch-free, so that compilers
/// vectorise it.
template <typename Value>
bool all_finite(std::span<const Value> values) {
  using Bits = std::conditional_t<sizeof(Value) == 4, std::uint32_t, std::uint64_t>;
  constexpr Bits kExponent = sizeof(Value) == 4 ? 0x7F800000 : 0x7FF0000000000000;
  Bits bad = 0;
  for (const Value value : values) {
    bad |= (std::bit_cast<Bits>(value) & kExponent) == kExponent ? 1 : 0;
  }
  return bad == 0;
}

}  // namespace r2router
