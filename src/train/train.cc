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
#include "base/parallel.h"
#include "checkpoint/format_version.h"
#include "train/add_model/mixture.h"
#include "train/add_model/selection.h"
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

Eigen::MatrixXd to_matrix(const std::vector<std::vector<double>>& rows) {
  Eigen::MatrixXd matrix(static_cast<Eigen::Index>(rows.size()),
                         static_cast<Eigen::Index>(rows.front().size()));
  for (Eigen::Index i = 0; i < matrix.rows(); ++i) {
    matrix.row(i) = Eigen::Map<const Eigen::RowVectorXd>(rows[static_cast<std::size_t>(i)].data(),
                                                         matrix.cols());
  }
  return matrix;
}

/// The results of cross-validation.
struct Fitted {
  TrainReport report;
  Validation validation = {};
  std::size_t setting = 0;
  std::vector<eval::DeferralMetrics> metrics = {};  ///< of each setting
  std::vector<double> spreads = {};                 ///< of each head
};

/// The training queries, counted.
TrainReport count_queries(const LearningProblem& problem) {
  const OutcomeTable& table = problem.table;
  TrainReport report;
  const auto is_original = [&](std::size_t query) { return table.queries[query].original.empty(); };
  for (const auto& fold : problem.folds) {
    report.training_queries +=
        static_cast<std::size_t>(std::count_if(fold.begin(), fold.end(), is_original));
  }
  for (const QueryRecord& query : table.queries) {
    report.held_out_queries +=
        query.original.empty() && is_held_out(query.text, problem.options.holdout);
  }
  report.heads = kHeadsPerPair * table.pairs.size();
  return report;
}

/// Chooses the setting, and the default λ unless there is a prior.
Fitted cross_validate(const LearningProblem& problem, Learner& learner, double token_floor,
                      const Config* prior, TrainReport counts) {
  Fitted fitted{.report = std::move(counts)};
  TrainReport& report = fitted.report;
  Trial trial = make_trial(problem, token_floor);
  if (prior != nullptr) trial.lambdas_usd = {prior->default_lambda()};
  const auto measured = [&](const std::vector<eval::SweepPoint>& points) {
    return eval::measure(eval::deferral_curve(points, trial.best.unit), trial.best.score);
  };
  const Comparison comparison = compare_settings(problem, trial, learner);
  for (const auto& points : comparison.settings) fitted.metrics.push_back(measured(points));
  fitted.setting = prior != nullptr
                       ? static_cast<std::size_t>(choose_cautiously(to_matrix(comparison.errors)))
                       : choose_setting(learner, fitted.metrics);
  learner.report(fitted.setting, fitted.metrics, report);
  report.mean_curve = measured(comparison.mean_curve);
  fitted.validation = validate_setting(problem, trial, learner, fitted.setting, prior == nullptr);
  report.metrics = measured(fitted.validation.all);
  const eval::DeferralPoint chosen =
      choose_default(fitted.validation.available, trial.best_available);
  report.default_lambda = chosen.lambda;
  report.default_score = chosen.score;
  report.default_cost = chosen.cost;
  report.best_available = trial.best_available;
  for (const double sum : fitted.validation.squared_errors) {
    fitted.spreads.push_back(std::sqrt(sum / static_cast<double>(trial.all_tested.size())));
  }
  return fitted;
}

/// The origin of the checkpoint, for its config: enough to train it again, and nothing (no date, no
/// path) that would differ then.
std::string provenance(const OutcomeTable& table, const TrainOptions& options, const Fitted& fitted,
                       const Learner& learner, const Config* prior) {
  const TrainReport& report = fitted.report;
  const bool alphas = prior != nullptr || options.predictor == PredictorKind::kRidge;
  std::vector<std::size_t> settings(fitted.metrics.size());
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
  learner.describe(fitted.setting, object);
  object.object("cross_validated", [&](ObjectWriter& validated) {
    validated.list(alphas ? "alphas" : "settings", settings,
                   [&](ObjectWriter& entry, std::size_t setting) {
                     learner.describe(setting, entry);
                     entry.number("audc", fitted.metrics[setting].audc);
                   });
    validated.object("router", [&](ObjectWriter& own) { write_metrics(own, report.metrics); });
    validated.object("mean_curve",
                     [&](ObjectWriter& mean) { write_metrics(mean, report.mean_curve); });
    validated.object("default_lambda", [&](ObjectWriter& defaults) {
      defaults.number("score", report.default_score);
      defaults.number("cost", report.default_cost);
    });
  });
  if (prior != nullptr) object.raw("prior", prior->training.empty() ? "null" : prior->training);
  object.close();
  return text;
}

