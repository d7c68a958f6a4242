#include "r2router/calibrate.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <random>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>

#include "r2router/error.h"

namespace r2router {
namespace {

using Kind = CalibrationTarget::Kind;

/// Where one query moves to its next option: above `setting`.
struct Step {
  double setting = 0;
  std::uint32_t query = 0;
  double cost_usd = 0, quality = 0;  ///< how much more the next one has
};

/// Means, or one query's figures.
struct Figures {
  double cost_usd = 0, quality = 0;
};

/// What a query is decided on. `weighed` differs from `quality` under risk aversion.
struct Point {
  double cost_usd, quality, weighed;
};

/// The options that are best for some setting, cheapest first: each costs more than the one before
/// and is better.
std::vector<Point> staircase(std::span<const Option> options) {
  std::vector<Point> points;
  // A ranking for Objective::kBest has λ = 0, where the risk is the quality as it is weighed.
  for (const Option& option : options) {
    points.push_back({option.cost_usd, option.quality, option.risk});
  }
  // As decisions break ties.
  std::ranges::sort(points, {}, [](const Point& point) {
    return std::tuple(point.cost_usd, -point.weighed, -point.quality);
  });
  std::vector<Point> stairs;
  for (const Point& point : points) {
    if (stairs.empty() || point.weighed > stairs.back().weighed) stairs.push_back(point);
  }
  return stairs;
}

double price_of_quality(const Point& from, const Point& to) {
  return (to.cost_usd - from.cost_usd) / (to.weighed - from.weighed);
}

/// The stairs that lie on the upper hull of quality over cost.
std::vector<Point> hull(const std::vector<Point>& stairs) {
  std::vector<Point> result;
  for (const Point& point : stairs) {
    while (result.size() >= 2 && price_of_quality(result[result.size() - 2], result.back()) >=
                                     price_of_quality(result.back(), point)) {
      result.pop_back();
    }
    result.push_back(point);
  }
  return result;
}

class Sample {
 public:
  Sample(std::span<const std::vector<Option>> options, CalibratedSetting setting)
      : setting_(setting) {
    for (const std::vector<Option>& of_query : options) {
      if (of_query.empty()) {
        throw Error(ErrorCode::kInvalidArgument,
                    "query " + std::to_string(cheapest_.size()) +
                        " has no options: rank them with RouteOptions::rank");
      }
      add(staircase(of_query));
    }
    std::ranges::stable_sort(steps_, {}, &Step::setting);
  }

  std::size_t queries() const { return cheapest_.size(); }
  CalibratedSetting setting() const { return setting_; }

