#include <algorithm>
#include <string>

#include "score/check_predictor.h"
#include "score/exact_scorer.h"
#include "score/layout.h"
#include "score/neighbour_search.h"

namespace r2router {
namespace {

class KnnScorer final : public score::ExactScorer {
 public:
  KnnScorer(const NearestNeighbours& data, const score::Kernel& kernel)
      : ExactScorer(data.dimension, data.names),
        neighbours_(data.neighbours),
        weighting_(data.weighting),
        search_(data.embeddings, data.dimension, kernel),
        targets_(data.targets),
        means_(score::average_targets(targets_, data.names.size())) {}

 protected:
  void predict_heads(std::span<const double> embeddings, std::size_t rows,
                     std::span<double> out) const override {
    thread_local std::vector<std::vector<score::Neighbour>> found;
    search_.search(embeddings, rows, neighbours_, found);
    for (std::size_t r = 0; r < rows; ++r) {
      const auto row = out.subspan(r * means_.size(), means_.size());
      if (found[r].empty()) {
        std::copy(means_.begin(), means_.end(), row.begin());
      } else {
        score::average_targets(found[r], weighting_, targets_, row);
      }
    }
  }

 private:
  std::size_t neighbours_;
  NearestNeighbours::Weighting weighting_;
  score::NeighbourSearch search_;
  std::vector<float> targets_;
  std::vector<double> means_;  ///< of each head's targets, over all queries
};

}  // namespace

std::shared_ptr<const Scorer> make_knn_scorer(const NearestNeighbours& neighbours,
                                              std::string_view kernel) {
  if (const std::string fault = find_fault(neighbours); !fault.empty()) {
    score::throw_bad_checkpoint(fault);
  }
  return std::make_shared<KnnScorer>(neighbours, score::find_kernel(kernel));
}

}  // namespace r2router
