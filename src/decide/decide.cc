#include "decide/decide.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <limits>
#include <numbers>
#include <string>
#include <utility>

#include "r2router/error.h"

#include "core/decimal.h"

namespace r2router {
namespace internal {
namespace {

constexpr double kPerMillion = 1e6;
/// Larger than any limited budget; a cap of this size is no limit.
constexpr double kLargestCap = std::numeric_limits<std::uint32_t>::max();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// One model's prices and limits for one query under one rule.
struct Terms {
  double input_usd;        ///< the query itself
  double worst_input_usd;  ///< the longest that it can turn out to be
  double output_per_million;
  double delay_ms, ms_per_token;  ///< an infinite delay if one of them is unknown
  double context_left;            ///< tokens; kLargestCap if unknown
  double affordable;              ///< the largest cap within max_cost_usd; −1: none
  double cap_limit;               ///< the largest cap within all limits

  Terms(const ModelSpec& model, const Rule& rule)
      : input_usd(input_cost(model, rule.input.expected)),
        worst_input_usd(input_cost(model, rule.input.most)),
        output_per_million(model.output_price_per_million),
        delay_ms(kInfinity),
        ms_per_token(0),
        context_left(model.context_tokens
                         ? *model.context_tokens -
                               static_cast<double>(rule.input.most + model.instruction_tokens)
                         : kLargestCap),
        affordable(affordable_tokens(rule.max_cost_usd)),
        cap_limit(std::min({rule.max_output_tokens, context_left, affordable})) {
    if (model.time_to_first_token_ms && model.output_tokens_per_second) {
      delay_ms = *model.time_to_first_token_ms;
      ms_per_token = 1000 / *model.output_tokens_per_second;
    }
  }

  double cost(double output_tokens) const {
    return input_usd + output_tokens * output_per_million / kPerMillion;
  }
  double worst_case_cost(double cap) const {
    return worst_input_usd + cap * output_per_million / kPerMillion;
  }
  double latency_ms(double output_tokens) const { return delay_ms + output_tokens * ms_per_token; }

 private:
  static double input_cost(const ModelSpec& model, std::int64_t tokens) {
    return static_cast<double>(tokens + model.instruction_tokens) * model.input_price_per_million /
           kPerMillion;
  }

