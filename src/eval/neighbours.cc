#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "r2router/error.h"
#include "r2router/eval.h"

#include "score/aligned_floats.h"
#include "score/kernels.h"

namespace r2router {
namespace {

using score::Kernel;

/// Queries whose products with all training rows are held at once.
constexpr std::size_t kBlock = 32;

void check_arguments(const OutcomeTable& table, std::span<const float> embeddings,
                     const OutcomeTable& training, std::span<const float> training_embeddings,
                     std::size_t dimension, std::size_t k) {
  if (training.pairs != table.pairs) {
    throw Error(ErrorCode::kInvalidArgument,
                "the training table does not have the same (model, budget) pairs");
  }
  if (dimension == 0 || embeddings.size() != table.queries.size() * dimension ||
      training_embeddings.size() != training.queries.size() * dimension) {
    throw Error(ErrorCode::kInvalidArgument,
                "there are " + std::to_string(embeddings.size()) + " numbers for " +
                    std::to_string(table.queries.size()) + " queries and " +
                    std::to_string(training_embeddings.size()) + " for " +
                    std::to_string(training.queries.size()) +
                    " training queries: expected one embedding of " + std::to_string(dimension) +
                    " for each");
  }
  if (k == 0) throw Error(ErrorCode::kInvalidArgument, "k is 0: expected 1 neighbour or more");
}

/// Searches for the nearest of a set of embeddings by cosine. float32 products rule most of them
/// out; the order of those within the products' error is settled in float64, so that every kernel
/// finds the same neighbours.
class NeighbourSearch {
 public:
  /// `rows`: of `embeddings`, which is borrowed.
  NeighbourSearch(std::span<const float> embeddings, std::size_t dimension,
                  std::span<const std::uint32_t> rows)
      : kernel_(score::find_kernel({})),
        embeddings_(embeddings),
        dimension_(dimension),
        rows_(rows),
        panel_count_((rows.size() + kernel_.panel_width - 1) / kernel_.panel_width),
        panels_(panel_count_ * kernel_.panel_width * dimension) {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const double norm = norm_of(row(i));
      scales_.push_back(norm > 0 ? 1 / norm : 0);
      float* panel = panels_.data() + i / kernel_.panel_width * kernel_.panel_width * dimension;
      for (std::size_t j = 0; j < dimension; ++j) {
        panel[j * kernel_.panel_width + i % kernel_.panel_width] =
            static_cast<float>(row(i)[j] * scales_[i]);
      }
    }
  }

  /// Calls visit(query, neighbours) for each of `queries`, embeddings one after another, with its
  /// `k` nearest rows (indices into `rows`) among those that admit(query, row) lets in, best first.
  template <typename Admit, typename Visit>
  void search(std::span<const float> queries, std::size_t k, Admit admit, Visit visit) const {
    const std::size_t count = queries.size() / dimension_;
    const std::size_t stride = panel_count_ * kernel_.panel_width;
    std::vector<float> products(kBlock * stride);
    for (std::size_t begin = 0; begin < count; begin += kBlock) {
      const std::size_t block = std::min(kBlock, count - begin);
      kernel_.product(panels_.data(), panel_count_, dimension_, &queries[begin * dimension_], block,
                      products.data());
      for (std::size_t i = 0; i < block; ++i) {
        const std::size_t query = begin + i;
        visit(query, nearest(&queries[query * dimension_], &products[i * stride], k,
                             [&](std::size_t row) { return admit(query, row); }));
      }
    }
  }

 private:
  const float* row(std::size_t i) const { return &embeddings_[rows_[i] * dimension_]; }
  double norm_of(const float* x) const {
    return std::sqrt(kernel_.dot_float_float(x, x, dimension_));
  }

  template <typename Admit>
  std::vector<std::size_t> nearest(const float* query, const float* products, std::size_t k,
                                   Admit admit) const {
    std::vector<float> sorted;
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      if (admit(i)) sorted.push_back(products[i]);
    }
    if (sorted.size() < k) return {};
    std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(k - 1),
                     sorted.end(), std::greater<>());
    // Rows have length 1, give or take a rounding, which is one more beside the product's own.
    const double roundings = static_cast<double>(score::product_roundings(dimension_)) + 3;
    const double error = roundings * std::numeric_limits<float>::epsilon() / 2 * norm_of(query);
    const double least = sorted[k - 1] - 2.01 * error;
    std::vector<std::pair<double, std::size_t>> candidates;
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      if (!(products[i] >= least) || !admit(i)) continue;
      // Ascending by this: the nearest first, of equals the first.
      candidates.emplace_back(-kernel_.dot_float_float(query, row(i), dimension_) * scales_[i], i);
    }
    std::sort(candidates.begin(), candidates.end());
    std::vector<std::size_t> result;
    for (std::size_t i = 0; i < k; ++i) result.push_back(candidates[i].second);
    return result;
  }

  const Kernel& kernel_;
  std::span<const float> embeddings_;
  std::size_t dimension_;
  std::span<const std::uint32_t> rows_;
  std::size_t panel_count_;
  score::AlignedFloats panels_;
  std::vector<double> scales_;  ///< 1/norm of each row
};

}  // namespace

PredictionTable predict_neighbours(const OutcomeTable& table, std::span<const float> embeddings,
                                   const OutcomeTable& training,
                                   std::span<const float> training_embeddings,
                                   std::size_t dimension, std::size_t k) {
  check_arguments(table, embeddings, training, training_embeddings, dimension, k);
  const std::vector<std::uint32_t> rows = complete_queries(training);
  const NeighbourSearch search(training_embeddings, dimension, rows);
  std::vector<std::uint64_t> hashes;
  for (const std::uint32_t row : rows) hashes.push_back(query_hash(training.queries[row].text));

  const std::size_t pairs = table.pairs.size();
  PredictionTable result;
  result.quality.assign(table.queries.size() * pairs, 0);
  result.output_tokens.assign(table.queries.size() * pairs, 0);
  std::size_t hashed_query = table.queries.size();
  std::uint64_t hash = 0;
  const auto admit = [&](std::size_t query, std::size_t row) {
    if (query != hashed_query) hash = query_hash(table.queries[query].text);
    hashed_query = query;
    return hash != hashes[row] || table.queries[query].text != training.queries[rows[row]].text;
  };
  search.search(embeddings, k, admit,
                [&](std::size_t query, const std::vector<std::size_t>& neighbours) {
                  if (neighbours.empty()) {
                    throw Error(ErrorCode::kBadData,
                                "there are fewer than " + std::to_string(k) +
                                    " other training queries with outcomes of every pair: expected "
                                    "at least k; give more queries, or choose a smaller k");
                  }
                  for (std::size_t pair = 0; pair < pairs; ++pair) {
                    double score = 0, tokens = 0;
                    for (const std::size_t neighbour : neighbours) {
                      score += training.scores[training.cell(rows[neighbour], pair)];
                      tokens += training.output_tokens[training.cell(rows[neighbour], pair)];
                    }
                    result.quality[table.cell(query, pair)] = score / static_cast<double>(k);
                    result.output_tokens[table.cell(query, pair)] = tokens / static_cast<double>(k);
                  }
                });
  return result;
}

}  // namespace r2router
