// The settings of a Policy as a table. Flags, keywords, JSON keys, help texts and error messages of
// all front ends are derived from it.
//
//     for (const Setting& setting : settings()) print(setting.name, setting.help);
//     const Setting* setting = find_setting(key);
//     if (setting == nullptr) fail("unknown setting");
//     if (!assign(*setting, value, policy)) fail("expected " + setting->expected());
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "r2router/export.h"
#include "r2router/policy.h"

namespace r2router {

/// A setting's value as front ends read it.
using SettingValue =
    std::variant<bool, std::int64_t, double, std::string, std::vector<std::string>>;

/// One setting: a row of the table. CONTRIBUTING.md says how to add one.
struct Setting {
  template <typename Value>
  using Member = std::optional<Value>& (*)(Policy&);

  /// Its name in JSON. "cap.margin" is the member "margin" of the object "cap".
  std::string_view name;
  /// The member of Policy that holds it. Its type is the type of the setting.
  std::variant<Member<bool>, Member<double>, Member<std::uint32_t>, Member<Objective>,
               Member<DecisionRules>, Member<std::vector<std::string>>>
      member;
  /// Help text, one or two sentences; `names` of other settings are in backticks.
  std::string_view help;
  /// Unit of a number: "USD", "tokens", "milliseconds", …; or empty.
  std::string_view unit = {};
  /// Range of a number.
  double least = 0, most = std::numeric_limits<double>::max();
  bool above_least = false;  ///< `least` itself is out of range
  /// Part of the trade-off, which merge() replaces as a whole.
  bool trade_off = false;
  /// Its command-line flags; empty: "--" and the name with hyphens. See flags().
  std::string_view flag = {};

  enum class Type : std::uint8_t { kNumber, kWholeNumber, kFlag, kName, kModels };
  R2ROUTER_EXPORT Type type() const noexcept;
  /// The values of a kName, such as "usd".
  R2ROUTER_EXPORT std::vector<std::string_view> names() const;
  /// "from 0 to 1", "0 or more", "more than 0"; empty if it is not a number.
  R2ROUTER_EXPORT std::string range() const;
  /// Completes "expected …": "a number of USD, 0 or more".
  R2ROUTER_EXPORT std::string expected() const;
  /// Its command-line flags, separated by commas: "--lambda,--lambda_val". "!" marks the one that
  /// sets a kFlag to false: "--monotone,!--no-monotone".
  R2ROUTER_EXPORT std::string flags() const;
  /// The first of them.
  R2ROUTER_EXPORT std::string main_flag() const;
  /// `help` with its range, and with flags in place of names of settings.
  R2ROUTER_EXPORT std::string flag_help() const;
  /// The placeholder of the value in command-line help: "USD", "N", "best|cheapest".
  R2ROUTER_EXPORT std::string value_name() const;
};

/// Every setting, in the order of Policy.
R2ROUTER_EXPORT std::span<const Setting> settings() noexcept;

/// The setting with this name, or null.
R2ROUTER_EXPORT const Setting* find_setting(std::string_view name) noexcept;

/// Assigns a value to the setting. Returns false and leaves `policy` unchanged if the setting does
/// not accept it.
R2ROUTER_EXPORT bool assign(const Setting& setting, const SettingValue& value, Policy& policy);

/// The same for a value as text: "0.5", "usd", "true" or "model-1,model-2".
R2ROUTER_EXPORT bool assign_text(const Setting& setting, std::string_view text, Policy& policy);

/// The setting's value; empty if the policy does not set it.
R2ROUTER_EXPORT std::optional<SettingValue> value_of(const Setting& setting, const Policy& policy);

/// The value as shown in error messages: 2, "x" (in quotes), true, or a list of 3.
R2ROUTER_EXPORT std::string describe(const SettingValue& value);

/// Throws Error(kInvalidArgument) that names the setting if a setting is out of range.
R2ROUTER_EXPORT void check(const Policy& policy);

/// The JSON Schema of policy files, the same as config/policy.schema.json.
R2ROUTER_EXPORT std::string policy_schema();

}  // namespace r2router
