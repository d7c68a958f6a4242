#include "decide/decide.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <limits>
#include <optional>
#include <string>

#include "r2router/error.h"

#include "core/decimal.h"

namespace r2router {
namespace internal {
namespace {

constexpr double kPerMillion = 1e6;
/// Larger than any limited budget; a cap of this size is no limit.
constexpr double kLargestCap = std::numeric_limits<std::uint32_t>::max();
constexpr double kNone = -std::numeric_limits<double>::infinity();

/// One model's prices and limits for one query under one rule.
struct Terms {
  double input_usd;        ///< the query itself
  double worst_input_usd;  ///< the longest that it can turn out to be
  double output_per_million;
  double cap_limit;  ///< the largest cap whose worst-case cost is within the limit; −1: none

  Terms(const ModelSpec& model, const Rule& rule)
      : input_usd(input_cost(model, rule.input.expected)),
        worst_input_usd(input_cost(model, rule.input.most)),
        output_per_million(model.output_price_per_million),
        cap_limit(affordable_tokens(rule.max_cost_usd)) {}

  double cost(double output_tokens) const {
    return input_usd + output_tokens * output_per_million / kPerMillion;
  }
  double worst_case_cost(double cap) const {
    return worst_input_usd + cap * output_per_million / kPerMillion;
  }

