#include "r2router/eval/calibrate.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <optional>
#include <random>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>

#include "r2router/error.h"

#include "base/excerpt.h"
#include "base/json.h"
#include "base/unicode.h"
#include "base/usd.h"
#include "route/ties.h"

namespace r2router::eval {
namespace {

using Kind = CalibrationTarget::Kind;

/// Where one query moves to its next option: above `setting`.
struct Step {
  double setting = 0;
  std::uint32_t query = 0;
  MeanFigures counted, predicted;  ///< how much more the next one has
};

/// What a query is decided on, and what then counts. `weighed` differs from the predicted quality
/// under risk aversion.
struct Point {
  Pair pair;
  std::uint32_t max_tokens;
  MeanFigures predicted;
  double weighed;
  MeanFigures counted;
};

MeanFigures difference(const MeanFigures& from, const MeanFigures& to) {
  return {to.cost_usd - from.cost_usd, to.quality - from.quality};
}

void add(const MeanFigures& figures, double times, MeanFigures& sum) {
  sum.cost_usd += times * figures.cost_usd;
  sum.quality += times * figures.quality;
}

double price_of_quality(const Point& from, const Point& to) {
  return (to.predicted.cost_usd - from.predicted.cost_usd) / (to.weighed - from.weighed);
}

/// The point that a decision chooses of several by `lambda`.
const Point& best_of(std::span<const Point> points, double lambda) {
  return points[internal::best_of(points.size(), lambda, [&](std::size_t i) {
    const Point& p = points[i];
    return internal::Contestant{.utility = (1 - lambda) * p.weighed - lambda * p.predicted.cost_usd,
                                .cost_usd = p.predicted.cost_usd,
                                .quality = p.predicted.quality,
                                .pair = p.pair,
                                .max_tokens = p.max_tokens};
  })];
}

std::vector<Point> points_of(std::span<const Option> options,
                             std::span<const RealisedOption> realised) {
  std::vector<Point> points;
  // A ranking for Objective::kBest has λ = 0, where the utility is the weighed quality.
  for (std::size_t i = 0; i < options.size(); ++i) {
    const Option& option = options[i];
    const MeanFigures predicted{option.cost_usd, option.quality};
    points.push_back(
        {{option.model, option.budget},
         option.max_tokens,
         predicted,
         option.utility,
         realised.empty() ? predicted : MeanFigures{realised[i].cost_usd, realised[i].quality}});
  }
  return points;
}

/// The cheapest points of at least each quality: each costs as much as the one before or more, and
/// is better.
std::vector<Point> cheapest_by_quality(std::vector<Point> points) {
  std::vector<Point> stairs;
  while (!points.empty()) {
    stairs.push_back(best_of(points, 1));
    std::erase_if(points, [&](const Point& p) { return p.weighed <= stairs.back().weighed; });
  }
  return stairs;
}

/// The points that are best at some price of quality, cheapest first: the upper hull of quality
/// over cost. For each corner the point that wins among those that tie with it.
std::vector<Point> best_by_price(std::vector<Point> points) {
  std::ranges::sort(points, {}, [](const Point& point) {
    return std::tuple(point.predicted.cost_usd, -point.weighed);
  });
  std::vector<Point> hull;
  for (const Point& point : points) {
    if (!hull.empty() && point.weighed <= hull.back().weighed + internal::kTie) continue;
    while (hull.size() >= 2 && price_of_quality(hull[hull.size() - 2], hull.back()) >=
                                   price_of_quality(hull.back(), point)) {
      hull.pop_back();
    }
    hull.push_back(point);
  }
  std::vector<Point> tied;
  for (Point& corner : hull) {
    tied.clear();
    for (const Point& point : points) {
      const double cost = corner.predicted.cost_usd;
      if (std::abs(point.predicted.cost_usd - cost) <= internal::kTie * cost &&
          std::abs(point.weighed - corner.weighed) <= internal::kTie) {
        tied.push_back(point);
      }
    }
    corner = best_of(tied, 0.5);
  }
  return hull;
}

class Sample {
 public:
  Sample(std::span<const std::vector<Option>> options,
         std::span<const std::vector<RealisedOption>> realised, CalibratedSetting setting)
      : setting_(setting) {
    for (std::size_t query = 0; query < options.size(); ++query) {
      if (options[query].empty()) {
        throw Error(ErrorCode::kInvalidArgument,
                    "query " + std::to_string(query) +
                        " has no options: rank them with RouteOptions::rank");
      }
      add_query(points_of(options[query], realised.empty() ? std::span<const RealisedOption>()
                                                           : std::span(realised[query])));
    }
    std::ranges::stable_sort(steps_, {}, &Step::setting);
  }

