#include <algorithm>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "r2router/checkpoint.h"
#include "r2router/error.h"
#include "r2router/train/task_table.h"

#include "base/file.h"
#include "checkpoint/safetensors.h"
#include "encode/tasks/task_kind.h"

namespace r2router::train {
namespace {

template <typename Value>
std::vector<Value> read(const io::Safetensors& contents, std::string_view name,
                        const std::string& file) {
  const auto tensor = std::ranges::find(contents.tensors, name, &io::TensorView::name);
  const io::TensorType type = io::kTypeOf<Value>;
  if (tensor == contents.tensors.end() || tensor->type != type) {
    throw Error(ErrorCode::kBadCheckpoint,
                (tensor == contents.tensors.end()
                     ? "this tensor is missing"
                     : "found the type " + std::string(io::name_of(tensor->type))) +
                    ", expected the type " + std::string(io::name_of(type)) +
                    "; give a checkpoint with vectors of wordpieces, such as the default one",
                {.file = file, .pointer = "/" + std::string(name)});
  }
  return io::copy_elements<Value>(*tensor);
}

}  // namespace

WordpieceVectors read_wordpiece_vectors(const std::string& path) {
  std::error_code ignored;
  const bool is_file = std::filesystem::is_regular_file(path, ignored);
  const io::MappedFile file(is_file ? path : checkpoint_folder(path) + "/model.safetensors");
  const io::Safetensors contents = io::parse_safetensors(file.bytes(), file.path());
  WordpieceVectors vectors = {read<std::uint8_t>(contents, internal::kWordpieces, file.path()),
                              read<std::int8_t>(contents, internal::kWordpieceVectors, file.path()),
                              read<float>(contents, internal::kWordpieceScales, file.path())};
  if (vectors.scales.empty() || vectors.vectors.size() % vectors.scales.size() != 0) {
    throw Error(ErrorCode::kBadCheckpoint,
                "found " + std::to_string(vectors.vectors.size()) + " numbers, expected as many " +
                    "for each of the " + std::to_string(vectors.scales.size()) +
                    " scales in wordpiece_scales; the file is corrupt, fetch it again",
                {.file = file.path(), .pointer = "/" + std::string(internal::kWordpieceVectors)});
  }
  return vectors;
}

}  // namespace r2router::train
