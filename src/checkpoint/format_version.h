// The version of the checkpoint format (checkpoints/FORMAT.md) that a config needs.
#pragma once

#include <cstdint>

#include "r2router/config.h"

namespace r2router::internal {

/// The lowest version that supports the config, so that older readers can read it if possible.
std::uint32_t format_version_for(const Config& config);

}  // namespace r2router::internal
