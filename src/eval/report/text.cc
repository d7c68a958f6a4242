#include "eval/report/text.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <optional>
#include <vector>

#include "base/decimal.h"
#include "base/text_layout.h"
#include "base/usd.h"

namespace r2router::eval::report {
namespace {

std::string metrics_text(const Evaluation& evaluation, CostMeasure measure) {
  std::vector<std::vector<std::string>> rows = {{"policy"}};
  const bool intervals = evaluation.policies.front().intervals.has_value();
  for (const Metric& metric : kMetrics) {
    rows[0].emplace_back(metric.name);
    if (intervals) rows[0].emplace_back("(95 %)");
  }
  if (measure == CostMeasure::kUsd) rows[0].emplace_back("RouterArena");
  for (const ContenderResult& policy : evaluation.policies) {
    std::vector<std::string>& row = rows.emplace_back(1, policy.name);
    for (const Metric& metric : kMetrics) {
      const std::optional<double> value = metric.value(policy.metrics);
      row.push_back(value ? decimal(*value, 4) : "never");
      if (policy.intervals) {
        row.push_back('(' + interval_text((*policy.intervals).*metric.interval) + ')');
      }
    }
    if (measure != CostMeasure::kUsd) continue;
    const SweepPoint best = best_routerarena_point(policy, evaluation);
    row.push_back(decimal(routerarena_score(best.score, best.cost), 4));
  }
  return table_text(rows);
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
  return table_text(rows);
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
        std::string text = reached(value);
        if (policy.intervals) {
          text += " (" + interval_text((*policy.intervals).*metric.interval) + ')';
        }
        row.push_back(std::move(text));
      }
    }
  }
  return table_text(rows);
}

/// "35 %".
std::string percent(double share, int digits = 0) { return decimal(100 * share, digits) + " %"; }

/// How a share of the unit of cost is said: "you would pay 35 % less".
std::string saved_text(double cost_share, CostMeasure measure, bool would, int digits) {
  const double saved = 1 - cost_share;
  const std::string change = percent(std::abs(saved), digits);
  const bool same = change == percent(0, digits);
  switch (measure) {
    case CostMeasure::kLength:
      return std::string("answers ") + (would ? "would be " : "are ") +
             (same ? "as long" : change + (saved > 0 ? " shorter" : " longer"));
    case CostMeasure::kLatency:
      return std::string(would ? "you would wait " : "you wait ") +
             (same ? "as long" : change + (saved > 0 ? " less" : " more"));
    case CostMeasure::kUsd:
      break;
  }
  return std::string(would ? "you would pay " : "you pay ") +
         (same ? "as much" : change + (saved > 0 ? " less" : " more"));
}

/// What 95 % of the best single model's score costs.
std::string savings_text(const RouterEvaluation& result) {
  const BestSingle& best = result.evaluation.best_single;
  const ContenderResult& router = result.evaluation.policies.front();
  const CostMeasure measure = result.table.cost_measure;
  const std::string& name = result.table.models[best.model].name;
  if (!(best.score > 0)) return "No model has a score above 0, so there is nothing to compare.\n";
  if (best.all_free) {
    return "All models are free, so there is nothing to save; --cost length compares what answers "
           "take.\n";
  }
  if (best.is_free()) return "The best model, " + name + ", is free: nothing costs less.\n";
  if (!router.metrics.c95) {
    return "No setting reaches 95 % of the best model's score at its cost or less.\n";
  }
  std::string text =
      "At 95 % of the best model's score " + saved_text(*router.metrics.c95, measure, true, 0);
  if (router.intervals) {
    const Interval& c95 = router.intervals->c95;
    const std::string most = c95.low ? percent(1 - *c95.low) : "0 %";
    text += c95.high ? " (" + percent(1 - *c95.high) + " to " + most + ")"
                     : " (at most " + most + "; on some resamples it is not reached)";
  }
  return text + ".\n";
}

