// Resolves the caller's options into the rule of a decision.
#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "r2router/error.h"
#include "r2router/settings.h"

#include "base/suggestion.h"
#include "base/unicode.h"
#include "route/decide.h"

namespace r2router::internal {
namespace {

constexpr double kNoLimit = std::numeric_limits<double>::infinity();

/// Whether the pattern matches all of `text`, ignoring case. If the rest after a star does not
/// match, the star takes one more character; only the last star ever needs to.
bool matches(std::string_view pattern, std::string_view text) {
  std::size_t p = 0, t = 0, after_star = pattern.npos, star_end = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      after_star = ++p;
      star_end = t;
    } else if (p < pattern.size() && pattern[p] == '?') {
      ++p;
      decode_utf8(text, t);
    } else if (p < pattern.size() && lower_case(pattern[p]) == lower_case(text[t])) {
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

/// "vendor/model" or "model".
bool matches_catalogue_name(std::string_view pattern, std::string_view name) {
  if (name.empty()) return false;
  const std::size_t slash = name.rfind('/');
  return matches(pattern, name) || (slash != name.npos && matches(pattern, name.substr(slash + 1)));
}

[[noreturn]] void throw_no_model(const Pool& pool, const std::string& name, const char* option,
                                 bool available_only) {
  std::vector<std::string> available, unavailable;
  for (const ModelSpec& model : pool) {
    (model.available ? available : unavailable).push_back(model.name);
  }
  std::optional<std::string> meant = likely_name(name, available);
  if (!meant && !available_only) meant = likely_name(name, unavailable);
  std::string message = std::string(option) + " has \"" + name + "\", ";
  message += name.find_first_of("*?") == name.npos ? "which is not in the pool"
                                                   : "a pattern that no model of the pool matches";
  if (meant) {
    message += "; did you mean \"" + *meant + "\"?";
  } else {
    message += "; expected " + list_of(available.empty() ? unavailable : available);
  }
  throw Error(ErrorCode::kInvalidArgument, message);
}

[[noreturn]] void throw_all_unavailable(const Pool& pool, const Rule& rule) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < pool.size(); ++i) {
    if (rule.excluded[i] == 0) names.push_back(pool[i].name);
  }
  throw Error(
      ErrorCode::kInvalidArgument,
      "no model is left to choose from: marked as unavailable in the pool: " + list_of(names) +
          "; to consider them, set available_only to false (--all-models)");
}

using Names = std::optional<std::vector<std::string>>;

void exclude_models(const Names& allow, const Names& deny, bool available_only, const Pool& pool,
                    Rule& rule) {
  rule.excluded.clear();
  if (!allow && !deny && !available_only) return;
  rule.excluded.assign(pool.size(), allow ? 1 : 0);
  const auto mark = [&](const Names& names, const char* option, std::uint8_t value) {
    if (!names) return;
    for (const std::string& name : *names) {
      if (!mark_model(pool, name, value, rule.excluded)) {
        throw_no_model(pool, name, option, available_only);
      }
    }
  };
  mark(allow, "allow", 0);
  mark(deny, "deny", 1);
  if (!available_only) return;
  bool left = false, any_unavailable = false;
  for (std::size_t i = 0; i < pool.size(); ++i) {
    if (rule.excluded[i] != 0) continue;
    (pool[i].available ? left : any_unavailable) = true;
  }
  if (any_unavailable && !left) throw_all_unavailable(pool, rule);
  for (std::size_t i = 0; i < pool.size(); ++i) {
    if (!pool[i].available) rule.excluded[i] = 1;
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
                                                                         : Objective::kUtility);
  if (policy.lambda && policy.willingness_to_pay) {
    throw_contradiction("lambda and willingness_to_pay",
                        "both weigh cost against quality; set one of them");
  }
  if (policy.lambda && objective != Objective::kUtility) {
    throw_contradiction("lambda and an objective other than risk",
                        "lambda applies only to risk; remove one of them");
  }
  if (policy.willingness_to_pay && objective != Objective::kUsd) {
    throw_contradiction("willingness_to_pay and an objective other than usd",
                        "it applies only to usd; remove one of them");
  }
  if (objective == Objective::kUsd && !policy.willingness_to_pay) {
    throw Error(
        ErrorCode::kInvalidArgument,
        "the objective usd needs willingness_to_pay: the value in USD of quality 1 over quality 0");
  }
  return objective;
}

/// The checkpoint's trade-off applies unless the call's policy sets one.
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
    case Objective::kUtility:
      break;
  }
  return {.lambda = policy.lambda.value_or(defaults.lambda.value_or(kDefaultLambda)),
          .rounded = rules == DecisionRules::kReference,
          .reason = Reason::kUtility};
}

