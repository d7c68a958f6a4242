// Counters for GET /metrics. Each loop has its own; a scrape adds them up.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "r2router/types.h"

namespace r2router::gateway {

/// A distribution in buckets of fixed bounds.
template <std::size_t count>
struct Histogram {
  std::array<std::uint64_t, count + 1> buckets = {};  ///< the last: above all bounds
  double sum = 0;

  void add(double value, const std::array<double, count>& bounds) {
    std::size_t i = 0;
    while (i < count && value > bounds[i]) ++i;
    ++buckets[i];
    sum += value;
  }
  Histogram& operator+=(const Histogram& other) {
    for (std::size_t i = 0; i <= count; ++i) buckets[i] += other.buckets[i];
    sum += other.sum;
    return *this;
  }
};

inline constexpr std::array kSecondsBounds = {0.05, 0.1,  0.25, 0.5,  1.0,   2.5,
                                              5.0,  10.0, 30.0, 60.0, 120.0, 300.0};
inline constexpr std::array kOverheadBounds = {0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 50.0};

/// The counts of one loop, or of all.
struct Counts {
  struct Model {
    Usage usage = {};
    double cost_usd = 0, baseline_usd = 0;
    Histogram<kSecondsBounds.size()> first_token_seconds = {}, seconds = {};
  };

  std::map<std::pair<std::string, int>, std::uint64_t> requests;          ///< by model and status
  std::map<std::pair<std::string, std::string>, std::uint64_t> attempts;  ///< by outcome and code
  std::map<std::string, std::uint64_t> refused;                           ///< by reason
  std::map<std::string, Model, std::less<>> models;
  Histogram<kOverheadBounds.size()> overhead_ms = {};
  std::int64_t active = 0;  ///< requests in progress
};

/// The counts of one loop: written by its thread, read by any.
class CountsOfLoop {
 public:
  template <typename Change>
  void change(Change change) {
    const std::lock_guard lock(mutex_);  // uncontended except while metrics are read
    change(counts_);
  }
  void add_to(Counts& sum) const;

 private:
  mutable std::mutex mutex_;
  Counts counts_;
};

/// A value at the time of the scrape.
struct Gauge {
  std::string name, help;
  double value = 0;
};

class Metrics {
 public:
  std::shared_ptr<CountsOfLoop> add_loop();
  /// The metrics in the text format of Prometheus.
  std::string text(const std::vector<Gauge>& gauges,
                   const std::vector<std::pair<std::string, bool>>& models_available) const;

 private:
  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<CountsOfLoop>> loops_;
};

}  // namespace r2router::gateway