  std::size_t queries() const { return cheapest_.size(); }
  CalibratedSetting setting() const { return setting_; }

  /// Calls visit(figures, last, next) for the means at each plateau, from the cheapest on: those of
  /// settings from `last` (excluded, but for 0) to `next`. `counts`: how often each query counts.
  template <typename Visit>
  void sweep(std::span<const std::uint32_t> counts, Visit visit) const {
    MeanFigures sums;
    for (std::size_t query = 0; query < cheapest_.size(); ++query) {
      add(cheapest_[query].counted, counts[query], sums);
    }
    const auto total = static_cast<double>(cheapest_.size());
    double last = 0;
    for (std::size_t i = 0; i <= steps_.size();) {
      const bool at_end = i == steps_.size();
      const double next = at_end ? std::numeric_limits<double>::infinity() : steps_[i].setting;
      if (next > last || at_end || i == 0) {
        visit(MeanFigures{sums.cost_usd / total, sums.quality / total}, last, next);
      }
      if (at_end) return;
      last = next;
      for (; i < steps_.size() && steps_[i].setting == last; ++i) {
        add(steps_[i].counted, counts[steps_[i].query], sums);
      }
    }
  }

  /// The predicted means at a setting, whatever counts.
  MeanFigures predicted_at(double setting) const {
    const double share = 1 / static_cast<double>(cheapest_.size());
    MeanFigures means;
    for (const Point& point : cheapest_) add(point.predicted, share, means);
    for (const Step& step : steps_) {
      if (step.setting < setting) add(step.predicted, share, means);
    }
    return means;
  }

  double best_quality(std::span<const std::uint32_t> counts) const {
    double sum = 0;
    for (std::size_t query = 0; query < best_.size(); ++query) sum += counts[query] * best_[query];
    return sum / static_cast<double>(best_.size());
  }

  /// A setting between two steps, away from both.
  double between(double last, double next) const {
    if (setting_ == CalibratedSetting::kQualityFraction) return (last + std::min(next, 1.0)) / 2;
    if (last == 0) return std::isfinite(next) ? next / 2 : 1;
    return std::isfinite(next) ? std::sqrt(last) * std::sqrt(next) : 2 * last;
  }

 private:
  void add_query(std::vector<Point> all) {
    const auto query = static_cast<std::uint32_t>(cheapest_.size());
    const bool by_price = setting_ == CalibratedSetting::kWillingnessToPay;
    const std::vector<Point> points =
        by_price ? best_by_price(std::move(all)) : cheapest_by_quality(std::move(all));
    cheapest_.push_back(points.front());
    best_.push_back(points.back().counted.quality);
    for (std::size_t i = 1; i < points.size(); ++i) {
      const Point &from = points[i - 1], &to = points[i];
      steps_.push_back(
          {by_price ? price_of_quality(from, to) : from.weighed / points.back().weighed, query,
           difference(from.counted, to.counted), difference(from.predicted, to.predicted)});
    }
  }

