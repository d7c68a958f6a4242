// Evaluations as JSON for programs.
#include <cmath>
#include <optional>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include "r2router/eval/router_evaluation.h"

#include "eval/report/text.h"

namespace r2router::eval {
namespace {

using report::best_routerarena_point;
using report::cost_key;
using report::kMetrics;
using report::Metric;
using report::points_of;

using Json = nlohmann::ordered_json;

Json json_or_null(const std::optional<double>& value) { return value ? Json(*value) : Json(); }

Json json_interval(const std::optional<Interval>& interval) {
  if (!interval) return {};
  return {json_or_null(interval->low), json_or_null(interval->high)};
}

Json json_intervals(const std::optional<MetricIntervals>& intervals) {
  if (!intervals) return {};
  Json json;
  for (const Metric& metric : kMetrics) {
    json[metric.key] = json_interval((*intervals).*metric.interval);
  }
  return json;
}

/// RouterArena's score is one of money: null where costs are something else.
Json json_routerarena(double score, double cost, CostMeasure measure) {
  return measure == CostMeasure::kUsd ? Json(routerarena_score(score, cost)) : Json();
}

Json json_policies(const Evaluation& evaluation, CostMeasure measure) {
  Json policies = Json::array();
  for (const ContenderResult& policy : evaluation.policies) {
    Json json = {{"policy", policy.name}};
    for (const Metric& metric : kMetrics) {
      json[metric.key] = json_or_null(metric.value(policy.metrics));
    }
    const SweepPoint best = best_routerarena_point(policy, evaluation);
    json["routerarena"] = json_routerarena(best.score, best.cost, measure);
    if (policy.intervals) json["intervals"] = json_intervals(policy.intervals);
    if (policy.advantage) json["router_minus_policy"] = json_intervals(policy.advantage);
    policies.push_back(std::move(json));
  }
  return policies;
}

Json json_best(const Evaluation& evaluation, const OutcomeTable& table) {
  const BestSingle& best = evaluation.best_single;
  return {{"model", table.models[best.model].name},
          {"score", best.score},
          {cost_key(table.cost_measure), best.cost}};
}

Json figures(const RouterEvaluation& result) {
  const Evaluation& evaluation = result.evaluation;
  const ChosenEvaluation& at_default = result.at_default;
  const CostMeasure measure = result.table.cost_measure;
  Json json = {
      {"queries", evaluation.queries},
      {"budget_mode", result.table.budget_mode == BudgetMode::kHardCap ? "hard-cap" : "prompted"},
      {"cost_measure", to_string(measure)},
      {"folds", result.folds > 0 ? Json(result.folds) : Json()},
      {"best_single", json_best(evaluation, result.table)},
      {"default_lambda",
       {{"lambda", std::isnan(result.default_lambda) ? Json() : Json(result.default_lambda)},
        {"score", at_default.score},
        {"cost", at_default.cost_share},
        {"routerarena", json_routerarena(at_default.score, at_default.cost, measure)}}},
      {"policies", json_policies(evaluation, measure)}};
  if (at_default.score_interval) {
    json["default_intervals"] = {{"score", json_interval(at_default.score_interval)},
                                 {"score_share", json_interval(at_default.score_share_interval)},
                                 {"cost", json_interval(at_default.cost_share_interval)}};
  }
  if (result.resampling.resamples > 0) {
    json["resamples"] = result.resampling.resamples;
    json["resample_seed"] = result.resampling.seed;
  }
  if (!result.datasets.empty()) json["datasets"] = Json::array();
  for (const auto& [dataset, part] : result.datasets) {
    json["datasets"].push_back({{"dataset", dataset},
                                {"queries", part.queries},
                                {"best_single", json_best(part, result.table)},
                                {"policies", json_policies(part, measure)}});
  }
  return json;
}

Json details_of(const RouterEvaluation& result) {
  const Evaluation& evaluation = result.evaluation;
  const Reliability& reliability = evaluation.reliability;
  const CostMeasure measure = result.table.cost_measure;
  Json sweeps = Json::array();
  for (const ContenderResult& policy : evaluation.policies) {
    Json points = Json::array();
    for (const SweepPoint& point : points_of(policy, evaluation)) {
      points.push_back({{"lambda", point.lambda},
                        {cost_key(measure), point.cost},
                        {"score", point.score},
                        {"routerarena", json_routerarena(point.score, point.cost, measure)}});
    }
    sweeps.push_back({{"policy", policy.name}, {"points", std::move(points)}});
  }
  Json predicted = Json::array(), calibration = Json::array();
  for (std::size_t i = 0; i < reliability.predicted.size(); ++i) {
    Json shares;
    for (std::size_t model = 0; model < result.table.models.size(); ++model) {
      shares[result.table.models[model].name] =
          reliability.shares[i * result.table.models.size() + model];
    }
    predicted.push_back(
        {{"lambda", reliability.predicted[i].lambda},
         {std::string("predicted_") + cost_key(measure), reliability.predicted[i].cost},
         {"predicted_score", reliability.predicted[i].score},
         {"shares", std::move(shares)}});
  }
  for (const CalibrationBin& bin : reliability.calibration) {
    calibration.push_back(
        {{"predicted", bin.predicted}, {"observed", bin.observed}, {"cells", bin.cells}});
  }
  return {{"sweeps", std::move(sweeps)},
          {"router_predictions", std::move(predicted)},
          {"calibration", std::move(calibration)}};
}

}  // namespace

std::string to_json(const RouterEvaluation& result, bool details) {
  Json json = figures(result);
  if (details) json.update(details_of(result));
  return json.dump(2);
}

std::string to_json(const Stability& stability) {
  Json edits = Json::array();
  for (const auto& [edit, same_model, same_pair] : stability.shares) {
    edits.push_back({{"edit", edit}, {"same_model", same_model}, {"same_pair", same_pair}});
  }
  return Json({{"queries", stability.queries}, {"lambda", stability.lambda}, {"edits", edits}})
      .dump(2);
}

}  // namespace r2router::eval
