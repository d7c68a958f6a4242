#include "train/validation.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <set>
#include <span>

#include "r2router/error.h"

#include "base/parallel.h"
#include "score/length_curves.h"
#include "train/length_curves.h"

namespace r2router::train {
namespace {

/// Averages over queries, kept as sums while folds are added.
void add_fold(const std::vector<eval::SweepPoint>& fold, double share,
              std::vector<eval::SweepPoint>& points) {
  points.resize(fold.size());
  for (std::size_t i = 0; i < fold.size(); ++i) {
    points[i].lambda = fold[i].lambda;
    points[i].cost += share * fold[i].cost;
    points[i].score += share * fold[i].score;
  }
}

/// Appends the squared error of each query's scores, averaged over the pairs.
void add_query_errors(const OutcomeTable& table, const eval::PredictionTable& predictions,
                      std::vector<double>& errors) {
  const std::size_t pairs = table.pairs.size();
  for (std::size_t query = 0; query < table.queries.size(); ++query) {
    double sum = 0;
    for (std::size_t cell = query * pairs; cell < (query + 1) * pairs; ++cell) {
      const double error = std::clamp(predictions.quality[cell], 0.0, 1.0) - table.scores[cell];
      sum += error * error;
    }
    errors.push_back(sum / static_cast<double>(pairs));
  }
}

/// Adds the squared error of each head; a quality is used clipped, and so it is measured.
void add_squared_errors(const OutcomeTable& table, const eval::PredictionTable& predictions,
                        std::vector<double>& sums) {
  const std::size_t pairs = table.pairs.size();
  sums.resize(kHeadsPerPair * pairs);
  for (std::size_t cell = 0; cell < table.scores.size(); ++cell) {
    const double quality = std::clamp(predictions.quality[cell], 0.0, 1.0) - table.scores[cell];
    const double tokens = predictions.output_tokens[cell] - table.output_tokens[cell];
    sums[kHeadsPerPair * (cell % pairs)] += quality * quality;
    sums[kHeadsPerPair * (cell % pairs) + 1] += tokens * tokens;
  }
}

/// The predicted and observed lengths of a pair in all folds but one, or in all.
std::vector<Length> lengths_of(const std::vector<OutcomeTable>& tables,
                               const std::vector<eval::PredictionTable>& predictions,
                               std::size_t pair, std::size_t left_out) {
  std::vector<Length> lengths;
  for (std::size_t fold = 0; fold < tables.size(); ++fold) {
    if (fold == left_out) continue;
    for (std::size_t query = 0; query < tables[fold].queries.size(); ++query) {
      const std::size_t cell = tables[fold].cell(query, pair);
      lengths.push_back({predictions[fold].output_tokens[cell], tables[fold].output_tokens[cell]});
    }
  }
  return lengths;
}

}  // namespace

Trial make_trial(const LearningProblem& problem, double token_floor) {
  const OutcomeTable& table = problem.table;
  std::set<std::uint32_t> complete;  // edited copies are learned from, but not what is measured on
  for (const std::uint32_t query : complete_queries(table)) {
    if (table.queries[query].original.empty()) complete.insert(query);
  }
  Trial trial;
  for (const std::vector<std::uint32_t>& fold : problem.folds) {
    std::vector<std::uint32_t>& queries = trial.tested.emplace_back();
    std::ranges::copy_if(fold, std::back_inserter(queries),
                         [&](std::uint32_t query) { return complete.contains(query); });
    trial.all_tested.insert(trial.all_tested.end(), queries.begin(), queries.end());
  }
  if (trial.all_tested.empty()) {
    throw Error(ErrorCode::kBadData,
                "no query that is trained on has an outcome of every (model, budget) pair, so no "
                "trade-off can be measured: choose models that answered the same queries");
  }
  const bool any_available = std::any_of(table.models.begin(), table.models.end(),
                                         [](const ModelSpec& model) { return model.available; });
  OutcomeTable every_fold = select_queries(table, trial.all_tested);
  trial.best = eval::best_single(every_fold);
  trial.lambdas = eval::lambda_grid(trial.best.unit);
  every_fold.cost_measure = CostMeasure::kUsd;
  trial.best_available = eval::best_single(every_fold, any_available);
  trial.lambdas_usd = eval::lambda_grid(eval::best_single(every_fold).unit);
  trial.whole_pool = {.token_floor = token_floor};
  trial.as_served = {.token_floor = token_floor, .available_only = any_available};
  return trial;
}

Comparison compare_settings(const LearningProblem& problem, const Trial& trial, Learner& learner) {
  const ProgressCallback& progress = problem.options.progress;
  std::vector<std::size_t> settings(learner.settings());
  std::iota(settings.begin(), settings.end(), std::size_t{0});
  Comparison result;
  result.settings.resize(settings.size());
  result.errors.resize(settings.size());
  for (std::size_t fold = 0; fold < problem.folds.size(); ++fold) {
    if (progress) progress("cross-validating", fold, problem.folds.size());
    if (trial.tested[fold].empty()) continue;
    std::vector<std::uint32_t> others;
    for (std::size_t other = 0; other < problem.folds.size(); ++other) {
      if (other == fold) continue;
      others.insert(others.end(), problem.folds[other].begin(), problem.folds[other].end());
    }
    const OutcomeTable table = select_queries(problem.table, trial.tested[fold]);
    add_fold(eval::sweep(table, eval::predict_means(table, select_queries(problem.table, others)),
                         trial.lambdas, trial.whole_pool),
             trial.share(fold), result.mean_curve);
    const std::vector<eval::PredictionTable> predictions =
        learner.predict_left_out(fold, trial.tested[fold], settings);
    internal::parallel_for(problem.threads, predictions.size(), [&](std::size_t i) {
      add_fold(eval::sweep(table, predictions[i], trial.lambdas, trial.whole_pool),
               trial.share(fold), result.settings[i]);
      add_query_errors(table, predictions[i], result.errors[i]);
    });
  }
  if (progress) progress("cross-validating", problem.folds.size(), problem.folds.size());
  return result;
}

Validation validate_setting(const LearningProblem& problem, const Trial& trial, Learner& learner,
                            std::size_t setting, bool correct_lengths) {
  const std::size_t folds = problem.folds.size(), pairs = problem.table.pairs.size();
  std::vector<OutcomeTable> tables(folds);
  std::vector<eval::PredictionTable> predictions(folds);
  // Predicted once more, since those of all settings together would take a great deal of memory.
  for (std::size_t fold = 0; fold < folds; ++fold) {
    tables[fold] = select_queries(problem.table, trial.tested[fold]);
    if (trial.tested[fold].empty()) continue;
    predictions[fold] = learner.predict_left_out(fold, trial.tested[fold], {&setting, 1}).front();
  }
  // Curves that correct a fold must not have seen it; where there are too few for those, there are
  // none at all.
  std::size_t fewest = trial.all_tested.size();
  for (const std::vector<std::uint32_t>& fold : trial.tested) {
    fewest = std::min(fewest, trial.all_tested.size() - fold.size());
  }
  const std::size_t points = correct_lengths ? length_points(fewest) : 0;
  Validation result;
  std::vector<eval::PredictionTable> corrected = predictions;
  if (points >= 2) {
    result.curves.resize(pairs);
    internal::parallel_for(problem.threads, pairs, [&](std::size_t pair) {
      result.curves[pair] = fit_length_curve(lengths_of(tables, predictions, pair, folds), points);
      for (std::size_t fold = 0; fold < folds; ++fold) {
        const LengthCurve curve =
            fit_length_curve(lengths_of(tables, predictions, pair, fold), points);
        for (std::size_t query = 0; query < tables[fold].queries.size(); ++query) {
          double& tokens = corrected[fold].output_tokens[tables[fold].cell(query, pair)];
          tokens = score::correct(curve, tokens);
        }
      }
    });
  }
  for (std::size_t fold = 0; fold < folds; ++fold) {
    if (trial.tested[fold].empty()) continue;
    add_squared_errors(tables[fold], corrected[fold], result.squared_errors);
    add_fold(eval::sweep(tables[fold], corrected[fold], trial.lambdas, trial.whole_pool),
             trial.share(fold), result.all);
    tables[fold].cost_measure = CostMeasure::kUsd;
    add_fold(eval::sweep(tables[fold], corrected[fold], trial.lambdas_usd, trial.as_served),
             trial.share(fold), result.available);
  }
  return result;
}

std::size_t choose_setting(const Learner& learner,
                           const std::vector<eval::DeferralMetrics>& metrics) {
  std::size_t best = 0;
  for (std::size_t i = 1; i < metrics.size(); ++i) {
    const bool better = metrics[i].audc != metrics[best].audc
                            ? metrics[i].audc > metrics[best].audc
                            : learner.caution(i) > learner.caution(best);
    if (better) best = i;
  }
  return best;
}

eval::DeferralPoint choose_default(const std::vector<eval::SweepPoint>& points,
                                   const eval::BestSingle& best) {
  const eval::SweepPoint* chosen = nullptr;
  for (const eval::SweepPoint& point : points) {
    if (point.score < 0.95 * best.score) continue;
    // Of equal costs, such as those of free models, the better one.
    if (chosen == nullptr || point.cost < chosen->cost ||
        (point.cost == chosen->cost && point.score > chosen->score)) {
      chosen = &point;
    }
  }
  if (chosen == nullptr) {
    chosen = &*std::max_element(points.begin(), points.end(),
                                [](const auto& a, const auto& b) { return a.score < b.score; });
  }
  return {chosen->cost / best.unit, chosen->score, chosen->lambda};
}

}  // namespace r2router::train