  CalibratedSetting setting_;
  std::vector<Point> cheapest_;  ///< of each query
  std::vector<double> best_;     ///< what counts of the best option of each query
  std::vector<Step> steps_;      ///< ascending by setting
};

/// The means of the settings from `last` (excluded, but for 0) to `next`.
struct Plateau {
  double last = 0, next = 0;
  MeanFigures figures;
};

/// What a sample has for a target.
struct Search {
  std::optional<Plateau> found;  ///< the last one within a cost, the first one with a quality
  Plateau nearest;               ///< the one of the least cost, or of the highest quality
  MeanFigures least, most;       ///< the ranges of all
};

Search find(const Sample& sample, std::span<const std::uint32_t> counts,
            const CalibrationTarget& target) {
  // Sums of the same numbers in another order must not miss a target that they are equal to.
  const double slack = 1e-12;
  const bool by_cost = target.kind == Kind::kCost;
  const double quality =
      target.kind == Kind::kShareOfBest ? target.value * sample.best_quality(counts) : target.value;
  Search search;
  bool first = true;
  sample.sweep(counts, [&](const MeanFigures& figures, double last, double next) {
    const Plateau plateau{last, next, figures};
    if (std::exchange(first, false)) {
      search.nearest = plateau;
      search.least = search.most = figures;
    }
    const MeanFigures& nearest = search.nearest.figures;
    if (by_cost ? figures.cost_usd < nearest.cost_usd : figures.quality >= nearest.quality) {
      search.nearest = plateau;
    }
    search.least = {std::min(search.least.cost_usd, figures.cost_usd),
                    std::min(search.least.quality, figures.quality)};
    search.most = {std::max(search.most.cost_usd, figures.cost_usd),
                   std::max(search.most.quality, figures.quality)};
    if (by_cost ? figures.cost_usd <= target.value * (1 + slack)
                : !search.found && figures.quality >= quality * (1 - slack)) {
      search.found = plateau;
    }
  });
  return search;
}

std::string number(double value) {
  char digits[32];
  return {digits,
          std::to_chars(digits, digits + sizeof digits, value, std::chars_format::general, 6).ptr};
}

[[noreturn]] void throw_out_of_reach(const CalibrationTarget& target, const Search& search) {
  if (target.kind == Kind::kCost) {
    const double least = search.least.cost_usd, most = search.most.cost_usd;
    throw Error(ErrorCode::kInvalidArgument,
                "a mean cost of " + usd_text(target.value, 6) +
                    " a query is out of reach: on this sample it goes from " + usd_text(least, 6) +
                    " to " + usd_text(most, 6) + " (" + usd_text(1000 * least, 6) + " to " +
                    usd_text(1000 * most, 6) + " for a thousand)");
  }
  throw Error(ErrorCode::kInvalidArgument, "a mean quality of " + number(target.value) +
                                               " is out of reach: on this sample it goes from " +
                                               number(search.least.quality) + " to " +
                                               number(search.most.quality));
}

void check_realised(std::span<const std::vector<Option>> options,
                    std::span<const std::vector<RealisedOption>> realised) {
  if (realised.empty()) return;
  if (realised.size() != options.size()) {
    throw Error(ErrorCode::kInvalidArgument,
                "there are " + std::to_string(options.size()) + " queries, but outcomes of " +
                    std::to_string(realised.size()) + ": give those of each, or none");
  }
  for (std::size_t query = 0; query < options.size(); ++query) {
    if (realised[query].size() != options[query].size()) {
      throw Error(ErrorCode::kInvalidArgument,
                  "query " + std::to_string(query) + " has " +
                      std::to_string(options[query].size()) + " options, but " +
                      std::to_string(realised[query].size()) + " outcomes: expected one of each");
    }
    for (std::size_t i = 0; i < realised[query].size(); ++i) {
      const RealisedOption& outcome = realised[query][i];
      if (std::isfinite(outcome.cost_usd) && std::isfinite(outcome.quality)) continue;
      throw Error(ErrorCode::kInvalidArgument, "outcome " + std::to_string(i) + " of query " +
                                                   std::to_string(query) +
                                                   " is not finite: expected a cost and a quality");
    }
  }
}

/// The 2.5 % and 97.5 % quantiles.
void set_interval(std::vector<double> values, CalibratedFigure& figure) {
  std::ranges::sort(values);
  const auto at = [&](double share) {
    return values[static_cast<std::size_t>(share * static_cast<double>(values.size() - 1))];
  };
  figure.low = at(0.025);
  figure.high = at(0.975);
}

/// Takes a target apart from front to back: numbers, words and signs, with any space between them.
class TargetReader {
 public:
  explicit TargetReader(std::string_view text) : rest_(internal::lower_case(text)) { skip_space(); }

