#include "cli/policy_options.h"

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>

#include "r2router/settings.h"

#include "cli/load_router.h"
#include "cli/usage_error.h"

namespace r2router::cli {
namespace {

constexpr const char* kGroup = "Constraints and trade-off";

/// All its spellings, as CLI11 takes them.
std::string flags_of(const Setting& setting) {
  if (!setting.flag.empty()) return std::string(setting.flag);
  std::string name(setting.name);
  std::ranges::replace_if(
      name, [](char c) { return c == '_' || c == '.'; }, '-');
  const bool flag = setting.type() == Setting::Type::kFlag;
  return "--" + name + (flag ? ",!--no-" + name : "");
}

std::string flag_of(const Setting& setting) {
  const std::string flags = flags_of(setting);
  return flags.substr(0, flags.find(','));
}

/// With the setting's range, and with flags instead of setting names.
std::string help_of(const Setting& setting) {
  std::string help;
  bool name = false;
  for (std::string_view rest = setting.help; !rest.empty(); name = !name) {
    const std::string_view part = rest.substr(0, rest.find('`'));
    rest.remove_prefix(std::min(part.size() + 1, rest.size()));
    const Setting* named = name ? find_setting(part) : nullptr;
    help += named != nullptr ? flag_of(*named) : std::string(part);
  }
  const std::string range = setting.range();
  if (!range.empty()) help += " [" + range + "]";
  return help;
}

std::string type_of(const Setting& setting) {
  switch (setting.type()) {
    case Setting::Type::kModels:
      return "NAME[,NAME]";
    case Setting::Type::kName:
      return "NAME";
    case Setting::Type::kFlag:
      return "";
    case Setting::Type::kNumber:
    case Setting::Type::kWholeNumber:
      break;
  }
  if (setting.unit == "USD") return "USD";
  if (setting.unit == "milliseconds") return "MS";
  return setting.unit == "tokens" ? "N" : "X";
}

/// Converts an option's text to the setting's value; returns a string if that fails.
SettingValue parse(const Setting& setting, const std::string& text) {
  std::int64_t whole = 0;
  double number = 0;
  if (setting.type() == Setting::Type::kWholeNumber && CLI::detail::lexical_cast(text, whole)) {
    return whole;
  }
  if (setting.type() == Setting::Type::kNumber && CLI::detail::lexical_cast(text, number)) {
    return number;
  }
  return text;
}

CLI::Validator validator_of(const Setting& setting) {
  if (const auto names = setting.names(); !names.empty()) {
    return one_of({names.begin(), names.end()});
  }
  return CLI::Validator(
      [&setting](const std::string& text) -> std::string {
        Policy ignored;
        if (assign(setting, parse(setting, text), ignored)) return {};
        return "expected " + setting.expected() + ", found \"" + text + "\"";
      },
      "");
}

void add_option(CLI::App& command, const Setting& setting, Policy& given) {
  const std::string flags = flags_of(setting), help = help_of(setting);
  const auto set = [&setting, &given](const SettingValue& value) {
    return assign(setting, value, given);
  };
  CLI::Option* option = nullptr;
  if (setting.type() == Setting::Type::kFlag) {
    // The number of times given, minus that of the opposite flag.
    option = command.add_flag_function(
        flags,
        [set, flags](std::int64_t count) {
          if (count == 0) {
            const std::size_t comma = flags.find(",!");
            throw CLI::ValidationError(flags.substr(0, comma) + " and " + flags.substr(comma + 2) +
                                       " exclude each other: use one of them");
          }
          set(count > 0);
        },
        help);
  } else if (setting.type() == Setting::Type::kModels) {
    option = command
                 .add_option_function<std::vector<std::string>>(
                     flags, [set](const std::vector<std::string>& names) { set(names); }, help)
                 ->delimiter(',')
                 ->allow_extra_args(false);
  } else {
    option = command.add_option_function<std::string>(
        flags, [set, &setting](const std::string& text) { set(parse(setting, text)); }, help);
    option->check(validator_of(setting));
  }
  option->group(kGroup);
  if (const std::string type = type_of(setting); !type.empty()) option->type_name(type);
}

}  // namespace

void add_policy_options(CLI::App& command, PolicySettings& settings) {
  command
      .add_option("--policy", settings.policy,
                  "File, or name of a policy in the checkpoint's folder (see r2-router calibrate), "
                  "with defaults for these options")
      ->group(kGroup)
      ->type_name("FILE.json|NAME");
  for (const Setting& setting : r2router::settings()) {
    add_option(command, setting, settings.given);
  }
}

Policy read_policy(const std::string& policy, const std::string& checkpoint_dir) {
  if (policy.empty()) return {};
  return load_policy(find_policy(policy, checkpoint_folder(checkpoint_dir)));
}

Error with_flag_named(const Error& error, const PolicySettings& settings, const Policy& policy) {
  const Setting* setting = find_setting(error.where().option);
  if (setting == nullptr) return error;
  // If a query line or a policy set it, keep the library's name.
  const auto given = value_of(*setting, settings.given);
  if (!given || given != value_of(*setting, policy)) return error;
  Error::Where where = error.where();
  where.option = flag_of(*setting);
  return Error(error.code(), error.message(), where);
}

}  // namespace r2router::cli
