// Argument checks that all encoders share.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace r2router::internal {

/// Throws Error(kInvalidArgument) if a text is empty or all white space, or if `out` has not
/// exactly `dimension` (> 0) elements for each text. Call it before writing to `out`.
void check_embed_arguments(std::span<const std::string_view> texts, std::span<const float> out,
                           std::size_t dimension);

}  // namespace r2router::internal
