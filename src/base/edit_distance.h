// Similarity of names, to find the one that was probably meant.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace r2router::internal {

/// Number of letters to insert, remove, replace or swap with their neighbour (optimal string
/// alignment distance). Uses memory proportional to b only.
std::size_t edit_distance(std::string_view a, std::string_view b);

/// The first of `known` (at least one) that is most similar to `name`: one is a prefix of the
/// other, or the edit_distance() is smallest. Only the beginning of a long name counts.
std::string_view nearest(std::string_view name, std::span<const std::string_view> known);

}  // namespace r2router::internal
