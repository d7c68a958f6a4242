// The lexical encoder of a checkpoint.
#pragma once

#include <variant>

#include "r2router/checkpoint.h"

namespace r2router::testing {

inline LexicalEncoderTensors& lexical(Checkpoint& checkpoint) {
  return std::get<LexicalEncoderTensors>(checkpoint.encoder);
}
inline const LexicalEncoderTensors& lexical(const Checkpoint& checkpoint) {
  return std::get<LexicalEncoderTensors>(checkpoint.encoder);
}

/// The config must have it.
inline LexicalEncoderSpec& lexical(Config& config) {
  return std::get<LexicalEncoderSpec>(config.encoder.value());
}
inline const LexicalEncoderSpec& lexical(const Config& config) {
  return std::get<LexicalEncoderSpec>(config.encoder.value());
}

}  // namespace r2router::testing
