// A counter of the last minute, for rate limits.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace r2router::gateway {

/// A sliding window in slots of one second. A window of 60 seconds touches 61 slots, and all of
/// them count, so no 60 seconds ever contain more than the limit. Not thread-safe.
class RateWindow {
 public:
  static constexpr std::int64_t kSlots = 61;

  /// The count of the window that ends in `second`, or in a later second that was passed before,
  /// since threads read the clock at different times.
  std::uint64_t used(std::int64_t second) {
    advance(second);
    return sum_;
  }

  /// Adds to `second`, which used() was called for.
  void add(std::int64_t second, std::uint64_t count) {
    if (second <= now_ - kSlots) return;
    slot(second) += count;
    sum_ += count;
  }

  /// Replaces a count that was added in `second`, if that is still in the window.
  void correct(std::int64_t second, std::uint64_t added, std::uint64_t actual) {
    if (second <= now_ - kSlots || second > now_) return;
    std::uint64_t& count = slot(second);
    // The window may be younger than the addition, if the limit is new.
    const std::uint64_t corrected = count + actual - std::min(added, count + actual);
    sum_ += corrected - count;  // modulo 2⁶⁴
    count = corrected;
  }

  /// Whether `count` more fit under `limit` in the window that used() has counted.
  bool fits(std::uint64_t count, std::uint64_t limit) const {
    return count <= limit && sum_ <= limit - count;
  }

  /// The first second in which `count` more fit; empty: never.
  std::optional<std::int64_t> admits(std::uint64_t count, std::uint64_t limit) {
    if (count > limit) return {};
    std::uint64_t left = sum_;
    for (std::int64_t second = now_ - kSlots + 1;; ++second) {
      if (left <= limit - count) return second + kSlots - 1;
      left -= slot(second);
    }
  }

 private:
  std::uint64_t& slot(std::int64_t second) {
    return slots_[static_cast<std::size_t>((second % kSlots + kSlots) % kSlots)];
  }

  void advance(std::int64_t second) {
    if (second <= now_) return;
    if (second - now_ >= kSlots) {
      slots_.fill(0);
      sum_ = 0;
    } else {
      for (std::int64_t old = now_ + 1; old <= second; ++old) {
        sum_ -= slot(old);
        slot(old) = 0;
      }
    }
    now_ = second;
  }

  std::array<std::uint64_t, kSlots> slots_ = {};
  std::uint64_t sum_ = 0;
  std::int64_t now_ = 0;
};

}  // namespace r2router::gateway
