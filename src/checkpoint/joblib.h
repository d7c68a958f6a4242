// Ridge regressors from files written by joblib.dump(): what joblib, NumPy and scikit-learn add to
// pickle.
//
// joblib pickles a NumpyArrayWrapper in place of each array and puts the array's bytes into the
// stream right behind it: since joblib 1.2 after one byte that counts the padding, and that much
// padding, up to a multiple of 16. A compressed file is one zlib stream of all this. Read: pickle
// protocols 2 to 5; little-endian float32 and float64; NumPy 1 and 2 spellings; zlib.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/pickle.h"

namespace r2router::io {

/// Most that a zlib-compressed file may decompress to.
inline constexpr std::size_t kMaxDecompressedBytes = std::size_t{64} << 20;

/// One linear regressor, prediction = coefficients·x + intercept, where it stands in its file.
struct RidgeHead {
  std::string_view key = {};  ///< its key in the file's dict; empty if the file holds one regressor
  std::uint64_t offset = 0;   ///< of the regressor, for error messages
  std::string_view coefficients = {};  ///< little-endian, possibly not aligned
  bool is_float64 = false;             ///< precision of the coefficients; else float32
  double intercept = 0;                ///< finite

  /// How many coefficients it has.
  std::size_t size() const { return coefficients.size() / (is_float64 ? 8 : 4); }
};

/// A parsed file. Views `bytes`, which must outlive it; movable, not copyable.
class RidgeFile {
 public:
  /// `file` is for error messages. Throws Error(kBadCheckpoint, kUnsafe) with the byte offset.
  RidgeFile(std::span<const std::uint8_t> bytes, std::string file);
  RidgeFile(RidgeFile&&) = default;
  RidgeFile& operator=(RidgeFile&&) = default;

  /// True for a dict of regressors, false for a single one.
  bool is_dict() const { return is_dict_; }
  /// In the dict's own order. Not checked here: what the keys say, and that sizes agree.
  const std::vector<RidgeHead>& heads() const { return heads_; }

  /// Copies a head's coefficients to `out`, which has head.size() elements and is wide enough for
  /// the head's precision. Throws Error(kBadCheckpoint) at the first that is not finite.
  void copy_coefficients(const RidgeHead& head, std::span<float> out) const;
  void copy_coefficients(const RidgeHead& head, std::span<double> out) const;

  /// Throws an Error about a head, naming it.
  [[noreturn]] void refuse(const RidgeHead& head, const std::string& message) const;

 private:
  void require_finite(const RidgeHead& head, std::size_t finite) const;

  std::vector<std::uint8_t> decompressed_;  // what source_ views if the file is compressed
  PickleSource source_;
  bool is_dict_ = false;
  std::vector<RidgeHead> heads_;
};

}  // namespace r2router::io
