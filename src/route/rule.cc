// From what a caller sets to the rule that is decided by.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <string_view>

#include "r2router/error.h"

#include "base/edit_distance.h"
#include "base/unicode.h"
#include "route/decide.h"

namespace r2router::internal {
namespace {

constexpr double kNoLimit = std::numeric_limits<double>::infinity();

/// Whether all of `text` is as the pattern says. When what follows a star does not match, the star
/// takes one character more; only the last star need ever do so.
bool matches(std::string_view pattern, std::string_view text) {
  std::size_t p = 0, t = 0, after_star = pattern.npos, star_end = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      after_star = ++p;
      star_end = t;
    } else if (p < pattern.size() && pattern[p] == '?') {
      ++p;
      decode_utf8(text, t);
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p, ++t;
    } else if (after_star != pattern.npos) {
      decode_utf8(text, star_end);
      p = after_star;
      t = star_end;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == pattern.npos;
}

[[noreturn]] void throw_no_model(const Pool& pool, const std::string& name, const char* option) {
  if (name.find_first_of("*?") != name.npos) {
    throw Error(ErrorCode::kInvalidArgument,
                std::string(option) + " has the pattern \"" + name +
                    "\", which no model of the pool matches; the first of them is \"" +
                    pool.front().name + "\"");
  }
  const auto nearest = std::ranges::min_element(
      pool, {}, [&](const ModelSpec& model) { return edit_distance(name, model.name); });
  throw Error(ErrorCode::kInvalidArgument, std::string(option) + " names the model \"" + name +
                                               "\", which is not in the pool; did you mean \"" +
                                               nearest->name + "\"?");
}

void mark_models(const Pool& pool, const std::vector<std::string>& names, const char* option,
                 std::uint8_t mark, std::vector<std::uint8_t>& excluded) {
  for (const std::string& name : names) {
    bool found = false;
    for (std::size_t i = 0; i < pool.size(); ++i) {
      if (!matches(name, pool[i].name)) continue;
      excluded[i] = mark;
      found = true;
    }
    if (!found) throw_no_model(pool, name, option);
  }
}

void exclude_models(const RouteOptions& options, bool available_only, const Pool& pool,
                    Rule& rule) {
  rule.excluded.clear();
  if (options.allow.empty() && options.deny.empty() && !available_only) return;
  rule.excluded.assign(pool.size(), options.allow.empty() ? 0 : 1);
  mark_models(pool, options.allow, "allow", 0, rule.excluded);
  mark_models(pool, options.deny, "deny", 1, rule.excluded);
  if (available_only) {
    for (std::size_t i = 0; i < pool.size(); ++i) {
      if (!pool[i].available) rule.excluded[i] = 1;
    }
  }
}

[[noreturn]] void throw_bad_option(const char* option, double value, const char* expected) {
  throw Error(ErrorCode::kInvalidArgument,
              std::string(option) + " is " + std::to_string(value) + ": expected " + expected);
}

/// The option's value if it is set and from `least` to `most`.
double in_range(const std::optional<double>& value, double otherwise, double least, double most,
                const char* option, const char* expected) {
  if (value && !(*value >= least && *value <= most)) throw_bad_option(option, *value, expected);
  return value.value_or(otherwise);
}

[[noreturn]] void throw_contradiction(const std::string& found, const std::string& remedy) {
  throw Error(ErrorCode::kInvalidArgument, found + " contradict each other: " + remedy);
}

Objective resolve_objective(const RouteOptions& options) {
  const bool asks_quality = options.min_quality || options.quality_fraction;
  const Objective objective = options.objective.value_or(
      options.willingness_to_pay                    ? Objective::kUsd
      : asks_quality && !options.lambda.has_value() ? Objective::kCheapest
                                                    : Objective::kRisk);
  if (options.lambda && options.willingness_to_pay) {
    throw_contradiction("lambda and willingness_to_pay",
                        "both weigh cost against quality; set one of them");
  }
  if (options.lambda && objective != Objective::kRisk) {
    throw_contradiction("lambda and an objective other than risk",
                        "only risk is weighed by lambda; leave one of them out");
  }
  if (options.willingness_to_pay && objective != Objective::kUsd) {
    throw_contradiction("willingness_to_pay and an objective other than usd",
                        "only usd is weighed by it; leave one of them out");
  }
  if (objective == Objective::kUsd && !options.willingness_to_pay) {
    throw Error(ErrorCode::kInvalidArgument,
                "the objective usd needs willingness_to_pay: the USD that quality 1 instead of 0 "
                "is worth");
  }
  return objective;
}

Goal resolve_goal(const RouteOptions& options, const DecisionDefaults& defaults,
                  DecisionRules rules) {
  switch (resolve_objective(options)) {
    case Objective::kUsd: {
      const double worth = *options.willingness_to_pay;
      if (!(worth > 0) || !std::isfinite(worth)) {
        throw_bad_option("willingness_to_pay", worth, "a finite number of dollars, more than 0");
      }
      return {.lambda = 1 / (1 + worth), .reason = Reason::kUsd};
    }
    case Objective::kCheapest:
      return {.lambda = 1, .reason = Reason::kCheapest};
    case Objective::kBest:
      return {.lambda = 0, .reason = Reason::kBest};
    case Objective::kRisk:
      break;
  }
  return {.lambda = in_range(options.lambda.value_or(defaults.lambda), 0, 0, 1, "lambda",
                             "0 (quality alone) to 1 (cost alone)"),
          .rounded = rules == DecisionRules::kReference,
          .reason = Reason::kRisk};
}

void resolve_caps(const CapRule& cap, double default_margin, Rule& rule) {
  rule.cap_margin = in_range(cap.margin, default_margin, 0, std::numeric_limits<double>::max(),
                             "cap.margin", "a finite number, 0 or more");
  if (cap.minimum == 0 || cap.unlimited < cap.minimum) {
    throw Error(ErrorCode::kInvalidArgument,
                "cap.minimum is " + std::to_string(cap.minimum) + " and cap.unlimited " +
                    std::to_string(cap.unlimited) +
                    ": expected 1 token or more, and an unlimited cap no smaller than that");
  }
  rule.least_cap = cap.minimum;
  rule.unlimited_cap = cap.unlimited;
}

}  // namespace

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
  rule.rules = options.rules.value_or(defaults.rules);
  const bool corrected = rule.rules == DecisionRules::kCorrected;
  rule.goal = resolve_goal(options, defaults, rule.rules);
  rule.goal.quality_floor =
      in_range(options.min_quality, 0, 0, 1, "min_quality", "a quality from 0 to 1");
  rule.quality_fraction = in_range(options.quality_fraction, 0, 0, 1, "quality_fraction",
                                   "a share from 0 to 1 of the best predicted quality");
  rule.token_floor = in_range(options.token_floor, corrected ? defaults.token_floor : 0.0, 0,
                              std::numeric_limits<double>::max(), "token_floor",
                              "a finite number of tokens, 0 or more");
  rule.input = resolve_input(options.input_tokens, options.max_input_tokens, input);
  resolve_caps(options.cap, defaults.cap_margin, rule);
  rule.max_cost_usd = in_range(options.max_cost_usd, kNoLimit, 0, kNoLimit, "max_cost_usd",
                               "a number of dollars, 0 or more");
  rule.max_latency_ms = in_range(options.max_latency_ms, kNoLimit, 0, kNoLimit, "max_latency_ms",
                                 "milliseconds, 0 or more");
  if (options.max_output_tokens && *options.max_output_tokens < options.cap.minimum) {
    throw_contradiction("max_output_tokens, " + std::to_string(*options.max_output_tokens) +
                            ", and cap.minimum, " + std::to_string(options.cap.minimum) + ",",
                        "no cap is smaller than the latter; raise the one or lower the other");
  }
  rule.max_output_tokens = options.max_output_tokens ? *options.max_output_tokens : kNoLimit;
  rule.risk_aversion = in_range(options.risk_aversion, 0, 0, std::numeric_limits<double>::max(),
                                "risk_aversion", "a finite number, 0 or more");
  if (options.monotone && !options.continuous) {
    throw Error(ErrorCode::kInvalidArgument,
                "monotone is set without continuous: it says how quality is interpolated between "
                "budgets; set both");
  }
  rule.continuous = options.continuous;
  rule.monotone = options.monotone;
  exclude_models(options, options.available_only.value_or(corrected), pool, rule);
}

}  // namespace r2router::internal
