// The task encoder in a checkpoint: its settings as JSON, and its tensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "r2router/encoder.h"

#include "base/json.h"
#include "encode/encoder_kind.h"

namespace r2router::internal {

inline constexpr std::string_view kTaskType = "tasks";
inline constexpr std::size_t kMostTasks = 1024;

// Names of tensors.
inline constexpr std::string_view kWordpieces = "wordpieces";
inline constexpr std::string_view kWordpieceVectors = "wordpiece_vectors";
inline constexpr std::string_view kWordpieceScales = "wordpiece_scales";

template <>
struct TensorsOfSpec<TaskEncoderSpec> {
  using Type = TaskEncoderTensors;
};

TaskEncoderSpec read_task_spec(const io::JsonView& field, std::uint32_t embedding_dim);
io::Json spec_to_json(const TaskEncoderSpec& spec);
std::uint32_t least_format_version(const TaskEncoderSpec& spec);
std::vector<EncoderTensor> list_tensors(const TaskEncoderSpec& spec, TaskEncoderTensors& tensors);
std::shared_ptr<const Encoder> make_kind(const TaskEncoderSpec& spec, TaskEncoderTensors tensors);

}  // namespace r2router::internal