/// The prior with its moved heads.
Checkpoint move_heads(const Checkpoint& prior, const OutcomeTable& table, const Fitted& fitted,
                      Predictor predictor) {
  Checkpoint checkpoint = prior;
  checkpoint.predictor = std::move(predictor);
  if (!prior.spreads.empty()) {
    const std::vector<HeadName>& names = head_names(prior.predictor);
    const std::vector<HeadName> own = name_heads(table);
    for (std::size_t head = 0; head < own.size(); ++head) {
      const ModelSpec& model = table.models[own[head].pair.model];
      const auto found = std::ranges::find_if(names, [&](const HeadName& name) {
        return prior.config.models[name.pair.model].name == model.name &&
               name.pair.budget == own[head].pair.budget && name.target == own[head].target;
      });
      if (found == names.end()) continue;
      checkpoint.spreads[static_cast<std::size_t>(found - names.begin())] = fitted.spreads[head];
    }
  }
  checkpoint.config.checkpoint_dirs.clear();
  return checkpoint;
}

/// The problem of a table, whose outcomes are checked; warns of gaps.
LearningProblem make_problem(const OutcomeTable& table, std::span<const float> embeddings,
                             std::size_t dimension, const TrainOptions& options) {
  LearningProblem problem{.table = table,
                          .embeddings = embeddings,
                          .dimension = dimension,
                          .folds = make_folds(table, options),
                          .options = options,
                          .threads = internal::thread_count(options.threads)};
  check_outcomes(table, problem.folds);
  report_gaps(table, options);
  return problem;
}

}  // namespace

Checkpoint fit_checkpoint(const LearningProblem& problem, Learner& learner, TrainReport& report) {
  const OutcomeTable& table = problem.table;
  const TrainOptions& options = problem.options;
  const double token_floor = find_token_floor(table, problem.folds);
  Fitted fitted = cross_validate(problem, learner, token_floor, nullptr, report);

  if (options.progress) options.progress("fitting", 0, 1);
  Checkpoint checkpoint;
  checkpoint.predictor = learner.fit(fitted.setting);
  checkpoint.spreads = fitted.spreads;
  checkpoint.length_curves = fitted.validation.curves;  // one for each length head, in their order
  Config& config = checkpoint.config;
  config.method = learner.method();
  config.predictor = options.predictor;
  config.embedding_dim = static_cast<std::uint32_t>(problem.dimension);
  config.policy.lambda = fitted.report.default_lambda;
  std::set<Budget> budgets;
  for (const Pair& pair : table.pairs) budgets.insert(pair.budget);
  config.token_limits.assign(budgets.begin(), budgets.end());
  config.models = table.models;
  config.budget_mode = table.budget_mode;
  config.policy.rules = DecisionRules::kCorrected;
  config.policy.token_floor = token_floor;
  if (!checkpoint.length_curves.empty()) {
    config.length_points =
        static_cast<std::uint32_t>(checkpoint.length_curves.front().predicted.size());
  }
  config.training = provenance(table, options, fitted, learner, nullptr);
  config.format_version = internal::format_version_for(config);
  if (options.progress) options.progress("fitting", 1, 1);
  report = std::move(fitted.report);
  return checkpoint;
}

Checkpoint train(const OutcomeTable& table, std::span<const float> embeddings,
                 std::size_t dimension, const TrainOptions& options, TrainReport* report) {
  check_options(options);
  validate(table);
  check_embeddings(table, embeddings, dimension);
  const LearningProblem problem = make_problem(table, embeddings, dimension, options);
  if (options.progress) options.progress("reading embeddings", 0, 1);
  const std::unique_ptr<Learner> learner = make_learner(problem);
  TrainReport own = count_queries(problem);
  Checkpoint checkpoint = fit_checkpoint(problem, *learner, own);
  if (report != nullptr) *report = std::move(own);
  return checkpoint;
}

Checkpoint train(const Checkpoint& prior, const OutcomeTable& table,
                 std::span<const float> embeddings, const TrainOptions& options,
                 TrainReport* report) {
  check_options(options);
  validate(prior);
  validate(table);
  const std::size_t dimension = linear_heads(prior).dimension;
  check_embeddings(table, embeddings, dimension);
  if (const std::size_t queries = count_outcomes(table, options); queries < kFewestOutcomes) {
    if (options.log) {
      options.log(LogLevel::kWarning, "there are outcomes of " + std::to_string(queries) +
                                          " queries to train on, too few to move the prior: "
                                          "expected at least " +
                                          std::to_string(kFewestOutcomes));
    }
    if (report != nullptr) {
      *report = TrainReport();
      report->training_queries = queries;
    }
    return prior;
  }
  const LearningProblem problem = make_problem(table, embeddings, dimension, options);
  const std::unique_ptr<Learner> learner = make_prior_learner(problem, prior);
  Fitted fitted = cross_validate(problem, *learner, prior.config.policy.token_floor.value_or(0),
                                 &prior.config, count_queries(problem));
  if (options.progress) options.progress("fitting", 0, 1);
  Checkpoint checkpoint = move_heads(prior, table, fitted, learner->fit(fitted.setting));
  Config& config = checkpoint.config;
  config.method = learner->method();
  config.training = provenance(table, options, fitted, *learner, &prior.config);
  config.format_version = internal::format_version_for(config);
  if (options.progress) options.progress("fitting", 1, 1);
  if (report != nullptr) *report = std::move(fitted.report);
  return checkpoint;
}

}  // namespace r2router::train
