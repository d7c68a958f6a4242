#include "r2router/train/train.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "r2router/version.h"

#include "base/json_writer.h"
#include "checkpoint/format_version.h"
#include "train/learner.h"
#include "train/problem.h"
#include "train/provenance.h"
#include "train/validation.h"

namespace r2router::train {
namespace {

void write_metrics(ObjectWriter& object, const eval::DeferralMetrics& metrics) {
  object.number("audc", metrics.audc);
  object.number_or_null("qnc", metrics.qnc);
  object.number("peak", metrics.peak);
  object.number_or_null("c95", metrics.c95);
}

/// The origin of the checkpoint, for its config: enough to train it again, and nothing (no date, no
/// path) that would differ then.
std::string provenance(const OutcomeTable& table, const TrainOptions& options,
                       const TrainReport& report, const Learner& learner, std::size_t chosen,
                       const std::vector<eval::DeferralMetrics>& metrics) {
  std::vector<std::size_t> settings(metrics.size());
  std::iota(settings.begin(), settings.end(), std::size_t{0});
  std::string text;
  ObjectWriter object(text);
  object.text("program", std::string("r2router ") + version());
  write_sources(object, table.sources);
  object.number("training_queries", report.training_queries);
  object.number("held_out_queries", report.held_out_queries);
  object.number("holdout", options.holdout);
  object.number("folds", options.folds);
  object.number("seed", options.seed);
  if (table.cost_measure != CostMeasure::kUsd) object.text("cost", to_string(table.cost_measure));
  learner.describe(chosen, object);
  object.object("cross_validated", [&](ObjectWriter& validated) {
    validated.list(options.predictor == PredictorKind::kRidge ? "alphas" : "settings", settings,
                   [&](ObjectWriter& entry, std::size_t setting) {
                     learner.describe(setting, entry);
                     entry.number("audc", metrics[setting].audc);
                   });
    validated.object("router", [&](ObjectWriter& own) { write_metrics(own, report.metrics); });
    validated.object("mean_curve",
                     [&](ObjectWriter& mean) { write_metrics(mean, report.mean_curve); });
    validated.object("default_lambda", [&](ObjectWriter& defaults) {
      defaults.number("score", report.default_score);
      defaults.number("cost", report.default_cost);
    });
  });
  object.close();
  return text;
}

std::unique_ptr<Learner> make_learner(const LearningProblem& problem) {
  switch (problem.options.predictor) {
    case PredictorKind::kKnn:
      return make_knn_learner(problem);
    case PredictorKind::kMlp:
      return make_mlp_learner(problem);
    case PredictorKind::kRidge:
      break;
  }
  return make_ridge_learner(problem);
}

}  // namespace

Checkpoint train(const OutcomeTable& table, std::span<const float> embeddings,
                 std::size_t dimension, const TrainOptions& options, TrainReport* report_out) {
  check_options(options);
  validate(table);
  check_embeddings(table, embeddings, dimension);

  TrainReport report;
  const LearningProblem problem{.table = table,
                                .embeddings = embeddings,
                                .dimension = dimension,
                                .folds = make_folds(table, options),
                                .options = options,
                                .threads = thread_count(options.threads)};
  check_outcomes(table, problem.folds);
  report_gaps(table, options);
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
  const double token_floor = find_token_floor(table, problem.folds);
  const Trial trial = make_trial(problem, token_floor);
  const auto measured = [&](const std::vector<eval::SweepPoint>& points) {
    return eval::measure(eval::deferral_curve(points, trial.best.unit), trial.best.score);
  };
  const Comparison comparison = compare_settings(problem, trial, *learner);
  std::vector<eval::DeferralMetrics> metrics;
  for (const auto& points : comparison.settings) metrics.push_back(measured(points));
  const std::size_t best = choose_setting(*learner, metrics);
  learner->report(best, metrics, report);
  report.mean_curve = measured(comparison.mean_curve);
  const Validation validation = validate_setting(problem, trial, *learner, best);
  report.metrics = measured(validation.all);
  const eval::DeferralPoint chosen = choose_default(validation.available, trial.best_available);
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

}  // namespace r2router::train
