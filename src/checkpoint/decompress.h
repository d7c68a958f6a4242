// The compressions that joblib.dump() offers: zlib, gzip, bz2, xz and lzma.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace r2router::io {

enum class Compression : std::uint8_t { kNone, kZlib, kGzip, kBz2, kXz, kLzma, kLz4 };

/// Detects the compression from the first bytes of a file.
Compression detect_compression(std::span<const std::uint8_t> bytes);

/// Why decompression failed.
struct DecompressionError {
  std::size_t offset = 0;  ///< in the compressed bytes
  std::string message;
};

/// Decompresses `bytes`, which must be exactly one stream. The result grows step by step, so that a
/// small file cannot take much memory; decoders get 128 MiB at most. Throws DecompressionError if
/// there would be more than `most_bytes`, the data is damaged, or this build does not support the
/// compression.
std::vector<std::uint8_t> decompress(std::span<const std::uint8_t> bytes, Compression compression,
                                     std::size_t most_bytes);

}  // namespace r2router::io
