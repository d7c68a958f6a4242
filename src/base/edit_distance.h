// How alike two names are, for telling which one was probably meant.
#pragma once

#include <cstddef>
#include <string_view>

namespace r2router::internal {

/// How many letters must be inserted, removed, replaced or swapped with their neighbour (the
/// optimal string alignment distance). Takes memory in proportion to b alone.
std::size_t edit_distance(std::string_view a, std::string_view b);

}  // namespace r2router::internal
