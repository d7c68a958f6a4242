// The table of settings, and what is derived from it for every front end. One row describes one
// member of Policy; reading, writing, merging and checking a policy loop over the rows.
#include "r2router/settings.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <system_error>
#include <type_traits>
#include <utility>

#include "r2router/error.h"

#include "base/excerpt.h"
#include "base/json.h"
#include "base/suggestion.h"
#include "route/settings.h"

namespace r2router {
namespace {

using io::Json;

#define R2ROUTER_MEMBER(path) \
  .name = #path, .member = +[](Policy & policy) -> auto& { return policy.path; }

constexpr Setting kSettings[] = {
    {R2ROUTER_MEMBER(objective),
     .help = "What to optimise: `lambda` (risk), `willingness_to_pay` (usd), only cost (cheapest) "
             "or only quality (best). Default: usd with `willingness_to_pay`, cheapest if only a "
             "quality is required, else risk.",
     .trade_off = true},
    {R2ROUTER_MEMBER(lambda),
     .help = "Weight of cost (USD) against quality: 0 ignores cost, 1 ignores quality. Default: "
             "the checkpoint's.",
     .most = 1, .trade_off = true, .flag = "--lambda,--lambda_val"},
    {R2ROUTER_MEMBER(willingness_to_pay),
     .help = "Value of quality 1 over quality 0 for a query. Chooses the pair with the highest "
             "quality minus cost / USD.",
     .unit = "USD", .above_least = true, .trade_off = true},
    {R2ROUTER_MEMBER(min_quality),
     .help = "Minimum predicted quality. If no pair has it, the best one is returned.", .most = 1},
    {R2ROUTER_MEMBER(quality_fraction),
     .help = "Minimum predicted quality as a fraction of the query's best. If no pair has it, the "
             "best one is returned.",
     .most = 1},
    {R2ROUTER_MEMBER(risk_aversion),
     .help = "Penalises uncertainty: subtracts this many standard deviations of its error from "
             "each predicted quality.",
     .unit = "standard deviations"},
    {R2ROUTER_MEMBER(max_cost_usd),
     .help = "Maximum cost of a query in the worst case, with all retries.", .unit = "USD",
     .flag = "--max-cost"},
    {R2ROUTER_MEMBER(max_output_tokens), .help = "Maximum cap (max_tokens) sent with a call.",
     .unit = "tokens", .least = 1},
    {R2ROUTER_MEMBER(max_latency_ms),
     .help = "Maximum predicted time of an answer. Excludes models of unknown speed.",
     .unit = "milliseconds"},
    {R2ROUTER_MEMBER(allow),
     .help = "Models to consider; * matches any characters and ? matches one."},
    {R2ROUTER_MEMBER(deny), .help = "Models to exclude, in the same form as `allow`."},
    {R2ROUTER_MEMBER(available_only),
     .help = "Exclude models that are marked as unavailable. Default: released checkpoints include "
             "them, others do not.",
     .flag = "--available-only,!--all-models"},
    {R2ROUTER_MEMBER(continuous),
     .help = "Also consider budgets between the trained ones, by linear interpolation."},
    {R2ROUTER_MEMBER(monotone), .help = "With `continuous`: assume that a larger budget has at "
                                        "least the quality of a smaller one."},
    {R2ROUTER_MEMBER(token_floor), .help = "Minimum predicted length of an answer.",
     .unit = "tokens"},
    {R2ROUTER_MEMBER(rules),
     .help = "reference decides like the published Python package; corrected fixes its rounding "
             "and ties. Default: the checkpoint's."},
    {R2ROUTER_MEMBER(cap.margin), .help = "Margin of a cap above its budget, as a fraction. "
                                          "Default: 0.2; 0 for a checkpoint of hard caps."},
    {R2ROUTER_MEMBER(cap.minimum), .help = "Smallest cap that may be sent. Default: 16.",
     .unit = "tokens", .least = 1},
    {R2ROUTER_MEMBER(cap.unlimited),
     .help = "Cap of an unlimited budget. Default: the 99th percentile of the predicted length, "
             "within the model's own limit.",
     .unit = "tokens", .least = 1},
};

#undef R2ROUTER_MEMBER

constexpr std::pair<std::string_view, Objective> kObjectives[] = {
    {"risk", Objective::kUtility},
    {"usd", Objective::kUsd},
    {"cheapest", Objective::kCheapest},
    {"best", Objective::kBest}};
constexpr std::pair<std::string_view, DecisionRules> kRules[] = {
    {"reference", DecisionRules::kReference}, {"corrected", DecisionRules::kCorrected}};

constexpr std::span<const std::pair<std::string_view, Objective>> names_of(Objective) {
  return kObjectives;
}
constexpr std::span<const std::pair<std::string_view, DecisionRules>> names_of(DecisionRules) {
  return kRules;
}

/// Calls visit(std::optional<Value>&) with the setting's member.
template <typename Visit>
decltype(auto) visit_member(const Setting& setting, Policy& policy, Visit visit) {
  return std::visit([&](auto member) { return visit(member(policy)); }, setting.member);
}
template <typename Visit>
decltype(auto) visit_member(const Setting& setting, const Policy& policy, Visit visit) {
  // The member function only selects a part of the policy.
  return visit_member(setting, const_cast<Policy&>(policy),
                      [&](const auto& member) { return visit(member); });
}

bool in_range(const Setting& setting, double value) {
  return (setting.above_least ? value > setting.least : value >= setting.least) &&
         value <= setting.most;
}

/// Shortest text that reads back as the same number.
template <typename Number>
std::string number_text(Number value) {
  char text[32];
  return {text, std::to_chars(std::begin(text), std::end(text), value).ptr};
}

template <typename Value>
bool valid(const Setting& setting, const Value& value) {
  if constexpr (std::is_same_v<Value, bool>) {
    return true;
  } else if constexpr (std::is_arithmetic_v<Value>) {
    return in_range(setting, value);
  } else if constexpr (std::is_enum_v<Value>) {
    return std::ranges::any_of(names_of(value),
                               [&](const auto& entry) { return entry.second == value; });
  } else {
    // An empty `allow` would leave no model.
    return !value.empty() || setting.name != "allow";
  }
}

/// Converts a front end's value to the member's type, if possible.
template <typename Value>
std::optional<Value> converted(const SettingValue& given) {
  if constexpr (std::is_same_v<Value, double>) {
    if (const auto* whole = std::get_if<std::int64_t>(&given)) return static_cast<double>(*whole);
  }
  if constexpr (std::is_same_v<Value, std::uint32_t>) {
    const auto* whole = std::get_if<std::int64_t>(&given);
    if (whole == nullptr || !std::in_range<std::uint32_t>(*whole)) return {};
    return static_cast<std::uint32_t>(*whole);
  } else if constexpr (std::is_enum_v<Value>) {
    const auto* name = std::get_if<std::string>(&given);
    if (name == nullptr) return {};
    for (const auto& [known, value] : names_of(Value{})) {
      if (known == *name) return value;
    }
    return {};
  } else {
    const auto* value = std::get_if<Value>(&given);
    return value != nullptr ? std::optional(*value) : std::nullopt;
  }
}

template <typename Value>
SettingValue front_end_value(const Value& value) {
  if constexpr (std::is_same_v<Value, std::uint32_t>) {
    return std::int64_t{value};
  } else if constexpr (std::is_enum_v<Value>) {
    for (const auto& [name, known] : names_of(value)) {
      if (known == value) return std::string(name);
    }
    return std::int64_t{static_cast<int>(value)};  // which assign() rejects
  } else {
    return value;
  }
}

Json to_json_value(const SettingValue& value) {
  return std::visit([](const auto& plain) { return Json(plain); }, value);
}

/// Without a fraction if it has none.
Json bound(double value) {
  if (value == std::floor(value)) return static_cast<std::int64_t>(value);
  return value;
}

/// Where the setting goes in a JSON object: "cap.margin" is in the object "cap".
Json& place_of(const Setting& setting, Json& object) {
  const std::size_t dot = setting.name.find('.');
  if (dot == setting.name.npos) return object[std::string(setting.name)];
  return object[std::string(setting.name.substr(0, dot))]
               [std::string(setting.name.substr(dot + 1))];
}

Json schema_of(const Setting& setting) {
  std::string description(setting.help);
  std::erase(description, '`');
  if (!setting.unit.empty()) description += " Unit: " + std::string(setting.unit) + ".";
  Json schema = {{"description", description}};
  switch (setting.type()) {
    case Setting::Type::kFlag:
      schema["type"] = "boolean";
      break;
    case Setting::Type::kName:
      schema["enum"] = setting.names();
      break;
    case Setting::Type::kModels:
      schema["type"] = "array";
      schema["items"] = {{"type", "string"}};
      if (!valid(setting, std::vector<std::string>())) schema["minItems"] = 1;
      break;
    case Setting::Type::kNumber:
      schema["type"] = "number";
      schema[setting.above_least ? "exclusiveMinimum" : "minimum"] = bound(setting.least);
      if (setting.most < std::numeric_limits<double>::max()) {
        schema["maximum"] = bound(setting.most);
      }
      break;
    case Setting::Type::kWholeNumber:
      schema["type"] = "integer";
      schema["minimum"] = bound(setting.least);
      schema["maximum"] = bound(std::min<double>(setting.most, UINT32_MAX));
      break;
  }
  return schema;
}

}  // namespace

Setting::Type Setting::type() const noexcept {
  return std::visit(
      []<typename Value>(Member<Value>) {
        if (std::is_same_v<Value, bool>) return Type::kFlag;
        if (std::is_same_v<Value, double>) return Type::kNumber;
        if (std::is_same_v<Value, std::uint32_t>) return Type::kWholeNumber;
        return std::is_enum_v<Value> ? Type::kName : Type::kModels;
      },
      member);
}

std::vector<std::string_view> Setting::names() const {
  std::vector<std::string_view> names;
  std::visit(
      [&]<typename Value>(Member<Value>) {
        if constexpr (std::is_enum_v<Value>) {
          for (const auto& [name, value] : names_of(Value{})) names.push_back(name);
        }
      },
      member);
  return names;
}

std::string Setting::range() const {
  if (type() != Type::kNumber && type() != Type::kWholeNumber) return {};
  if (above_least) return "more than " + number_text(least);
  if (most < std::numeric_limits<double>::max()) {
    return "from " + number_text(least) + " to " + number_text(most);
  }
  return number_text(least) + " or more";
}

std::string Setting::expected() const {
  switch (type()) {
    case Type::kFlag:
      return "true or false";
    case Type::kModels:
      return valid(*this, std::vector<std::string>()) ? "a list of model names"
                                                      : "a list of at least one model name";
    case Type::kName: {
      const std::vector<std::string_view> all = names();
      return internal::alternatives(std::vector<std::string>(all.begin(), all.end()));
    }
    case Type::kNumber:
    case Type::kWholeNumber:
      break;
  }
  const std::string of = unit.empty() ? "" : " of " + std::string(unit);
  const bool between = most < std::numeric_limits<double>::max();
  return (type() == Type::kNumber ? "a number" : "a whole number") + of + (between ? " " : ", ") +
         range();
}

std::string Setting::flags() const {
  if (!flag.empty()) return std::string(flag);
  std::string hyphened(name);
  std::ranges::replace_if(
      hyphened, [](char c) { return c == '_' || c == '.'; }, '-');
  return "--" + hyphened + (type() == Type::kFlag ? ",!--no-" + hyphened : "");
}

std::string Setting::main_flag() const {
  const std::string all = flags();
  return all.substr(0, all.find(','));
}

std::string Setting::flag_help() const {
  std::string text;
  bool is_name = false;
  for (std::string_view rest = help; !rest.empty(); is_name = !is_name) {
    const std::string_view part = rest.substr(0, rest.find('`'));
    rest.remove_prefix(std::min(part.size() + 1, rest.size()));
    const Setting* named = is_name ? find_setting(part) : nullptr;
    text += named != nullptr ? named->main_flag() : std::string(part);
  }
  return range().empty() ? text : text + " [" + range() + "]";
}

std::string Setting::value_name() const {
  if (type() == Type::kModels) return "NAME[,NAME]";
  if (type() == Type::kName) {
    std::string all;
    for (const std::string_view value : names()) {
      all += all.empty() ? "" : "|";
      all += value;
    }
    return all;
  }
  if (unit == "USD") return "USD";
  if (unit == "milliseconds") return "MS";
  return unit == "tokens" ? "N" : "X";
}

std::span<const Setting> settings() noexcept { return kSettings; }

const Setting* find_setting(std::string_view name) noexcept {
  const auto* found = std::ranges::find(kSettings, name, &Setting::name);
  return found == std::end(kSettings) ? nullptr : found;
}

bool assign(const Setting& setting, const SettingValue& value, Policy& policy) {
  return visit_member(setting, policy, [&]<typename Value>(std::optional<Value>& member) {
    std::optional<Value> own = converted<Value>(value);
    if (!own || !valid(setting, *own)) return false;
    member = std::move(own);
    return true;
  });
}

bool assign_text(const Setting& setting, std::string_view text, Policy& policy) {
  const auto assign_number = [&](auto number) {
    const char* end = text.data() + text.size();
    const auto [last, error] = std::from_chars(text.data(), end, number);
    return error == std::errc() && last == end && assign(setting, number, policy);
  };
  switch (setting.type()) {
    case Setting::Type::kNumber:
      return assign_number(0.0);
    case Setting::Type::kWholeNumber:
      return assign_number(std::int64_t{0});
    case Setting::Type::kFlag:
      return (text == "true" || text == "false") && assign(setting, text == "true", policy);
    case Setting::Type::kModels: {
      std::vector<std::string> models;
      for (std::size_t begin = 0; begin <= text.size();) {
        const std::size_t end = std::min(text.find(',', begin), text.size());
        models.emplace_back(text.substr(begin, end - begin));
        begin = end + 1;
      }
      return assign(setting, models, policy);
    }
    case Setting::Type::kName:
      break;
  }
  return assign(setting, std::string(text), policy);
}

std::optional<SettingValue> value_of(const Setting& setting, const Policy& policy) {
  return visit_member(setting, policy, [](const auto& member) -> std::optional<SettingValue> {
    if (!member) return {};
    return front_end_value(*member);
  });
}

std::string describe(const SettingValue& value) {
  return std::visit(
      []<typename Value>(const Value& plain) -> std::string {
        if constexpr (std::is_same_v<Value, bool>) {
          return plain ? "true" : "false";
        } else if constexpr (std::is_arithmetic_v<Value>) {
          return number_text(plain);
        } else if constexpr (std::is_same_v<Value, std::string>) {
          return excerpt(plain);
        } else {
          return "a list of " + std::to_string(plain.size());
        }
      },
      value);
}

void check(const Policy& policy) {
  for (const Setting& setting : kSettings) {
    visit_member(setting, policy, [&](const auto& member) {
      if (!member || valid(setting, *member)) return;
      throw Error(ErrorCode::kInvalidArgument, std::string(setting.name) + " is " +
                                                   describe(front_end_value(*member)) +
                                                   ": expected " + setting.expected());
    });
  }
}

Policy merge(const Policy& base, const Policy& override) {
  Policy merged = base;
  const auto sets = [&](const Setting& setting) {
    return visit_member(setting, override, [](const auto& member) { return member.has_value(); });
  };
  const bool trades_off = std::ranges::any_of(
      kSettings, [&](const Setting& setting) { return setting.trade_off && sets(setting); });
  for (const Setting& setting : kSettings) {
    if (!sets(setting) && !(setting.trade_off && trades_off)) continue;
    visit_member(setting, merged, [&]<typename Value>(std::optional<Value>& member) {
      member = std::get<Setting::Member<Value>>(setting.member)(const_cast<Policy&>(override));
    });
  }
  return merged;
}

bool is_group(std::string_view name) {
  return std::ranges::any_of(kSettings, [&](const Setting& setting) {
    return setting.name.size() > name.size() && setting.name.starts_with(name) &&
           setting.name[name.size()] == '.';
  });
}

std::vector<std::string_view> keys_in(std::string_view group) {
  std::vector<std::string_view> keys;
  for (const Setting& setting : kSettings) {
    if (!setting.name.starts_with(group)) continue;
    const std::string_view key = setting.name.substr(0, setting.name.find('.', group.size()));
    if (keys.empty() || keys.back() != key) keys.push_back(key);
  }
  return keys;
}

io::Json policy_json(const Policy& policy) {
  check(policy);
  Json json = Json::object();
  for (const Setting& setting : kSettings) {
    if (const auto value = value_of(setting, policy)) {
      place_of(setting, json) = to_json_value(*value);
    }
  }
  return json;
}

std::string policy_schema() {
  Json properties = Json::object();
  for (const Setting& setting : kSettings) {
    const std::size_t dot = setting.name.find('.');
    if (dot == setting.name.npos) {
      properties[std::string(setting.name)] = schema_of(setting);
      continue;
    }
    Json& group = properties[std::string(setting.name.substr(0, dot))];
    group["type"] = "object";
    group["properties"][std::string(setting.name.substr(dot + 1))] = schema_of(setting);
    group["additionalProperties"] = false;
  }
  properties["calibration"] = {
      {"description", "Origin of the settings, for people. Written by r2-router calibrate."},
      {"type", "object"}};
  const Json schema = {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                       {"title", "A policy of r2router: what a user wants from a choice"},
                       {"description",
                        "Generated from the table of settings in src/route/settings.cc. The "
                        "library also rejects contradictory settings."},
                       {"type", "object"},
                       {"properties", properties},
                       {"additionalProperties", false}};
  return schema.dump(2) + "\n";
}

}  // namespace r2router
