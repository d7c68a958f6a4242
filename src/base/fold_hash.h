// The hash that assigns queries to folds of cross-validation.
#pragma once

#include <cstdint>
#include <string_view>

namespace r2router::internal {

/// Differs from the hash that selects held-out texts, so that the two are independent. fold_of() is
/// its remainder.
std::uint64_t fold_hash(std::string_view text, std::uint64_t seed) noexcept;

}  // namespace r2router::internal
