// The kinds of encoders that a checkpoint can have.
//
// A kind is a folder here with its spec (settings in config.json) and its tensors (numbers in
// model.safetensors). To add one, add its spec and tensors to the variants in r2router/encoder.h,
// give it the five functions of lexical/lexical_kind.h, and its type to read_encoder().
#pragma once

#include <cstdint>
#include <string_view>
#include <variant>
#include <vector>

#include "r2router/encoder.h"

#include "base/json.h"

namespace r2router::internal {

/// The largest embedding of a checkpoint.
inline constexpr std::uint32_t kMostDimensions = 65536;

/// A tensor that an encoder of some kind can have.
struct EncoderTensor {
  std::string_view name;
  std::string_view contents;         ///< plural, for messages
  std::string_view setting;          ///< the member of /encoder that says whether it exists
  std::vector<std::uint64_t> shape;  ///< empty: this encoder does not have it
  std::variant<std::vector<float>*, std::vector<std::int8_t>*, std::vector<std::uint8_t>*> values;
  bool may_be_negative = true;

  std::uint64_t size() const;  ///< 0 for an empty shape
};

/// The alternative of EncoderTensors that belongs to one of EncoderSpec; each kind specialises it.
template <typename Spec>
struct TensorsOfSpec;
template <typename Spec>
using TensorsOf = typename TensorsOfSpec<Spec>::Type;

/// Reads /encoder of a config. Throws the field's error.
EncoderSpec read_encoder(const io::JsonView& field, std::uint32_t embedding_dim);

io::Json encoder_to_json(const EncoderSpec& spec);

/// The oldest format version that supports the encoder.
std::uint32_t format_version_for(const EncoderSpec& spec);

/// Tensors of the spec's kind, without numbers.
EncoderTensors empty_tensors(const EncoderSpec& spec);

/// Every tensor of the spec's kind. `tensors` is of the same kind.
std::vector<EncoderTensor> tensors_of(const EncoderSpec& spec, EncoderTensors& tensors);
/// The same, only to be read.
std::vector<EncoderTensor> tensors_of(const EncoderSpec& spec, const EncoderTensors& tensors);

}  // namespace r2router::internal