  /// The largest whole number of tokens, to kLargestCap, whose worst-case cost is within `limit`.
  double affordable_tokens(double limit) const {
    const auto fits = [&](double tokens) { return worst_case_cost(tokens) <= limit; };
    if (fits(kLargestCap)) return kLargestCap;
    if (!fits(0)) return -1;
    const double quotient =
        std::floor((limit - worst_input_usd) / output_per_million * kPerMillion);
    double most = std::clamp(quotient, 0.0, kLargestCap - 1);
    // What must hold is the product: where the quotient was rounded away from it, search.
    if (fits(most) && !fits(most + 1)) return most;
    most = 0;
    for (double step = 0x1p31; step >= 1; step /= 2) {
      if (most + step < kLargestCap && fits(most + step)) most += step;
    }
    return most;
  }
};

// std::min and std::max choose between references, which keeps compilers from vectorising them.
double least_of(double a, double b) { return b < a ? b : a; }
double greatest_of(double a, double b) { return a < b ? b : a; }

double clip_quality(double quality) { return least_of(greatest_of(quality, 0.0), 1.0); }

/// The pair whose predicted length is this one's.
std::size_t length_pair(const DecisionTable& table, const Rule& rule, std::size_t pair) {
  return rule.rules == DecisionRules::kCorrected ? table.length_pairs()[pair] : pair;
}

/// A pair's exact prediction within its bounds.
Point exact_point(const DecisionTable& table, const Rule& rule, const ExactSource& source,
                  std::size_t pair) {
  double quality = 0, tokens = 0;
  source.exact(pair, quality, tokens);
  if (const std::size_t other = length_pair(table, rule, pair); other != pair) {
    double unused = 0;
    source.exact(other, unused, tokens);
  }
  const double spread = table.spreads()[pair];
  return {.quality = clip_quality(quality - rule.risk_aversion * spread),
          .tokens = std::min(std::max(tokens, rule.token_floor), table.caps()[pair]),
          .expected_quality = clip_quality(quality),
          .spread = spread};
}

/// The smallest cap that a pair may be given: a model that is told its budget must be able to use
/// it, and one without (`budget` is infinite) must be able to give the answer that is predicted.
double least_cap(double budget, double tokens, const Rule& rule) {
  if (std::isfinite(budget)) return std::max(rule.least_cap, budget);
  return std::min(rule.unlimited_cap, std::max(rule.least_cap, std::ceil(tokens)));
}

/// The cap that a pair is given when nothing limits it.
double full_cap(Budget budget, const Rule& rule) {
  if (budget.is_unlimited()) return rule.unlimited_cap;
  const double cap = std::ceil(budget.tokens() * (1 + rule.cap_margin));
  return std::clamp(cap, rule.least_cap, kLargestCap);
}

constexpr unsigned bit(Constraint constraint) { return 1U << static_cast<unsigned>(constraint); }

/// The constraints that a budget with this prediction does not meet, as bits.
unsigned missed(const Terms& terms, const Rule& rule, const Goal& goal, double budget,
                const Point& point) {
  const double cap = least_cap(budget, point.tokens, rule);
  return bit(Constraint::kMaxCost) * (cap > terms.affordable) |
         bit(Constraint::kMaxOutputTokens) * (cap > rule.max_output_tokens) |
         bit(Constraint::kContext) * (cap > terms.context_left) |
         bit(Constraint::kMaxLatency) * (terms.latency_ms(point.tokens) > rule.max_latency_ms) |
         bit(Constraint::kQuality) * (point.quality < goal.quality_floor);
}

Option make_option(const Pair& pair, const Point& point, const Terms& terms, const Rule& rule,
                   const Goal& goal) {
  Option option{.model = pair.model, .budget = pair.budget};
  option.quality = point.expected_quality;
  option.quality_spread = point.spread;
  option.output_tokens = point.tokens;
  option.cost_usd = terms.cost(option.output_tokens);
  option.risk = (1 - goal.lambda) * point.quality - goal.lambda * option.cost_usd;
  // The published package compares risks that it has already rounded for display.
  if (goal.rounded) option.risk = round_decimal(option.risk, 8);
  option.max_tokens =
      static_cast<std::uint32_t>(std::min(full_cap(pair.budget, rule), terms.cap_limit));
  option.worst_case_cost_usd = terms.worst_case_cost(option.max_tokens);
  return option;
}

/// What is shown of an option; comparisons come before it.
Option reported(Option option, const Goal& goal) {
  if (goal.rounded) {
    option.quality = round_decimal(option.quality, 4);
    option.output_tokens = round_decimal(option.output_tokens, 1);
    option.cost_usd = round_decimal(option.cost_usd, 8);
  }
  return option;
}

/// Strictly better; equal options keep the order of the pairs.
bool better(const Option& a, const Option& b, const Goal& goal) {
  if (a.risk != b.risk) return a.risk > b.risk;
  if (goal.rounded) return false;
  if (a.cost_usd != b.cost_usd) return a.cost_usd < b.cost_usd;
  return a.quality > b.quality;
}

template <typename Visit>
void for_each_model(const DecisionTable& table, const Rule& rule, Visit visit) {
  for (const ModelRange& range : table.models()) {
    if (!rule.excluded.empty() && rule.excluded[range.model]) continue;
    visit(range, Terms((*table.pool())[range.model], rule));
  }
}

/// Narrows the whole numbers from `low` to `high` to those that hold. What holds is an interval
/// that reaches one end or both; false if it is empty.
template <typename Holds>
bool narrow(std::uint32_t& low, std::uint32_t& high, Holds holds) {
  const bool at_low = holds(low), at_high = holds(high);
  if (at_low == at_high) return at_low;
  std::uint32_t before = low, after = high;
  while (after - before > 1) {
    const std::uint32_t middle = before + (after - before) / 2;
    (holds(middle) == at_low ? before : after) = middle;
  }
  (at_low ? high : low) = at_low ? before : after;
  return true;
}

/// The budgets between two trained ones. Quality, length, cost and so risk are linear there, and
/// each constraint holds on one side of a budget: the best is an end of what is admitted, either
/// one of the two or where a constraint begins to hold. Calls visit(budget, point) for the latter.
template <typename Visit>
void for_each_edge(std::uint32_t below, std::uint32_t above, const Point& at_below,
                   const Point& at_above, const Terms& terms, const Rule& rule, const Goal& goal,
                   Visit visit) {
  const bool below_admitted = missed(terms, rule, goal, below, at_below) == 0;
  const bool above_admitted = missed(terms, rule, goal, above, at_above) == 0;
  if (above - below < 2 || (below_admitted && above_admitted)) return;
  const auto between = [&](std::uint32_t budget) {
    const double share = static_cast<double>(budget - below) / (above - below);
    const auto mix = [&](double Point::*member) {
      return at_below.*member + (at_above.*member - at_below.*member) * share;
    };
    return Point{mix(&Point::quality), mix(&Point::tokens), mix(&Point::expected_quality),
                 mix(&Point::spread)};
  };
  std::uint32_t low = below + 1, high = above - 1;
  for (unsigned constraint = 0; constraint < kConstraints; ++constraint) {
    const auto holds = [&](std::uint32_t budget) {
      return (missed(terms, rule, goal, budget, between(budget)) >> constraint & 1U) == 0;
    };
    if (!narrow(low, high, holds)) return;
  }
  if (!below_admitted) visit(Budget(low), between(low));
  if (!above_admitted && (high != low || below_admitted)) visit(Budget(high), between(high));
}

/// The exact predictions of a model's pairs, in their order.
void fill_points(const DecisionTable& table, const ModelRange& range, const Rule& rule,
                 const ExactSource& source, std::vector<Point>& points) {
  points.resize(range.end - range.begin);
  for (std::size_t i = range.begin; i < range.end; ++i) {
    points[i - range.begin] = exact_point(table, rule, source, i);
  }
  if (!rule.monotone) return;
  double quality = 0, expected = 0;
  for (const std::size_t i : table.ladder(range)) {
    Point& point = points[i - range.begin];
    point.quality = quality = std::max(quality, point.quality);
    point.expected_quality = expected = std::max(expected, point.expected_quality);
  }
}

/// Calls visit(option) for every pair of a model that is admitted and, between its budgets, for
/// every edge. `points` is only memory.
template <typename Visit>
void for_each_option(const DecisionTable& table, const ModelRange& range, const Terms& terms,
                     const Rule& rule, const Goal& goal, const ExactSource& source,
                     std::vector<Point>& points, Visit visit) {
  fill_points(table, range, rule, source, points);
  for (std::size_t i = range.begin; i < range.end; ++i) {
    const Point& point = points[i - range.begin];
    if (missed(terms, rule, goal, table.caps()[i], point) == 0) {
      visit(make_option(table.pairs()[i], point, terms, rule, goal));
    }
  }
  if (!rule.continuous) return;
  const auto ladder = table.ladder(range);
  for (std::size_t step = 1; step < ladder.size(); ++step) {
    const std::size_t below = ladder[step - 1], above = ladder[step];
    for_each_edge(table.pairs()[below].budget.tokens(), table.pairs()[above].budget.tokens(),
                  points[below - range.begin], points[above - range.begin], terms, rule, goal,
                  [&](Budget budget, const Point& point) {
                    visit(make_option({range.model, budget}, point, terms, rule, goal));
                  });
  }
}

/// The same for all models.
template <typename Visit>
void for_each_option(const DecisionTable& table, const Rule& rule, const Goal& goal,
                     const ExactSource& source, Visit visit) {
  std::vector<Point> points;
  for_each_model(table, rule, [&](const ModelRange& range, const Terms& terms) {
    for_each_option(table, range, terms, rule, goal, source, points, visit);
  });
}

void keep_better(std::optional<Option>& best, const Option& option, const Goal& goal) {
  if (!best || better(option, *best, goal)) best = option;
}

/// Bounds on the risk of one model's pairs. Plain arrays and no branches, for compilers to
/// vectorise.
void bound_risks(const Rule& rule, const Goal& goal, const Terms& terms,
                 const EstimateView& estimates, std::span<const double> budget_caps,
                 const ModelRange& range, double* __restrict lower, double* __restrict upper) {
  const double* __restrict quality = estimates.quality.data();
  const double* __restrict tokens = estimates.tokens.data();
  const double* __restrict quality_errors = estimates.quality_error.data();
  const double* __restrict tokens_errors = estimates.tokens_error.data();
  const double* __restrict caps = budget_caps.data();
  const double scale = estimates.scale, floor = rule.token_floor;
  const double quality_weight = 1 - goal.lambda;
  const double input_cost = goal.lambda * terms.input_usd;
  const double token_cost = goal.lambda * (terms.output_per_million / kPerMillion);
  for (std::size_t i = range.begin; i < range.end; ++i) {
    const double quality_error = scale * quality_errors[i], tokens_error = scale * tokens_errors[i];
    const double q = quality[i], t = tokens[i], cap = caps[i];
    const double least = least_of(greatest_of(t - tokens_error, floor), cap);
    const double most = least_of(greatest_of(t + tokens_error, floor), cap);
    lower[i] = quality_weight * clip_quality(q - quality_error) - (input_cost + token_cost * most);
    upper[i] = quality_weight * clip_quality(q + quality_error) - (input_cost + token_cost * least);
  }
}

bool is_constrained(const Terms& terms, const Rule& rule, const Goal& goal) {
  return terms.cap_limit < kLargestCap || rule.max_latency_ms < kInfinity || goal.quality_floor > 0;
}

/// Takes out of the bounds the pairs that the constraints leave out: of the upper ones those that
/// certainly miss one, of the lower ones those that may. The whole token and the part of quality
/// that are added to the errors cover the rounding of their bounds.
void bound_by_constraints(const DecisionTable& table, const Rule& rule, const Goal& goal,
                          const Terms& terms, const EstimateView& estimates,
                          const ModelRange& range, Scratch& scratch) {
  const auto ladder = table.ladder(range);
  for (std::size_t i = range.begin; i < range.end; ++i) {
    const double cap = table.caps()[i];
    const double tokens_error = estimates.scale * estimates.tokens_error[i] + 1;
    const double quality_error = estimates.scale * estimates.quality_error[i] + 1e-9;
    const double quality = estimates.quality[i];
    const double tokens = std::max(estimates.tokens[i], rule.token_floor);
    const Point worst{.quality = clip_quality(quality - quality_error),
                      .tokens = std::min(tokens + tokens_error, cap)};
    if (missed(terms, rule, goal, cap, worst) != 0) scratch.lower[i] = -kInfinity;
    // A budget that is left out can still bound those between it and the next: only where not even
    // the smallest fits are they out too.
    const bool stretches = rule.continuous && std::isfinite(cap);
    const double least = stretches ? table.caps()[ladder.front()] : cap;
    const Point best = stretches ? Point{.quality = 1}
                                 : Point{.quality = clip_quality(quality + quality_error),
                                         .tokens = std::min(tokens - tokens_error, cap)};
    if (missed(terms, rule, goal, least, best) != 0) scratch.upper[i] = -kInfinity;
  }
}

/// Raises the upper bounds of a model's budgets to what they are if none is worse than a smaller
/// one.
void bound_monotone(const DecisionTable& table, const Goal& goal, const EstimateView& estimates,
                    const ModelRange& range, Scratch& scratch) {
  double highest = 0;
  for (const std::size_t i : table.ladder(range)) {
    const double quality =
        clip_quality(estimates.quality[i] + estimates.scale * estimates.quality_error[i]);
    highest = std::max(highest, quality);
    scratch.upper[i] += (1 - goal.lambda) * (highest - quality);
  }
}

/// The largest of `count` numbers; four at a time, since each comparison waits for the one before.
double largest(const double* values, std::size_t count) {
  double parts[4] = {-kInfinity, -kInfinity, -kInfinity, -kInfinity};
  std::size_t i = 0;
  for (; i + 4 <= count; i += 4) {
    for (std::size_t lane = 0; lane < 4; ++lane)
      parts[lane] = std::max(parts[lane], values[i + lane]);
  }
  for (; i < count; ++i) parts[0] = std::max(parts[0], values[i]);
  return std::max(std::max(parts[0], parts[1]), std::max(parts[2], parts[3]));
}

/// The estimates as they are weighed: qualities lowered by risk aversion, and lengths taken from
/// the pair that they are expected to be as long as.
EstimateView weighed(const DecisionTable& table, const Rule& rule, EstimateView estimates,
                     Scratch& scratch) {
  const std::size_t count = table.pairs().size();
  if (rule.risk_aversion > 0) {
    scratch.quality.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
      scratch.quality[i] = estimates.quality[i] - rule.risk_aversion * table.spreads()[i];
    }
    estimates.quality = scratch.quality;
  }
  if (rule.rules == DecisionRules::kCorrected && !table.has_length_heads()) {
    scratch.tokens.resize(count);
    scratch.tokens_error.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
      scratch.tokens[i] = estimates.tokens[table.length_pairs()[i]];
      scratch.tokens_error[i] = estimates.tokens_error[table.length_pairs()[i]];
    }
    estimates.tokens = scratch.tokens;
    estimates.tokens_error = scratch.tokens_error;
  }
  return estimates;
}

/// The best option by `goal`, found among those whose bounds reach it.
std::optional<Option> find_best(const DecisionTable& table, const Rule& rule, const Goal& goal,
                                const EstimateView& estimates, const ExactSource& source,
                                Scratch& scratch) {
  // First pass: bounds on every pair's risk, and the best of the lower ones.
  scratch.lower.resize(table.pairs().size());
  scratch.upper.resize(table.pairs().size());
  double best_lower = -kInfinity;
  for_each_model(table, rule, [&](const ModelRange& range, const Terms& terms) {
    bound_risks(rule, goal, terms, estimates, table.caps(), range, scratch.lower.data(),
                scratch.upper.data());
    if (rule.monotone) bound_monotone(table, goal, estimates, range, scratch);
    if (is_constrained(terms, rule, goal)) {
      bound_by_constraints(table, rule, goal, terms, estimates, range, scratch);
    }
    best_lower =
        std::max(best_lower, largest(scratch.lower.data() + range.begin, range.end - range.begin));
  });

  // Risks that the reference rounds to 8 decimals can meet if they are within 1e-8 of each other;
  // the relative part covers the rounding of the bounds themselves.
  const double rounding = goal.rounded ? 1.5e-8 : 0.0;
  const double threshold = best_lower - rounding - 1e-12 * (1 + std::abs(best_lower));
  const auto can_win = [&](double upper) { return upper >= threshold && upper > -kInfinity; };

  // Second pass: exact predictions decide between the pairs that can still win, or the models if
  // budgets between the trained ones count too.
  std::optional<Option> best;
  for_each_model(table, rule, [&](const ModelRange& range, const Terms& terms) {
    if (rule.continuous) {
      if (!can_win(largest(scratch.upper.data() + range.begin, range.end - range.begin))) return;
      for_each_option(table, range, terms, rule, goal, source, scratch.points,
                      [&](const Option& option) { keep_better(best, option, goal); });
      return;
    }
    for (std::size_t i = range.begin; i < range.end; ++i) {
      if (!can_win(scratch.upper[i])) continue;
      const Point point = exact_point(table, rule, source, i);
      if (missed(terms, rule, goal, table.caps()[i], point) != 0) continue;
      keep_better(best, make_option(table.pairs()[i], point, terms, rule, goal), goal);
    }
  });
  return best;
}

/// Chooses by the rule's goal, for whatever find_best(goal) searches; the option is empty if no
/// pair is admitted.
template <typename FindBest>
std::pair<std::optional<Option>, Choice> search(const Rule& rule, FindBest find_best) {
  constexpr Goal kHighestQuality{.lambda = 0};
  Choice choice{.goal = rule.goal};
  if (rule.quality_fraction > 0) {
    // The highest quality is the highest risk there.
    if (const auto best = find_best(kHighestQuality)) {
      choice.goal.quality_floor =
          std::max(choice.goal.quality_floor, rule.quality_fraction * best->risk);
    }
  }
  choice.quality_floor = choice.goal.quality_floor;
  std::optional<Option> option = find_best(choice.goal);
  if (!option && choice.quality_floor > 0) {
    choice.goal = kHighestQuality;
    choice.goal.reason = Reason::kQualityMissed;
    option = find_best(choice.goal);
  }
  return {option, choice};
}

/// Exact predictions that are there already.
class KnownPredictions final : public ExactSource {
 public:
  explicit KnownPredictions(const Predictions& predictions) : predictions_(predictions) {}
  void exact(std::size_t pair, double& quality, double& tokens) const override {
    quality = predictions_.quality[pair];
    tokens = predictions_.tokens[pair];
  }

