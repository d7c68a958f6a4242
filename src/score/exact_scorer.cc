#include "score/exact_scorer.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "score/layout.h"

namespace r2router::score {
namespace {

constexpr std::size_t kNoHead = std::numeric_limits<std::size_t>::max();

}  // namespace

ExactScorer::ExactScorer(std::size_t dimension, std::span<const HeadName> names)
    : dimension_(dimension), heads_(names.size()) {
  if (dimension == 0) throw_bad_checkpoint("the predictor takes embeddings of dimension 0");
  Layout layout = lay_out(names);
  pairs_ = std::move(layout.pairs);
  quality_head_ = std::move(layout.quality_head);
  for (const auto& head : layout.tokens_head) tokens_head_.push_back(head.value_or(kNoHead));
  no_error_.resize(pairs_.size());
}

bool ExactScorer::predicts_length(std::size_t pair) const { return tokens_head_[pair] != kNoHead; }

void ExactScorer::predict(EmbeddingView embedding, Predictions& out) const {
  predict_rows(embedding, 1, out.quality, out.tokens);
}

void ExactScorer::predict_pair(EmbeddingView embedding, std::size_t pair, double& quality,
                               double& tokens) const {
  thread_local Predictions all;
  predict(embedding, all);
  quality = all.quality[pair];
  tokens = all.tokens[pair];
}

void ExactScorer::estimate(EmbeddingView embeddings, std::size_t rows, Estimates& out) const {
  out.quality_error = no_error_;
  out.tokens_error = no_error_;
  out.scale.resize(rows);
  std::visit(
      [&](auto numbers) {
        for (std::size_t r = 0; r < rows; ++r) {
          const auto row = numbers.subspan(r * dimension_, dimension_);
          const bool usable = !find_bad_element(row);
          out.scale[r] = usable ? 1 : std::numeric_limits<double>::quiet_NaN();
        }
      },
      embeddings);
  predict_rows(embeddings, rows, out.quality, out.tokens);
}

void ExactScorer::predict_rows(EmbeddingView embeddings, std::size_t rows,
                               std::vector<double>& quality, std::vector<double>& tokens) const {
  thread_local std::vector<double> inputs, predicted;
  std::visit(
      [&](auto numbers) {
        inputs.assign(numbers.begin(),
                      numbers.begin() + static_cast<std::ptrdiff_t>(rows * dimension_));
      },
      embeddings);
  // estimate() marks such a row, and its caller refuses it.
  for (double& value : inputs) {
    if (!std::isfinite(value)) value = 0;
  }
  predicted.resize(rows * heads_);
  predict_heads(inputs, rows, predicted);
  quality.resize(rows * pairs_.size());
  tokens.resize(rows * pairs_.size());
  for (std::size_t r = 0; r < rows; ++r) {
    const double* row = predicted.data() + r * heads_;
    for (std::size_t p = 0; p < pairs_.size(); ++p) {
      const std::size_t out = r * pairs_.size() + p;
      quality[out] = row[quality_head_[p]];
      tokens[out] = tokens_head_[p] == kNoHead ? pairs_[p].budget.tokens() : row[tokens_head_[p]];
    }
  }
}

}  // namespace r2router::score
