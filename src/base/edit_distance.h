// How alike two names are, for telling which one was probably meant.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace r2router::internal {

/// How many letters must be inserted, removed, replaced or swapped with their neighbour (the
/// optimal string alignment distance). Takes memory in proportion to b alone.
std::size_t edit_distance(std::string_view a, std::string_view b);

/// The first of `known` (at least one) that is most like `name`: one that begins with it
/// or that it begins with, or else by edit_distance(). Of a long name only the beginning counts.
std::string_view nearest(std::string_view name, std::span<const std::string_view> known);

}  // namespace r2router::internal
