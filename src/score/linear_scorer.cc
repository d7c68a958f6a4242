// The heads are rows of an Eigen matrix, from which exact predictions are computed. A Screen has a
// copy of it in less precision.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <Eigen/Core>

#include "r2router/error.h"
#include "r2router/scorer.h"

#include "score/kernels.h"
#include "score/layout.h"
#include "score/screen.h"

namespace r2router {
namespace {

using score::describe;
using score::Kernel;
using score::kLargestNorm;
using score::throw_bad_checkpoint;

/// An error bound that admits everything, yet gives no NaN when multiplied by zero.
constexpr double kUnbounded = 1e300;

double dot(const Kernel& kernel, const float* a, const float* b, std::size_t n) {
  return kernel.dot_float_float(a, b, n);
}
double dot(const Kernel& kernel, const float* a, const double* b, std::size_t n) {
  return kernel.dot_float_double(a, b, n);
}
double dot(const Kernel& kernel, const double* a, const float* b, std::size_t n) {
  return kernel.dot_float_double(b, a, n);
}
double dot(const Kernel& kernel, const double* a, const double* b, std::size_t n) {
  return kernel.dot_double_double(a, b, n);
}

template <typename Weight>
class LinearScorer final : public Scorer {
 public:
  LinearScorer(const LinearHeads& heads, const std::vector<Weight>& weights, const Kernel& kernel)
      : kernel_(kernel), dimension_(heads.dimension) {
    const score::Layout layout = score::lay_out(heads.names);
    pairs_ = layout.pairs;
    // Rows: every pair's quality head, then the token heads; so that row = pair for quality.
    std::vector<std::size_t> order = layout.quality_head;
    tokens_row_.assign(pairs_.size(), kNoRow);
    fixed_tokens_.assign(pairs_.size(), 0);
    for (std::size_t p = 0; p < pairs_.size(); ++p) {
      if (layout.tokens_head[p]) {
        tokens_row_[p] = order.size();
        predicted_tokens_.emplace_back(p, order.size());
        order.push_back(*layout.tokens_head[p]);
      } else {
        fixed_tokens_[p] = pairs_[p].budget.tokens();
      }
    }
    const Eigen::Map<const Matrix> given(weights.data(), index(heads.names.size()),
                                         index(dimension_));
    weights_.resize(index(order.size()), index(dimension_));
    for (std::size_t row = 0; row < order.size(); ++row) {
      weights_.row(index(row)) = given.row(index(order[row]));
      intercepts_.push_back(heads.intercepts[order[row]]);
    }
    check_numbers(heads, order);
    const std::size_t size = order.size() * dimension_;
    if constexpr (std::is_same_v<Weight, float>) {
      screen_ = score::make_screen(std::span(weights_.data(), size), dimension_, kernel_);
    } else {
      const std::vector<float> narrowed(weights_.data(), weights_.data() + size);
      screen_ = score::make_screen(narrowed, dimension_, kernel_);
    }
    quality_error_ = screen_->errors().first(pairs_.size());
    for (const std::size_t row : tokens_row_)
      tokens_error_.push_back(row == kNoRow ? 0 : screen_->errors()[row]);
  }

  std::size_t dimension() const override { return dimension_; }
  std::span<const Pair> pairs() const override { return pairs_; }
  bool predicts_length(std::size_t pair) const override { return tokens_row_[pair] != kNoRow; }

  void predict(EmbeddingView embedding, Predictions& out) const override {
    out.quality.resize(pairs_.size());
    out.tokens.resize(pairs_.size());
    for (std::size_t p = 0; p < pairs_.size(); ++p) {
      predict_pair(embedding, p, out.quality[p], out.tokens[p]);
    }
  }

  void predict_pair(EmbeddingView embedding, std::size_t pair, double& quality,
                    double& tokens) const override {
    quality = exact(pair, embedding);
    tokens =
        tokens_row_[pair] == kNoRow ? fixed_tokens_[pair] : exact(tokens_row_[pair], embedding);
  }

