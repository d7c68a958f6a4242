// The hashed features and the vector of a text as a list: what the task encoder recognises tasks
// by, and what its scores are learned from. checkpoints/FORMAT.md, "The task encoder", specifies
// the arithmetic.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "r2router/encoder.h"

#include "encode/lexical/features.h"
#include "encode/tasks/wordpieces.h"

namespace r2router::internal {

/// A slot of the hash table, or its size plus the index of an element of the text's vector; and the
/// value of the text there.
struct SparseFeature {
  std::uint32_t slot = 0;
  double value = 0;
};

/// Collects features; its buffers are reused from text to text. Not thread-safe.
class SparseFeatures {
 public:
  /// The features of the text, with squares that sum to 1; or none. Each family has its own, in the
  /// order of their first occurrence in the text. The elements of its vector follow, if
  /// `wordpieces` is not null. Valid until the next call.
  std::span<const SparseFeature> collect(std::string_view text, const LexicalEncoderSpec& spec,
                                         const Wordpieces* wordpieces) {
    const std::size_t dimension = spec.dimension, size = dimension * spec.features.size();
    if (touched_.size() <= size) touched_.resize(size + 1);
    if (cells_.size() < size) cells_.resize(size);
    features_.clear();
    // Nothing can throw while counts are not 0.
    features_.reserve(size + (wordpieces == nullptr ? 0 : wordpieces->dimension()));
    std::size_t touched = 0;
    for_each_feature(text, spec, hashers_, [&](std::size_t family, std::uint64_t hash) {
      const std::size_t index = family * dimension + slot_of(hash, dimension);
      std::uint32_t& cell = cells_[index];
      touched_[touched] = static_cast<std::uint32_t>(index);
      touched += cell == 0;
      cell = (cell == 0 ? kZero : cell) + static_cast<std::uint32_t>(sign_of(hash));
    });
    double squares = 0;
    for (const std::uint32_t index : std::span(touched_).first(touched)) {
      const auto count = static_cast<std::int32_t>(std::exchange(cells_[index], 0) - kZero);
      if (count == 0) continue;  // occurrences that cancel
      double value = count * static_cast<double>(spec.features[index / dimension].weight);
      if (spec.square_root) value = std::copysign(std::sqrt(std::abs(value)), value);
      squares += value * value;
      features_.push_back({static_cast<std::uint32_t>(index % dimension), value});
    }
    const double scale = squares > 0 ? 1 / std::sqrt(squares) : 0;
    for (SparseFeature& feature : features_) feature.value *= scale;
    if (wordpieces != nullptr) {
      wordpieces->split(text, pieces_);
      vector_.resize(wordpieces->dimension());
      wordpieces->average(pieces_, vector_);
      auto slot = static_cast<std::uint32_t>(dimension);
      for (const double value : vector_) features_.push_back({slot++, value});
    }
    return features_;
  }

 private:
  /// A cell with this number has a count of 0, but was touched.
  static constexpr std::uint32_t kZero = std::uint32_t{1} << 31;

  std::vector<NGramHasher> hashers_;
  // For each index, its count plus kZero; 0 if it does not occur. All are 0 between texts.
  std::vector<std::uint32_t> cells_;
  std::vector<std::uint32_t> touched_;  // in the order of their first occurrence
  std::vector<SparseFeature> features_;
  std::vector<std::uint32_t> pieces_;
  std::vector<double> vector_;
};

}  // namespace r2router::internal
