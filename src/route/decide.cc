#include "route/decide.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "r2router/error.h"
#include "r2router/settings.h"

#include "route/candidates.h"

namespace r2router {
namespace internal {
namespace {

/// The 99th percentile of a log-normal distribution over its mean, where the logarithm has this
/// standard deviation.
double percentile_over_mean(double sigma) {
  constexpr double kNormalPercentile = 2.326;
  return std::exp(kNormalPercentile * sigma - sigma * sigma / 2);
}

/// Sets upper bounds on the utilities of one model's pairs. Returns the highest.
double bound_utilities(const DecisionTable& table, const Rule& rule, const Goal& goal,
                       const AdmittedModel& model, const EstimateView& estimates, double* upper) {
  const CostLine& cost = model.terms.expected;
  const std::size_t begin = model.range.begin;
  return table.kernel().bound_utilities(
      {.quality = estimates.quality.data() + begin,
       .quality_error = estimates.quality_error.data() + begin,
       .tokens = estimates.tokens.data() + begin,
       .tokens_error = estimates.tokens_error.data() + begin,
       .most_tokens = table.budgets().data() + begin,
       .least_tokens = rule.token_floor,
       .scale = estimates.scale,
       .quality_weight = 1 - goal.lambda,
       .fixed_cost = goal.lambda * cost.fixed_usd,
       .token_cost = goal.lambda * (cost.output_per_million / kPerMillion)},
      model.range.end - begin, upper + begin);
}

}  // namespace

bool is_constrained(const Terms& terms, const Rule& rule, const Goal& goal) {
  return terms.cap_limit < kLargestCap || rule.max_latency_ms < kInfinity || goal.quality_floor > 0;
}

void bound_by_constraints(const DecisionTable& table, const Rule& rule, const Goal& goal,
                          const Terms& terms, const EstimateView& estimates,
                          const ModelRange& range, Scratch& scratch) {
  const auto ladder = table.ladder(range);
  for (std::size_t i = range.begin; i < range.end; ++i) {
    const double cap = table.budgets()[i];
    // An excluded budget can still bound the interpolated ones above it, unless even the smallest
    // of them does not fit.
    const bool stretches = rule.continuous && std::isfinite(cap);
    const double least = stretches ? table.budgets()[ladder.front()] : cap;
    Point best{.quality = 1};
    if (!stretches) {
      const double tokens = std::max(estimates.tokens[i], rule.token_floor);
      best.quality =
          clip_quality(estimates.quality[i] + estimates.scale * estimates.quality_error[i] + 1e-9);
      best.tokens = std::min(tokens - (estimates.scale * estimates.tokens_error[i] + 1), cap);
    }
    if (missed(terms, rule, goal, least, best) != 0) scratch.upper[i] = -kInfinity;
  }
}

namespace {

/// Raises the upper bounds of a model's budgets for `monotone`: none is worse than a smaller one.
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

}  // namespace

EstimateView weighed(const DecisionTable& table, const Rule& rule, EstimateView estimates,
                     const ExactSource& source, Scratch& scratch) {
  const std::size_t count = table.pairs().size();
  if (rule.risk_aversion > 0) {
    scratch.quality.assign(estimates.quality.begin(), estimates.quality.end());
    if (table.spreads_by_quality()) {
      // An error of a quality has no useful bound on that of its spread.
      for (std::size_t i = 0; i < count; ++i) {
        double unused = 0;
        source.exact(i, scratch.quality[i], unused);
      }
      scratch.quality_error.assign(count, 0);
      estimates.quality_error = scratch.quality_error;
    }
    for (std::size_t i = 0; i < count; ++i) {
      const double quality = scratch.quality[i];
      scratch.quality[i] = quality - rule.risk_aversion * table.spread(i, clip_quality(quality));
    }
    estimates.quality = scratch.quality;
  }
  if (rule.decision_rules == DecisionRules::kCorrected && !table.predicts_lengths()) {
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

namespace {

/// The chosen option; empty if there is none.
std::optional<Option> chosen(std::span<const Option> options, const Goal& goal) {
  if (options.empty()) return {};
  return options[best_of(options, goal)];
}

/// What a bound must reach to win over the utilities found so far. Utilities that the reference
/// rounds to 8 decimals can meet if they are within 1e-8 of each other; others tie within a width.
/// The relative part covers the rounding of the bounds themselves.
class Threshold {
 public:
  explicit Threshold(const Goal& goal) : goal_(goal) {}

  void raise(double utility) {
    const double rounding = goal_.rounded ? 1.5e-8 : widest_tie(goal_.lambda, utility);
    least_ = std::max(least_, utility - rounding - 1e-12 * (1 + std::abs(utility)));
  }
  bool is_reached(double upper) const { return upper >= least_ && upper > -kInfinity; }

 private:
  const Goal& goal_;
  double least_ = -kInfinity;
};

// Both predict exactly from the highest bound down, until no other bound reaches the best. `first`
// has the highest one. The options are in the order of the pairs, which decides between rounded
// utilities.

/// Of budgets between the trained ones too, for which all of a model's pairs are needed.
std::optional<Option> best_between(const DecisionTable& table, const Rule& rule, const Goal& goal,
                                   const ExactSource& source, const AdmittedModel& first,
                                   Scratch& scratch) {
  Threshold threshold(goal);
  std::vector<Option>& options = scratch.options;
  const auto settle = [&](const AdmittedModel& model) {
    for_each_option(table, model.range, model.terms, rule, goal, source, scratch.points,
                    [&](const Option& option) {
                      options.push_back(option);
                      threshold.raise(option.utility);
                    });
  };
  options.clear();
  settle(first);
  const auto of_first = static_cast<std::ptrdiff_t>(options.size());
  for (const AdmittedModel& model : scratch.models) {
    if (&model == &first) {
      std::rotate(options.begin(), options.begin() + of_first, options.end());
    } else if (threshold.is_reached(model.highest)) {
      settle(model);
    }
  }
  return chosen(options, goal);
}

std::optional<Option> best_pair(const DecisionTable& table, const Rule& rule, const Goal& goal,
                                const ExactSource& source, const AdmittedModel& first,
                                Scratch& scratch) {
  Threshold threshold(goal);
  const auto settle = [&](Contender& contender) {
    const Terms& terms = contender.model->terms;
    const Point point = exact_point(table, rule, source, contender.pair);
    if (missed(terms, rule, goal, table.budgets()[contender.pair], point) != 0) return;
    contender.option = make_option(table.pairs()[contender.pair], point, terms, rule, goal);
    threshold.raise(contender.option->utility);
  };
  const double* const upper = scratch.upper.data();
  const double* const highest =
      std::find(upper + first.range.begin, upper + first.range.end, first.highest);
  Contender likely{.model = &first, .pair = static_cast<std::size_t>(highest - upper)};
  settle(likely);

  std::vector<Contender>& contenders = scratch.contenders;
  std::vector<std::size_t>& heap = scratch.heap;
  contenders.clear();
  heap.clear();
  for (const AdmittedModel& model : scratch.models) {
    if (!threshold.is_reached(model.highest)) continue;
    for (std::size_t pair = model.range.begin; pair < model.range.end; ++pair) {
      if (pair == likely.pair) {
        contenders.push_back(likely);
      } else if (threshold.is_reached(upper[pair])) {
        heap.push_back(contenders.size());
        contenders.push_back({.model = &model, .pair = pair});
      }
    }
  }
  const auto upper_of = [&](std::size_t i) { return upper[contenders[i].pair]; };
  std::ranges::make_heap(heap, {}, upper_of);
  while (!heap.empty() && threshold.is_reached(upper_of(heap.front()))) {
    settle(contenders[heap.front()]);
    std::ranges::pop_heap(heap, {}, upper_of);
    heap.pop_back();
  }
  std::vector<Option>& options = scratch.options;
  options.clear();
  for (const Contender& contender : contenders) {
    if (contender.option) options.push_back(*contender.option);
  }
  return chosen(options, goal);
}

}  // namespace

std::optional<Option> find_best(const DecisionTable& table, const Rule& rule, const Goal& goal,
                                const EstimateView& estimates, const ExactSource& source,
                                Scratch& scratch) {
  scratch.upper.resize(table.pairs().size());
  const AdmittedModel* first = nullptr;
  for (AdmittedModel& model : scratch.models) {
    const ModelRange& range = model.range;
    model.highest = bound_utilities(table, rule, goal, model, estimates, scratch.upper.data());
    const bool constrained = is_constrained(model.terms, rule, goal);
    if (rule.monotone) bound_monotone(table, goal, estimates, range, scratch);
    if (constrained) {
      bound_by_constraints(table, rule, goal, model.terms, estimates, range, scratch);
    }
    if (rule.monotone || constrained) {
      model.highest = largest(scratch.upper.data() + range.begin, range.end - range.begin);
    }
    if (first == nullptr || model.highest > first->highest) first = &model;
  }
  if (first == nullptr || !(first->highest > -kInfinity)) return {};
  return rule.continuous ? best_between(table, rule, goal, source, *first, scratch)
                         : best_pair(table, rule, goal, source, *first, scratch);
}

namespace {

/// Chooses by the rule's goal with find_best(goal); the option is empty if no pair is admissible.
template <typename FindBest>
std::pair<std::optional<Option>, Choice> search(const Rule& rule, FindBest find_best) {
  constexpr Goal kHighestQuality{.lambda = 0};
  Choice choice{.goal = rule.goal};
  if (rule.quality_fraction > 0) {
    // The highest quality is the highest utility there.
    if (const auto best = find_best(kHighestQuality)) {
      choice.goal.quality_floor =
          std::max(choice.goal.quality_floor, rule.quality_fraction * best->utility);
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

}  // namespace

void check_spreads(const DecisionTable& table, const Rule& rule) {
  if (rule.risk_aversion == 0 || table.has_spreads()) return;
  throw Error(ErrorCode::kUnsupported,
              "risk_aversion needs prediction errors (spreads), which this checkpoint does not "
              "have: train it again, or set risk_aversion to 0");
}

void admit_models(const DecisionTable& table, const Rule& rule, Scratch& scratch) {
  scratch.models.clear();
  scratch.worst_case.clear();
  for_each_model(table, rule, [&](const ModelRange& range, const Terms& terms) {
    scratch.models.push_back({.range = range, .terms = terms});
  });
}

namespace {

Choice finish(std::pair<std::optional<Option>, Choice> found, const DecisionTable& table,
              const Rule& rule, const ExactSource& source) {
  auto& [option, choice] = found;
  if (!option) throw_nothing_left(table, rule, choice.goal, source);
  choice.option = *option;
  return choice;
}

}  // namespace

DecisionTable::DecisionTable(std::shared_ptr<const Pool> pool, std::span<const Pair> pairs,
                             std::span<const PairFacts> facts, std::string_view kernel)
    : pool_(std::move(pool)),
      pairs_(pairs.begin(), pairs.end()),
      kernel_(score::find_kernel(kernel)) {
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
    budgets_.push_back(budget.is_unlimited() ? kInfinity : budget.tokens());
    spreads_.push_back(facts.empty() ? 0 : facts[i].quality_spread);
    spreads_by_quality_ = !facts.empty() && facts[i].spread_by_quality;
    if (!facts.empty() && facts[i].spread_by_quality != facts[0].spread_by_quality) {
      throw Error(ErrorCode::kInvalidArgument,
                  "the spread of pair " + std::to_string(i) +
                      " does not depend on its quality as that of pair 0 does: set "
                      "spread_by_quality for all pairs, or for none");
    }
    has_spreads_ = has_spreads_ || spreads_by_quality_ || spreads_.back() > 0;
    length_pairs_.push_back(i);
  }
  for (const ModelRange& range : models_) {
    const auto ladder = ladders_.begin() + static_cast<std::ptrdiff_t>(range.begin);
    std::sort(ladder, ladder + static_cast<std::ptrdiff_t>(range.limited),
              [&](std::size_t a, std::size_t b) { return budgets_[a] < budgets_[b]; });
  }
  for (ModelRange& range : models_) {
    range.length_factor = percentile_over_mean(kDefaultLengthSigma);
    for (std::size_t i = range.begin; i < range.end; ++i) {
      if (facts.empty() || !pairs_[i].budget.is_unlimited()) continue;
      const double sigma = facts[i].length_sigma;
      if (!(sigma > 0 && sigma <= kHighestLengthSigma)) {
        throw Error(ErrorCode::kInvalidArgument, "the length_sigma of pair " + std::to_string(i) +
                                                     " is " + std::to_string(sigma) +
                                                     ": expected a number above 0, at most 4");
      }
      range.length_factor = percentile_over_mean(sigma);
      for (const std::size_t limited : this->ladder(range)) {
        if (facts[limited].predicts_length) continue;
        length_pairs_[limited] = i;
        predicts_lengths_ = false;
      }
    }
  }
  if (models_.empty())
    throw Error(ErrorCode::kInvalidArgument, "there are no pairs to choose from");
}

Choice choose(const DecisionTable& table, const Rule& rule, const EstimateView& estimates,
              const ExactSource& source, Scratch& scratch) {
  check_spreads(table, rule);
  const EstimateView view = weighed(table, rule, estimates, source, scratch);
  return finish(
      search(rule,
             [&](const Goal& goal) { return find_best(table, rule, goal, view, source, scratch); }),
      table, rule, source);
}

Choice choose(const DecisionTable& table, const Rule& rule, const Predictions& predictions) {
  check_spreads(table, rule);
  const KnownPredictions source(predictions);
  std::vector<Option> options;
  return finish(search(rule,
                       [&](const Goal& goal) {
                         options.clear();
                         for_each_option(table, rule, goal, source,
                                         [&](const Option& option) { options.push_back(option); });
                         return chosen(options, goal);
                       }),
                table, rule, source);
}

Decision make_decision(const DecisionTable& table, const Rule& rule, const Choice& choice) {
  Decision decision{.chosen = reported(choice.option, choice.goal),
                    .reason = choice.goal.reason,
                    .lambda = choice.goal.lambda,
                    .input_tokens = rule.input.expected,
                    .max_input_tokens = rule.input.most,
                    .images = rule.images,
                    .pool = table.pool()};
  if (rule.max_cost_usd < kInfinity) decision.max_cost_usd = rule.max_cost_usd;
  return decision;
}

}  // namespace internal

Decision decide(const std::shared_ptr<const Pool>& pool, std::span<const Pair> pairs,
                const Predictions& predictions, const RouteOptions& options, const Policy& defaults,
                std::span<const PairFacts> facts, const QuerySize& size) {
  if (!pool) throw Error(ErrorCode::kInvalidArgument, "the pool of decide() is null");
  check(defaults);
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
  if (!facts.empty() && facts.size() != pairs.size()) {
    throw Error(ErrorCode::kInvalidArgument,
                "there are " + std::to_string(pairs.size()) + " pairs, but facts about " +
                    std::to_string(facts.size()) + ": pass one for each pair, or none");
  }
  const internal::DecisionTable table(pool, pairs, facts);
  internal::Rule rule;
  internal::resolve(options, defaults, *pool, rule);
  internal::resolve_size(size, internal::kDefaultInputTokens, rule);
  const internal::Choice choice = internal::choose(table, rule, predictions);
  Decision decision = internal::make_decision(table, rule, choice);
  internal::add_details(table, rule, choice, options, predictions, decision);
  return decision;
}

}  // namespace r2router