 private:
  const Predictions& predictions_;
};

/// Calls visit(terms, pair, point, bits) for every pair, bits being the constraints that it misses.
template <typename Visit>
void for_each_miss(const DecisionTable& table, const Rule& rule, const Goal& goal,
                   const ExactSource& source, Visit visit) {
  std::vector<Point> points;
  for (const ModelRange& range : table.models()) {
    const Terms terms((*table.pool())[range.model], rule);
    fill_points(table, range, rule, source, points);
    const bool excluded = !rule.excluded.empty() && rule.excluded[range.model];
    for (std::size_t i = range.begin; i < range.end; ++i) {
      const Point& point = points[i - range.begin];
      visit(
          terms, i, point,
          missed(terms, rule, goal, table.caps()[i], point) | bit(Constraint::kModels) * excluded);
    }
  }
}

std::array<std::uint32_t, kConstraints> count_left_out(const DecisionTable& table, const Rule& rule,
                                                       const Goal& goal,
                                                       const ExactSource& source) {
  std::array<std::uint32_t, kConstraints> counts = {};
  for_each_miss(table, rule, goal, source,
                [&](const Terms&, std::size_t, const Point&, unsigned bits) {
                  for (unsigned c = 0; c < kConstraints; ++c) counts[c] += bits >> c & 1U;
                });
  return counts;
}

/// A dollar amount with all its digits, so that it can be given back as a limit.
std::string usd(double amount) {
  char digits[32];
  const auto end = std::to_chars(std::begin(digits), std::end(digits), amount).ptr;
  return "$" + std::string(digits, end);
}

[[noreturn]] void throw_nothing_left(const DecisionTable& table, const Rule& rule, const Goal& goal,
                                     const ExactSource& source) {
  double cheapest = kInfinity;
  std::string name;
  for_each_miss(table, rule, goal, source,
                [&](const Terms& terms, std::size_t i, const Point& point, unsigned bits) {
                  const double cost =
                      terms.worst_case_cost(least_cap(table.caps()[i], point.tokens, rule));
                  if (bits != bit(Constraint::kMaxCost) || !(cost < cheapest)) return;
                  cheapest = cost;
                  const Pair& pair = table.pairs()[i];
                  name = (*table.pool())[pair.model].name + " at budget " + pair.budget.to_string();
                });
  if (!name.empty()) {
    throw Error(ErrorCode::kBudget, "no pair fits max_cost_usd, " + usd(rule.max_cost_usd) +
                                        ": the cheapest, " + name + ", may cost up to " +
                                        usd(cheapest) + "; raise the limit or shorten the query");
  }
  const auto counts = count_left_out(table, rule, goal, source);
  if (counts[static_cast<std::size_t>(Constraint::kModels)] == table.pairs().size()) {
    throw Error(ErrorCode::kInvalidArgument,
                "no model is left to choose from: there are " +
                    std::to_string(table.models().size()) +
                    ", and allow, deny and available_only together exclude them all; loosen one "
                    "of them");
  }
  std::string message = "no pair is left to choose from: of " +
                        std::to_string(table.pairs().size()) + ", these constraints leave out";
  for (std::size_t c = 0; c < kConstraints; ++c) {
    if (counts[c] == 0) continue;
    message += (message.back() == 't' ? " " : ", ") + std::to_string(counts[c]) + " (" +
               std::string(to_string(static_cast<Constraint>(c))) + ")";
  }
  message += "; loosen one of them";
  if (rule.max_latency_ms < kInfinity) {
    message +=
        ". A model's latency is known if the config gives its time_to_first_token_ms and "
        "output_tokens_per_second";
  }
  throw Error(ErrorCode::kInvalidArgument, message);
}

void check_spreads(const DecisionTable& table, const Rule& rule) {
  if (rule.risk_aversion == 0 || table.has_spreads()) return;
  throw Error(ErrorCode::kUnsupported,
              "risk_aversion needs to know how far predictions are off, and this checkpoint does "
              "not say: train it again, or leave risk_aversion at 0");
}

Choice finish(std::pair<std::optional<Option>, Choice> found, const DecisionTable& table,
              const Rule& rule, const ExactSource& source) {
  auto& [option, choice] = found;
  if (!option) throw_nothing_left(table, rule, choice.goal, source);
  choice.option = *option;
  return choice;
}

std::vector<Option> rank(const DecisionTable& table, const Rule& rule, const Goal& goal,
                         const ExactSource& source) {
  std::vector<Option> options;
  options.reserve(table.pairs().size());
  for_each_option(table, rule, goal, source,
                  [&](const Option& option) { options.push_back(option); });
  std::stable_sort(options.begin(), options.end(),
                   [&](const Option& a, const Option& b) { return better(a, b, goal); });
  for (Option& option : options) option = reported(option, goal);
  return options;
}

double win_probability(const Option& a, const Option& b, double lambda) {
  const double difference =
      (1 - lambda) * (a.quality - b.quality) - lambda * (a.cost_usd - b.cost_usd);
  const double spread = (1 - lambda) * std::hypot(a.quality_spread, b.quality_spread);
  if (spread == 0) return difference > 0 ? 1 : difference < 0 ? 0 : 0.5;
  return std::erfc(-difference / spread / std::numbers::sqrt2) / 2;
}

Explanation explain(const DecisionTable& table, const Rule& rule, const Choice& choice,
                    const ExactSource& source) {
  Explanation explanation;
  std::optional<Option> second;
  for_each_option(table, rule, choice.goal, source, [&](const Option& option) {
    if (option != choice.option) keep_better(second, option, choice.goal);
  });
  if (second) {
    explanation.margin = choice.option.risk - second->risk;
    if (table.has_spreads()) {
      explanation.win_probability = win_probability(choice.option, *second, choice.goal.lambda);
    }
    explanation.runner_up = reported(*second, choice.goal);
  }
  Goal asked = choice.goal;
  asked.quality_floor = choice.quality_floor;
  explanation.left_out = count_left_out(table, rule, asked, source);
  return explanation;
}

}  // namespace