void resolve_caps(const CapRule& cap, const CapRule& defaults, Rule& rule) {
  const auto own_or_default = [&](auto member, auto otherwise) {
    return cap.*member ? *(cap.*member) : (defaults.*member).value_or(otherwise);
  };
  rule.cap_margin = own_or_default(&CapRule::margin, CapRule::kMargin);
  const std::uint32_t minimum = own_or_default(&CapRule::minimum, CapRule::kMinimum);
  const std::optional<std::uint32_t> unlimited = cap.unlimited ? cap.unlimited : defaults.unlimited;
  if (unlimited && *unlimited < minimum) {
    throw Error(ErrorCode::kInvalidArgument,
                "cap.minimum is " + std::to_string(minimum) + " and cap.unlimited " +
                    std::to_string(*unlimited) + ": expected at least cap.minimum");
  }
  rule.least_cap = minimum;
  rule.unlimited_cap = unlimited ? *unlimited : kNoLimit;
}

}  // namespace

bool mark_model(const Pool& pool, const std::string& name, std::uint8_t mark,
                std::vector<std::uint8_t>& excluded) {
  const auto mark_if = [&](auto condition) {
    bool found = false;
    for (std::size_t i = 0; i < pool.size(); ++i) {
      if (!condition(pool[i])) continue;
      excluded[i] = mark;
      found = true;
    }
    return found;
  };
  return mark_if([&](const ModelSpec& model) { return model.name == name; }) ||
         mark_if([&](const ModelSpec& model) { return matches(name, model.name); }) ||
         mark_if([&](const ModelSpec& model) {
           return matches_catalogue_name(name, model.openrouter_id);
         });
}

void resolve_size(const QuerySize& size, InputTokens otherwise, Rule& rule) {
  const InputTokens input{
      .expected = size.input_tokens.value_or(otherwise.expected),
      .most = size.max_input_tokens.value_or(size.input_tokens.value_or(otherwise.most)),
      .context = size.context_tokens,
  };
  if (input.expected < 0) {
    throw Error(ErrorCode::kInvalidArgument,
                "input_tokens is " + std::to_string(input.expected) + ": expected 0 or more");
  }
  if (input.context && *input.context < 0) {
    throw Error(ErrorCode::kInvalidArgument,
                "context_tokens is " + std::to_string(*input.context) + ": expected 0 or more");
  }
  if (input.most < input.expected) {
    throw Error(ErrorCode::kInvalidArgument,
                "max_input_tokens is " + std::to_string(input.most) + ", but the query has " +
                    std::to_string(input.expected) + " input_tokens: expected no fewer");
  }
  rule.input = input;
  rule.images = size.images;
  rule.requirements = size.requirements;
  if (size.images > 0) rule.requirements.add(Capability::kImages);
}

void resolve(const RouteOptions& options, const Policy& defaults, const Pool& pool, Rule& rule) {
  const Policy& policy = options.policy;
  check(policy);
  // Not merge(), which would copy the names of models for every decision.
  const auto setting = [&](auto member) -> const auto& {
    return policy.*member ? policy.*member : defaults.*member;
  };
  rule.decision_rules = setting(&Policy::rules).value_or(DecisionRules::kReference);
  const bool corrected = rule.decision_rules == DecisionRules::kCorrected;
  rule.goal = resolve_goal(policy, defaults, rule.decision_rules);
  rule.goal.quality_floor = setting(&Policy::min_quality).value_or(0);
  rule.quality_fraction = setting(&Policy::quality_fraction).value_or(0);
  rule.token_floor = policy.token_floor.value_or(corrected ? defaults.token_floor.value_or(0) : 0);
  resolve_caps(policy.cap, defaults.cap, rule);
  rule.max_cost_usd = setting(&Policy::max_cost_usd).value_or(kNoLimit);
  rule.max_latency_ms = setting(&Policy::max_latency_ms).value_or(kNoLimit);
  const auto& max_output_tokens = setting(&Policy::max_output_tokens);
  if (max_output_tokens && *max_output_tokens < rule.least_cap) {
    throw_contradiction("max_output_tokens, " + std::to_string(*max_output_tokens) +
                            ", and cap.minimum, " +
                            std::to_string(static_cast<std::uint32_t>(rule.least_cap)) + ",",
                        "caps are never smaller than the latter; raise the one or lower the other");
  }
  rule.max_output_tokens = max_output_tokens ? *max_output_tokens : kNoLimit;
  rule.risk_aversion = setting(&Policy::risk_aversion).value_or(0);
  rule.monotone = setting(&Policy::monotone).value_or(false);
  rule.continuous = setting(&Policy::continuous).value_or(false);
  // Without interpolated budgets, monotone has no effect.
  if (rule.monotone && !setting(&Policy::continuous)) {
    throw Error(ErrorCode::kInvalidArgument,
                "monotone is set without continuous, which it modifies; set both");
  }
  rule.monotone = rule.monotone && rule.continuous;
  exclude_models(setting(&Policy::allow), setting(&Policy::deny),
                 setting(&Policy::available_only).value_or(corrected), pool, rule);
}

}  // namespace r2router::internal
