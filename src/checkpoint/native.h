// The native checkpoint's model.safetensors; parse_config() reads its config.json. Specified in
// checkpoints/FORMAT.md.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "r2router/checkpoint.h"

namespace r2router::io {

/// Names of the files in a native checkpoint's folder.
inline constexpr const char* kConfigName = "config.json";
inline constexpr const char* kModelName = "model.safetensors";

/// Reads predictor, IDF and topics, and copies them out of `bytes`. validate() checks what does not
/// depend on the layout, such as missing heads and numbers that are not finite. Throws
/// Error(kBadCheckpoint) with `file`.
Checkpoint decode_native(Config config, std::span<const std::uint8_t> bytes,
                         const std::string& file);

/// The contents of model.safetensors. Precondition: validate(checkpoint) passes.
std::string encode_native(const Checkpoint& checkpoint);

}  // namespace r2router::io
