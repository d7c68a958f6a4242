// Wordpieces: splits a text into pieces of a vocabulary, as for BERT without case, and averages
// their vectors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "r2router/encoder.h"

namespace r2router::internal {

/// Immutable; all methods are thread-safe.
class Wordpieces {
 public:
  /// Throws Error(kInvalidArgument) for settings out of range, numbers of another size, and a
  /// vocabulary that is not as WordpieceVectors says.
  Wordpieces(const WordpieceSpec& spec, WordpieceVectors vectors);

  std::size_t dimension() const { return spec_.dimension; }

  /// The numbers of the text's pieces, in their order. Any byte string is accepted.
  void split(std::string_view text, std::vector<std::uint32_t>& pieces) const;

  /// The mean of the pieces' vectors, made as long as the spec's weight; zeros if it is zero or
  /// there are no pieces. `out` has dimension() elements.
  void average(std::span<const std::uint32_t> pieces, std::span<double> out) const;

 private:
  struct Place {
    std::uint32_t tag = 0;     // bits of the hash
    std::uint32_t number = 0;  // of the piece, plus 1; 0: free
  };

  void add_pieces();
  std::string_view piece(std::uint32_t number) const;
  /// The place of the piece with this hash and text, or the free one where it belongs; nullptr if
  /// too many pieces have similar hashes.
  const Place* find(std::uint64_t hash, std::string_view text, bool continues) const;
  void split_word(std::string_view word, std::vector<std::uint32_t>& pieces) const;

  WordpieceSpec spec_;
  WordpieceVectors vectors_;
  std::vector<std::uint32_t> ends_;  // where each piece's line ends in the vocabulary
  std::vector<Place> places_;        // a hash table with 2^n places, at most half of them taken
  std::size_t longest_ = 0;          // bytes of the longest piece
  std::uint32_t unknown_ = 0;        // number of [UNK]
};

}  // namespace r2router::internal
