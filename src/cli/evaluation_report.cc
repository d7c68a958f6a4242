#include "cli/evaluation_report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <optional>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/usd.h"
#include "cli/output.h"

namespace r2router::cli {
namespace {

using Json = nlohmann::ordered_json;

Json json_or_null(const std::optional<double>& value) { return value ? Json(*value) : Json(); }

Json json_intervals(const std::optional<MetricIntervals>& intervals) {
  if (!intervals) return {};
  Json json;
  for (const Metric& metric : kMetrics) {
    const Interval& interval = (*intervals).*metric.interval;
    json[metric.key] = {json_or_null(interval.low), json_or_null(interval.high)};
  }
  return json;
}

Json json_policies(const Evaluation& evaluation) {
  Json policies = Json::array();
  for (const ContenderResult& policy : evaluation.policies) {
    Json json = {{"policy", policy.name}};
    for (const Metric& metric : kMetrics) {
      json[metric.key] = json_or_null(metric.value(policy.metrics));
    }
    const PolicyPoint best = best_routerarena_point(policy, evaluation);
    json["routerarena"] = routerarena_score(best.score, best.cost_usd);
    if (policy.intervals) json["intervals"] = json_intervals(policy.intervals);
    if (policy.advantage) json["router_minus_policy"] = json_intervals(policy.advantage);
    policies.push_back(std::move(json));
  }
  return policies;
}

Json json_best(const Evaluation& evaluation, const OutcomeTable& table) {
  return {{"model", table.models[evaluation.best_single.model].name},
          {"score", evaluation.best_single.score},
          {"cost_usd", evaluation.best_single.cost_usd}};
}

std::string right(const std::string& text, std::size_t width) {
  return text.size() < width ? std::string(width - text.size(), ' ') + text : text;
}

/// Columns are as wide as their widest cell; the first is flush left.
std::string align(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths(rows.front().size());
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line = row[0] + std::string(widths[0] - row[0].size(), ' ');
    for (std::size_t i = 1; i < row.size(); ++i) line += "  " + right(row[i], widths[i]);
    text += line + '\n';
  }
  return text;
}

std::string metrics_text(const Evaluation& evaluation) {
  std::vector<std::vector<std::string>> rows = {{"policy"}};
  const bool intervals = evaluation.policies.front().intervals.has_value();
  for (const Metric& metric : kMetrics) {
    rows[0].emplace_back(metric.name);
    if (intervals) rows[0].emplace_back("(95 %)");
  }
  rows[0].emplace_back("RouterArena");
  for (const ContenderResult& policy : evaluation.policies) {
    std::vector<std::string>& row = rows.emplace_back(1, policy.name);
    for (const Metric& metric : kMetrics) {
      const std::optional<double> value = metric.value(policy.metrics);
      row.push_back(value ? decimal(*value, 4) : "never");
      if (policy.intervals) {
        row.push_back('(' + interval_text((*policy.intervals).*metric.interval) + ')');
      }
    }
    const PolicyPoint best = best_routerarena_point(policy, evaluation);
    row.push_back(decimal(routerarena_score(best.score, best.cost_usd), 4));
  }
  return align(rows);
}

std::string advantage_text(const Evaluation& evaluation) {
  std::vector<std::vector<std::string>> rows = {{"router minus"}};
  for (const Metric& metric : kMetrics) rows[0].emplace_back(metric.name);
  for (const ContenderResult& policy : evaluation.policies) {
    if (!policy.advantage) continue;
    std::vector<std::string>& row = rows.emplace_back(1, policy.name);
    for (const Metric& metric : kMetrics) {
      row.push_back(difference_text((*policy.advantage).*metric.interval));
    }
  }
  return align(rows);
}

std::string datasets_text(const RouterEvaluation& result) {
  std::vector<std::vector<std::string>> rows = {{"dataset", "queries", "policy"}};
  for (const Metric& metric : kMetrics) rows[0].emplace_back(metric.name);
  for (const auto& [dataset, evaluation] : result.datasets) {
    for (const ContenderResult& policy : evaluation.policies) {
      std::vector<std::string>& row = rows.emplace_back();
      row = {dataset.empty() ? "(none)" : dataset, with_thousands(evaluation.queries), policy.name};
      for (const Metric& metric : kMetrics) {
        const std::optional<double> value = metric.value(policy.metrics);
        std::string text = value ? decimal(*value, 3) : "never";
        if (policy.intervals) {
          text += " (" + interval_text((*policy.intervals).*metric.interval) + ')';
        }
        row.push_back(std::move(text));
      }
    }
  }
  return align(rows);
}

}  // namespace

