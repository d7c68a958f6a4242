#include "cli/usage_error.h"

#include <algorithm>
#include <cstdio>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>

#include "base/excerpt.h"
#include "base/suggestion.h"

namespace r2router::cli {
namespace {

/// "a, b or c".
std::string alternatives(const std::vector<std::string>& values) {
  std::string text;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i > 0) text += i + 1 == values.size() ? " or " : ", ";
    text += values[i];
  }
  return text;
}

std::string expected_one_of(const std::vector<std::string>& values, const std::string& found) {
  const auto meant = internal::likely_name(found, values);
  return "expected " + alternatives(values) + ", found " + excerpt(found) +
         (meant ? "; did you mean " + *meant + "?" : "");
}

std::string number_text(double value) {
  char digits[64];
  std::snprintf(digits, sizeof digits, "%.15g", value);
  return digits;
}

/// "--lambda" of "--lambda=1".
std::string option_name(const std::string& argument) {
  return argument.substr(0, argument.find('='));
}

const OptionInfo* find_option(const CommandInfo& command, const std::string& name) {
  for (const OptionInfo& option : command.options) {
    if (std::ranges::find(option.names, name) != option.names.end()) return &option;
  }
  return nullptr;
}

/// The subcommands that have an option of this name.
void find_commands_with(const CommandInfo& command, const std::string& option,
                        std::vector<std::string>& found) {
  for (const CommandInfo& other : command.commands) {
    if (find_option(other, option) != nullptr) found.push_back(other.full_name());
    find_commands_with(other, option, found);
  }
}

std::string unknown_option(const CommandInfo& command, const std::string& argument) {
  const std::string name = option_name(argument);
  std::string text = "unknown option " + name;
  std::vector<std::string> commands;
  find_commands_with(command, name, commands);
  if (!commands.empty()) {
    return text + "; it belongs to a command: " + internal::list_of(commands, 3);
  }
  std::vector<std::string> known;
  for (const OptionInfo& option : command.options) {
    if (!option.positional) known.insert(known.end(), option.names.begin(), option.names.end());
  }
  if (const auto meant = internal::likely_name(name, known)) {
    text += "; did you mean " + *meant + "?";
  }
  return text;
}

std::string unknown_command(const CommandInfo& above, const std::string& name) {
  std::vector<std::string> known;
  for (const CommandInfo& command : above.commands) known.push_back(command.name);
  if (known.empty()) return above.full_name() + " has no command " + excerpt(name);
  const auto meant = internal::likely_name(name, known);
  return "unknown command " + excerpt(name) + "; " +
         (meant ? "did you mean " + *meant + "?" : "expected " + alternatives(known));
}

std::string unexpected_argument(const CommandInfo& command, const std::string& argument) {
  if (!command.commands.empty()) return unknown_command(command, argument);
  std::string text = "unexpected argument " + excerpt(argument);
  for (const OptionInfo& option : command.options) {
    if (option.type == "TEXT") {
      return text + ": pass text as " + option.names.front() + " \"...\", in quotes";
    }
  }
  return text;
}

/// The parsed commands, innermost first.
std::vector<const CLI::App*> parsed_commands(const CLI::App& app) {
  std::vector<const CLI::App*> commands = {&app};
  while (!commands.front()->get_subcommands().empty()) {
    commands.insert(commands.begin(), commands.front()->get_subcommands().front());
  }
  return commands;
}

/// The message about arguments that no command takes, if there are any.
std::optional<std::string> extras_message(const CLI::App& app) {
  for (const CLI::App* command : parsed_commands(app)) {
    const std::vector<std::string> extras = command->remaining();
    if (extras.empty()) continue;
    const CommandInfo info = describe(*command);
    const bool is_option = extras.front().size() > 1 && extras.front().front() == '-';
    return is_option ? unknown_option(info, extras.front())
                     : unexpected_argument(info, extras.front());
  }
  return {};
}

/// The expected form of a type's values: "N" is converted to an integer.
std::string expected_value(const std::string& type) {
  return type == "N" ? "a whole number, 0 or more" : "a number";
}

/// "Could not convert: --seed = abc".
std::optional<std::string> conversion_message(const std::string& text, const CommandInfo& command) {
  constexpr std::string_view kBegin = "Could not convert: ", kEquals = " = ";
  const std::size_t equals = text.find(kEquals);
  if (!text.starts_with(kBegin) || equals == text.npos) return {};
  const std::string name = text.substr(kBegin.size(), equals - kBegin.size());
  const OptionInfo* option = find_option(command, name);
  return name + ": expected " + expected_value(option == nullptr ? "" : option->type) + ", found " +
         excerpt(text.substr(equals + kEquals.size()));
}