/// Whether the router is better than choosing models at random.
std::string mixing_text(const RouterEvaluation& result) {
  const std::string question = "Better than random mixing: ";
  if (result.table.models.size() == 1) return question + "there is only one model to mix.\n";
  const double gain = result.over_mixing.audc;
  const std::optional<Interval>& interval = result.over_mixing.interval;
  const bool within_zero = !interval || (interval->low == 0 && interval->high == 0);
  if (gain == 0 && within_zero) return question + "no, there is no difference.\n";
  if (!interval || !interval->low || !interval->high) {
    return question + (gain > 0 ? "yes, by " : "no, worse by ") + decimal(std::abs(gain), 3) +
           " (no interval without --resamples).\n";
  }
  const double low = *interval->low, high = *interval->high;
  if (low > 0) {
    return question + "yes, by " + decimal(gain, 3) + " (" + decimal(low, 3) + " to " +
           decimal(high, 3) + ").\n";
  }
  if (high < 0) {
    return question + "no, worse by " + decimal(-gain, 3) + " (" + decimal(-high, 3) + " to " +
           decimal(-low, 3) + ").\n";
  }
  return question + "no, not by more than chance: " + decimal(gain, 3) + " (" + decimal(low, 3) +
         " to " + decimal(high, 3) + ").\n";
}

std::string parentheses(const std::optional<Interval>& interval, double scale, int digits,
                        const char* unit) {
  if (!interval || !interval->low || !interval->high) return "";
  return " (" + decimal(scale * *interval->low, digits) + unit + " to " +
         decimal(scale * *interval->high, digits) + unit + ")";
}

/// What the default setting does.
std::string default_text(const RouterEvaluation& result) {
  const ChosenEvaluation& chosen = result.at_default;
  const BestSingle& best = result.evaluation.best_single;
  const CostMeasure measure = result.table.cost_measure;
  std::string text = "At its default setting";
  if (!std::isnan(result.default_lambda)) {
    char lambda[32];
    std::snprintf(lambda, sizeof lambda, " (λ = %.7g)", result.default_lambda);
    text += lambda;
  }
  text += " the router scores " + decimal(chosen.score, 4) +
          parentheses(chosen.score_interval, 1, 4, "");
  if (best.score > 0) {
    text += ", " + percent(chosen.score_share, 1) + " of the best model's score" +
            parentheses(chosen.score_share_interval, 100, 1, " %");
  }
  if (best.all_free) return text + ".\n";
  if (best.is_free()) {
    return text + ", and costs " + cost_text(chosen.cost, measure) + " a query.\n";
  }
  text += ", and " + saved_text(chosen.cost_share, measure, false, 1);
  if (chosen.cost_share_interval && chosen.cost_share_interval->low &&
      chosen.cost_share_interval->high) {
    const double least = *chosen.cost_share_interval->low;
    const double most = *chosen.cost_share_interval->high;
    text += chosen.cost_share <= 1
                ? " (" + percent(1 - most, 1) + " to " + percent(1 - least, 1) + ")"
                : " (" + percent(least - 1, 1) + " to " + percent(most - 1, 1) + ")";
  }
  return text + ".\n";
}

}  // namespace

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

std::vector<SweepPoint> points_of(const ContenderResult& policy, const Evaluation& evaluation) {
  if (!policy.points.empty()) return policy.points;
  std::vector<SweepPoint> points;
  for (const DeferralPoint& corner : policy.curve) {
    points.push_back({corner.lambda, corner.cost * evaluation.best_single.unit, corner.score});
  }
  return points;
}

SweepPoint best_routerarena_point(const ContenderResult& policy, const Evaluation& evaluation) {
  const std::vector<SweepPoint> points = points_of(policy, evaluation);
  const auto best =
      std::max_element(points.begin(), points.end(), [](const auto& a, const auto& b) {
        return routerarena_score(a.score, a.cost) < routerarena_score(b.score, b.cost);
      });
  return best == points.end() ? SweepPoint{} : *best;
}

