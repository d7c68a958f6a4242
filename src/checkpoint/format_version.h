// The version of the checkpoint format (checkpoints/FORMAT.md) that a config needs.
#pragma once

#include <cstdint>

#include "r2router/config.h"

namespace r2router::internal {

/// The least version that has all that the config names, so that older readers read what they can.
std::uint32_t format_version_for(const Config& config);

}  // namespace r2router::internal