DecisionTable::DecisionTable(std::shared_ptr<const Pool> pool, std::span<const Pair> pairs,
                             std::span<const PairFacts> facts)
    : pool_(std::move(pool)), pairs_(pairs.begin(), pairs.end()) {
  for (std::size_t i = 0; i < pairs_.size(); ++i) {
    const std::uint32_t model = pairs_[i].model;
    if (model >= pool_->size()) {
      throw Error(ErrorCode::kInvalidArgument, "pair " + std::to_string(i) + " refers to model " +
                                                   std::to_string(model) + " of a pool of " +
                                                   std::to_string(pool_->size()));
    }
    if (models_.empty() || models_.back().model != model) {
      models_.push_back({.model = model, .begin = i, .end = i});
    }
    ModelRange& range = models_.back();
    range.end = i + 1;
    ladders_.push_back(i);
    const Budget budget = pairs_[i].budget;
    if (!budget.is_unlimited()) ladders_[range.begin + range.limited++] = i;
    caps_.push_back(budget.is_unlimited() ? kInfinity : budget.tokens());
    spreads_.push_back(facts[i].quality_spread);
    has_spreads_ = has_spreads_ || facts[i].quality_spread > 0;
    length_pairs_.push_back(i);
  }
  for (const ModelRange& range : models_) {
    const auto ladder = ladders_.begin() + static_cast<std::ptrdiff_t>(range.begin);
    std::sort(ladder, ladder + static_cast<std::ptrdiff_t>(range.limited),
              [&](std::size_t a, std::size_t b) { return caps_[a] < caps_[b]; });
    for (std::size_t i = range.begin; i < range.end; ++i) {
      if (!pairs_[i].budget.is_unlimited()) continue;
      for (const std::size_t limited : this->ladder(range)) {
        if (!facts[limited].has_length_head) length_pairs_[limited] = i;
        has_length_heads_ = has_length_heads_ && facts[limited].has_length_head;
      }
    }
  }
  if (models_.empty()) throw Error(ErrorCode::kInvalidArgument, "there is no pair to choose from");
}

