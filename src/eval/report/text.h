// What the reports of an evaluation share: metrics, points and figures as text.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "r2router/eval/router_evaluation.h"

namespace r2router::eval::report {

/// A metric and where it is in the three structures that hold one of each.
struct Metric {
  const char* name;
  const char* key;
  std::optional<double> (*value)(const DeferralMetrics&);
  Interval MetricIntervals::*interval;
};
inline constexpr Metric kMetrics[] = {
    {"AUDC", "audc", [](const DeferralMetrics& m) { return std::optional(m.audc); },
     &MetricIntervals::audc},
    {"QNC", "qnc", [](const DeferralMetrics& m) { return m.qnc; }, &MetricIntervals::qnc},
    {"peak", "peak", [](const DeferralMetrics& m) { return std::optional(m.peak); },
     &MetricIntervals::peak},
    {"c95", "c95", [](const DeferralMetrics& m) { return m.c95; }, &MetricIntervals::c95}};

/// The key of a cost in JSON and CSV.
const char* cost_key(CostMeasure measure);

/// The points of a policy, those of random mixing made from its curve.
std::vector<SweepPoint> points_of(const ContenderResult& policy, const Evaluation& evaluation);

/// The point of the highest RouterArena score.
SweepPoint best_routerarena_point(const ContenderResult& policy, const Evaluation& evaluation);

/// "$0.000684", "143 tokens" or "2.31 seconds".
std::string cost_text(double cost, CostMeasure measure);

/// What costs on curves are fractions of: "the best single model's", or another model's.
std::string unit_text(const RouterEvaluation& result);

/// "0.153"; a cost that is not reached is "never".
std::string reached(const std::optional<double>& value);

/// "0.654 to 0.691", or "never".
std::string interval_text(const Interval& interval);

/// "+0.020 to +0.038"; "-" if nothing can be said.
std::string difference_text(const Interval& interval);

}  // namespace r2router::eval::report