  /// Calls visit(figures, last, next) for the means at each plateau, from the cheapest on: those of
  /// settings from `last` (excluded, but for 0) to `next`. `counts`: how often each query counts.
  template <typename Visit>
  void sweep(std::span<const std::uint32_t> counts, Visit visit) const {
    Figures sums;
    for (std::size_t query = 0; query < cheapest_.size(); ++query) {
      sums.cost_usd += counts[query] * cheapest_[query].cost_usd;
      sums.quality += counts[query] * cheapest_[query].quality;
    }
    const auto total = static_cast<double>(cheapest_.size());
    double last = 0;
    for (std::size_t i = 0; i <= steps_.size();) {
      const bool at_end = i == steps_.size();
      const double next = at_end ? std::numeric_limits<double>::infinity() : steps_[i].setting;
      if (next > last || at_end || i == 0) {
        visit(Figures{sums.cost_usd / total, sums.quality / total}, last, next);
      }
      if (at_end) return;
      last = next;
      for (; i < steps_.size() && steps_[i].setting == last; ++i) {
        sums.cost_usd += counts[steps_[i].query] * steps_[i].cost_usd;
        sums.quality += counts[steps_[i].query] * steps_[i].quality;
      }
    }
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
  void add(const std::vector<Point>& stairs) {
    const auto query = static_cast<std::uint32_t>(cheapest_.size());
    cheapest_.push_back({stairs.front().cost_usd, stairs.front().quality});
    best_.push_back(stairs.back().quality);
    const bool by_price = setting_ == CalibratedSetting::kWillingnessToPay;
    const std::vector<Point>& points = by_price ? hull(stairs) : stairs;
    for (std::size_t i = 1; i < points.size(); ++i) {
      const Point &from = points[i - 1], &to = points[i];
      steps_.push_back(
          {by_price ? price_of_quality(from, to) : from.weighed / stairs.back().weighed, query,
           to.cost_usd - from.cost_usd, to.quality - from.quality});
    }
  }

  CalibratedSetting setting_;
  std::vector<Figures> cheapest_;  ///< of each query
  std::vector<double> best_;       ///< the highest quality of each query
  std::vector<Step> steps_;        ///< ascending by setting
};

/// The plateau that meets the target: the last one within a cost, the first one with a quality.
struct Plateau {
  double last = 0, next = 0;
  Figures figures;
  bool found = false;
  Figures cheapest, best;  ///< the ends of what is in reach
};

Plateau find(const Sample& sample, std::span<const std::uint32_t> counts,
             const CalibrationTarget& target) {
  // Sums of the same numbers in another order must not miss a target that they are equal to.
  const double slack = 1e-12;
  const double quality =
      target.kind == Kind::kShareOfBest ? target.value * sample.best_quality(counts) : target.value;
  Plateau plateau;
  bool first = true;
  sample.sweep(counts, [&](const Figures& figures, double last, double next) {
    if (std::exchange(first, false)) plateau.cheapest = figures;
    plateau.best = figures;
    const bool meets = target.kind == Kind::kCost
                           ? figures.cost_usd <= target.value * (1 + slack)
                           : !plateau.found && figures.quality >= quality * (1 - slack);
    if (!meets) return;
    plateau.last = last;
    plateau.next = next;
    plateau.figures = figures;
    plateau.found = true;
  });
  return plateau;
}

std::string number(double value) {
  char digits[32];
  return {digits,
          std::to_chars(digits, digits + sizeof digits, value, std::chars_format::general, 6).ptr};
}

[[noreturn]] void throw_out_of_reach(const CalibrationTarget& target, const Plateau& plateau) {
  if (target.kind == Kind::kCost) {
    throw Error(ErrorCode::kInvalidArgument,
                "a mean cost of $" + number(target.value) +
                    " a query is out of reach: on this sample the cheapest options cost $" +
                    number(plateau.cheapest.cost_usd) + " and the best ones $" +
                    number(plateau.best.cost_usd) + " ($" +
                    number(1000 * plateau.cheapest.cost_usd) + " to $" +
                    number(1000 * plateau.best.cost_usd) + " for a thousand)");
  }
  throw Error(ErrorCode::kInvalidArgument, "a mean quality of " + number(target.value) +
                                               " is out of reach: on this sample it goes from " +
                                               number(plateau.cheapest.quality) +
                                               ", of the cheapest options, to " +
                                               number(plateau.best.quality) + ", of the best ones");
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

}  // namespace

CalibrationTarget parse_target(std::string_view text) {
  const auto value_between = [&](std::string_view before,
                                 std::string_view after) -> std::optional<double> {
    if (text.size() <= before.size() + after.size() || !text.starts_with(before) ||
        !text.ends_with(after)) {
      return {};
    }
    const std::string_view digits =
        text.substr(before.size(), text.size() - before.size() - after.size());
    double value = 0;
    const auto [end, error] = std::from_chars(digits.begin(), digits.end(), value);
    if (error != std::errc() || end != digits.end() || !std::isfinite(value)) return {};
    return value;
  };
  const auto value_in = [&](std::optional<double> value, double most) {
    return value && *value >= 0 && *value <= most;
  };
  constexpr double kAny = std::numeric_limits<double>::max();
  if (const auto cost = value_between("$", "/1k"); value_in(cost, kAny)) {
    return {Kind::kCost, *cost / 1000};
  }
  if (const auto cost = value_between("$", ""); value_in(cost, kAny)) return {Kind::kCost, *cost};
  if (const auto share = value_between("", "% of best"); value_in(share, 100)) {
    return {Kind::kShareOfBest, *share / 100};
  }
  if (const auto quality = value_between("quality ", ""); value_in(quality, 1)) {
    return {Kind::kQuality, *quality};
  }
  throw Error(
      ErrorCode::kInvalidArgument,
      "the target is \"" + std::string(text) +
          "\": expected a cost such as \"$0.05/1k\" or \"$0.002\", a share such as \"95% of "
          "best\", or a quality such as \"quality 0.7\"");
}

Calibration calibrate(std::span<const std::vector<Option>> options, const CalibrationTarget& target,
                      const CalibrationOptions& how) {
  if (options.empty()) {
    throw Error(ErrorCode::kInvalidArgument, "there are no queries to calibrate on");
  }
  if (how.resamples < 1 || how.resamples > 100'000) {
    throw Error(ErrorCode::kInvalidArgument,
                "resamples is " + std::to_string(how.resamples) + ": expected 1 to 100000");
  }
  const Sample sample(options, how.setting);
  std::vector<std::uint32_t> counts(sample.queries(), 1);
  const Plateau plateau = find(sample, counts, target);
  if (!plateau.found) throw_out_of_reach(target, plateau);
  Calibration result{.target = target, .kind = how.setting};
  result.setting.value = sample.between(plateau.last, plateau.next);
  result.cost_usd.value = plateau.figures.cost_usd;
  result.quality.value = plateau.figures.quality;
  result.best_quality = sample.best_quality(counts);
  result.queries = sample.queries();

  std::mt19937_64 random(how.seed);
  std::vector<double> settings, costs, qualities;
  for (std::uint32_t i = 0; i < how.resamples; ++i) {
    std::ranges::fill(counts, 0);
    for (std::size_t draw = 0; draw < counts.size(); ++draw) ++counts[random() % counts.size()];
    // Where a resample cannot reach the target, its nearest end stands for it.
    const Plateau own = find(sample, counts, target);
    const bool highest = target.kind != Kind::kCost;
    double last = own.last, next = own.next;
    bool first = true, counted = false;
    sample.sweep(counts, [&](const Figures& figures, double from, double to) {
      if (!own.found && (highest || first)) last = from, next = to;
      first = false;
      if (counted || result.setting.value > to) return;
      counted = true;
      costs.push_back(figures.cost_usd);
      qualities.push_back(figures.quality);
    });
    settings.push_back(sample.between(last, next));
  }
  set_interval(std::move(settings), result.setting);
  set_interval(std::move(costs), result.cost_usd);
  set_interval(std::move(qualities), result.quality);
  return result;
}

}  // namespace r2router
