// An exact search for the embeddings most similar to a query's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "r2router/scorer.h"

#include "score/aligned.h"
#include "score/kernels.h"

namespace r2router::score {

struct Neighbour {
  std::uint32_t index = 0;
  double similarity = 0;  ///< cosine
};

/// Searches all embeddings by cosine similarity. Immutable and safe from many threads.
/// float32 products with a proven bound on their error rule out most embeddings; float64 arithmetic
/// orders the rest, so that the result is the same on every kernel and in every batch.
class NeighbourSearch {
 public:
  /// `embeddings`: count × dimension, row after row, finite; copied.
  NeighbourSearch(std::span<const float> embeddings, std::size_t dimension, const Kernel& kernel);

  std::size_t size() const { return inverse_norms_.size(); }

  /// For each of `rows` queries of finite numbers, its `count` ≤ size() nearest embeddings, nearest
  /// first, ties in order of index; none for a query of zeros. Reuses the memory
  /// of `found`.
  void search(std::span<const double> queries, std::size_t rows, std::size_t count,
              std::vector<std::vector<Neighbour>>& found) const;

 private:
  void select(const double* query, const float* products, std::size_t count,
              std::vector<Neighbour>& found) const;

  const Kernel& kernel_;
  std::size_t dimension_;
  std::vector<float> embeddings_;
  std::vector<double> inverse_norms_;  ///< 0 for an embedding of zeros
  std::size_t panel_count_;
  Aligned<float> panels_;  ///< the same embeddings, of norm 1
};

/// The mean of the neighbours' targets for each head, weighted as NearestNeighbours::Weighting
/// says. `targets`: a row of `out.size()` for each embedding. Precondition: there is a neighbour.
void average_targets(std::span<const Neighbour> neighbours, NearestNeighbours::Weighting weighting,
                     std::span<const float> targets, std::span<double> out);

/// The mean over all embeddings, for a query of zeros, which has no direction.
std::vector<double> average_targets(std::span<const float> targets, std::size_t heads);

}  // namespace r2router::score
