// What scorers do unless they know better: every estimate is an exact prediction.
#include "r2router/scorer.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <variant>

#include "r2router/error.h"

namespace r2router {
namespace {

/// predict(), checked: a scorer may come from outside the library.
void predict_checked(const Scorer& scorer, EmbeddingView embedding, Predictions& out) {
  scorer.predict(embedding, out);
  const std::size_t pairs = scorer.pairs().size();
  if (out.quality.size() != pairs || out.tokens.size() != pairs) {
    throw Error(ErrorCode::kInvalidArgument,
                "the scorer predicted " + std::to_string(out.quality.size()) + " qualities and " +
                    std::to_string(out.tokens.size()) + " lengths for " + std::to_string(pairs) +
                    " pairs: expected one of each for every pair");
  }
  for (std::size_t pair = 0; pair < pairs; ++pair) {
    if (std::isfinite(out.quality[pair]) && std::isfinite(out.tokens[pair])) continue;
    throw Error(ErrorCode::kInvalidArgument, "the scorer's prediction for pair " +
                                                 std::to_string(pair) +
                                                 " is not a finite number: check the scorer");
  }
}

}  // namespace

void Scorer::predict_pair(EmbeddingView embedding, std::size_t pair, double& quality,
                          double& tokens) const {
  Predictions all;
  predict_checked(*this, embedding, all);
  quality = all.quality[pair];
  tokens = all.tokens[pair];
}

void Scorer::estimate(EmbeddingView embeddings, std::size_t rows, Estimates& out) const {
  const std::size_t pairs = this->pairs().size();
  out.quality.resize(rows * pairs);
  out.tokens.resize(rows * pairs);
  out.scale.resize(rows);
  out.quality_error = {};
  out.tokens_error = {};
  Predictions predictions;
  for (std::size_t row = 0; row < rows; ++row) {
    const EmbeddingView embedding = std::visit(
        [&](auto numbers) -> EmbeddingView {
          return numbers.subspan(row * dimension(), dimension());
        },
        embeddings);
    const bool usable = !find_bad_element(embedding);
    out.scale[row] = usable ? 1 : std::numeric_limits<double>::quiet_NaN();
    if (!usable) continue;
    predict_checked(*this, embedding, predictions);
    std::ranges::copy(predictions.quality, out.quality.data() + row * pairs);
    std::ranges::copy(predictions.tokens, out.tokens.data() + row * pairs);
  }
}

bool Scorer::predicts_length(std::size_t) const { return true; }

}  // namespace r2router