/// "--query: 1 required TEXT missing".
std::optional<std::string> missing_value_message(const std::string& text) {
  constexpr std::string_view kEnd = " missing";
  const std::size_t colon = text.find(": ");
  if (colon == text.npos || !text.ends_with(kEnd)) return {};
  const std::string_view rest =
      std::string_view(text).substr(colon + 2, text.size() - colon - 2 - kEnd.size());
  const std::string_view type = rest.substr(rest.rfind(' ') + 1);
  return text.substr(0, colon) + " needs a value: " + std::string(type.substr(0, type.find(':')));
}

/// "--query: At Most 1 required but received 2".
std::optional<std::string> repeated_message(const std::string& text) {
  constexpr std::string_view kMost = ": At Most 1 required but received ";
  const std::size_t place = text.find(kMost);
  if (place == text.npos) return {};
  return text.substr(0, place) + " is given " + text.substr(place + kMost.size()) +
         " times: use it once";
}

/// Splits "--a requires --b" at the verb.
std::optional<std::pair<std::string, std::string>> split_at(const std::string& text,
                                                            std::string_view verb) {
  const std::size_t place = text.find(verb);
  if (place == text.npos) return {};
  return std::pair(text.substr(0, place), text.substr(place + verb.size()));
}

template <typename Kind>
bool is(const CLI::ParseError& error) {
  return dynamic_cast<const Kind*>(&error) != nullptr;
}

}  // namespace

std::string usage_message(const CLI::ParseError& error, const CLI::App& app) {
  const std::string text = error.what();
  const CommandInfo command = describe(*parsed_commands(app).front());
  // A misspelt option explains why a required one is missing.
  if (is<CLI::ExtrasError>(error) || is<CLI::RequiredError>(error)) {
    return extras_message(app).value_or(text);
  }
  if (is<CLI::ConversionError>(error)) {
    if (const auto message = conversion_message(text, command)) return *message;
    const std::string name = text.substr(0, text.find(':'));
    if (const OptionInfo* option = find_option(command, name);
        option != nullptr && option->value == OptionInfo::Value::kNone) {
      return name + " takes no value";
    }
  }
  if (is<CLI::ArgumentMismatch>(error)) {
    if (const auto message = missing_value_message(text)) return *message;
    if (const auto message = repeated_message(text)) return *message;
    if (const auto parts = split_at(text, " was given a disallowed flag override")) {
      return parts->first + " takes no value";
    }
  }
  if (is<CLI::RequiresError>(error)) {
    if (const auto parts = split_at(text, " requires ")) {
      return parts->first + " needs " + parts->second + ": use both, or neither";
    }
  }
  if (is<CLI::ExcludesError>(error)) {
    if (const auto parts = split_at(text, " excludes ")) {
      return parts->first + " and " + parts->second + " exclude each other: use one of them";
    }
  }
  return text;
}

const CommandInfo& command_named(const CommandInfo& root, std::span<const std::string> names) {
  const CommandInfo* command = &root;
  for (const std::string& name : names) {
    const CommandInfo* next = find_command(*command, std::span(&name, 1));
    if (next == nullptr) throw CLI::ValidationError(unknown_command(*command, name));
    command = next;
  }
  return *command;
}

CLI::Validator one_of(std::vector<std::string> values) {
  std::string description = "{";
  for (const std::string& value : values) {
    description += (description.size() > 1 ? "," : "") + value;
  }
  return CLI::Validator(
      [values = std::move(values)](const std::string& text) {
        const bool known = std::ranges::find(values, text) != values.end();
        return known ? std::string() : expected_one_of(values, text);
      },
      description + "}");
}

CLI::Validator number_in(double least, double most) {
  const bool bounded = most < std::numeric_limits<double>::max();
  const std::string range = bounded
                                ? "a number from " + number_text(least) + " to " + number_text(most)
                                : "a number, " + number_text(least) + " or more";
  return CLI::Validator(
      [=](const std::string& text) {
        double value = 0;
        if (CLI::detail::lexical_cast(text, value) && value >= least && value <= most) {
          return std::string();
        }
        return "expected " + range + ", found " + excerpt(text);
      },
      "");
}

CLI::Validator whole_number_in(std::uint64_t least, std::uint64_t most) {
  const bool bounded = most < std::numeric_limits<std::uint32_t>::max();
  const std::string range =
      "a whole number" + (bounded ? " from " + std::to_string(least) + " to " + std::to_string(most)
                                  : ", " + std::to_string(least) + " or more");
  return CLI::Validator(
      [=](const std::string& text) {
        std::uint64_t value = 0;
        if (!text.starts_with('-') && CLI::detail::lexical_cast(text, value) && value >= least &&
            value <= most) {
          return std::string();
        }
        return "expected " + range + ", found " + excerpt(text);
      },
      "");
}

}  // namespace r2router::cli
