// Linear heads, by ridge regression.
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/parallel.h"
#include "train/learner.h"

namespace r2router::train {
namespace {

LinearHeads make_heads(const OutcomeTable& table, const LinearFit& fit) {
  LinearHeads heads;
  heads.dimension = static_cast<std::size_t>(fit.weights.rows());
  heads.names = name_heads(table);
  std::vector<float> weights(static_cast<std::size_t>(fit.weights.size()));
  for (std::size_t i = 0; i < weights.size(); ++i) {
    // Column-major, one column a head: the rows that are wanted.
    weights[i] = static_cast<float>(fit.weights.data()[i]);
  }
  heads.weights = std::move(weights);
  heads.intercepts.assign(fit.intercepts.data(), fit.intercepts.data() + fit.intercepts.size());
  return heads;
}

class RidgeLearner final : public Learner {
 public:
  RidgeLearner(const LearningProblem& problem, FitHeads fit_heads)
      : problem_(problem), fit_heads_(std::move(fit_heads)) {}

  std::size_t settings() const override { return alphas().size(); }
  double caution(std::size_t setting) const override { return alphas()[setting]; }

  std::vector<eval::PredictionTable> predict_left_out(
      std::size_t left_out, std::span<const std::uint32_t> queries,
      std::span<const std::size_t> settings) override {
    std::vector<double> chosen;
    for (const std::size_t setting : settings) chosen.push_back(alphas()[setting]);
    const std::vector<LinearFit> fits = fit_heads_(chosen, left_out);
    std::vector<eval::PredictionTable> results(chosen.size());
    internal::parallel_for(problem_.threads, chosen.size(), [&](std::size_t i) {
      const std::size_t threads_each = chosen.size() == 1 ? problem_.threads : 1;
      const Predicted predicted =
          predict_heads(problem_.embeddings, fits[i], queries, threads_each);
      const auto cells = queries.size() * problem_.table.pairs.size();
      results[i].quality.resize(cells);
      results[i].output_tokens.resize(cells);
      for (std::size_t cell = 0; cell < cells; ++cell) {
        results[i].quality[cell] = predicted.data()[kHeadsPerPair * cell];
        results[i].output_tokens[cell] = predicted.data()[kHeadsPerPair * cell + 1];
      }
    });
    return results;
  }

  Predictor fit(std::size_t setting) override {
    return make_heads(problem_.table, fit_heads_({&alphas()[setting], 1}, {}).front());
  }

  void report(std::size_t chosen, std::span<const eval::DeferralMetrics> metrics,
              TrainReport& report) const override {
    report.alpha = alphas()[chosen];
    for (std::size_t i = 0; i < alphas().size(); ++i) {
      report.alphas.push_back({alphas()[i], metrics[i]});
    }
  }

  std::string method() const override {
    return "ridge regression: a quality head and a length head for every (model, budget) pair";
  }
  void describe(std::size_t setting, ObjectWriter& object) const override {
    object.number("alpha", alphas()[setting]);
  }

 private:
  const std::vector<double>& alphas() const { return problem_.options.alphas; }

  const LearningProblem& problem_;
  FitHeads fit_heads_;
};

/// Heads fitted to the problem's own queries.
struct OwnHeads {
  std::vector<double> targets;
  RidgeProblem problem;
  RidgeSolver solver;

  explicit OwnHeads(const LearningProblem& learning)
      : targets(head_targets(learning.table)),
        problem{.embeddings = learning.embeddings,
                .dimension = learning.dimension,
                .targets = targets,
                .heads = kHeadsPerPair * learning.table.pairs.size(),
                .folds = learning.folds},
        solver(problem, learning.threads) {}
};

}  // namespace

std::unique_ptr<Learner> make_ridge_learner(const LearningProblem& problem) {
  const auto own = std::make_shared<const OwnHeads>(problem);
  return make_ridge_learner(
      problem, [own](std::span<const double> alphas, std::optional<std::size_t> left_out) {
        return own->solver.fit(alphas, left_out);
      });
}

std::unique_ptr<Learner> make_ridge_learner(const LearningProblem& problem, FitHeads fit_heads) {
  return std::make_unique<RidgeLearner>(problem, std::move(fit_heads));
}

}  // namespace r2router::train