std::string decimal(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string reached(const std::optional<double>& value) {
  return value ? decimal(*value, 3) : "never";
}

std::string interval_text(const Interval& interval) {
  if (!interval.low && !interval.high) return "never";
  return reached(interval.low) + " to " + reached(interval.high);
}

std::string difference_text(const Interval& interval) {
  if (!interval.low && !interval.high) return "-";
  const auto bound = [](const std::optional<double>& value, const char* infinite) {
    if (!value) return std::string(infinite);
    const std::string text = decimal(*value, 3);
    return *value > 0 ? std::string("+").append(text) : text;
  };
  return bound(interval.low, "-inf") + " to " + bound(interval.high, "+inf");
}

std::vector<PolicyPoint> points_of(const ContenderResult& policy, const Evaluation& evaluation) {
  if (!policy.points.empty()) return policy.points;
  std::vector<PolicyPoint> points;
  for (const DeferralPoint& corner : policy.curve) {
    points.push_back({corner.lambda, corner.cost * evaluation.best_single.cost_usd, corner.score});
  }
  return points;
}

PolicyPoint best_routerarena_point(const ContenderResult& policy, const Evaluation& evaluation) {
  const std::vector<PolicyPoint> points = points_of(policy, evaluation);
  const auto best =
      std::max_element(points.begin(), points.end(), [](const auto& a, const auto& b) {
        return routerarena_score(a.score, a.cost_usd) < routerarena_score(b.score, b.cost_usd);
      });
  return best == points.end() ? PolicyPoint{} : *best;
}

std::string evaluation_text(const RouterEvaluation& result) {
  const Evaluation& evaluation = result.evaluation;
  const PolicyPoint& at_default = result.at_default;
  const BestSingle& best = evaluation.best_single;
  std::string text = "Evaluated on " + with_thousands(evaluation.queries) + " queries";
  if (result.folds > 0) {
    text += ", each by a router trained on the other " + std::to_string(result.folds - 1) + " of " +
            std::to_string(result.folds) + " folds";
  }
  if (result.table.budget_mode == BudgetMode::kHardCap) text += ", budgets as a hard cap";
  text += ".\nThe best single model is " + result.table.models[best.model].name + ": score " +
          decimal(best.score, 4) + " at " + usd_text(best.cost_usd, 4) +
          " a query, the unit of cost below.\nAt its default λ" +
          (std::isnan(at_default.lambda) ? "" : " = " + decimal(at_default.lambda, 7)) +
          " the router scores " + decimal(at_default.score, 4) + " at a cost of " +
          decimal(at_default.cost_usd / best.cost_usd, 3) + "; RouterArena score " +
          decimal(routerarena_score(at_default.score, at_default.cost_usd), 4) + ".\n\n" +
          metrics_text(evaluation);
  if (evaluation.policies.front().intervals) {
    text += "\nThe difference that the router makes, 95 %:\n" + advantage_text(evaluation);
  }
  if (!result.datasets.empty()) {
    text += "\nEach dataset against its own best single model:\n" + datasets_text(result);
  }
  text +=
      "\nAUDC: area under the score reached at each cost. QNC and c95: least cost that reaches "
      "the\nbest single model's score, and 95 % of it. Peak: highest score at no more than its "
      "cost.\nRouterArena: the best score of that kind along the sweep.\n";
  if (result.resampling.resamples > 0) {
    text += "Intervals (2.5 % to 97.5 %): " + with_thousands(result.resampling.resamples) +
            " resamples of the queries, the same for every policy, seed " +
            std::to_string(result.resampling.seed) + ".\n";
  }
  return text;
}

Json evaluation_json(const RouterEvaluation& result) {
  const Evaluation& evaluation = result.evaluation;
  const PolicyPoint& at_default = result.at_default;
  Json json = {
      {"queries", evaluation.queries},
      {"budget_mode", result.table.budget_mode == BudgetMode::kHardCap ? "hard-cap" : "prompted"},
      {"folds", result.folds > 0 ? Json(result.folds) : Json()},
      {"best_single", json_best(evaluation, result.table)},
      {"default_lambda",
       {{"lambda", std::isnan(at_default.lambda) ? Json() : Json(at_default.lambda)},
        {"score", at_default.score},
        {"cost", at_default.cost_usd / evaluation.best_single.cost_usd},
        {"routerarena", routerarena_score(at_default.score, at_default.cost_usd)}}},
      {"policies", json_policies(evaluation)}};
  if (result.resampling.resamples > 0) {
    json["resamples"] = result.resampling.resamples;
    json["resample_seed"] = result.resampling.seed;
  }
  if (!result.datasets.empty()) json["datasets"] = Json::array();
  for (const auto& [dataset, part] : result.datasets) {
    json["datasets"].push_back({{"dataset", dataset},
                                {"queries", part.queries},
                                {"best_single", json_best(part, result.table)},
                                {"policies", json_policies(part)}});
  }
  return json;
}

Json evaluation_details_json(const RouterEvaluation& result) {
  const Evaluation& evaluation = result.evaluation;
  const Reliability& reliability = evaluation.reliability;
  Json sweeps = Json::array();
  for (const ContenderResult& policy : evaluation.policies) {
    Json points = Json::array();
    for (const PolicyPoint& point : points_of(policy, evaluation)) {
      points.push_back({{"lambda", point.lambda},
                        {"cost_usd", point.cost_usd},
                        {"score", point.score},
                        {"routerarena", routerarena_score(point.score, point.cost_usd)}});
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
    predicted.push_back({{"lambda", reliability.predicted[i].lambda},
                         {"predicted_cost_usd", reliability.predicted[i].cost_usd},
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

std::string curves_csv(const Evaluation& evaluation) {
  std::string text = "policy,lambda,cost_usd,cost,score,routerarena,on_curve\n";
  for (const ContenderResult& policy : evaluation.policies) {
    std::string name;
    for (const char c : policy.name) name += c == '"' ? std::string("\"\"") : std::string(1, c);
    for (const PolicyPoint& point : points_of(policy, evaluation)) {
      const double cost = point.cost_usd / evaluation.best_single.cost_usd;
      const bool on_curve =
          policy.points.empty() ||
          std::any_of(policy.curve.begin(), policy.curve.end(), [&](const DeferralPoint& corner) {
            return corner.lambda == point.lambda && corner.cost == cost;
          });
      char lambda[32] = "", numbers[160];
      if (policy.points.size() > 1) {
        std::snprintf(lambda, sizeof lambda, "%.17g", point.lambda);
      }
      std::snprintf(numbers, sizeof numbers, ",%s,%.17g,%.17g,%.17g,%.17g,%d\n", lambda,
                    point.cost_usd, cost, point.score,
                    routerarena_score(point.score, point.cost_usd), on_curve ? 1 : 0);
      text += '"' + name + '"' + numbers;
    }
  }
  return text;
}

}  // namespace r2router::cli
