#include "checkpoint/safetensors.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/json.h"

namespace r2router::io {
namespace {

constexpr std::size_t kLengthBytes = 8;  // of the header length in front of the header
constexpr const char* kMetadata = "__metadata__";

/// The types that checkpoints use; the format has more.
constexpr std::pair<std::string_view, TensorType> kTypes[] = {{"F32", TensorType::kFloat32},
                                                              {"F64", TensorType::kFloat64},
                                                              {"I8", TensorType::kInt8},
                                                              {"U8", TensorType::kUint8}};

TensorType read_type(const JsonView& field) {
  for (const auto& [name, type] : kTypes) {
    if (field.is_string() && field.string() == name) return type;
  }
  field.fail(R"("F32", "F64", "I8" or "U8"; convert the tensor to one of these types)");
}

/// Size in bytes of a tensor of this shape; empty if it overflows.
std::optional<std::uint64_t> bytes_of(const std::vector<std::uint64_t>& shape, TensorType type) {
  std::uint64_t bytes = size_of(type);
  for (const std::uint64_t extent : shape) {
    if (__builtin_mul_overflow(bytes, extent, &bytes)) return std::nullopt;
  }
  return bytes;
}

/// A tensor of the header and where its data begin, counted from the end of the header.
struct Placed {
  std::uint64_t begin;
  JsonView place;
  TensorView tensor;
};

Placed read_tensor(const JsonView& field, std::string_view name,
                   std::span<const std::uint8_t> data) {
  constexpr std::string_view kCount = "a whole number from 0 to 18446744073709551615";
  TensorView tensor{.name = std::string(name), .type = read_type(field["dtype"])};
  for (const JsonView& extent : field["shape"].elements("an array of extents")) {
    tensor.shape.push_back(extent.integer(0, UINT64_MAX, kCount));
  }
  const JsonView place = field["data_offsets"];
  const auto offsets = place.elements("two offsets: [begin, end]");
  if (offsets.size() != 2) place.fail("two offsets: [begin, end]");
  const std::uint64_t begin = offsets[0].integer(0, UINT64_MAX, kCount);
  const std::uint64_t end = offsets[1].integer(0, UINT64_MAX, kCount);
  // Bounds first: only then does end − begin fit into memory that exists.
  if (begin > end || end > data.size()) {
    place.fail_with("found data from " + std::to_string(begin) + " to " + std::to_string(end) +
                    ", expected a range within the " + std::to_string(data.size()) +
                    " bytes after the header; the file is truncated or corrupt, fetch it again");
  }
  const std::optional<std::uint64_t> expected = bytes_of(tensor.shape, tensor.type);
  if (expected != end - begin) {
    place.fail_with("found " + std::to_string(end - begin) + " bytes of data, expected " +
                    (expected ? std::to_string(*expected) : "more than a file can hold") +
                    " by the tensor's shape; the file is corrupt, fetch it again");
  }
  tensor.data = data.subspan(begin, end - begin);
  return {begin, place, std::move(tensor)};
}

}  // namespace

Safetensors parse_safetensors(std::span<const std::uint8_t> bytes, const std::string& file) {
  if (bytes.size() < kLengthBytes) {
    throw Error(ErrorCode::kBadCheckpoint,
                "the file has " + std::to_string(bytes.size()) +
                    " bytes, expected a safetensors file, which begins with the length of its "
                    "header in 8 bytes; the file is truncated, fetch it again",
                {.file = file});
  }
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i) length |= std::uint64_t{bytes[i]} << (8 * i);
  // The subtraction cannot wrap, whereas 8 + length could.
  const std::uint64_t most =
      std::min<std::uint64_t>(bytes.size() - kLengthBytes, kMaxSafetensorsHeader);
  if (length > most) {
    throw Error(ErrorCode::kBadCheckpoint,
                "found a header length of " + std::to_string(length) + " bytes, expected at most " +
                    std::to_string(most) +
                    "; the file is truncated or not a safetensors file, fetch it again",
                {.file = file, .byte_offset = 0});
  }
  const auto data = bytes.subspan(kLengthBytes + length);

  const JsonDocument header({reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, length},
                            file, ErrorCode::kBadCheckpoint);
  Safetensors contents;
  std::vector<Placed> placed;
  for (const auto& [name, field] : header.root().members("a header: a JSON object")) {
    if (name == kMetadata) {
      for (const auto& [key, value] : field.members())
        contents.metadata[std::string(key)] = value.string();
    } else {
      placed.push_back(read_tensor(field, name, data));
    }
  }
  // The header may name tensors in any order. Sort by position, so that one pass finds overlaps and
  // gaps; an empty tensor precedes one at the same position.
  std::ranges::sort(placed, [](const Placed& a, const Placed& b) {
    return std::pair(a.begin, a.tensor.data.size()) < std::pair(b.begin, b.tensor.data.size());
  });
  std::uint64_t end = 0;
  for (Placed& next : placed) {
    if (next.begin != end) {
      next.place.fail_with("found data that begin at " + std::to_string(next.begin) +
                           ", expected " + std::to_string(end) +
                           ", where the data before them end: tensors may "
                           "neither overlap nor leave gaps; write the file again");
    }
    end += next.tensor.data.size();
    contents.tensors.push_back(std::move(next.tensor));
  }
  // Bytes that no tensor owns could hide another file in this one.
  if (end != data.size()) {
    throw Error(ErrorCode::kBadCheckpoint,
                "found " + std::to_string(data.size() - end) +
                    " bytes after the last tensor's data, expected the end of the file; the file "
                    "is corrupt, fetch it again",
                {.file = file, .byte_offset = kLengthBytes + length + end});
  }
  return contents;
}

std::string_view name_of(TensorType type) {
  return std::ranges::find(kTypes, type, [](const auto& known) { return known.second; })->first;
}

std::string write_safetensors(const Safetensors& contents) {
  Json header = Json::object();
  if (!contents.metadata.empty()) header[kMetadata] = contents.metadata;
  std::uint64_t end = 0;
  for (const TensorView& tensor : contents.tensors) {
    const std::uint64_t begin = std::exchange(end, end + tensor.data.size());
    header[tensor.name] = {
        {"dtype", name_of(tensor.type)}, {"shape", tensor.shape}, {"data_offsets", {begin, end}}};
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // so that the data are aligned

  std::string file;
  file.reserve(kLengthBytes + text.size() + end);
  for (std::size_t i = 0; i < kLengthBytes; ++i) {
    file += static_cast<char>(std::uint64_t{text.size()} >> (8 * i));
  }
  file += text;
  for (const TensorView& tensor : contents.tensors) {
    file.append(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size());
  }
  return file;
}

}  // namespace r2router::io
