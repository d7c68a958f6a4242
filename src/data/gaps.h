// Warnings about outcomes that are missing or left out.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "r2router/outcomes.h"

namespace r2router::internal {

/// Names with how many there are of each.
using Counts = std::vector<std::pair<std::string, std::size_t>>;

/// "small (1,234), large (5) and 3 more": the largest first, at most ten.
std::string list_counts(Counts counts);

/// "1 outcome", "1,234 outcomes".
std::string count_of(std::size_t count, const char* singular, const char* plural);

/// Which outcomes a table lacks for some of its queries.
struct Gaps {
  std::size_t queries = 0;     ///< that were looked at
  std::size_t empty = 0;       ///< of those, without any outcome
  std::size_t incomplete = 0;  ///< with some outcomes, but not all
  Counts missing = {};         ///< for each model, the incomplete queries that lack one of its
};
Gaps find_gaps(const OutcomeTable& table, std::span<const std::uint32_t> queries);

/// "of 240 queries, 3 have no outcome and 24 lack an outcome of \"large\" (24)"; empty if nothing
/// is missing.
std::string describe(const Gaps& gaps);

}  // namespace r2router::internal
