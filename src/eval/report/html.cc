// A router's evaluation as a page to read, to print and to pass on.

#include <algorithm>
#include <cmath>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "r2router/eval/router_evaluation.h"
#include "r2router/version.h"

#include "base/decimal.h"
#include "eval/report/svg_chart.h"
#include "eval/report/text.h"

namespace r2router::eval::report {
namespace {

// What the page may load: nothing. That holds even if a name found a way out of its escaping.
constexpr std::string_view kHead = R"(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Router evaluation</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #111; background: #fff; max-width: 60rem;
       margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; margin-bottom: .3rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .4rem; }
p { max-width: 46rem; margin: .4rem 0; }
figure { margin: .6rem 0; }
svg { width: 100%; height: auto; display: block; }
figcaption { font-size: .85rem; color: #333; max-width: 46rem; }
figcaption i { display: inline-block; width: .8em; height: .8em; margin-right: .3em; opacity: .55;
               print-color-adjust: exact; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 1.5rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .85rem; line-height: 1.3; }
th, td { text-align: right; padding: .28rem .5rem; border-bottom: 1px solid #ddd;
         vertical-align: top; font-variant-numeric: tabular-nums; }
th { border-bottom: 2px solid #333; }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere; }
td.name { text-align: left; overflow-wrap: anywhere; }
td small { display: block; color: #444; white-space: nowrap; }
tr.router td { font-weight: bold; }
tr.router td small { font-weight: normal; }
dl.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: .8rem;
           margin: 1rem 0; }
dl.facts div { border-left: 3px solid #0072b2; padding-left: .7rem; }
dt { font-size: .8rem; color: #444; }
dd { margin: 0; font-size: 1.15rem; overflow-wrap: anywhere; }
footer { margin-top: 2.5rem; font-size: .85rem; color: #333; border-top: 1px solid #333; }
@media (max-width: 42rem) { .pair { grid-template-columns: 1fr; } }
@page { size: A4; margin: 14mm; }
@media print {
  body { margin: 0; padding: 0; max-width: none; font-size: 10.5pt; }
  h2 { break-after: avoid; }
  figure, tr, dl.facts { break-inside: avoid; }
  p { break-after: avoid; }
  table { font-size: 8.5pt; }
  td { white-space: nowrap; }
  td:first-child, td.name { white-space: normal; }
  .scroll { overflow: visible; }
}
</style>
</head>
<body>
)";

/// Names get their own direction, so that they cannot reverse the text next to them.
std::string name_markup(std::string_view name) {
  return "<bdi>" + escape_markup(name.empty() ? "(none)" : name) + "</bdi>";
}

std::string figure(const Chart& chart, std::string_view description, std::string_view caption) {
  return "<figure>\n" + chart.svg(description) + "<figcaption>" + std::string(caption) +
         "</figcaption>\n</figure>\n";
}

std::string fact(std::string_view term, const std::string& description) {
  return "<div><dt>" + std::string(term) + "</dt><dd>" + description + "</dd></div>\n";
}

/// Largest round step below the value, for the end of an axis.
double floor_to(double value, double step) { return std::floor(value / step) * step; }
double ceil_to(double value, double step) { return std::ceil(value / step) * step; }

class Page {
 public:
  explicit Page(const RouterEvaluation& result)
      : result_(result),
        evaluation_(result.evaluation),
        best_(evaluation_.best_single),
        router_(evaluation_.policies.front()) {
    for (const ModelSpec& model : result.table.models) models_.insert(model.name);
    double least = 1;
    for (const ContenderResult& policy : evaluation_.policies) {
      for (const SweepPoint& point : policy.points) {
        if (point.cost > 0) least = std::min(least, point.cost / best_.unit);
      }
    }
    least_cost_ = std::max(least * 0.9, 1e-6);
  }

  std::string html() const {
    std::string text(kHead);
    text += facts() + curves() + metrics();
    if (router_.intervals) text += advantages();
    text += shares() + reliability();
    if (in_usd()) text += routerarena();
    if (!result_.datasets.empty()) text += datasets();
    text += footer();
    return text + "</body>\n</html>\n";
  }

 private:
  bool is_single(const ContenderResult& policy) const {
    return policy.points.size() == 1 && models_.contains(policy.name);
  }
  double cost_share(const SweepPoint& point) const { return point.cost / best_.unit; }
  bool in_usd() const { return result_.table.cost_measure == CostMeasure::kUsd; }
  Axis cost_axis() const {
    return {"mean cost, as a share of " + unit_text(result_) + " (logarithmic)", least_cost_, 1,
            true};
  }

  std::string facts() const {
    const ChosenEvaluation& chosen = result_.at_default;
    const std::string summary = summary_text(result_);
    std::string text = "<h1>Router evaluation</h1>\n";
    for (std::size_t begin = 0; begin < summary.size();) {
      const std::size_t end = summary.find('\n', begin);
      text += "<p><bdi>" + escape_markup(summary.substr(begin, end - begin)) + "</bdi></p>\n";
      begin = end + 1;
    }
    text += "<p>";
    text += result_.folds > 0
                ? "Every query was routed by a router trained without its text, on the other " +
                      std::to_string(result_.folds - 1) + " of " + std::to_string(result_.folds) +
                      " parts of the queries."
                : std::string(
                      "Every query was routed by one checkpoint, and its choices were "
                      "charged and scored by the known outcomes.");
    if (result_.table.budget_mode == BudgetMode::kHardCap) {
      text +=
          " Budgets are a hard cap: an answer is cut off at its budget, and scores 0 if that cuts "
          "it.";
    }
    text += "</p>\n<dl class=\"facts\">\n" + fact("queries", with_thousands(evaluation_.queries)) +
            fact("best single model", name_markup(result_.table.models[best_.model].name)) +
            fact("its score", decimal(best_.score, 4)) +
            fact("its cost for a query", cost_text(best_.cost, result_.table.cost_measure)) +
            fact("router at its default λ", decimal(chosen.score, 4) + " at " +
                                                cost_text(chosen.cost, result_.table.cost_measure));
    if (in_usd()) {
      text += fact("its RouterArena score there",
                   decimal(routerarena_score(chosen.score, chosen.cost), 4));
    }
    return text + "</dl>\n";
  }

  std::string curves() const {
    double low = 1, high = 0;
    for (const ContenderResult& policy : evaluation_.policies) {
      for (const SweepPoint& point : points_of(policy, evaluation_)) {
        low = std::min(low, point.score);
        high = std::max(high, point.score);
      }
    }
    low = floor_to(low, 0.05);
    high = std::min(1.0, ceil_to(high + 0.005, 0.05));
    if (high <= low) high = low + 0.05;
    Chart chart(cost_axis(), {"mean score", low, high}, 900, 520, 190);
    constexpr std::string_view kDashes[] = {"", "7 3", "2 3", "9 3 2 3", "5 5", "12 4", "1 2"};
    std::size_t index = 0;
    // The router last, on top of the others; its colour is the first all the same.
    for (std::size_t i = evaluation_.policies.size(); i-- > 0;) {
      const ContenderResult& policy = evaluation_.policies[i];
      if (is_single(policy) || i == 0) continue;
      ++index;
      const std::string_view color = chart_color(1 + (index - 1) % 7);
      draw_curve(chart, policy, color, kDashes[index % std::size(kDashes)], 1.6);
    }
    draw_curve(chart, router_, chart_color(0), "", 3);
    for (const ContenderResult& policy : evaluation_.policies) {
      if (is_single(policy) && cost_share(policy.points[0]) <= 1) {
        chart.point({cost_share(policy.points[0]), policy.points[0].score}, policy.name, "#111");
      }
    }
    return "<h2>Score reached at each cost</h2>\n" +
           figure(chart, "Deferral curves of all policies, with the single models as points",
                  "Each curve is the best mean score that a policy reaches at a mean cost of at "
                  "most x; dots are single models used for every query. Further up and to the "
                  "left is better.");
  }

  void draw_curve(Chart& chart, const ContenderResult& policy, std::string_view color,
                  std::string_view dash, double stroke) const {
    std::vector<ChartPoint> points;
    for (const DeferralPoint& corner : policy.curve) points.push_back({corner.cost, corner.score});
    if (!policy.points.empty()) {
      chart.staircase(points, policy.name, color, dash, stroke);
      return;
    }
    // Mixing reaches every point between two corners, along a line where costs are not logarithms.
    std::vector<ChartPoint> fine;
    for (std::size_t i = 0; i + 1 < points.size(); ++i) {
      for (int step = 0; step < 20; ++step) {
        const double share = step / 20.0;
        fine.push_back({points[i].x + share * (points[i + 1].x - points[i].x),
                        points[i].y + share * (points[i + 1].y - points[i].y)});
      }
    }
    if (!points.empty()) fine.push_back({points.back().x, points.back().y});
    if (!points.empty()) fine.push_back({1, points.back().y});
    chart.line(fine, policy.name, color, dash, stroke);
  }

  std::string metrics() const {
    std::string text =
        "<h2>Metrics</h2>\n<div class=\"scroll\"><table>\n<thead><tr><th>policy</th>";
    for (const Metric& metric : kMetrics) text += std::string("<th>") + metric.name + "</th>";
    text += std::string(in_usd() ? "<th>RouterArena</th>" : "") + "</tr></thead>\n";
    for (const ContenderResult& policy : evaluation_.policies) {
      text += row_begin(policy) + metric_cells(policy);
      const SweepPoint best = best_routerarena_point(policy, evaluation_);
      if (in_usd()) text += "<td>" + decimal(routerarena_score(best.score, best.cost), 4) + "</td>";
      text += "</tr>\n";
    }
    text +=
        "</table></div>\n<p>AUDC: area under the score reached at each cost (here over costs, "
        "not their logarithms). QNC and c95: least cost that reaches the best single model's "
        "score, "
        "and 95 % of it, as a share of " +
        escape_markup(unit_text(result_)) +
        "; “never” if no setting does. Peak: highest score at a share of 1 or less.";
    if (in_usd()) text += " RouterArena: the best score of that kind along the sweep.";
    return text + "</p>\n";
  }

  std::string row_begin(const ContenderResult& policy) const {
    return std::string(&policy == &router_ ? "<tr class=\"router\">" : "<tr>") + "<td>" +
           name_markup(policy.name) + "</td>";
  }

  static std::string metric_cells(const ContenderResult& policy) {
    std::string text;
    for (const Metric& metric : kMetrics) {
      text += "<td>" + reached(metric.value(policy.metrics));
      if (policy.intervals) {
        text += "<small>" + interval_text((*policy.intervals).*metric.interval) + "</small>";
      }
      text += "</td>";
    }
    return text;
  }

  std::string advantages() const {
    std::string text =
        "<h2>What the router gains</h2>\n<p>The router’s figure minus the other policy’s, on the "
        "same resamples: intervals that hold 95 % of the differences. Where an interval does not "
        "contain 0, the difference is more than chance. Less is better for QNC and c95.</p>\n"
        "<div class=\"scroll\"><table>\n<thead><tr><th>router minus</th>";
    for (const Metric& metric : kMetrics) text += std::string("<th>") + metric.name + "</th>";
    text += "</tr></thead>\n";
    for (const ContenderResult& policy : evaluation_.policies) {
      if (!policy.advantage) continue;
      text += "<tr><td>" + name_markup(policy.name) + "</td>";
      for (const Metric& metric : kMetrics) {
        text += "<td>" + difference_text((*policy.advantage).*metric.interval) + "</td>";
      }
      text += "</tr>\n";
    }
    return text + "</table></div>\n";
  }

  /// The router's settings by ascending true cost, for charts along its sweep.
  std::vector<std::size_t> settings_by_cost() const {
    std::vector<std::size_t> settings;
    for (std::size_t i = 0; i < router_.points.size(); ++i) settings.push_back(i);
    std::stable_sort(settings.begin(), settings.end(), [&](std::size_t a, std::size_t b) {
      return router_.points[a].cost < router_.points[b].cost;
    });
    return settings;
  }

  std::string shares() const {
    const std::vector<std::size_t> settings = settings_by_cost();
    const std::size_t count = result_.table.models.size();
    const std::vector<double>& share = evaluation_.reliability.shares;
    Axis axis = cost_axis();
    axis.low = std::max(cost_share(router_.points[settings.front()]) * 0.98, 1e-6);
    axis.high = std::max(cost_share(router_.points[settings.back()]), axis.low * 1.01);
    Chart chart(axis, {"share of the queries", 0, 1}, 900, 400, 20);
    std::vector<ChartPoint> lower;
    for (const std::size_t setting : settings) {
      lower.push_back({cost_share(router_.points[setting]), 0});
    }
    std::string legend;
    for (std::size_t model = 0; model < count; ++model) {
      std::vector<ChartPoint> upper = lower;
      double most = 0;
      for (std::size_t i = 0; i < settings.size(); ++i) {
        const double own = share[settings[i] * count + model];
        upper[i].y += own;
        most = std::max(most, own);
      }
      const std::string_view color = chart_color(1 + model % 7);
      chart.band(lower, upper, result_.table.models[model].name, color);
      lower = std::move(upper);
      if (!legend.empty()) legend += ", ";
      legend += "<i style=\"background:" + std::string(color) + "\"></i>";
      legend +=
          name_markup(result_.table.models[model].name) + " (" + decimal(100 * most, 0) + " %)";
    }
    return "<h2>Which models the router uses</h2>\n" +
           figure(chart, "Share of the queries that each model gets along the router's sweep",
                  "Bands from bottom to top, with the largest share that each reaches: " + legend +
                      ".");
  }

  std::string reliability() const {
    const Reliability& reliability = evaluation_.reliability;
    double low = 1, high = 0;
    for (const CalibrationBin& bin : reliability.calibration) {
      low = std::min({low, bin.predicted, bin.observed});
      high = std::max({high, bin.predicted, bin.observed});
    }
    low = std::max(0.0, floor_to(low, 0.1));
    high = std::min(1.0, ceil_to(high, 0.1));
    if (high <= low) high = low + 0.1;
    Chart quality({"predicted quality", low, high}, {"observed mean score", low, high}, 430, 380,
                  20);
    std::vector<ChartPoint> observed;
    for (const CalibrationBin& bin : reliability.calibration) {
      observed.push_back({bin.predicted, bin.observed});
    }
    quality.diagonal("");
    quality.line(observed, "", "#0072b2", "", 1.5);
    for (const ChartPoint& point : observed) quality.point(point, "", "#0072b2");
    std::string text =
        "<h2>How far its predictions can be trusted</h2>\n<div class=\"pair\">\n" +
        figure(quality, "Observed mean score against predicted quality",
               "All (query, model, budget) cells by their predicted quality, in " +
                   std::to_string(reliability.calibration.size()) +
                   " groups of equal size. On the dashed line, prediction and observation agree.");

    double least = 1e300, most = 0, worst = 0;
    std::vector<ChartPoint> costs;
    for (const std::size_t setting : settings_by_cost()) {
      const double scale = in_usd() ? 1000 : 1;
      const double predicted = scale * reliability.predicted[setting].cost;
      const double actual = scale * router_.points[setting].cost;
      if (!(predicted > 0 && actual > 0)) continue;
      costs.push_back({predicted, actual});
      least = std::min({least, predicted, actual});
      most = std::max({most, predicted, actual});
      if (std::abs(predicted / actual - 1) > std::abs(worst)) worst = predicted / actual - 1;
    }
    if (!costs.empty()) {
      std::sort(costs.begin(), costs.end(),
                [](const ChartPoint& a, const ChartPoint& b) { return a.x < b.x; });
      if (most <= least) most = least * 1.1;
      const std::string unit = in_usd() ? "$ for 1,000 queries"
                               : result_.table.cost_measure == CostMeasure::kLength ? "tokens"
                                                                                    : "seconds";
      Chart cost({"predicted, " + unit, least * 0.9, most * 1.1, true},
                 {"true, " + unit, least * 0.9, most * 1.1, true}, 430, 380, 20);
      cost.diagonal("");
      cost.line(costs, "", "#d55e00", "", 2);
      text += figure(cost, "True mean cost against predicted mean cost along the sweep",
                     "Mean cost of the router’s choices at each setting of its sweep, predicted "
                     "and true; the prediction that is furthest off is " +
                         decimal(100 * std::abs(worst), 1) + " % too " +
                         (worst < 0 ? "low" : "high") + ".");
    }
    return text + "</div>\n";
  }

  std::string routerarena() const {
    double low = 1, high = 0;
    const auto score = [](const SweepPoint& point) {
      return routerarena_score(point.score, point.cost);
    };
    for (const ContenderResult& policy : evaluation_.policies) {
      for (const SweepPoint& point : policy.points) {
        low = std::min(low, score(point));
        high = std::max(high, score(point));
      }
    }
    low = floor_to(low, 0.05);
    high = std::min(1.0, ceil_to(high + 0.005, 0.05));
    if (high <= low) high = low + 0.05;
    Chart chart(cost_axis(), {"RouterArena score", low, high}, 900, 400, 190);
    std::size_t index = 0;
    for (const ContenderResult& policy : evaluation_.policies) {
      if (policy.points.size() < 2) continue;
      std::vector<SweepPoint> points = policy.points;
      std::erase_if(points, [&](const SweepPoint& point) { return cost_share(point) > 1; });
      std::stable_sort(points.begin(), points.end(),
                       [](const auto& a, const auto& b) { return a.cost < b.cost; });
      std::vector<ChartPoint> line;
      for (const SweepPoint& point : points) line.push_back({cost_share(point), score(point)});
      constexpr std::string_view kDashes[] = {"", "7 3", "2 3", "9 3 2 3", "5 5", "12 4", "1 2"};
      chart.line(line, policy.name, chart_color(index), kDashes[index % std::size(kDashes)],
                 index == 0 ? 3 : 1.6);
      ++index;
    }
    for (const ContenderResult& policy : evaluation_.policies) {
      if (is_single(policy) && cost_share(policy.points[0]) <= 1) {
        chart.point({cost_share(policy.points[0]), score(policy.points[0])}, policy.name, "#111");
      }
    }
    return "<h2>RouterArena score</h2>\n" +
           figure(chart, "RouterArena score of every setting",
                  "Weighs mean score against the logarithm of the cost of 1,000 queries, from "
                  "$0.0044 to $200, with β = 0.1.");
  }

  std::string datasets() const {
    std::string text =
        "<h2>Datasets</h2>\n<p>Each dataset against its own best single model.</p>\n"
        "<div class=\"scroll\"><table>\n<thead><tr><th>dataset</th><th>queries</th><th>policy</th>";
    for (const Metric& metric : kMetrics) text += std::string("<th>") + metric.name + "</th>";
    text += "</tr></thead>\n";
    for (const auto& [dataset, evaluation] : result_.datasets) {
      bool first = true;
      for (const ContenderResult& policy : evaluation.policies) {
        if (is_single(policy) &&
            policy.name != result_.table.models[evaluation.best_single.model].name) {
          continue;  // a table of every model for every dataset would hide what matters
        }
        text += first ? "<tr class=\"router\"><td>" + name_markup(dataset) + "</td><td>" +
                            with_thousands(evaluation.queries) + "</td>"
                      : "<tr><td></td><td></td>";
        text += "<td class=\"name\">" + name_markup(policy.name) + "</td>" + metric_cells(policy) +
                "</tr>\n";
        first = false;
      }
    }
    return text + "</table></div>\n";
  }

  std::string footer() const {
    std::string text = "<footer>\n<p>";
    if (result_.resampling.resamples > 0) {
      text += "Intervals run from the 2.5 % to the 97.5 % quantile of " +
              with_thousands(result_.resampling.resamples) +
              " resamples of the queries (bootstrap), the same for every policy, seed " +
              std::to_string(result_.resampling.seed) + ". ";
    }
    text += in_usd() ? "Costs are those of the prices in the pool. Data:" : "Data:";
    for (const DataSource& source : result_.table.sources) {
      text += " " + name_markup(source.file) + " (SHA-256 " +
              escape_markup(source.sha256.substr(0, 16)) + "…)";
    }
    text += ". r2router ";
    text += version();
    return text += ".</p>\n</footer>\n";
  }

  const RouterEvaluation& result_;
  const Evaluation& evaluation_;
  const BestSingle& best_;
  const ContenderResult& router_;
  std::set<std::string, std::less<>> models_;
  double least_cost_ = 0;
};

}  // namespace

}  // namespace r2router::eval::report

std::string r2router::eval::to_html(const RouterEvaluation& result) {
  return report::Page(result).html();
}