std::string cost_text(double cost, CostMeasure measure) {
  switch (measure) {
    case CostMeasure::kLength:
      return decimal(cost, 1) + " tokens";
    case CostMeasure::kLatency:
      return decimal(cost, 3) + " seconds";
    case CostMeasure::kUsd:
      break;
  }
  return usd_text(round_decimal(cost, 9));
}

std::string unit_text(const RouterEvaluation& result) {
  const BestSingle& best = result.evaluation.best_single;
  if (best.all_free) return "any model's";
  return best.is_free() ? result.table.models[best.unit_model].name + "'s"
                        : "the best single model's";
}

const char* cost_key(CostMeasure measure) {
  switch (measure) {
    case CostMeasure::kLength:
      return "cost_tokens";
    case CostMeasure::kLatency:
      return "cost_seconds";
    case CostMeasure::kUsd:
      break;
  }
  return "cost_usd";
}

namespace {

std::string tables_text(const RouterEvaluation& result) {
  const Evaluation& evaluation = result.evaluation;
  const BestSingle& best = evaluation.best_single;
  const CostMeasure measure = result.table.cost_measure;
  std::string text = eval::summary_text(result) + "\nEvaluated on " +
                     with_thousands(evaluation.queries) +
                     (evaluation.queries == 1 ? " query" : " queries");
  if (result.folds > 0) {
    text += ", each by a router trained on the other " + std::to_string(result.folds - 1) + " of " +
            std::to_string(result.folds) + " folds";
  }
  if (result.table.budget_mode == BudgetMode::kHardCap) text += ", budgets as a hard cap";
  text += ".\nThe best single model is " + result.table.models[best.model].name + ": score " +
          decimal(best.score, 4) + " at " + cost_text(best.cost, measure) + " a query";
  if (best.all_free) {
    text += ", and all models are free: every cost below is 0.\n\n";
  } else if (best.is_free()) {
    text += ". Costs below are in units of " + unit_text(result) + ", " +
            cost_text(best.unit, measure) + ".\n\n";
  } else {
    text += ", the unit of cost below.\n\n";
  }
  text += metrics_text(evaluation, measure);
  if (evaluation.policies.front().intervals) {
    text += "\nThe difference that the router makes, 95 %:\n" + advantage_text(evaluation);
  }
  if (!result.datasets.empty()) {
    text += "\nEach dataset against its own best single model:\n" + datasets_text(result);
  }
  text +=
      "\nA policy is a way to choose; its setting λ goes from quality alone to cost alone, and "
      "each setting\nhas a mean score and a mean cost. AUDC: area under the best score reached "
      "at each cost from 0 to 1.\nQNC and c95: least cost that reaches the best single model's "
      "score, and 95 % of it. Peak: highest\nscore at a cost of 1 or less.";
  if (measure == CostMeasure::kUsd) {
    text += " RouterArena: the best score of that kind, which weighs money.";
  }
  text +=
      "\nPoint router: the same without limited budgets. Mean curve: each pair's mean, "
      "whatever the query.\nRandom mixing: single models chosen at random, in the best shares. "
      "Oracle: knows every outcome.\n";
  if (result.resampling.resamples > 0) {
    text += "Intervals (2.5 % to 97.5 %): " + with_thousands(result.resampling.resamples) +
            " resamples of the queries, the same for every policy, seed " +
            std::to_string(result.resampling.seed) + ".\n";
  }
  return text;
}

}  // namespace
}  // namespace r2router::eval::report

namespace r2router::eval {

std::string summary_text(const RouterEvaluation& result) {
  return report::savings_text(result) + report::mixing_text(result) + report::default_text(result);
}

std::string to_text(const RouterEvaluation& result) { return report::tables_text(result); }

}  // namespace r2router::eval