Choice choose(const DecisionTable& table, const Rule& rule, const EstimateView& estimates,
              const ExactSource& source, Scratch& scratch) {
  check_spreads(table, rule);
  const EstimateView view = weighed(table, rule, estimates, scratch);
  return finish(
      search(rule,
             [&](const Goal& goal) { return find_best(table, rule, goal, view, source, scratch); }),
      table, rule, source);
}

Choice choose(const DecisionTable& table, const Rule& rule, const Predictions& predictions) {
  check_spreads(table, rule);
  const KnownPredictions source(predictions);
  return finish(search(rule,
                       [&](const Goal& goal) {
                         std::optional<Option> best;
                         for_each_option(table, rule, goal, source, [&](const Option& option) {
                           keep_better(best, option, goal);
                         });
                         return best;
                       }),
                table, rule, source);
}

Decision make_decision(const DecisionTable& table, const Rule& rule, const Choice& choice) {
  Decision decision{.chosen = reported(choice.option, choice.goal),
                    .reason = choice.goal.reason,
                    .lambda = choice.goal.lambda,
                    .input_tokens = rule.input.expected,
                    .pool = table.pool()};
  if (rule.max_cost_usd < kInfinity) decision.max_cost_usd = rule.max_cost_usd;
  return decision;
}

void add_details(const DecisionTable& table, const Rule& rule, const Choice& choice,
                 const RouteOptions& options, const Predictions& predictions, Decision& decision) {
  const KnownPredictions source(predictions);
  if (options.rank) decision.ranking = rank(table, rule, choice.goal, source);
  if (options.explain) decision.explanation = explain(table, rule, choice, source);
}

}  // namespace internal

