// Linear heads by ridge regression towards a prior's. What is fitted are the residuals of the
// prior's predictions, with a constant feature in place of intercepts: those are penalised too,
// since a few outcomes would otherwise move them.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <Eigen/Core>

#include "r2router/error.h"

#include "base/excerpt.h"
#include "base/parallel.h"
#include "score/length_curves.h"
#include "train/add_model/mixture.h"
#include "train/learner.h"
#include "train/ridge.h"

namespace r2router::train {
namespace {

/// A head of the table, found in the prior. Limited pairs may lack a length head.
struct PriorHead {
  std::optional<std::size_t> index = {};
  const LengthCurve* curve = nullptr;
};

[[noreturn]] void throw_unknown(const ModelSpec& model, const std::string& what) {
  throw Error(ErrorCode::kBadData, "there are outcomes of " + excerpt(model.name) + what);
}

std::vector<PriorHead> find_heads(const Checkpoint& prior, const OutcomeTable& table) {
  const LinearHeads& heads = linear_heads(prior);
  std::vector<PriorHead> found;
  for (const HeadName& name : name_heads(table)) {
    const ModelSpec& model = table.models[name.pair.model];
    const auto own = std::ranges::find(prior.config.models, model.name, &ModelSpec::name);
    if (own == prior.config.models.end()) {
      throw_unknown(model,
                    ", which the prior does not have: add it to the prior with add_model(), "
                    "or leave its outcomes out");
    }
    const HeadName wanted{
        {static_cast<std::uint32_t>(own - prior.config.models.begin()), name.pair.budget},
        name.target};
    const auto head = std::ranges::find(heads.names, wanted);
    PriorHead& entry = found.emplace_back();
    if (head == heads.names.end()) {
      if (name.target == Target::kTokens) continue;  // charged as the whole budget
      throw_unknown(model, " at budget " + name.pair.budget.to_string() +
                               ", which is not among the prior's: leave them out");
    }
    entry.index = static_cast<std::size_t>(head - heads.names.begin());
    if (name.target == Target::kTokens && !prior.length_curves.empty()) {
      const auto before = std::count_if(heads.names.begin(), head, [](const HeadName& other) {
        return other.target == Target::kTokens;
      });
      entry.curve = &prior.length_curves[static_cast<std::size_t>(before)];
    }
  }
  return found;
}

class PriorLearner final : public Learner {
 public:
  PriorLearner(const LearningProblem& problem, const Checkpoint& prior)
      : problem_(problem),
        prior_(linear_heads(prior)),
        heads_(find_heads(prior, problem.table)),
        embeddings_(with_constant()),
        predictions_(predict_prior()),
        residuals_(find_residuals()),
        ridge_{.embeddings = embeddings_,
               .dimension = problem.dimension + 1,
               .targets = residuals_,
               .heads = heads_.size(),
               .folds = problem.folds,
               .has_intercepts = false},
        solver_(ridge_, problem.threads) {}

  std::size_t settings() const override { return alphas().size(); }
  double caution(std::size_t setting) const override { return alphas()[setting]; }

  std::vector<eval::PredictionTable> predict_left_out(
      std::size_t left_out, std::span<const std::uint32_t> queries,
      std::span<const std::size_t> settings) override {
    std::vector<double> chosen;
    for (const std::size_t setting : settings) chosen.push_back(alphas()[setting]);
    const std::vector<LinearFit> fits = solver_.fit(chosen, left_out);
    std::vector<eval::PredictionTable> results(chosen.size());
    internal::parallel_for(problem_.threads, chosen.size(), [&](std::size_t i) {
      const Predicted shifts = predict_heads(ridge_.embeddings, fits[i], queries, 1);
      for (std::size_t row = 0; row < queries.size(); ++row) {
        for (std::size_t head = 0; head < heads_.size(); head += kHeadsPerPair) {
          const auto predicted = [&](std::size_t h) {
            const double shift = heads_[h].index ? shifts(static_cast<Eigen::Index>(row),
                                                          static_cast<Eigen::Index>(h))
                                                 : 0;
            return predictions_[queries[row] * heads_.size() + h] + shift;
          };
          results[i].quality.push_back(predicted(head));
          results[i].output_tokens.push_back(predicted(head + 1));
        }
      }
    });
    return results;
  }