  void estimate(EmbeddingView embeddings, std::size_t rows, Estimates& out) const override {
    const std::size_t stride = screen_->stride();
    thread_local std::vector<float> products, narrowed;
    products.resize(rows * stride);
    out.scale.resize(rows);
    out.quality.resize(rows * pairs_.size());
    out.tokens.resize(rows * pairs_.size());
    out.quality_error = quality_error_;
    out.tokens_error = tokens_error_;

    const float* inputs = nullptr;
    if (const auto* floats = std::get_if<std::span<const float>>(&embeddings)) {
      inputs = floats->data();
    } else {
      const auto doubles = std::get<std::span<const double>>(embeddings);
      narrowed.resize(rows * dimension_);
      std::copy_n(doubles.begin(), rows * dimension_, narrowed.begin());
      inputs = narrowed.data();
    }
    screen_->multiply(inputs, rows, products.data(), out.scale.data());

    for (std::size_t r = 0; r < rows; ++r) {
      const float* product = products.data() + r * stride;
      double* quality = out.quality.data() + r * pairs_.size();
      double* tokens = out.tokens.data() + r * pairs_.size();
      if (!(out.scale[r] <= kLargestNorm)) {
        // Too large for float32, or for any arithmetic.
        out.scale[r] =
            is_usable(embeddings, r) ? kUnbounded : std::numeric_limits<double>::quiet_NaN();
        std::fill_n(quality, pairs_.size(), 0.0);
        std::copy(fixed_tokens_.begin(), fixed_tokens_.end(), tokens);
        continue;
      }
      for (std::size_t p = 0; p < pairs_.size(); ++p) quality[p] = product[p] + intercepts_[p];
      std::copy(fixed_tokens_.begin(), fixed_tokens_.end(), tokens);
      for (const auto& [pair, row] : predicted_tokens_)
        tokens[pair] = product[row] + intercepts_[row];
    }
  }

 private:
  using Matrix = Eigen::Matrix<Weight, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

  static constexpr std::size_t kNoRow = std::numeric_limits<std::size_t>::max();

  static Eigen::Index index(std::size_t i) { return static_cast<Eigen::Index>(i); }

  /// The weights of a head, `dimension_` of them.
  const Weight* weights_of(std::size_t row) const { return weights_.row(index(row)).data(); }

  // Not Eigen's product, whose order of summation depends on the machine.
  double exact(std::size_t row, const EmbeddingView& embedding) const {
    const Weight* weights = weights_of(row);
    return std::visit([&](auto x) { return dot(kernel_, weights, x.data(), dimension_); },
                      embedding) +
           intercepts_[row];
  }

  bool is_usable(const EmbeddingView& embeddings, std::size_t row) const {
    return std::visit(
        [&](auto x) { return !find_bad_element(x.subspan(row * dimension_, dimension_)); },
        embeddings);
  }

  void check_numbers(const LinearHeads& heads, const std::vector<std::size_t>& order) const {
    for (std::size_t row = 0; row < order.size(); ++row) {
      const Weight* w = weights_of(row);
      const double norm = std::sqrt(dot(kernel_, w, w, dimension_));
      if (!(norm <= kLargestNorm) || !std::isfinite(intercepts_[row])) {
        throw_bad_checkpoint(describe(heads.names[order[row]]) +
                             " holds a number that is not finite or is beyond " +
                             "10^18: the file is corrupt, fetch or train it again");
      }
    }
  }

  const Kernel& kernel_;
  std::size_t dimension_;
  std::vector<Pair> pairs_;
  Matrix weights_;                  ///< heads × dimension, for exact arithmetic
  std::vector<double> intercepts_;  ///< rows
  std::vector<std::size_t> tokens_row_;
  std::vector<std::pair<std::size_t, std::size_t>> predicted_tokens_;  ///< pair and row
  std::vector<double> fixed_tokens_;                                   ///< budgets; 0 if predicted
  std::unique_ptr<const score::Screen> screen_;
  std::span<const double> quality_error_;
  std::vector<double> tokens_error_;
};

}  // namespace

std::shared_ptr<const Scorer> make_linear_scorer(const LinearHeads& heads,
                                                 std::string_view kernel) {
  if (heads.dimension == 0) throw_bad_checkpoint("heads of dimension 0");
  return std::visit(
      [&](const auto& weights) -> std::shared_ptr<const Scorer> {
        using Weight = typename std::decay_t<decltype(weights)>::value_type;
        const std::size_t heads_count = heads.names.size();
        if (weights.size() != heads_count * heads.dimension ||
            heads.intercepts.size() != heads_count) {
          throw_bad_checkpoint(std::to_string(heads_count) + " heads of dimension " +
                               std::to_string(heads.dimension) + " come with " +
                               std::to_string(weights.size()) + " weights and " +
                               std::to_string(heads.intercepts.size()) + " intercepts");
        }
        return std::make_shared<LinearScorer<Weight>>(heads, weights, score::find_kernel(kernel));
      },
      heads.weights);
}

}  // namespace r2router
