#include "score/neighbour_search.h"

#include <algorithm>
#include <cmath>
#include <functional>

namespace r2router::score {
namespace {

/// Queries whose products are held at a time.
constexpr std::size_t kQueriesAtOnce = 32;

/// Bound on the distance of a float32 product of two unit vectors from the exact one: γ·Σ|aₖ·xₖ| ≤
/// γ, γ = n·u/(1 − n·u) for n roundings of relative size u = 2⁻²⁴ (Higham, Accuracy and Stability
/// of Numerical Algorithms, §3.1, and Cauchy–Schwarz). Two more roundings cover the vectors
/// narrowed to float32; the last hundredth, float64's own and underflow.
double product_error(std::size_t dimension) {
  const double n = static_cast<double>(product_roundings(dimension)) + 2;
  return 1.01 * n * 0x1p-24 / (1 - n * 0x1p-24);
}

/// Scales a vector to norm 1; false if it is zero. Dividing by the largest element first keeps the
/// squares of any finite numbers from overflowing or vanishing.
bool normalise(std::span<double> vector, const Kernel& kernel) {
  double largest = 0;
  for (const double value : vector) largest = std::max(largest, std::abs(value));
  if (!(largest > 0)) return false;
  for (double& value : vector) value /= largest;
  const double norm =
      std::sqrt(kernel.dot_double_double(vector.data(), vector.data(), vector.size()));
  for (double& value : vector) value /= norm;
  return true;
}

}  // namespace

NeighbourSearch::NeighbourSearch(std::span<const float> embeddings, std::size_t dimension,
                                 const Kernel& kernel)
    : kernel_(kernel),
      dimension_(dimension),
      embeddings_(embeddings.begin(), embeddings.end()),
      panel_count_((embeddings.size() / dimension + kernel.panel_width - 1) / kernel.panel_width),
      panels_(panel_count_ * kernel.panel_width * dimension) {
  const std::size_t width = kernel.panel_width;
  for (std::size_t i = 0; i < embeddings.size() / dimension; ++i) {
    const float* row = embeddings_.data() + i * dimension;
    const double norm = std::sqrt(kernel.dot_float_float(row, row, dimension));
    inverse_norms_.push_back(norm > 0 ? 1 / norm : 0);
    float* panel = panels_.data() + i / width * width * dimension;
    for (std::size_t k = 0; k < dimension; ++k) {
      panel[k * width + i % width] = static_cast<float>(row[k] * inverse_norms_[i]);
    }
  }
}

void NeighbourSearch::search(std::span<const double> queries, std::size_t rows, std::size_t count,
                             std::vector<std::vector<Neighbour>>& found) const {
  thread_local std::vector<double> units;
  thread_local std::vector<float> narrowed, products;
  found.resize(rows);
  const std::size_t stride = panel_count_ * kernel_.panel_width;
  for (std::size_t begin = 0; begin < rows; begin += kQueriesAtOnce) {
    const std::size_t together = std::min(kQueriesAtOnce, rows - begin);
    const auto block = queries.subspan(begin * dimension_, together * dimension_);
    units.assign(block.begin(), block.end());
    bool zero[kQueriesAtOnce] = {};
    for (std::size_t r = 0; r < together; ++r) {
      zero[r] = !normalise(std::span(units).subspan(r * dimension_, dimension_), kernel_);
    }
    narrowed.assign(units.begin(), units.end());
    products.resize(together * stride);
    kernel_.product(panels_.data(), panel_count_, dimension_, narrowed.data(), together,
                    products.data());
    for (std::size_t r = 0; r < together; ++r) {
      found[begin + r].clear();
      if (zero[r]) continue;
      select(units.data() + r * dimension_, products.data() + r * stride, count, found[begin + r]);
    }
  }
}

void NeighbourSearch::select(const double* query, const float* products, std::size_t count,
                             std::vector<Neighbour>& found) const {
  thread_local std::vector<float> order;
  order.assign(products, products + size());
  std::nth_element(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count - 1),
                   order.end(), std::greater<>());
  // At least `count` embeddings have an exact similarity above the count-th product less its error,
  // so one of those that are nearest has a product of at least that less its own error.
  const double threshold = order[count - 1] - 2 * product_error(dimension_);
  for (std::size_t i = 0; i < size(); ++i) {
    if (products[i] < threshold) continue;
    const float* row = embeddings_.data() + i * dimension_;
    found.push_back({static_cast<std::uint32_t>(i),
                     kernel_.dot_float_double(row, query, dimension_) * inverse_norms_[i]});
  }
  const auto nearer = [](const Neighbour& a, const Neighbour& b) {
    return a.similarity != b.similarity ? a.similarity > b.similarity : a.index < b.index;
  };
  std::partial_sort(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(count), found.end(),
                    nearer);
  found.resize(count);
}

void average_targets(std::span<const Neighbour> neighbours, NearestNeighbours::Weighting weighting,
                     std::span<const float> targets, std::span<double> out) {
  const bool weighted =
      weighting == NearestNeighbours::Weighting::kSimilarity && neighbours.front().similarity > 0;
  std::fill(out.begin(), out.end(), 0.0);
  double sum = 0;
  for (const Neighbour& neighbour : neighbours) {
    const double weight = weighted ? std::max(neighbour.similarity, 0.0) : 1;
    sum += weight;
    const float* row = targets.data() + neighbour.index * out.size();
    for (std::size_t head = 0; head < out.size(); ++head) out[head] += weight * row[head];
  }
  for (double& value : out) value /= sum;
}

std::vector<double> average_targets(std::span<const float> targets, std::size_t heads) {
  std::vector<double> means(heads);
  for (std::size_t i = 0; i < targets.size(); ++i) means[i % heads] += targets[i];
  const std::size_t rows = targets.size() / heads;
  for (double& mean : means) mean /= static_cast<double>(rows);
  return means;
}

}  // namespace r2router::score
