// The safetensors container: an 8-byte little-endian header length, a JSON header with each
// tensor's type, shape and position, then the tensors' bytes without gaps. Format:
// https://huggingface.co/docs/safetensors
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace r2router::io {

enum class TensorType : std::uint8_t { kFloat32, kFloat64, kInt8, kUint8 };

/// Bytes of one element.
constexpr std::size_t size_of(TensorType type) {
  if (type == TensorType::kFloat64) return 8;
  return type == TensorType::kFloat32 ? 4 : 1;
}

/// The type of tensors of these C++ numbers.
template <typename Value>
inline constexpr TensorType kTypeOf = TensorType::kFloat32;
template <>
inline constexpr TensorType kTypeOf<double> = TensorType::kFloat64;
template <>
inline constexpr TensorType kTypeOf<std::int8_t> = TensorType::kInt8;
template <>
inline constexpr TensorType kTypeOf<std::uint8_t> = TensorType::kUint8;

/// As the header spells it, such as "F32".
std::string_view name_of(TensorType type);

/// A non-owning view of a tensor.
struct TensorView {
  std::string name;
  TensorType type = TensorType::kFloat32;
  std::vector<std::uint64_t> shape = {};
  std::span<const std::uint8_t> data = {};  ///< little-endian, row-major, perhaps unaligned
};

/// A tensor's elements. Precondition: Value is the C++ type of tensor.type.
template <typename Value>
std::vector<Value> copy_elements(const TensorView& tensor) {
  static_assert(std::endian::native == std::endian::little, "the files hold little-endian numbers");
  const std::size_t count = tensor.data.size() / sizeof(Value);
  const auto* const first = reinterpret_cast<const Value*>(tensor.data.data());
  // As writers place them; then the vector need not be zeroed first.
  if (reinterpret_cast<std::uintptr_t>(first) % alignof(Value) == 0) return {first, first + count};
  std::vector<Value> values(count);
  if (count > 0) std::memcpy(values.data(), tensor.data.data(), tensor.data.size());
  return values;
}

/// The contents of a file. Views are valid as long as the bytes they were parsed from.
struct Safetensors {
  std::map<std::string, std::string> metadata = {};  ///< the header's __metadata__
  std::vector<TensorView> tensors = {};              ///< in the order of their data
};

/// Maximum size of a header: limits what a hostile file can make the parser allocate.
inline constexpr std::uint64_t kMaxSafetensorsHeader = 16 << 20;

/// Checks the whole container before it returns: sizes against the file's, shapes against data, and
/// that the data are in bounds and neither overlap nor leave gaps. Values are not checked. Types
/// other than float32, float64, int8 and uint8 are rejected. Throws Error(kBadCheckpoint) with
/// `file` and the byte offset or the JSON pointer in the header.
Safetensors parse_safetensors(std::span<const std::uint8_t> bytes, const std::string& file);

/// A file that holds `contents`, the data in the order given. The first tensor is aligned to 8
/// bytes; with the float64 tensors first, every tensor is aligned to its elements. Precondition:
/// names are unique and data sizes fit shapes.
std::string write_safetensors(const Safetensors& contents);

}  // namespace r2router::io
