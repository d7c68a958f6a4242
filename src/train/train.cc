#include "r2router/train/train.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "r2router/version.h"

#include "checkpoint/format_version.h"
#include "train/json_text.h"
#include "train/learner.h"
#include "train/problem.h"
#include "train/validation.h"

namespace r2router {
namespace {

using internal::Comparison;
using internal::json_number;
using internal::json_text;
using internal::kHeadsPerPair;
using internal::Learner;
using internal::LearningProblem;
using internal::Trial;
using internal::Validation;

std::string json_metrics(const DeferralMetrics& metrics) {
  return "{\"audc\": " + json_number(metrics.audc) + ", \"qnc\": " + json_number(metrics.qnc) +
         ", \"peak\": " + json_number(metrics.peak) + ", \"c95\": " + json_number(metrics.c95) +
         "}";
}

/// Where the checkpoint comes from, for its config: enough to make it again, and nothing (no date,
/// no path) that would differ when it is.
std::string provenance(const OutcomeTable& table, const TrainOptions& options,
                       const TrainReport& report, const Learner& learner, std::size_t chosen,
                       const std::vector<DeferralMetrics>& metrics) {
  std::string settings;
  for (std::size_t i = 0; i < metrics.size(); ++i) {
    settings += (settings.empty() ? "{" : ", {") + learner.describe(i) +
                ", \"audc\": " + json_number(metrics[i].audc) + "}";
  }
  const char* const list = options.predictor == PredictorKind::kRidge ? "alphas" : "settings";
  return "{\"program\": " + json_text(std::string("r2router ") + version()) +
         ", \"data\": " + internal::json_sources(table.sources) +
         ", \"training_queries\": " + std::to_string(report.training_queries) +
         ", \"held_out_queries\": " + std::to_string(report.held_out_queries) +
         ", \"holdout\": " + std::to_string(options.holdout) +
         ", \"folds\": " + std::to_string(options.folds) +
         ", \"seed\": " + std::to_string(options.seed) +
         (table.cost_measure == CostMeasure::kUsd
              ? ""
              : ", \"cost\": " + json_text(std::string(to_string(table.cost_measure)))) +
         ", " + learner.describe(chosen) + ", \"cross_validated\": {\"" + list + "\": [" +
         settings + "], \"router\": " + json_metrics(report.metrics) +
         ", \"mean_curve\": " + json_metrics(report.mean_curve) +
         ", \"default_lambda\": {\"score\": " + json_number(report.default_score) +
         ", \"cost\": " + json_number(report.default_cost) + "}}}";
}

std::unique_ptr<Learner> make_learner(const LearningProblem& problem) {
  switch (problem.options.predictor) {
    case PredictorKind::kKnn:
      return internal::make_knn_learner(problem);
    case PredictorKind::kMlp:
      return internal::make_mlp_learner(problem);
    case PredictorKind::kRidge:
      break;
  }
  return internal::make_ridge_learner(problem);
}

}  // namespace

Checkpoint train(const OutcomeTable& table, std::span<const float> embeddings,
                 std::size_t dimension, const TrainOptions& options, TrainReport* report_out) {
  internal::check_options(options);
  validate(table);
  internal::check_embeddings(table, embeddings, dimension);

  TrainReport report;
  const LearningProblem problem{.table = table,
                                .embeddings = embeddings,
                                .dimension = dimension,
                                .folds = internal::make_folds(table, options),
                                .options = options,
                                .threads = internal::thread_count(options.threads)};
  internal::check_outcomes(table, problem.folds);
  internal::report_gaps(table, options);
  const auto is_original = [&](std::size_t query) { return table.queries[query].original.empty(); };
  for (const auto& fold : problem.folds) {
    report.training_queries +=
        static_cast<std::size_t>(std::count_if(fold.begin(), fold.end(), is_original));
  }
  for (const QueryRecord& query : table.queries) {
    report.held_out_queries += query.original.empty() && is_held_out(query.text, options.holdout);
  }
  report.heads = kHeadsPerPair * table.pairs.size();

  if (options.progress) options.progress("reading embeddings", 0, 1);
  const std::unique_ptr<Learner> learner = make_learner(problem);
  const double token_floor = internal::find_token_floor(table, problem.folds);
  const Trial trial = internal::make_trial(problem, token_floor);
  const auto measured = [&](const std::vector<SweepPoint>& points) {
    return measure(deferral_curve(points, trial.best.unit), trial.best.score);
  };
  const Comparison comparison = internal::compare_settings(problem, trial, *learner);
  std::vector<DeferralMetrics> metrics;
  for (const auto& points : comparison.settings) metrics.push_back(measured(points));
  const std::size_t best = internal::choose_setting(*learner, metrics);
  learner->report(best, metrics, report);
  report.mean_curve = measured(comparison.mean_curve);
  const Validation validation = internal::validate_setting(problem, trial, *learner, best);
  report.metrics = measured(validation.all);
  const DeferralPoint chosen = internal::choose_default(validation.available, trial.best_available);
  report.default_lambda = chosen.lambda;
  report.default_score = chosen.score;
  report.default_cost = chosen.cost;
  report.best_available = trial.best_available;

  if (options.progress) options.progress("fitting", 0, 1);
  Checkpoint checkpoint;
  checkpoint.predictor = learner->fit(best);
  for (const double sum : validation.squared_errors) {
    checkpoint.spreads.push_back(std::sqrt(sum / static_cast<double>(trial.all_tested.size())));
  }
  checkpoint.length_curves = validation.curves;  // a length head for each pair, in the same order
  Config& config = checkpoint.config;
  config.method = learner->method();
  config.predictor = options.predictor;
  config.embedding_dim = static_cast<std::uint32_t>(dimension);
  config.policy.lambda = report.default_lambda;
  std::set<Budget> budgets;
  for (const Pair& pair : table.pairs) budgets.insert(pair.budget);
  config.token_limits.assign(budgets.begin(), budgets.end());
  config.models = table.models;
  config.budget_mode = table.budget_mode;
  config.policy.rules = DecisionRules::kCorrected;
  config.policy.token_floor = token_floor;
  if (!validation.curves.empty()) {
    config.length_points = static_cast<std::uint32_t>(validation.curves.front().predicted.size());
  }
  config.training = provenance(table, options, report, *learner, best, metrics);
  config.format_version = internal::format_version_for(config);
  if (options.progress) options.progress("fitting", 1, 1);
  if (report_out != nullptr) *report_out = std::move(report);
  return checkpoint;
}

}  // namespace r2router
