// The lexical encoder in a checkpoint: its settings as JSON, and its tensors.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "r2router/encoder.h"

#include "base/json.h"
#include "encode/encoder_kind.h"

namespace r2router::internal {

inline constexpr std::string_view kLexicalType = "lexical";

template <>
struct TensorsOfSpec<LexicalEncoderSpec> {
  using Type = LexicalEncoderTensors;
};

/// The settings of hashed features that are members of `field`: dimension, seed, features,
/// fold_digits, square_root.
LexicalEncoderSpec read_hashed_features(const io::JsonView& field);
io::Json hashed_features_to_json(const LexicalEncoderSpec& spec);

/// An array of 2 to `most` different names of a `thing`, such as "topic".
std::vector<std::string> read_distinct_names(const io::JsonView& field, std::string_view thing,
                                             std::size_t most);

LexicalEncoderSpec read_lexical_spec(const io::JsonView& field, std::uint32_t embedding_dim);
io::Json spec_to_json(const LexicalEncoderSpec& spec);
std::uint32_t least_format_version(const LexicalEncoderSpec& spec);
std::vector<EncoderTensor> list_tensors(const LexicalEncoderSpec& spec,
                                        LexicalEncoderTensors& tensors);
std::shared_ptr<const Encoder> make_kind(const LexicalEncoderSpec& spec,
                                         LexicalEncoderTensors tensors);

}  // namespace r2router::internal
