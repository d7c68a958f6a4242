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
    if (places_.size() < size) places_.resize(size);
    counted_.clear();
    features_.clear();
    for_each_feature(text, spec, hashers_, [&](std::size_t family, std::uint64_t hash) {
      const std::size_t index = family * dimension + slot_of(hash, dimension);
      // An entry that an earlier text left does not point back to its index.
      const std::uint32_t place = places_[index];
      if (place < counted_.size() && counted_[place].index == index) {
        counted_[place].count += sign_of(hash);
      } else {
        places_[index] = static_cast<std::uint32_t>(counted_.size());
        counted_.push_back({static_cast<std::uint32_t>(index), sign_of(hash)});
      }
    });
    double squares = 0;
    for (const auto& [index, count] : counted_) {
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
  struct Counted {
    std::uint32_t index;  // family · dimension + slot
    std::int32_t count;
  };

  std::vector<NGramHasher> hashers_;
  std::vector<std::uint32_t> places_;  // for each index, where it was counted last
  std::vector<Counted> counted_;
  std::vector<SparseFeature> features_;
  std::vector<std::uint32_t> pieces_;
  std::vector<double> vector_;
};

}  // namespace r2router::internal
