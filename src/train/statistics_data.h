// What train::Statistics consists of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "r2router/train/statistics.h"

#include "train/grouped_sums.h"

namespace r2router::train {

/// A query of the sample.
struct SampledQuery {
  std::uint64_t key = 0;  ///< a hash; the sample has the lowest ones
  std::uint32_t fold = 0;
  std::int64_t input_tokens = 0;
  bool is_copy = false;  ///< an edited copy of another query
  std::vector<float> embedding = {};
  /// The score and the length for each pair of the sums; both NaN: not observed.
  std::vector<double> outcomes = {};
};

struct StatisticsData {
  StatisticsOptions options;
  GroupedSums sums;
  std::size_t training_queries = 0, held_out_queries = 0;
  std::vector<SampledQuery> sample = {};  ///< a heap by key, the highest one first

  explicit StatisticsData(StatisticsOptions options);

  /// Adds pairs to the sums and the sample.
  void extend(std::span<const Pair> more);
  /// Adds a query to the sample, unless its key is too high.
  void add_to_sample(SampledQuery query);
};

/// The file format; decode() throws what Statistics::load() throws.
std::string encode(const StatisticsData& data);
StatisticsData decode(std::span<const std::uint8_t> bytes, const std::string& file);

}  // namespace r2router::train
