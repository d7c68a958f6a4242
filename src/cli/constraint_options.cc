#include "cli/constraint_options.h"

#include <map>
#include <optional>
#include <tuple>
#include <utility>

#include <CLI/CLI.hpp>

#include "r2router/policy.h"

#include "cli/load_router.h"
#include "route/route_numbers.h"

namespace r2router::cli {
namespace {

constexpr std::tuple<const char*, std::optional<double> RouteOptions::*, const char*, const char*>
    kNumbers[] = {
        {"--willingness-to-pay", &RouteOptions::willingness_to_pay, "USD",
         "What quality 1 instead of 0 is worth: highest quality - cost / USD"},
        {"--min-quality", &RouteOptions::min_quality, "X",
         "Least predicted quality, 0 to 1; alone: the cheapest pair that has it"},
        {"--quality-fraction", &RouteOptions::quality_fraction, "X",
         "Least share of the best predicted quality, 0 to 1; alone: the cheapest pair that has it"},
        {"--max-cost", &RouteOptions::max_cost_usd, "USD",
         "Most that a query can cost, however long the answer, with all retries"},
        {"--max-latency-ms", &RouteOptions::max_latency_ms, "MS",
         "Longest predicted time of an answer, for models whose speed the config gives"}};

constexpr std::tuple<const char*, bool RouteOptions::*, const char*> kFlags[] = {
    {"--continuous", &RouteOptions::continuous,
     "Consider budgets between the trained ones too, by linear interpolation"},
    {"--monotone", &RouteOptions::monotone,
     "With --continuous: count on a larger budget for at least the quality of a smaller one"}};

const std::map<std::string, Objective> kObjectives = {{"risk", Objective::kRisk},
                                                      {"usd", Objective::kUsd},
                                                      {"cheapest", Objective::kCheapest},
                                                      {"best", Objective::kBest}};

template <typename Field>
void take(const Field& from, Field& to) {
  if (from != Field{}) to = from;
}

}  // namespace

// CLI11's own ranges let NaN pass.
std::string check_not_negative(const std::string& text) {
  double value = 0;
  if (CLI::detail::lexical_cast(text, value) && value >= 0) return {};
  return "expected a number, 0 or more, found \"" + text + "\"";
}

void add_constraint_options(CLI::App& command, ConstraintSettings& settings) {
  constexpr const char* kGroup = "What may be chosen, and by what";
  const auto grouped = [&](CLI::Option* option, const char* type) {
    option->group(kGroup);
    return *type != '\0' ? option->type_name(type) : option;
  };
  RouteOptions& given = settings.given;
  grouped(command.add_option("--policy", settings.policy,
                             "Take what is not given here from a file, or from a policy that is "
                             "kept in the checkpoint's folder (see r2-router calibrate)"),
          "FILE.json|NAME");
  grouped(command.add_option("--objective", settings.objective, "What to choose the best by"),
          "NAME")
      ->check(CLI::IsMember({"risk", "usd", "cheapest", "best"}));
  for (const auto& [name, field, type, description] : kNumbers) {
    grouped(command.add_option(name, given.*field, description), type)
        ->check(CLI::Validator(check_not_negative, ""));
  }
  grouped(command.add_option("--risk-aversion", given.risk_aversion,
                             "Standard deviations of its error that every quality is lowered by"),
          "K");
  grouped(command.add_option("--max-output-tokens", given.max_output_tokens,
                             "Largest cap that may be sent with a call"),
          "N");
  for (const auto& [name, field, description] : kFlags) {
    grouped(command.add_flag(name, given.*field, description), "");
  }
}

void take_numbers(const RouteOptions& from, RouteOptions& to) {
  if (from.lambda || from.willingness_to_pay || from.objective) {
    to.objective.reset();
    to.lambda.reset();
    to.willingness_to_pay.reset();
  }
  for (const auto& [name, field] : kRouteNumbers) take(from.*field, to.*field);
  take(from.input_tokens, to.input_tokens);
  take(from.max_output_tokens, to.max_output_tokens);
}

RouteOptions read_policy(const std::string& policy, const std::string& checkpoint_dir) {
  if (policy.empty()) return {};
  return load_policy(find_policy(policy, checkpoint_folder(checkpoint_dir)));
}

RouteOptions with_constraints(const CLI::App& command, const ConstraintSettings& settings,
                              const RouteOptions& options, const RouteOptions& policy) {
  RouteOptions result = policy;
  RouteOptions given = settings.given;
  if (!settings.objective.empty()) given.objective = kObjectives.at(settings.objective);
  given.lambda = options.lambda;
  given.token_floor = options.token_floor;
  given.input_tokens = options.input_tokens;
  take_numbers(given, result);
  take(given.objective, result.objective);
  take(options.allow, result.allow);
  take(options.deny, result.deny);
  take(options.available_only, result.available_only);
  take(options.rules, result.rules);
  take(options.explain, result.explain);
  if (command.count("--risk-aversion") > 0) result.risk_aversion = given.risk_aversion;
  for (const auto& flag : kFlags) {
    const auto field = std::get<1>(flag);
    take(given.*field, result.*field);
  }
  return result;
}

Error with_flag_named(const Error& error, const ConstraintSettings& settings,
                      const RouteOptions& options) {
  for (const auto& [name, field] : kRouteNumbers) {
    // A query line or a policy that set it calls it as the library does.
    if (name != error.where().option || !(settings.given.*field) ||
        settings.given.*field != options.*field) {
      continue;
    }
    for (const auto& number : kNumbers) {
      if (std::get<1>(number) != field) continue;
      Error::Where where = error.where();
      where.option = std::get<0>(number);
      return Error(error.code(), error.message(), where);
    }
  }
  return error;
}

}  // namespace r2router::cli
