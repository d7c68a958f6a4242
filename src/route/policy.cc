#include "r2router/policy.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/edit_distance.h"
#include "base/excerpt.h"
#include "base/file.h"
#include "base/json.h"
#include "base/json_names.h"
#include "route/route_numbers.h"

namespace r2router {
namespace {

using io::Json;
using io::JsonDocument;
using io::JsonView;

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxPolicyBytes = 1 << 20;
constexpr const char* kPolicySuffix = ".json";

constexpr std::pair<std::string_view, Objective> kObjectives[] = {
    {"risk", Objective::kRisk},
    {"usd", Objective::kUsd},
    {"cheapest", Objective::kCheapest},
    {"best", Objective::kBest}};

constexpr std::pair<std::string_view, bool RouteOptions::*> kFlags[] = {
    {"continuous", &RouteOptions::continuous}, {"monotone", &RouteOptions::monotone}};

constexpr std::pair<std::string_view, std::vector<std::string> RouteOptions::*> kModels[] = {
    {"allow", &RouteOptions::allow}, {"deny", &RouteOptions::deny}};

double read_number(const JsonView& field) {
  constexpr double kMost = std::numeric_limits<double>::max();
  return field.number(-kMost, kMost, "a number");
}

std::uint32_t read_tokens(const JsonView& field) {
  return static_cast<std::uint32_t>(
      field.integer(1, UINT32_MAX, "a whole number of tokens, 1 or more"));
}

CapRule read_cap(const JsonView& field) {
  CapRule cap;
  for (const auto& [name, value] : field.members()) {
    if (name == "margin") {
      cap.margin = read_number(value);
    } else if (name == "minimum") {
      cap.minimum = read_tokens(value);
    } else if (name == "unlimited") {
      cap.unlimited = read_tokens(value);
    } else {
      value.fail_with("this setting of a cap is not known, expected margin, minimum or unlimited");
    }
  }
  return cap;
}

/// Reads the member into the field of that name in a list; false if there is none.
template <typename Field, std::size_t count, typename Read>
bool read_field(std::string_view name, const std::pair<std::string_view, Field> (&fields)[count],
                RouteOptions& policy, Read read) {
  for (const auto& [known, field] : fields) {
    if (known != name) continue;
    policy.*field = read();
    return true;
  }
  return false;
}

void read_member(std::string_view name, const JsonView& value, RouteOptions& policy) {
  const auto strings = [&] {
    std::vector<std::string> names;
    for (const JsonView& element : value.elements("an array of models' names")) {
      names.push_back(element.string());
    }
    return names;
  };
  if (read_field(name, kRouteNumbers, policy, [&] { return read_number(value); }) ||
      read_field(name, kFlags, policy, [&] { return value.boolean(); }) ||
      read_field(name, kModels, policy, strings)) {
    return;
  }
  if (name == "objective") {
    policy.objective = io::read_name(value, kObjectives);
  } else if (name == "rules") {
    policy.rules = io::read_name(value, io::kDecisionRules);
  } else if (name == "available_only") {
    policy.available_only = value.boolean();
  } else if (name == "max_output_tokens") {
    policy.max_output_tokens = read_tokens(value);
  } else if (name == "risk_aversion") {
    policy.risk_aversion = read_number(value);
  } else if (name == "cap") {
    policy.cap = read_cap(value);
  } else if (name == "calibration") {
    value.members();
  } else {
    // Unlike a checkpoint's: a constraint that is passed over would be broken.
    value.fail_with("this option is not known; see r2router/policy.h for those that are");
  }
}

Json policy_json(const RouteOptions& policy) {
  Json json = Json::object();
  if (policy.objective) json["objective"] = io::name_of(*policy.objective, kObjectives);
  for (const auto& [name, field] : kRouteNumbers) {
    if (policy.*field) json[std::string(name)] = *(policy.*field);
  }
  if (policy.risk_aversion != 0) json["risk_aversion"] = policy.risk_aversion;
  if (policy.max_output_tokens) json["max_output_tokens"] = *policy.max_output_tokens;
  for (const auto& [name, field] : kModels) {
    if (!(policy.*field).empty()) json[std::string(name)] = policy.*field;
  }
  if (policy.available_only) json["available_only"] = *policy.available_only;
  if (policy.rules) json["rules"] = io::name_of(*policy.rules, io::kDecisionRules);
  for (const auto& [name, field] : kFlags) {
    if (policy.*field) json[std::string(name)] = true;
  }
  if (policy.cap != CapRule{}) {
    Json& cap =
        json["cap"] = {{"minimum", policy.cap.minimum}, {"unlimited", policy.cap.unlimited}};
    if (policy.cap.margin) cap["margin"] = *policy.cap.margin;
  }
  return json;
}

std::string text_of(const Json& json) {
  try {
    return json.dump(2) + "\n";
  } catch (const Json::exception&) {
    throw Error(ErrorCode::kInvalidArgument,
                "a model's name in the policy is not UTF-8, as JSON must be; re-encode it");
  }
}

Json figure_json(const CalibratedFigure& figure) {
  return {{"value", figure.value}, {"low", figure.low}, {"high", figure.high}};
}

Json target_json(const CalibrationTarget& target) {
  switch (target.kind) {
    case CalibrationTarget::Kind::kCost:
      return {{"cost_usd", target.value}};
    case CalibrationTarget::Kind::kQuality:
      return {{"quality", target.value}};
    case CalibrationTarget::Kind::kShareOfBest:
      break;
  }
  return {{"share_of_best", target.value}};
}

bool is_policy_name(std::string_view name) {
  constexpr std::string_view kAllowed =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
  return !name.empty() && name.find_first_not_of(kAllowed) == name.npos;
}

fs::path policies_folder(const std::string& checkpoint_folder) {
  return fs::path(checkpoint_folder) / "policies";
}

/// Those that a checkpoint's folder keeps.
std::vector<std::string> policy_names(const std::string& checkpoint_folder) {
  std::vector<std::string> names;
  std::error_code none;
  for (fs::directory_iterator entry(policies_folder(checkpoint_folder), none), end;
       !none && entry != end; entry.increment(none)) {
    const fs::path file = entry->path().filename();
    if (file.extension() == kPolicySuffix && is_policy_name(file.stem().string())) {
      names.push_back(file.stem().string());
    }
  }
  return names;
}

}  // namespace

RouteOptions parse_policy(std::string_view json, const std::string& file) {
  const JsonDocument document(json, file, ErrorCode::kBadConfig);
  RouteOptions policy;
  for (const auto& [name, value] : document.root().members("a policy: a JSON object")) {
    read_member(name, value, policy);
  }
  return policy;
}

RouteOptions load_policy(const std::string& path) {
  return parse_policy(io::read_text(path, kMaxPolicyBytes, ErrorCode::kBadConfig), path);
}

std::string named_policy_path(std::string_view name, const std::string& checkpoint_folder) {
  if (!is_policy_name(name)) {
    throw Error(ErrorCode::kInvalidArgument,
                "the policy's name is " + excerpt(name) +
                    ": expected letters, digits, - and _, at least one of them");
  }
  return (policies_folder(checkpoint_folder) / name).string() + kPolicySuffix;
}

std::string find_policy(const std::string& policy, const std::string& checkpoint_folder) {
  std::error_code ignored;  // what cannot be looked at is not there
  const fs::file_status status = fs::status(policy, ignored);
  if (fs::exists(status) && !fs::is_directory(status)) return policy;
  if (checkpoint_folder.empty()) {
    throw Error(ErrorCode::kNotFound, "there is no such file: expected a policy's",
                {.file = policy});
  }
  if (is_policy_name(policy)) {
    const std::string path = named_policy_path(policy, checkpoint_folder);
    if (fs::exists(path, ignored)) return path;
  }
  std::vector<std::string> names = policy_names(checkpoint_folder);
  std::ranges::sort(names, {}, [&](const std::string& name) {
    return std::pair(internal::edit_distance(policy, name), name);
  });
  std::string known;
  for (const std::string& name : names) known += (known.empty() ? " " : ", ") + name;
  throw Error(ErrorCode::kNotFound,
              "expected the path of a policy file or the name of one in " +
                  policies_folder(checkpoint_folder).string() +
                  (known.empty() ? ", which has none" : "; there are:" + known),
              {.file = policy});
}

std::string to_json(const RouteOptions& policy) { return text_of(policy_json(policy)); }

RouteOptions calibrated_policy(const RouteOptions& base, const Calibration& calibration) {
  RouteOptions policy = base;
  policy.lambda.reset();
  policy.willingness_to_pay.reset();
  policy.quality_fraction.reset();
  if (calibration.kind == CalibratedSetting::kWillingnessToPay) {
    policy.objective = Objective::kUsd;
    policy.willingness_to_pay = calibration.setting.value;
  } else {
    policy.objective = Objective::kCheapest;
    policy.quality_fraction = calibration.setting.value;
  }
  return policy;
}

std::string to_json(const RouteOptions& base, const Calibration& calibration) {
  Json json = policy_json(calibrated_policy(base, calibration));
  json["calibration"] = {{"target", target_json(calibration.target)},
                         {"figures", calibration.realised ? "realised" : "predicted"},
                         {"queries", calibration.queries},
                         {"setting", figure_json(calibration.setting)},
                         {"cost_usd", figure_json(calibration.cost_usd)},
                         {"quality", figure_json(calibration.quality)},
                         {"best_quality", calibration.best_quality}};
  if (calibration.realised) {
    json["calibration"]["predicted"] = {{"cost_usd", calibration.predicted.cost_usd},
                                        {"quality", calibration.predicted.quality}};
  }
  return text_of(json);
}

}  // namespace r2router
