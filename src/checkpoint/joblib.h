// Reads linear regressors from files written by joblib.dump() or pickle.dump(): the layer of
// joblib, NumPy and scikit-learn on top of pickle.
//
// joblib pickles a NumpyArrayWrapper in place of each array and appends the array's bytes to the
// stream. Since joblib 1.2 they follow one byte with the size of the padding, and the padding to a
// multiple of 16. An array of Python objects is a nested pickle. Without joblib an array is a call
// of NumPy with its bytes. A compressed file is one stream. Supported: pickle protocols 0 to 5;
// float16, float32 and float64 in either byte order; the spellings of NumPy 1 and 2; zlib, gzip,
// bz2, xz and lzma.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/pickle.h"

namespace r2router::io {

/// Maximum size of a decompressed file.
inline constexpr std::size_t kMaxDecompressedBytes = std::size_t{64} << 20;

/// One linear regressor, prediction = coefficients·x + intercept, with its position in the file.
struct Regressor {
  std::string key = {};      ///< its key in the file's dict; empty if the file holds one regressor
  std::uint64_t offset = 0;  ///< of the regressor, for error messages
  std::string_view coefficients = {};  ///< possibly not aligned
  std::optional<std::uint64_t> data_offset =
      {};                      ///< of the coefficients, if the file contains them verbatim
  std::uint8_t width = 4;      ///< bytes of a coefficient: 2, 4 or 8
  bool is_big_endian = false;  ///< byte order of the coefficients
  double intercept = 0;        ///< finite

  /// How many coefficients it has.
  std::size_t size() const { return coefficients.size() / width; }
  /// Whether float32 is too narrow for the coefficients.
  bool is_float64() const { return width == 8; }
};

/// A parsed file. Views `bytes`, which must outlive it; movable, not copyable.
class RegressorFile {
 public:
  /// `file` is for error messages. Throws Error(kBadCheckpoint, kUnsafe) with the byte offset.
  RegressorFile(std::span<const std::uint8_t> bytes, std::string file);
  RegressorFile(RegressorFile&&) = default;
  RegressorFile& operator=(RegressorFile&&) = default;

  /// True for a dict of regressors, false for a single one.
  bool is_dict() const { return is_dict_; }
  /// In the order of the dict. Keys and sizes are not checked here.
  const std::vector<Regressor>& heads() const { return heads_; }

  /// Copies a head's coefficients to `out`, which has head.size() elements of at least the head's
  /// precision. Throws Error(kBadCheckpoint) at the first that is not finite.
  void copy_coefficients(const Regressor& head, std::span<float> out) const;
  void copy_coefficients(const Regressor& head, std::span<double> out) const;

  /// Throws an Error that names the head.
  [[noreturn]] void refuse(const Regressor& head, const std::string& message) const;

 private:
  void require_finite(const Regressor& head, std::size_t finite) const;

  std::vector<std::uint8_t> decompressed_;  // what source_ views if the file is compressed
  PickleSource source_;
  std::deque<std::string> decoded_;  // arrays whose bytes were pickled as text
  bool is_dict_ = false;
  std::vector<Regressor> heads_;
};

}  // namespace r2router::io
