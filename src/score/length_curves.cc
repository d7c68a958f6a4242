#include "score/length_curves.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "score/check_predictor.h"
#include "score/layout.h"

namespace r2router::score {
namespace {

/// Beyond the height of any curve, and no NaN when multiplied by zero.
constexpr double kLargestError = 1e200;

/// The greatest rise of a curve by which the error of a prediction can grow.
double steepest(const LengthCurve& curve) {
  double result = 1;  // beyond the ends
  for (std::size_t i = 1; i < curve.predicted.size(); ++i) {
    result = std::max(result, (curve.observed[i] - curve.observed[i - 1]) /
                                  (curve.predicted[i] - curve.predicted[i - 1]));
  }
  return result;
}

class CorrectedScorer final : public Scorer {
 public:
  CorrectedScorer(std::shared_ptr<const Scorer> scorer, std::span<const HeadName> names,
                  std::span<const LengthCurve> curves)
      : scorer_(std::move(scorer)) {
    std::vector<std::optional<std::size_t>> curve_of(names.size());
    std::size_t lengths = 0;
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (names[i].target == Target::kTokens) curve_of[i] = lengths++;
    }
    if (curves.size() != lengths) {
      throw_bad_checkpoint("found " + std::to_string(curves.size()) + " length curves, expected " +
                           std::to_string(lengths) + ", one for each length head");
    }
    // The bounds on errors are the same for every query.
    Estimates estimates;
    const std::vector<double> zeros(scorer_->dimension());
    scorer_->estimate(std::span<const double>(zeros), 1, estimates);
    tokens_error_.assign(estimates.tokens_error.begin(), estimates.tokens_error.end());
    const Layout layout = lay_out(names);
    for (std::size_t pair = 0; pair < layout.pairs.size(); ++pair) {
      if (!layout.tokens_head[pair]) continue;
      const LengthCurve& curve = curves[*curve_of[*layout.tokens_head[pair]]];
      if (const std::string fault = find_fault(curve); !fault.empty()) throw_bad_checkpoint(fault);
      curves_.emplace_back(pair, curve);
      // The small parts cover the rounding of correct() itself. No curve is higher than the limit.
      double& error = tokens_error_[pair];
      if (error > 0) {
        error = error * steepest(curve) * (1 + 1e-6) + 1e-12 * curve.observed.back();
        error = std::min(error, kLargestError);
      }
    }
  }

  std::size_t dimension() const override { return scorer_->dimension(); }
  std::span<const Pair> pairs() const override { return scorer_->pairs(); }
  bool predicts_length(std::size_t pair) const override { return scorer_->predicts_length(pair); }

  void predict(EmbeddingView embedding, Predictions& out) const override {
    scorer_->predict(embedding, out);
    for (const auto& [pair, curve] : curves_) out.tokens[pair] = correct(curve, out.tokens[pair]);
  }

  void predict_pair(EmbeddingView embedding, std::size_t pair, double& quality,
                    double& tokens) const override {
    scorer_->predict_pair(embedding, pair, quality, tokens);
    const auto found = std::ranges::lower_bound(curves_, pair, {}, &NumberedCurve::first);
    if (found != curves_.end() && found->first == pair) tokens = correct(found->second, tokens);
  }

  void estimate(EmbeddingView embeddings, std::size_t rows, Estimates& out) const override {
    scorer_->estimate(embeddings, rows, out);
    for (std::size_t row = 0; row < rows; ++row) {
      double* const tokens = out.tokens.data() + row * pairs().size();
      for (const auto& [pair, curve] : curves_) tokens[pair] = correct(curve, tokens[pair]);
    }
    out.tokens_error = tokens_error_;
  }

 private:
  using NumberedCurve = std::pair<std::size_t, LengthCurve>;

  std::shared_ptr<const Scorer> scorer_;
  std::vector<NumberedCurve> curves_;  ///< with the number of the pair, ascending
  std::vector<double> tokens_error_;
};

}  // namespace

double correct(const LengthCurve& curve, double predicted) {
  const auto& [x, y] = curve;
  const auto after = std::upper_bound(x.begin(), x.end(), predicted);
  if (after == x.begin()) return y.front() + (predicted - x.front());
  if (after == x.end()) return y.back() + (predicted - x.back());
  const auto i = static_cast<std::size_t>(after - x.begin());
  const double share = (predicted - x[i - 1]) / (x[i] - x[i - 1]);
  return y[i - 1] + share * (y[i] - y[i - 1]);
}

std::shared_ptr<const Scorer> correct_lengths(std::shared_ptr<const Scorer> scorer,
                                              std::span<const HeadName> names,
                                              std::span<const LengthCurve> curves) {
  return std::make_shared<CorrectedScorer>(std::move(scorer), names, curves);
}

}  // namespace r2router::score
