// NumPy's .npy files (numpy/lib/format.py, versions 1.0, 2.0 and 3.0): matrices of floating point.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace r2router::io {

/// A matrix, row-major, in the precision of its file. A one-dimensional array is a single row.
struct NpyArray {
  std::size_t rows = 0;
  std::size_t columns = 0;
  std::variant<std::vector<float>, std::vector<double>> values;  ///< rows × columns
};

/// Reads a little-endian float32 or float64 array of one or two dimensions; Fortran order is
/// transposed. Values are not checked: NaN and infinity pass through. Throws Error(kBadData) for
/// anything else than such a file, and Error(kUnsafe) for an array of Python objects, which would
/// need unpickling.
NpyArray parse_npy(std::span<const std::uint8_t> bytes, const std::string& file);

/// The same from a path. Throws Error(kNotFound) and Error(kIo) as well.
NpyArray read_npy(const std::string& path);

/// As read_npy(), for an embedding in each row: throws Error(kBadData) for a row that has a number
/// that is not finite, or is all zero, which is what encoders that have failed leave.
NpyArray read_embeddings_npy(const std::string& path);

/// The same for embeddings of `dimension` numbers, made by the encoder that is named in the
/// Error(kBadData) of another length.
NpyArray read_embeddings_npy(const std::string& path, std::size_t dimension,
                             const std::string& encoder);

}  // namespace r2router::io
