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

/// Bounds on the utility of one model's pairs. Plain arrays and no branches, for compilers to
/// vectorise.
void bound_utilities(const Rule& rule, const Goal& goal, const Terms& terms,
                     const EstimateView& estimates, std::span<const double> budget_caps,
                     const ModelRange& range, double* __restrict lower, double* __restrict upper) {
  const double* __restrict quality = estimates.quality.data();
  const double* __restrict tokens = estimates.tokens.data();
  const double* __restrict quality_errors = estimates.quality_error.data();
  const double* __restrict tokens_errors = estimates.tokens_error.data();
  const double* __restrict caps = budget_caps.data();
  const double scale = estimates.scale, floor = rule.token_floor;
  const double quality_weight = 1 - goal.lambda;
  const double input_cost = goal.lambda * terms.expected.fixed_usd;
  const double token_cost = goal.lambda * (terms.expected.output_per_million / kPerMillion);
  for (std::size_t i = range.begin; i < range.end; ++i) {
    const double quality_error = scale * quality_errors[i], tokens_error = scale * tokens_errors[i];
    const double q = quality[i], t = tokens[i], cap = caps[i];
    const double least = least_of(greatest_of(t - tokens_error, floor), cap);
    const double most = least_of(greatest_of(t + tokens_error, floor), cap);
    lower[i] = quality_weight * clip_quality(q - quality_error) - (input_cost + token_cost * most);
    upper[i] = quality_weight * clip_quality(q + quality_error) - (input_cost + token_cost * least);
  }
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
    const double tokens_error = estimates.scale * estimates.tokens_error[i] + 1;
    const double quality_error = estimates.scale * estimates.quality_error[i] + 1e-9;
    const double quality = estimates.quality[i];
    const double tokens = std::max(estimates.tokens[i], rule.token_floor);
    const Point worst{.quality = clip_quality(quality - quality_error),
                      .tokens = std::min(tokens + tokens_error, cap)};
    if (missed(terms, rule, goal, cap, worst) == 0)
      continue;  // then the best case violates none either
    scratch.lower[i] = -kInfinity;
    // An excluded budget can still bound the interpolated ones above it, unless even the smallest
    // of them does not fit.
    const bool stretches = rule.continuous && std::isfinite(cap);
    const double least = stretches ? table.budgets()[ladder.front()] : cap;
    const Point best = stretches ? Point{.quality = 1}
                                 : Point{.quality = clip_quality(quality + quality_error),
                                         .tokens = std::min(tokens - tokens_error, cap)};
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

/// The pair with the highest upper bound, and its model's terms; null if no pair can be chosen.
std::pair<std::size_t, const Terms*> highest(const Scratch& scratch) {
  double bound = -kInfinity;
  const AdmittedModel* model = nullptr;
  for (const AdmittedModel& each : scratch.models) {
    const double own =
        largest(scratch.upper.data() + each.range.begin, each.range.end - each.range.begin);
    if (own > bound) {
      bound = own;
      model = &each;
    }
  }
  if (model == nullptr) return {};
  std::size_t pair = model->range.begin;
  while (scratch.upper[pair] != bound) ++pair;
  return {pair, &model->terms};
}

}  // namespace

std::optional<Option> find_best(const DecisionTable& table, const Rule& rule, const Goal& goal,
                                const EstimateView& estimates, const ExactSource& source,
                                Scratch& scratch) {
  // First pass: bounds on every pair's utility, and the best lower bound.
  scratch.lower.resize(table.pairs().size());
  scratch.upper.resize(table.pairs().size());
  double best_lower = -kInfinity;
  for (const auto& [range, terms] : scratch.models) {
    bound_utilities(rule, goal, terms, estimates, table.budgets(), range, scratch.lower.data(),
                    scratch.upper.data());
    if (rule.monotone) bound_monotone(table, goal, estimates, range, scratch);
    if (is_constrained(terms, rule, goal)) {
      bound_by_constraints(table, rule, goal, terms, estimates, range, scratch);
    }
    best_lower =
        std::max(best_lower, largest(scratch.lower.data() + range.begin, range.end - range.begin));
  }

  // Utilities that the reference rounds to 8 decimals can meet if they are within 1e-8 of each
  // other; others tie within a width. The relative part covers the rounding of the bounds
  // themselves.
  const auto threshold_of = [&](double utility) {
    const double rounding = goal.rounded ? 1.5e-8 : widest_tie(goal.lambda, utility);
    return utility - rounding - 1e-12 * (1 + std::abs(utility));
  };
  double threshold = threshold_of(best_lower);
  const auto can_win = [&](double upper) { return upper >= threshold && upper > -kInfinity; };

  // Second pass: exact predictions decide between the pairs that can still win, or the models if
  // budgets between the trained ones count too. Each of them rules out more of the rest.
  std::vector<Option>& options = scratch.options;
  options.clear();
  const auto add = [&](const Option& option) {
    options.push_back(option);
    threshold = std::max(threshold, threshold_of(option.utility));
  };
  if (rule.continuous) {
    for (const auto& [range, terms] : scratch.models) {
      if (!can_win(largest(scratch.upper.data() + range.begin, range.end - range.begin))) continue;
      for_each_option(table, range, terms, rule, goal, source, scratch.points, add);
    }
    return chosen(options, goal);
  }
  const auto settle = [&](const Terms& terms, std::size_t pair) -> std::optional<Option> {
    const Point point = exact_point(table, rule, source, pair);
    if (missed(terms, rule, goal, table.budgets()[pair], point) != 0) return {};
    return make_option(table.pairs()[pair], point, terms, rule, goal);
  };
  // The pair of the highest upper bound comes first, since it is most likely the best. Options
  // remain in the order of the pairs, which decides between rounded utilities.
  const auto [first, first_terms] = highest(scratch);
  if (first_terms == nullptr) return {};
  const std::optional<Option> first_option = settle(*first_terms, first);
  if (first_option) threshold = std::max(threshold, threshold_of(first_option->utility));
  for (const auto& [range, terms] : scratch.models) {
    for (std::size_t i = range.begin; i < range.end; ++i) {
      if (!can_win(scratch.upper[i])) continue;
      if (const auto option = i == first ? first_option : settle(terms, i)) add(*option);
    }
  }
  return chosen(options, goal);
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
  for_each_model(table, rule, [&](const ModelRange& range, const Terms& terms) {
    scratch.models.push_back({range, terms});
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
  admit_models(table, rule, scratch);
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
