#include "decide/decide.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "r2router/error.h"

#include "core/decimal.h"

namespace r2router {
namespace internal {
namespace {

constexpr double kPerMillion = 1e6;

/// A model's prices for one query under one rule.
struct Price {
  double input_usd;  ///< the query itself
  double output_per_million;

  Price(const ModelSpec& model, std::int64_t input_tokens)
      : input_usd(static_cast<double>(input_tokens) * model.input_price_per_million / kPerMillion),
        output_per_million(model.output_price_per_million) {}

  double cost(double output_tokens) const {
    return input_usd + output_tokens * output_per_million / kPerMillion;
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

double risk(const Rule& rule, double quality, double cost) {
  return (1 - rule.lambda) * quality - rule.lambda * cost;
}

Option make_option(const Pair& pair, const Price& price, const Rule& rule, double raw_quality,
                   double raw_tokens) {
  Option option{.model = pair.model, .budget = pair.budget};
  option.quality = clip_quality(raw_quality);
  option.output_tokens = clamp_tokens(raw_tokens, pair.budget, rule);
  option.cost_usd = price.cost(option.output_tokens);
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
    visit(range, Price((*table.pool())[range.model], rule.input_tokens));
  }
}

/// Bounds on the risk of one model's pairs. Plain arrays and no branches, for compilers to
/// vectorise.
void bound_risks(const Rule& rule, const Price& price, const EstimateView& estimates,
                 std::span<const double> budget_caps, const ModelRange& range,
                 double* __restrict lower, double* __restrict upper) {
  const double* __restrict quality = estimates.quality.data();
  const double* __restrict tokens = estimates.tokens.data();
  const double* __restrict quality_errors = estimates.quality_error.data();
  const double* __restrict tokens_errors = estimates.tokens_error.data();
  const double* __restrict caps = budget_caps.data();
  const double scale = estimates.scale, floor = rule.token_floor;
  const double quality_weight = 1 - rule.lambda;
  const double input_cost = rule.lambda * price.input_usd;
  const double token_cost = rule.lambda * (price.output_per_million / kPerMillion);
  for (std::size_t i = range.begin; i < range.end; ++i) {
    const double quality_error = scale * quality_errors[i], tokens_error = scale * tokens_errors[i];
    const double q = quality[i], t = tokens[i], cap = caps[i];
    const double least = least_of(greatest_of(t - tokens_error, floor), cap);
    const double most = least_of(greatest_of(t + tokens_error, floor), cap);
    lower[i] = quality_weight * clip_quality(q - quality_error) - (input_cost + token_cost * most);
    upper[i] = quality_weight * clip_quality(q + quality_error) - (input_cost + token_cost * least);
  }
}

/// The largest of `count` numbers; four at a time, since each comparison waits for the one before.
double largest(const double* values, std::size_t count) {
  constexpr double kNone = -std::numeric_limits<double>::infinity();
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

[[noreturn]] void throw_nothing_left(const DecisionTable& table) {
  throw Error(
      ErrorCode::kInvalidArgument,
      "no model is left to choose from: there are " + std::to_string(table.models().size()) +
          ", and allow, deny and available_only together exclude them all; loosen one of them");
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

void check_input_tokens(std::int64_t input_tokens) {
  if (input_tokens < 0) {
    throw Error(ErrorCode::kInvalidArgument,
                "input_tokens is " + std::to_string(input_tokens) + ": expected 0 or more");
  }
}

void resolve(const RouteOptions& options, const DecisionDefaults& defaults, const Pool& pool,
             std::int64_t default_input_tokens, Rule& rule) {
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
  rule.input_tokens = options.input_tokens.value_or(default_input_tokens);
  check_input_tokens(rule.input_tokens);
  exclude_models(options, options.available_only.value_or(corrected), pool, rule);
}

Option choose(const DecisionTable& table, const Rule& rule, const EstimateView& estimates,
              const ExactSource& source, RiskBounds& bounds) {
  // First pass: bounds on every pair's risk, and the best of the lower ones.
  bounds.lower.resize(table.pairs().size());
  bounds.upper.resize(table.pairs().size());
  double best_lower = -std::numeric_limits<double>::infinity();
  for_each_model(table, rule, [&](const ModelRange& range, const Price& price) {
    bound_risks(rule, price, estimates, table.caps(), range, bounds.lower.data(),
                bounds.upper.data());
    best_lower =
        std::max(best_lower, largest(bounds.lower.data() + range.begin, range.end - range.begin));
  });

  // Risks that the reference rounds to 8 decimals can meet if they are within 1e-8 of each other;
  // the relative part covers the rounding of the bounds themselves.
  const double rounding = rule.rules == DecisionRules::kReference ? 1.5e-8 : 0.0;
  const double threshold = best_lower - rounding - 1e-12 * (1 + std::abs(best_lower));

  // Second pass: exact predictions decide between the pairs that can still win.
  Option best;
  bool found = false;
  for_each_model(table, rule, [&](const ModelRange& range, const Price& price) {
    for (std::size_t i = range.begin; i < range.end; ++i) {
      if (!(bounds.upper[i] >= threshold)) continue;
      double quality = 0, tokens = 0;
      source.exact(i, quality, tokens);
      const Option option = make_option(table.pairs()[i], price, rule, quality, tokens);
      if (!found || better(option, best, rule)) best = option;
      found = true;
    }
  });
  if (!found) throw_nothing_left(table);
  return reported(best, rule);
}

Option choose(const DecisionTable& table, const Rule& rule, const Predictions& predictions) {
  Option best;
  bool found = false;
  for_each_model(table, rule, [&](const ModelRange& range, const Price& price) {
    for (std::size_t i = range.begin; i < range.end; ++i) {
      const Option option =
          make_option(table.pairs()[i], price, rule, predictions.quality[i], predictions.tokens[i]);
      if (!found || better(option, best, rule)) best = option;
      found = true;
    }
  });
  if (!found) throw_nothing_left(table);
  return reported(best, rule);
}

std::vector<Option> rank(const DecisionTable& table, const Rule& rule,
                         const Predictions& predictions) {
  std::vector<Option> options;
  options.reserve(table.pairs().size());
  for_each_model(table, rule, [&](const ModelRange& range, const Price& price) {
    for (std::size_t i = range.begin; i < range.end; ++i) {
      options.push_back(make_option(table.pairs()[i], price, rule, predictions.quality[i],
                                    predictions.tokens[i]));
    }
  });
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
  internal::resolve(options, defaults, *pool, 100, rule);
  Decision decision{.chosen = internal::choose(table, rule, predictions),
                    .lambda = rule.lambda,
                    .input_tokens = rule.input_tokens,
                    .pool = pool};
  if (options.rank) decision.ranking = internal::rank(table, rule, predictions);
  return decision;
}

}  // namespace r2router
