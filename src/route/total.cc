#include "r2router/total.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <iterator>
#include <utility>

#include "r2router/error.h"

#include "base/usd.h"

namespace r2router {
namespace {

using Step = TotalCurve::Step;

/// By this much a sum stays below its limit: sums of the same costs in another order differ less.
constexpr double kRounding = 1e-12;

long double limit_of(double usd) { return static_cast<long double>(usd) * (1 - kRounding); }

/// The next number, not below, of which 13 bits of the mantissa are enough.
double rounded_up(double price) {
  constexpr std::uint64_t kDropped = (std::uint64_t{1} << 39) - 1;
  return std::bit_cast<double>((std::bit_cast<std::uint64_t>(price) + kDropped) & ~kDropped);
}

/// Six digits of an amount, rounded up.
std::string enough(double usd) {
  if (usd <= 0) return usd_text(0);
  const double unit = std::pow(10, std::floor(std::log10(usd)) - 5);
  return usd_text(std::ceil(usd * (1 + kRounding) / unit) * unit, 6);
}

/// Sums millions of costs with hardly any rounding.
long double sum_of(std::span<const Step> steps) {
  long double sum = 0;
  for (const Step& step : steps) sum += step.cost_usd;
  return sum;
}

/// Of the sum of what so many rows cost at a price. The steps of a row follow each other.
double standard_error(std::span<const Step> steps, double price, std::uint64_t rows) {
  double sum = 0, squares = 0;
  for (auto step = steps.begin(); step != steps.end();) {
    double cost = 0;
    for (const std::uint64_t row = step->row; step != steps.end() && step->row == row; ++step) {
      if (step->price_usd <= price) cost += step->cost_usd;
    }
    sum += cost;
    squares += cost * cost;
  }
  return std::sqrt(std::max(0.0, squares - sum * sum / static_cast<double>(rows)));
}

/// Steps below which it is not worth adding up those of one price.
constexpr std::size_t kFewSteps = 1 << 16;

// The layout of to_bytes(): the header, then the steps.
constexpr std::uint64_t kMagic = 0x7232746f74616c31;  // "r2total1"

struct Header {
  std::uint64_t magic = kMagic, total = 0, rounded = 0, most_steps = 0;
  PriceRange range = {};
  std::uint64_t rows = 0, steps = 0;
};

/// Sorts by price, and adds up the steps of one price.
void combine(std::vector<Step>& steps) {
  std::ranges::stable_sort(steps, {}, &Step::price_usd);
  std::size_t kept = 0;
  for (const Step& step : steps) {
    if (kept > 0 && steps[kept - 1].price_usd == step.price_usd) {
      steps[kept - 1].cost_usd += step.cost_usd;
    } else {
      steps[kept++] = step;
    }
  }
  steps.resize(kept);
}

[[noreturn]] void throw_bad_bytes(const char* what) {
  throw Error(ErrorCode::kBadData, std::string("the bytes of a curve ") + what +
                                       ": expected what to_bytes() of the same version returned");
}

}  // namespace

std::string_view to_string(Total total) noexcept {
  return total == Total::kPredicted ? "total_usd" : "total_worst_case_usd";
}

void TotalCurve::add(std::span<const Step> steps, std::uint64_t rows) {
  for (const Step& step : steps) {
    steps_.push_back({step.price_usd, step.cost_usd, step.row + rows_});
  }
  rows_ += rows;
  if (!rounded_ && steps_.size() <= options_.most_steps) return;
  const std::size_t first = rounded_ ? steps_.size() - steps.size() : 0;
  rounded_ = true;
  for (Step& step : std::span(steps_).subspan(first)) {
    step = {rounded_up(step.price_usd), step.cost_usd};
  }
  if (steps_.size() < 2 * combined_ + kFewSteps) return;
  combine(steps_);
  combined_ = steps_.size();
}

void TotalCurve::merge(const TotalCurve& later) {
  if (later.total_ != total_ || later.options_.range != options_.range) {
    throw Error(ErrorCode::kInvalidArgument,
                "curves of different totals or ranges of prices cannot be merged: make both of the "
                "same");
  }
  if (later.rounded_) options_.most_steps = 0;
  add(later.steps_, later.rows_);
}

double TotalCurve::least_usd() const {
  long double sum = 0;
  for (const Step& step : steps_) sum += step.price_usd == 0 ? step.cost_usd : 0;
  return static_cast<double>(sum);
}

double TotalCurve::most_usd() const { return static_cast<double>(sum_of(steps_)); }

bool TotalCurve::reaches(double usd) const {
  return (options_.range.least_usd == 0 || limit_of(usd) >= least_usd()) &&
         (std::isinf(options_.range.most_usd) || usd < most_usd());
}

PriceRange TotalCurve::range_near(double usd) const {
  constexpr std::uint64_t kEnough = 1000;
  constexpr double kStandardErrors = 4, kLeastMargin = 0.01;
  const std::uint64_t priced = (rows_ + options_.every - 1) / options_.every;
  if (priced < kEnough || rounded_) return {};
  const double share = usd * static_cast<double>(priced) / static_cast<double>(rows_);
  const double least = least_usd(), most = most_usd();
  const double price = allowance(std::clamp(share, least, most)).price_usd;
  const double margin =
      std::max(kLeastMargin * share, kStandardErrors * standard_error(steps_, price, priced));
  PriceRange range;
  if (const double less = share - margin; less >= least) {
    // Only some rows may have bought their steps of this price.
    range.least_usd = std::nextafter(allowance(less).price_usd, 0.0);
  }
  if (const double more = share + margin; more >= least && more < most) {
    range.most_usd = allowance(more).price_usd;
  }
  return range;
}

Allowance TotalCurve::allowance(double usd) const {
  if (!(usd >= 0) || std::isinf(usd)) {
    throw Error(ErrorCode::kInvalidArgument, std::string(to_string(total_)) + " is " +
                                                 std::to_string(usd) +
                                                 ": expected a number of USD, 0 or more");
  }
  const double least = least_usd();
  if (usd < least) {
    throw Error(ErrorCode::kBudget, std::string(to_string(total_)) + " is " + usd_text(usd) +
                                        ", but the cheapest options of the " +
                                        std::to_string(rows_) + " rows cost " + enough(least) +
                                        " together: expected at least that");
  }
  std::vector<Step> steps;
  std::ranges::copy_if(steps_, std::back_inserter(steps),
                       [](const Step& step) { return step.price_usd > 0; });
  if (rounded_) combine(steps);
  Allowance allowance{.total = total_, .price_usd = options_.range.least_usd};
  const long double limit = limit_of(usd);
  long double spent = least;
  for (auto begin = steps.begin(), end = steps.end(); begin != end;) {
    const auto middle = begin + (end - begin) / 2;
    std::ranges::nth_element(begin, middle, end, {},
                             [](const Step& step) { return std::pair(step.price_usd, step.row); });
    const long double cost = sum_of({begin, middle + 1});
    if (spent + cost > limit) {
      end = middle;
      continue;
    }
    spent += cost;
    allowance.price_usd = middle->price_usd;
    if (!rounded_) allowance.rows = middle->row + 1;
    begin = middle + 1;
  }
  allowance.spent_usd = static_cast<double>(spent);
  return allowance;
}

std::string TotalCurve::to_bytes() const {
  std::vector<Step> steps = steps_;
  if (rounded_) combine(steps);
  const Header header{.total = static_cast<std::uint64_t>(total_),
                      .rounded = rounded_,
                      .most_steps = options_.most_steps,
                      .range = options_.range,
                      .rows = rows_,
                      .steps = steps.size()};
  std::string bytes(sizeof header + steps.size() * sizeof(Step), '\0');
  std::memcpy(bytes.data(), &header, sizeof header);
  if (!steps.empty()) {
    std::memcpy(bytes.data() + sizeof header, steps.data(), steps.size() * sizeof(Step));
  }
  return bytes;
}

TotalCurve TotalCurve::from_bytes(std::string_view bytes) {
  Header header;
  if (bytes.size() < sizeof header) throw_bad_bytes("are cut off");
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.magic != kMagic || header.total > 1 || header.rounded > 1) {
    throw_bad_bytes("have another format");
  }
  bytes.remove_prefix(sizeof header);
  if (bytes.size() % sizeof(Step) != 0 || bytes.size() / sizeof(Step) != header.steps) {
    throw_bad_bytes("are of the wrong length");
  }
  TotalCurve curve(static_cast<Total>(header.total),
                   {.most_steps = header.most_steps, .range = header.range});
  curve.rounded_ = header.rounded == 1;
  curve.rows_ = header.rows;
  curve.steps_.resize(header.steps);
  if (header.steps > 0) std::memcpy(curve.steps_.data(), bytes.data(), bytes.size());
  for (const Step& step : curve.steps_) {
    if (step.price_usd >= 0 && std::isfinite(step.price_usd) && step.cost_usd >= 0 &&
        std::isfinite(step.cost_usd)) {
      continue;
    }
    throw_bad_bytes("have a price or a cost that is negative or not finite");
  }
  return curve;
}

DecisionBatch PricedBatch::take(const Allowance& allowance) {
  for (const Step& step : std::exchange(steps, {})) {
    if (step.price_usd < allowance.price_usd ||
        (step.price_usd == allowance.price_usd && step.row < allowance.rows)) {
      batch.set(step.row, step.option, Reason::kUsd);
    }
  }
  return std::exchange(batch, {});
}

}  // namespace r2router
