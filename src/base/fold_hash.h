// What folds of cross-validation are made by.
#pragma once

#include <cstdint>
#include <string_view>

namespace r2router::internal {

/// Another hash than the one that holds texts out, so that the two do not interfere. fold_of() is
/// its remainder.
std::uint64_t fold_hash(std::string_view text, std::uint64_t seed) noexcept;

}  // namespace r2router::internal