  Predictor fit(std::size_t setting) override {
    const LinearFit fit = solver_.fit({&alphas()[setting], 1}).front();
    LinearHeads result = prior_;
    for (std::size_t head = 0; head < heads_.size(); ++head) {
      if (!heads_[head].index) continue;
      const std::size_t row = *heads_[head].index;
      const auto shift = fit.weights.col(static_cast<Eigen::Index>(head));
      std::visit(
          [&](auto& weights) {
            using Value = typename std::decay_t<decltype(weights)>::value_type;
            for (std::size_t i = 0; i < result.dimension; ++i) {
              Value& weight = weights[row * result.dimension + i];
              weight = static_cast<Value>(static_cast<double>(weight) +
                                          shift[static_cast<Eigen::Index>(i)]);
            }
          },
          result.weights);
      result.intercepts[row] += shift[static_cast<Eigen::Index>(result.dimension)];
    }
    return result;
  }

  void report(std::size_t chosen, std::span<const eval::DeferralMetrics> metrics,
              TrainReport& report) const override {
    report.alpha = alphas()[chosen];
    for (std::size_t i = 0; i < alphas().size(); ++i) {
      report.alphas.push_back({alphas()[i], metrics[i]});
    }
  }

  std::string method() const override { return "ridge regression towards the heads of a prior"; }
  void describe(std::size_t setting, ObjectWriter& object) const override {
    object.number("alpha", alphas()[setting]);
  }

 private:
  const std::vector<double>& alphas() const { return problem_.options.prior_alphas; }

  std::vector<float> with_constant() const {
    const std::size_t dimension = problem_.dimension;
    std::vector<float> rows;
    rows.reserve(problem_.table.queries.size() * (dimension + 1));
    for (std::size_t query = 0; query < problem_.table.queries.size(); ++query) {
      const auto row = problem_.embeddings.subspan(query * dimension, dimension);
      rows.insert(rows.end(), row.begin(), row.end());
      rows.push_back(1);
    }
    return rows;
  }

  /// Queries × heads.
  std::vector<double> predict_prior() const {
    std::vector<double> predictions(problem_.table.queries.size() * heads_.size());
    internal::parallel_for(problem_.threads, heads_.size(), [&](std::size_t head) {
      const PriorHead& own = heads_[head];
      const Budget budget = problem_.table.pairs[head / kHeadsPerPair].budget;
      for (std::size_t query = 0; query < problem_.table.queries.size(); ++query) {
        double& value = predictions[query * heads_.size() + head];
        if (!own.index) {
          value = budget.tokens();
          continue;
        }
        const auto row =
            problem_.embeddings.subspan(query * problem_.dimension, problem_.dimension);
        std::visit(
            [&](const auto& weights) {
              const auto* weight = weights.data() + *own.index * prior_.dimension;
              value = prior_.intercepts[*own.index];
              for (const float x : row) value += static_cast<double>(*weight++) * x;
            },
            prior_.weights);
        if (own.curve != nullptr) value = score::correct(*own.curve, value);
      }
    });
    return predictions;
  }

  std::vector<double> find_residuals() const {
    std::vector<double> residuals = head_targets(problem_.table);
    std::ranges::transform(residuals, predictions_, residuals.begin(), std::minus<>());
    return residuals;
  }

  const LearningProblem& problem_;
  const LinearHeads& prior_;
  std::vector<PriorHead> heads_;  // of the table
  std::vector<float> embeddings_;
  std::vector<double> predictions_, residuals_;
  RidgeProblem ridge_;
  RidgeSolver solver_;
};

}  // namespace

std::unique_ptr<Learner> make_prior_learner(const LearningProblem& problem,
                                            const Checkpoint& prior) {
  return std::make_unique<PriorLearner>(problem, prior);
}

}  // namespace r2router::train