  bool at_end() const { return position_ == rest_.size(); }

  /// Takes the word or sign if it is next; a word must end there.
  bool take(std::string_view token) {
    const std::string_view next = std::string_view(rest_).substr(position_);
    if (!next.starts_with(token)) return false;
    const auto is_letter = [](char c) { return c >= 'a' && c <= 'z'; };
    if (is_letter(token.back()) && next.size() > token.size() && is_letter(next[token.size()])) {
      return false;
    }
    position_ += token.size();
    skip_space();
    return true;
  }
  bool take_any(std::initializer_list<std::string_view> tokens) {
    return std::ranges::any_of(tokens, [&](std::string_view token) { return take(token); });
  }

  std::optional<double> number() {
    const std::string_view next = std::string_view(rest_).substr(position_);
    if (next.empty() || next.find_first_of("0123456789.") != 0) return {};  // "nan", "-1"
    double value = 0;
    const auto [end, error] = std::from_chars(next.begin(), next.end(), value);
    if (error != std::errc() || !std::isfinite(value)) return {};
    position_ += static_cast<std::size_t>(end - next.begin());
    skip_space();
    return value;
  }

 private:
  void skip_space() {
    while (position_ < rest_.size() && (rest_[position_] == ' ' || rest_[position_] == '\t')) {
      ++position_;
    }
  }