Decision decide(const std::shared_ptr<const Pool>& pool, std::span<const Pair> pairs,
                const Predictions& predictions, const RouteOptions& options,
                const DecisionDefaults& defaults, std::span<const double> quality_spreads) {
  if (!pool) throw Error(ErrorCode::kInvalidArgument, "decide() was given no pool");
  if (predictions.quality.size() != pairs.size() || predictions.tokens.size() != pairs.size()) {
    throw Error(ErrorCode::kInvalidArgument,
                "there are " + std::to_string(pairs.size()) + " pairs, but " +
                    std::to_string(predictions.quality.size()) + " quality and " +
                    std::to_string(predictions.tokens.size()) + " token predictions");
  }
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    if (std::isfinite(predictions.quality[i]) && std::isfinite(predictions.tokens[i])) continue;
    throw Error(ErrorCode::kInvalidArgument,
                "the prediction for pair " + std::to_string(i) + " is not a finite number");
  }
  if (!quality_spreads.empty() && quality_spreads.size() != pairs.size()) {
    throw Error(ErrorCode::kInvalidArgument, "there are " + std::to_string(pairs.size()) +
                                                 " pairs, but " +
                                                 std::to_string(quality_spreads.size()) +
                                                 " quality spreads: give one each, or none");
  }
  std::vector<internal::PairFacts> facts(pairs.size());
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    if (!quality_spreads.empty()) facts[i].quality_spread = quality_spreads[i];
    const Budget budget = pairs[i].budget;
    facts[i].has_length_head = budget.is_unlimited() || predictions.tokens[i] != budget.tokens();
  }
  const internal::DecisionTable table(pool, pairs, facts);
  internal::Rule rule;
  internal::resolve(options, defaults, *pool, {.expected = 100, .most = 100}, rule);
  const internal::Choice choice = internal::choose(table, rule, predictions);
  Decision decision = internal::make_decision(table, rule, choice);
  internal::add_details(table, rule, choice, options, predictions, decision);
  return decision;
}

}  // namespace r2router