 private:
  static double input_cost(const ModelSpec& model, std::int64_t tokens) {
    return static_cast<double>(tokens) * model.input_price_per_million / kPerMillion;
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

double clamp_tokens(double tokens, Budget budget, const Rule& rule) {
  tokens = std::max(tokens, rule.token_floor);
  return budget.is_unlimited() ? tokens : std::min(tokens, static_cast<double>(budget.tokens()));
}

/// The smallest cap that a pair may be given: a model that is told its budget must be able to use
/// it, and one without must be able to give the answer that is predicted. `budget` is infinite for
/// the latter.
double least_cap(double budget, double tokens, const Rule& rule) {
  if (std::isfinite(budget)) return std::max(rule.least_cap, budget);
  return std::min(rule.unlimited_cap, std::max(rule.least_cap, std::ceil(tokens)));
}

/// The cap that a pair is given when cost is no matter.
double full_cap(Budget budget, const Rule& rule) {
  if (budget.is_unlimited()) return rule.unlimited_cap;
  const double cap = std::ceil(budget.tokens() * (1 + rule.cap_margin));
  return std::clamp(cap, rule.least_cap, kLargestCap);
}

double risk(const Rule& rule, double quality, double cost) {
  return (1 - rule.lambda) * quality - rule.lambda * cost;
}

Option make_option(const Pair& pair, const Terms& terms, const Rule& rule, double raw_quality,
                   double raw_tokens) {
  Option option{.model = pair.model, .budget = pair.budget};
  option.quality = clip_quality(raw_quality);
  option.output_tokens = clamp_tokens(raw_tokens, pair.budget, rule);
  option.cost_usd = terms.cost(option.output_tokens);
  const double cap = std::min(full_cap(pair.budget, rule), terms.cap_limit);
  option.max_tokens = static_cast<std::uint32_t>(std::max(cap, 0.0));
  option.worst_case_cost_usd = terms.worst_case_cost(option.max_tokens);
  option.risk = risk(rule, option.quality, option.cost_usd);
  // The published package compares risks that it has already rounded for display.
  if (rule.rules == DecisionRules::kReference) option.risk = round_decimal(option.risk, 8);
  return option;
}

/// What is shown of an option; comparisons come before it.
Option reported(Option option, const Rule& rule) {
  if (rule.rules == DecisionRules::kReference) {
    option.quality = round_decimal(option.quality, 4);
    option.output_tokens = round_decimal(option.output_tokens, 1);
    option.cost_usd = round_decimal(option.cost_usd, 8);
  }
  return option;
}

/// Strictly better; equal options keep the order of the pairs.
bool better(const Option& a, const Option& b, const Rule& rule) {
  if (a.risk != b.risk) return a.risk > b.risk;
  return rule.rules == DecisionRules::kCorrected && a.cost_usd < b.cost_usd;
}

template <typename Visit>
void for_each_model(const DecisionTable& table, const Rule& rule, Visit visit) {
  for (const ModelRange& range : table.models()) {
    if (!rule.excluded.empty() && rule.excluded[range.model]) continue;
    visit(range, Terms((*table.pool())[range.model], rule));
  }
}

/// Bounds on the risk of one model's pairs. Plain arrays and no branches, for compilers to
/// vectorise.
void bound_risks(const Rule& rule, const Terms& terms, const EstimateView& estimates,
                 std::span<const double> budget_caps, const ModelRange& range,
                 double* __restrict lower, double* __restrict upper) {
  const double* __restrict quality = estimates.quality.data();
  const double* __restrict tokens = estimates.tokens.data();
  const double* __restrict quality_errors = estimates.quality_error.data();
  const double* __restrict tokens_errors = estimates.tokens_error.data();
  const double* __restrict caps = budget_caps.data();
  const double scale = estimates.scale, floor = rule.token_floor;
  const double quality_weight = 1 - rule.lambda;
  const double input_cost = rule.lambda * terms.input_usd;
  const double token_cost = rule.lambda * (terms.output_per_million / kPerMillion);
  for (std::size_t i = range.begin; i < range.end; ++i) {
    const double quality_error = scale * quality_errors[i], tokens_error = scale * tokens_errors[i];
    const double q = quality[i], t = tokens[i], cap = caps[i];
    const double least = least_of(greatest_of(t - tokens_error, floor), cap);
    const double most = least_of(greatest_of(t + tokens_error, floor), cap);
    lower[i] = quality_weight * clip_quality(q - quality_error) - (input_cost + token_cost * most);
    upper[i] = quality_weight * clip_quality(q + quality_error) - (input_cost + token_cost * least);
  }
}

/// Takes out of the bounds the pairs that the cost limit leaves out: of the upper ones those that
/// certainly do not fit it, of the lower ones those that may not. Only an unlimited pair's fit
/// depends on a prediction; a whole token covers the rounding of its bounds.
void bound_by_cost_limit(const Rule& rule, const Terms& terms, const EstimateView& estimates,
                         std::span<const double> budget_caps, const ModelRange& range,
                         RiskBounds& bounds) {
  for (std::size_t i = range.begin; i < range.end; ++i) {
    const double tokens = std::max(estimates.tokens[i], rule.token_floor);
    const double error = estimates.scale * estimates.tokens_error[i] + 1;
    if (least_cap(budget_caps[i], tokens - error, rule) > terms.cap_limit) bounds.upper[i] = kNone;
    if (least_cap(budget_caps[i], tokens + error, rule) > terms.cap_limit) bounds.lower[i] = kNone;
  }
}

/// The largest of `count` numbers; four at a time, since each comparison waits for the one before.
double largest(const double* values, std::size_t count) {
  double parts[4] = {kNone, kNone, kNone, kNone};
  std::size_t i = 0;
  for (; i + 4 <= count; i += 4) {
    for (std::size_t lane = 0; lane < 4; ++lane)
      parts[lane] = std::max(parts[lane], values[i + lane]);
  }
  for (; i < count; ++i) parts[0] = std::max(parts[0], values[i]);
  return std::max(std::max(parts[0], parts[1]), std::max(parts[2], parts[3]));
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substituted = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row.back();
}

std::size_t find_model(const Pool& pool, const std::string& name, const char* option) {
  const auto found = std::find_if(pool.begin(), pool.end(),
                                  [&](const ModelSpec& model) { return model.name == name; });
  if (found != pool.end()) return static_cast<std::size_t>(found - pool.begin());
  const auto nearest =
      std::min_element(pool.begin(), pool.end(), [&](const ModelSpec& a, const ModelSpec& b) {
        return edit_distance(a.name, name) < edit_distance(b.name, name);
      });
  throw Error(ErrorCode::kInvalidArgument,
              std::string(option) + " names the model \"" + name + "\", which is not in the pool" +
                  (nearest == pool.end() ? "" : "; did you mean \"" + nearest->name + "\"?"));
}

void resolve_caps(const CapRule& cap, double default_margin, Rule& rule) {
  rule.cap_margin = cap.margin.value_or(default_margin);
  if (!(rule.cap_margin >= 0) || !std::isfinite(rule.cap_margin)) {
    throw Error(ErrorCode::kInvalidArgument, "cap.margin is " + std::to_string(rule.cap_margin) +
                                                 ": expected a finite number, 0 or more");
  }
  if (cap.minimum == 0 || cap.unlimited < cap.minimum) {
    throw Error(ErrorCode::kInvalidArgument,
                "cap.minimum is " + std::to_string(cap.minimum) + " and cap.unlimited " +
                    std::to_string(cap.unlimited) +
                    ": expected 1 token or more, and an unlimited cap no smaller than that");
  }
  rule.least_cap = cap.minimum;
  rule.unlimited_cap = cap.unlimited;
}

void exclude_models(const RouteOptions& options, bool available_only, const Pool& pool,
                    Rule& rule) {
  rule.excluded.clear();
  if (options.allow.empty() && options.deny.empty() && !available_only) return;
  rule.excluded.assign(pool.size(), options.allow.empty() ? 0 : 1);
  for (const std::string& name : options.allow) rule.excluded[find_model(pool, name, "allow")] = 0;
  for (const std::string& name : options.deny) rule.excluded[find_model(pool, name, "deny")] = 1;
  if (available_only) {
    for (std::size_t i = 0; i < pool.size(); ++i) {
      if (!pool[i].available) rule.excluded[i] = 1;
    }
  }
}

/// A dollar amount with all its digits, so that it can be given back as a limit.
std::string usd(double amount) {
  char digits[32];
  const auto end = std::to_chars(std::begin(digits), std::end(digits), amount).ptr;
  return "$" + std::string(digits, end);
}

[[noreturn]] void throw_nothing_left(const DecisionTable& table, const Rule& rule,
                                     const ExactSource& source) {
  double cheapest = std::numeric_limits<double>::infinity();
  std::string name;
  for_each_model(table, rule, [&](const ModelRange& range, const Terms& terms) {
    for (std::size_t i = range.begin; i < range.end; ++i) {
      double quality = 0, tokens = 0;
      source.exact(i, quality, tokens);
      tokens = std::max(tokens, rule.token_floor);
      const double cost = terms.worst_case_cost(least_cap(table.caps()[i], tokens, rule));
      if (!name.empty() && cost >= cheapest) continue;
      cheapest = cost;
      name =
          (*table.pool())[range.model].name + " at budget " + table.pairs()[i].budget.to_string();
    }
  });
  if (name.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                "no model is left to choose from: there are " +
                    std::to_string(table.models().size()) +
                    ", and allow, deny and available_only together exclude them all; loosen one "
                    "of them");
  }
  throw Error(ErrorCode::kBudget, "no pair fits max_cost_usd, " + usd(rule.max_cost_usd) +
                                      ": the cheapest, " + name + ", may cost up to " +
                                      usd(cheapest) + "; raise the limit or shorten the query");
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

/// The pair with its exact predictions, unless the cost limit leaves it out.
std::optional<Option> admitted_option(const DecisionTable& table, std::size_t i, const Terms& terms,
                                      const Rule& rule, const ExactSource& source) {
  double quality = 0, tokens = 0;
  source.exact(i, quality, tokens);
  const Option option = make_option(table.pairs()[i], terms, rule, quality, tokens);
  if (least_cap(table.caps()[i], option.output_tokens, rule) > terms.cap_limit) return {};
  return option;
}

/// Calls visit(option) for every admitted pair, in their order.
template <typename Visit>
void for_each_option(const DecisionTable& table, const Rule& rule, const ExactSource& source,
                     Visit visit) {
  for_each_model(table, rule, [&](const ModelRange& range, const Terms& terms) {
    for (std::size_t i = range.begin; i < range.end; ++i) {
      if (const auto option = admitted_option(table, i, terms, rule, source)) visit(*option);
    }
  });
}

}  // namespace

DecisionTable::DecisionTable(std::shared_ptr<const Pool> pool, std::span<const Pair> pairs)
    : pool_(std::move(pool)), pairs_(pairs.begin(), pairs.end()) {
  for (std::size_t i = 0; i < pairs_.size(); ++i) {
    const std::uint32_t model = pairs_[i].model;
    if (model >= pool_->size()) {
      throw Error(ErrorCode::kInvalidArgument, "pair " + std::to_string(i) + " refers to model " +
                                                   std::to_string(model) + " of a pool of " +
                                                   std::to_string(pool_->size()));
    }
    if (models_.empty() || models_.back().model != model) models_.push_back({model, i, i});
    models_.back().end = i + 1;
    const Budget budget = pairs_[i].budget;
    caps_.push_back(budget.is_unlimited() ? std::numeric_limits<double>::infinity()
                                          : budget.tokens());
  }
  if (models_.empty()) throw Error(ErrorCode::kInvalidArgument, "there is no pair to choose from");
}

InputTokens resolve_input(std::optional<std::int64_t> expected, std::optional<std::int64_t> most,
                          InputTokens otherwise) {
  const InputTokens input{
      .expected = expected.value_or(otherwise.expected),
      .most = most.value_or(expected.value_or(otherwise.most)),
  };
  if (input.expected < 0) {
    throw Error(ErrorCode::kInvalidArgument,
                "input_tokens is " + std::to_string(input.expected) + ": expected 0 or more");
  }
  if (input.most < input.expected) {
    throw Error(ErrorCode::kInvalidArgument,
                "max_input_tokens is " + std::to_string(input.most) + ", but the query has " +
                    std::to_string(input.expected) + " input_tokens: expected no fewer");
  }
  return input;
}

void resolve(const RouteOptions& options, const DecisionDefaults& defaults, const Pool& pool,
             InputTokens input, Rule& rule) {
  rule.lambda = options.lambda.value_or(defaults.lambda);
  if (!(rule.lambda >= 0 && rule.lambda <= 1)) {
    throw Error(ErrorCode::kInvalidArgument, "lambda is " + std::to_string(rule.lambda) +
                                                 ": expected 0 (quality alone) to 1 (cost alone)");
  }
  rule.rules = options.rules.value_or(defaults.rules);
  const bool corrected = rule.rules == DecisionRules::kCorrected;
  rule.token_floor = options.token_floor.value_or(corrected ? defaults.token_floor : 0.0);
  if (!(rule.token_floor >= 0) || !std::isfinite(rule.token_floor)) {
    throw Error(ErrorCode::kInvalidArgument, "token_floor is " + std::to_string(rule.token_floor) +
                                                 ": expected a finite number of tokens, 0 or more");
  }
  rule.input = resolve_input(options.input_tokens, options.max_input_tokens, input);
  rule.max_cost_usd = options.max_cost_usd.value_or(std::numeric_limits<double>::infinity());
  if (!(rule.max_cost_usd >= 0)) {
    throw Error(ErrorCode::kInvalidArgument, "max_cost_usd is " +
                                                 std::to_string(rule.max_cost_usd) +
                                                 ": expected a number of dollars, 0 or more");
  }
  resolve_caps(options.cap, defaults.cap_margin, rule);
  exclude_models(options, options.available_only.value_or(corrected), pool, rule);
}

Option choose(const DecisionTable& table, const Rule& rule, const EstimateView& estimates,
              const ExactSource& source, RiskBounds& bounds) {
  // First pass: bounds on every pair's risk, and the best of the lower ones.
  bounds.lower.resize(table.pairs().size());
  bounds.upper.resize(table.pairs().size());
  double best_lower = kNone;
  for_each_model(table, rule, [&](const ModelRange& range, const Terms& terms) {
    bound_risks(rule, terms, estimates, table.caps(), range, bounds.lower.data(),
                bounds.upper.data());
    if (terms.cap_limit < kLargestCap) {
      bound_by_cost_limit(rule, terms, estimates, table.caps(), range, bounds);
    }
    best_lower =
        std::max(best_lower, largest(bounds.lower.data() + range.begin, range.end - range.begin));
  });

  // Risks that the reference rounds to 8 decimals can meet if they are within 1e-8 of each other;
  // the relative part covers the rounding of the bounds themselves.
  const double rounding = rule.rules == DecisionRules::kReference ? 1.5e-8 : 0.0;
  const double threshold = best_lower - rounding - 1e-12 * (1 + std::abs(best_lower));

  // Second pass: exact predictions decide between the pairs that can still win.
  std::optional<Option> best;
  for_each_model(table, rule, [&](const ModelRange& range, const Terms& terms) {
    for (std::size_t i = range.begin; i < range.end; ++i) {
      if (!(bounds.upper[i] >= threshold)) continue;
      const auto option = admitted_option(table, i, terms, rule, source);
      if (option && (!best || better(*option, *best, rule))) best = option;
    }
  });
  if (!best) throw_nothing_left(table, rule, source);
  return reported(*best, rule);
}

Option choose(const DecisionTable& table, const Rule& rule, const Predictions& predictions) {
  const KnownPredictions source(predictions);
  std::optional<Option> best;
  for_each_option(table, rule, source, [&](const Option& option) {
    if (!best || better(option, *best, rule)) best = option;
  });
  if (!best) throw_nothing_left(table, rule, source);
  return reported(*best, rule);
}

std::vector<Option> rank(const DecisionTable& table, const Rule& rule,
                         const Predictions& predictions) {
  std::vector<Option> options;
  options.reserve(table.pairs().size());
  for_each_option(table, rule, KnownPredictions(predictions),
                  [&](const Option& option) { options.push_back(option); });
  std::stable_sort(options.begin(), options.end(),
                   [&](const Option& a, const Option& b) { return better(a, b, rule); });
  for (Option& option : options) option = reported(option, rule);
  return options;
}

}  // namespace internal

Decision decide(const std::shared_ptr<const Pool>& pool, std::span<const Pair> pairs,
                const Predictions& predictions, const RouteOptions& options,
                const DecisionDefaults& defaults) {
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
  const internal::DecisionTable table(pool, pairs);
  internal::Rule rule;
  internal::resolve(options, defaults, *pool, {.expected = 100, .most = 100}, rule);
  Decision decision{.chosen = internal::choose(table, rule, predictions),
                    .lambda = rule.lambda,
                    .max_cost_usd = options.max_cost_usd,
                    .input_tokens = rule.input.expected,
                    .pool = pool};
  if (options.rank) decision.ranking = internal::rank(table, rule, predictions);
  return decision;
}

}  // namespace r2router