  std::string rest_;
  std::size_t position_ = 0;
};

/// How many queries a cost is for: "1k", "1000 queries", "query".
std::optional<double> read_queries(TargetReader& reader) {
  std::optional<double> count;
  if (reader.take("1,000")) {
    count = 1000;
  } else {
    count = reader.number();
  }
  if (reader.take_any({"k", "thousand"})) count = 1000 * count.value_or(1);
  if (reader.take_any({"queries", "query"}) && !count) count = 1;
  return count && *count > 0 ? count : std::nullopt;
}

/// Empty if it is not a number, or is followed by other text.
std::optional<CalibrationTarget> read_target(TargetReader& reader) {
  const auto share_in = [&](double value) {
    if (reader.take("%") || reader.take("percent")) value /= 100;
    return value <= 1 ? std::optional(value) : std::nullopt;
  };
  if (reader.take("quality")) {
    reader.take_any({"=", ":", "of"});
    const auto number = reader.number();
    const auto quality = number ? share_in(*number) : std::nullopt;
    if (!quality) return {};
    return CalibrationTarget{Kind::kQuality, *quality};
  }
  const auto currency = [&] { return reader.take_any({"$", "usd", "dollars", "dollar"}); };
  const bool currency_first = currency();
  const auto number = reader.number();
  if (!number) return {};
  const bool is_cost = currency() || currency_first;
  if (reader.take("/") || reader.take("per")) {
    const auto queries = read_queries(reader);
    if (!queries) return {};
    return CalibrationTarget{Kind::kCost, *number / *queries};
  }
  if (is_cost) return CalibrationTarget{Kind::kCost, *number};
  const auto share = share_in(*number);
  if (!share || !reader.take("of")) return {};
  reader.take("the");
  if (!reader.take("best")) return {};
  return CalibrationTarget{Kind::kShareOfBest, *share};
}

io::Json figure_json(const CalibratedFigure& figure) {
  return {{"value", figure.value}, {"low", figure.low}, {"high", figure.high}};
}

io::Json target_json(const CalibrationTarget& target) {
  switch (target.kind) {
    case Kind::kCost:
      return {{"cost_usd", target.value}};
    case Kind::kQuality:
      return {{"quality", target.value}};
    case Kind::kShareOfBest:
      break;
  }
  return {{"share_of_best", target.value}};
}

}  // namespace

CalibrationTarget parse_target(std::string_view text) {
  TargetReader reader(text);
  const auto target = read_target(reader);
  if (target && reader.at_end()) return *target;
  throw Error(ErrorCode::kInvalidArgument,
              "the target is " + excerpt(text) +
                  ": expected a cost such as 0.05/1k (USD for a thousand queries) or 0.002 USD "
                  "(for one), a share such as \"95% of best\", or a quality such as \"quality "
                  "0.7\"; a shell replaces \"$0\" by its own name, so leave out the dollar sign");
}

Calibration calibrate(std::span<const std::vector<Option>> options, const CalibrationTarget& target,
                      const CalibrationOptions& how,
                      std::span<const std::vector<RealisedOption>> realised) {
  if (options.empty()) {
    throw Error(ErrorCode::kInvalidArgument, "there are no queries to calibrate on");
  }
  if (how.resamples < 1 || how.resamples > 100'000) {
    throw Error(ErrorCode::kInvalidArgument,
                "resamples is " + std::to_string(how.resamples) + ": expected 1 to 100000");
  }
  check_realised(options, realised);
  const Sample sample(options, realised, how.setting);
  std::vector<std::uint32_t> counts(sample.queries(), 1);
  const Search search = find(sample, counts, target);
  if (!search.found) throw_out_of_reach(target, search);
  Calibration result{.target = target, .kind = how.setting, .realised = !realised.empty()};
  result.setting.value = sample.between(search.found->last, search.found->next);
  result.cost_usd.value = search.found->figures.cost_usd;
  result.quality.value = search.found->figures.quality;
  result.best_quality = sample.best_quality(counts);
  result.predicted = sample.predicted_at(result.setting.value);
  result.queries = sample.queries();

  std::mt19937_64 random(how.seed);
  std::vector<double> settings, costs, qualities;
  for (std::uint32_t i = 0; i < how.resamples; ++i) {
    if (how.progress) how.progress(i, how.resamples);
    std::ranges::fill(counts, 0);
    for (std::size_t draw = 0; draw < counts.size(); ++draw) ++counts[random() % counts.size()];
    const Search own = find(sample, counts, target);
    const Plateau plateau = own.found.value_or(own.nearest);
    settings.push_back(sample.between(plateau.last, plateau.next));
    bool passed = false;
    sample.sweep(counts, [&](const MeanFigures& figures, double, double next) {
      if (passed || result.setting.value > next) return;
      passed = true;
      costs.push_back(figures.cost_usd);
      qualities.push_back(figures.quality);
    });
  }
  set_interval(std::move(settings), result.setting);
  set_interval(std::move(costs), result.cost_usd);
  set_interval(std::move(qualities), result.quality);
  return result;
}

Policy calibrated_policy(const Policy& base, const Calibration& calibration) {
  Policy found;
  if (calibration.kind == CalibratedSetting::kWillingnessToPay) {
    found.objective = Objective::kUsd;
    found.willingness_to_pay = calibration.setting.value;
  } else {
    found.objective = Objective::kCheapest;
    found.quality_fraction = calibration.setting.value;
  }
  Policy policy = merge(base, found);
  policy.quality_fraction = found.quality_fraction;
  return policy;
}

std::string to_json(const Policy& base, const Calibration& calibration) {
  io::Json json = io::Json::parse(to_json(calibrated_policy(base, calibration)));
  json["calibration"] = {{"target", target_json(calibration.target)},
                         {"figures", calibration.realised ? "realised" : "predicted"},
                         {"queries", calibration.queries},
                         {"setting", figure_json(calibration.setting)},
                         {"cost_usd", figure_json(calibration.cost_usd)},
                         {"quality", figure_json(calibration.quality)},
                         {"best_quality", calibration.best_quality}};
  if (calibration.realised) {
    json["calibration"]["predicted"] = {{"cost_usd", calibration.predicted.cost_usd},
                                        {"quality", calibration.predicted.quality}};
  }
  return json.dump(2) + "\n";
}

}  // namespace r2router::eval
