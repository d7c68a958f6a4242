// From what a caller sets to the rule that is decided by.
#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "r2router/error.h"
#include "r2router/settings.h"

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

using Names = std::optional<std::vector<std::string>>;

void exclude_models(const Names& allow, const Names& deny, bool available_only, const Pool& pool,
                    Rule& rule) {
  rule.excluded.clear();
  if (!allow && !deny && !available_only) return;
  rule.excluded.assign(pool.size(), allow ? 1 : 0);
  if (allow) mark_models(pool, *allow, "allow", 0, rule.excluded);
  if (deny) mark_models(pool, *deny, "deny", 1, rule.excluded);
  if (available_only) {
    for (std::size_t i = 0; i < pool.size(); ++i) {
      if (!pool[i].available) rule.excluded[i] = 1;
    }
  }
}

[[noreturn]] void throw_contradiction(const std::string& found, const std::string& remedy) {
  throw Error(ErrorCode::kInvalidArgument, found + " contradict each other: " + remedy);
}

bool asks_quality(const Policy& policy) { return policy.min_quality || policy.quality_fraction; }

Objective resolve_objective(const Policy& policy) {
  const Objective objective =
      policy.objective.value_or(policy.willingness_to_pay                ? Objective::kUsd
                                : asks_quality(policy) && !policy.lambda ? Objective::kCheapest
                                                                         : Objective::kRisk);
  if (policy.lambda && policy.willingness_to_pay) {
    throw_contradiction("lambda and willingness_to_pay",
                        "both weigh cost against quality; set one of them");
  }
  if (policy.lambda && objective != Objective::kRisk) {
    throw_contradiction("lambda and an objective other than risk",
                        "only risk is weighed by lambda; leave one of them out");
  }
  if (policy.willingness_to_pay && objective != Objective::kUsd) {
    throw_contradiction("willingness_to_pay and an objective other than usd",
                        "only usd is weighed by it; leave one of them out");
  }
  if (objective == Objective::kUsd && !policy.willingness_to_pay) {
    throw Error(ErrorCode::kInvalidArgument,
                "the objective usd needs willingness_to_pay: the USD that quality 1 instead of 0 "
                "is worth");
  }
  return objective;
}

/// The checkpoint's trade-off holds unless the call's policy says by what to choose.
Goal resolve_goal(const Policy& policy, const Policy& defaults, DecisionRules rules) {
  const bool decides =
      policy.objective || policy.lambda || policy.willingness_to_pay || asks_quality(policy);
  const Policy& deciding = decides ? policy : defaults;
  switch (resolve_objective(deciding)) {
    case Objective::kUsd:
      return {.lambda = 1 / (1 + *deciding.willingness_to_pay), .reason = Reason::kUsd};
    case Objective::kCheapest:
      return {.lambda = 1, .reason = Reason::kCheapest};
    case Objective::kBest:
      return {.lambda = 0, .reason = Reason::kBest};
    case Objective::kRisk:
      break;
  }
  return {.lambda = policy.lambda.value_or(defaults.lambda.value_or(kDefaultLambda)),
          .rounded = rules == DecisionRules::kReference,
          .reason = Reason::kRisk};
}

void resolve_caps(const CapRule& cap, const CapRule& defaults, Rule& rule) {
  const auto own_or_default = [&](auto member, auto otherwise) {
    return cap.*member ? *(cap.*member) : (defaults.*member).value_or(otherwise);
  };
  rule.cap_margin = own_or_default(&CapRule::margin, CapRule::kMargin);
  const std::uint32_t minimum = own_or_default(&CapRule::minimum, CapRule::kMinimum);
  const std::uint32_t unlimited = own_or_default(&CapRule::unlimited, CapRule::kUnlimited);
  if (unlimited < minimum) {
    throw Error(ErrorCode::kInvalidArgument, "cap.minimum is " + std::to_string(minimum) +
                                                 " and cap.unlimited " + std::to_string(unlimited) +
                                                 ": expected one that is no smaller");
  }
  rule.least_cap = minimum;
  rule.unlimited_cap = unlimited;
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

void resolve(const RouteOptions& options, const Policy& defaults, const Pool& pool,
             InputTokens input, Rule& rule) {
  const Policy& policy = options.policy;
  check(policy);
  // Not merge(), which would copy the names of models for every decision.
  const auto setting = [&](auto member) -> const auto& {
    return policy.*member ? policy.*member : defaults.*member;
  };
  rule.rules = setting(&Policy::rules).value_or(DecisionRules::kReference);
  const bool corrected = rule.rules == DecisionRules::kCorrected;
  rule.goal = resolve_goal(policy, defaults, rule.rules);
  rule.goal.quality_floor = setting(&Policy::min_quality).value_or(0);
  rule.quality_fraction = setting(&Policy::quality_fraction).value_or(0);
  rule.token_floor = policy.token_floor.value_or(corrected ? defaults.token_floor.value_or(0) : 0);
  rule.input = resolve_input(options.input_tokens, options.max_input_tokens, input);
  rule.images = options.images;
  resolve_caps(policy.cap, defaults.cap, rule);
  rule.max_cost_usd = setting(&Policy::max_cost_usd).value_or(kNoLimit);
  rule.max_latency_ms = setting(&Policy::max_latency_ms).value_or(kNoLimit);
  const auto& max_output_tokens = setting(&Policy::max_output_tokens);
  if (max_output_tokens && *max_output_tokens < rule.least_cap) {
    throw_contradiction("max_output_tokens, " + std::to_string(*max_output_tokens) +
                            ", and cap.minimum, " +
                            std::to_string(static_cast<std::uint32_t>(rule.least_cap)) + ",",
                        "no cap is smaller than the latter; raise the one or lower the other");
  }
  rule.max_output_tokens = max_output_tokens ? *max_output_tokens : kNoLimit;
  rule.risk_aversion = setting(&Policy::risk_aversion).value_or(0);
  rule.monotone = setting(&Policy::monotone).value_or(false);
  rule.continuous = setting(&Policy::continuous).value_or(false);
  // Where budgets between the trained ones are turned off, monotone has nothing to act on.
  if (rule.monotone && !setting(&Policy::continuous)) {
    throw Error(ErrorCode::kInvalidArgument,
                "monotone is set without continuous: it says how quality is interpolated between "
                "budgets; set both");
  }
  rule.monotone = rule.monotone && rule.continuous;
  exclude_models(setting(&Policy::allow), setting(&Policy::deny),
                 setting(&Policy::available_only).value_or(corrected), pool, rule);
}

}  // namespace r2router::internal
