// How a predictor's heads become the pairs that a scorer predicts.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "r2router/scorer.h"

namespace r2router::score {

/// The quality heads in order, and where each pair's token head is.
struct Layout {
  std::vector<Pair> pairs;
  std::vector<std::size_t> quality_head;                ///< for each pair, an index into the names
  std::vector<std::optional<std::size_t>> tokens_head;  ///< for each pair
};

/// Throws Error(kBadCheckpoint) unless the names are as LinearHeads::names says.
Layout lay_out(std::span<const HeadName> names);

/// A head, for a message.
std::string describe(const HeadName& name);

[[noreturn]] void throw_bad_checkpoint(const std::string& message);

}  // namespace r2router::score
