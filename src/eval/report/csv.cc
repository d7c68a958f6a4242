// Every sweep of an evaluation as CSV.
#include <algorithm>
#include <cstdio>
#include <string>

#include "r2router/eval/router_evaluation.h"

#include "eval/report/text.h"

namespace r2router::eval {

using report::cost_key;
using report::points_of;

std::string curves_csv(const RouterEvaluation& result) {
  const Evaluation& evaluation = result.evaluation;
  const CostMeasure measure = result.table.cost_measure;
  std::string text =
      std::string("policy,lambda,") + cost_key(measure) + ",cost,score,routerarena,on_curve\n";
  for (const ContenderResult& policy : evaluation.policies) {
    std::string name;
    for (const char c : policy.name) name += c == '"' ? std::string("\"\"") : std::string(1, c);
    for (const SweepPoint& point : points_of(policy, evaluation)) {
      const double cost = point.cost / evaluation.best_single.unit;
      const bool on_curve =
          policy.points.empty() ||
          std::any_of(policy.curve.begin(), policy.curve.end(), [&](const DeferralPoint& corner) {
            return corner.lambda == point.lambda && corner.cost == cost;
          });
      char lambda[32] = "", routerarena[32] = "", numbers[160];
      if (policy.points.size() > 1) {
        std::snprintf(lambda, sizeof lambda, "%.17g", point.lambda);
      }
      if (measure == CostMeasure::kUsd) {
        std::snprintf(routerarena, sizeof routerarena, "%.17g",
                      routerarena_score(point.score, point.cost));
      }
      std::snprintf(numbers, sizeof numbers, ",%s,%.17g,%.17g,%.17g,%s,%d\n", lambda, point.cost,
                    cost, point.score, routerarena, on_curve ? 1 : 0);
      text += '"' + name + '"' + numbers;
    }
  }
  return text;
}

}  // namespace r2router::eval
