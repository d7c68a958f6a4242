// A router's evaluation as text for people, and as JSON and CSV for programs.
#pragma once

#include <optional>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "cli/evaluation.h"

namespace r2router::cli {

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

/// What a reader wants to know first, a sentence in each line: what 95 % of the best single model's
/// score costs, whether the router is better than random mixing, and what its default setting does.
std::string summary_text(const RouterEvaluation& result);

/// The summary, then tables with a line for each policy: metrics and, if there are any, their
/// intervals and what the router gains; for each dataset too.
std::string evaluation_text(const RouterEvaluation& result);

/// The same figures as an object.
nlohmann::ordered_json evaluation_json(const RouterEvaluation& result);

/// Members to join to evaluation_json(): every point of every sweep, and how far the router's
/// predictions can be trusted.
nlohmann::ordered_json evaluation_details_json(const RouterEvaluation& result);

/// Every setting of every policy: policy,lambda,cost_usd,cost,score,routerarena,on_curve; with
/// costs by length or latency cost_tokens or cost_seconds, and no RouterArena score. Random mixing
/// has its hull's corners, without λ.
std::string curves_csv(const RouterEvaluation& result);

/// The points of a policy, those of random mixing made from its curve.
std::vector<PolicyPoint> points_of(const ContenderResult& policy, const Evaluation& evaluation);

/// The point of the highest RouterArena score.
PolicyPoint best_routerarena_point(const ContenderResult& policy, const Evaluation& evaluation);

/// `value` with so many digits after the point.
std::string decimal(double value, int digits);

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

}  // namespace r2router::cli
