#include "cli/command_tree.h"

#include <sstream>
#include <utility>

#include <CLI/CLI.hpp>

#include "base/excerpt.h"
#include "base/suggestion.h"

namespace r2router::cli {
namespace {

using Kind = Block::Kind;

/// Takes several values, one after the other.
bool takes_many(const CLI::Option& option) {
  return option.get_expected_max() > 1 &&
         (option.get_positional() || option.get_allow_extra_args());
}

Block entry_of(const CLI::Option& option) {
  Block entry{.kind = Kind::kEntry,
              .text = option.get_description(),
              .names = names_of(option),
              .value = option.get_positional() ? "" : type_of(option)};
  if (option.get_required() && !option.get_positional()) entry.text += " (required)";
  std::string value = option.get_default_str();
  if (value.starts_with('[')) value = value.substr(1, value.size() - 2);  // a list
  if (!value.empty()) entry.text += " (default: " + value + ")";
  if (takes_many(option)) (entry.value.empty() ? entry.names.back() : entry.value) += "...";
  return entry;
}

void append_options(std::vector<Block>& blocks, const CLI::App& command) {
  const auto append = [&](Block title, const auto& belongs) {
    for (const CLI::Option* option : options_of(command)) {
      if (!belongs(*option)) continue;
      if (!title.text.empty()) blocks.push_back(std::exchange(title, {}));
      blocks.push_back(entry_of(*option));
    }
  };
  append({.kind = Kind::kTitle, .text = "Arguments"},
         [](const CLI::Option& option) { return option.get_positional(); });
  for (const std::string& group : command.get_groups()) {
    append({.kind = Kind::kGroup, .text = group}, [&](const CLI::Option& option) {
      return !option.get_positional() && option.get_group() == group;
    });
  }
}

void append_footer(std::vector<Block>& blocks, const std::string& footer) {
  std::istringstream lines(footer);
  bool begins = true;
  for (std::string line; std::getline(lines, line); begins = line.empty()) {
    if (line.empty()) continue;
    if (line == "Examples:") {
      blocks.push_back({.kind = Kind::kTitle, .text = "Examples"});
      continue;
    }
    if (begins) blocks.push_back({.kind = Kind::kNote});
    const bool literal = line.starts_with(' ');
    const Kind kind = literal ? Kind::kLiteral : Kind::kProse;
    const std::string text = line.substr(literal ? 2 : 0);
    if (blocks.back().kind == kind) {
      blocks.back().text += (literal ? '\n' : ' ') + text;
    } else {
      blocks.push_back({.kind = kind, .text = text});
    }
  }
}

}  // namespace

std::vector<const CLI::App*> commands_of(const CLI::App& command) {
  return command.get_subcommands([](const CLI::App* below) { return !below->get_group().empty(); });
}

const CLI::App* find_command(const CLI::App& command, std::string_view name) {
  for (const CLI::App* other : commands_of(command)) {
    if (other->get_name() == name) return other;
  }
  return nullptr;
}

std::string unknown_command(const CLI::App& above, const std::string& name) {
  std::vector<std::string> known;
  for (const CLI::App* command : commands_of(above)) known.push_back(command->get_name());
  if (known.empty()) return full_name(above) + " has no command " + excerpt(name);
  if (name == "bulk") {
    return "bulk needs Python: pip install 'r2-router[bulk]', then python -m r2_router bulk";
  }
  const auto meant = internal::likely_name(name, known);
  return "unknown command " + excerpt(name) + "; " +
         (meant ? "did you mean " + *meant + "?" : "expected " + internal::alternatives(known));
}

const CLI::App& command_named(const CLI::App& program, const std::vector<std::string>& names) {
  const CLI::App* command = &program;
  for (const std::string& name : names) {
    const CLI::App* below = find_command(*command, name);
    if (below == nullptr) throw CLI::ValidationError(unknown_command(*command, name));
    command = below;
  }
  return *command;
}

std::string full_name(const CLI::App& command, char separator) {
  const CLI::App* parent = command.get_parent();
  return (parent == nullptr ? "" : full_name(*parent, separator) + separator) + command.get_name();
}

std::string synopsis(const CLI::App& command) {
  std::string text = full_name(command) + " [OPTIONS]";
  for (const CLI::Option* option : options_of(command)) {
    if (!option->get_positional()) continue;
    const std::string name = entry_of(*option).names.front();
    text += option->get_required() ? ' ' + name : " [" + name + "]";
  }
  return commands_of(command).empty() ? text : text + " COMMAND";
}

std::vector<const CLI::Option*> options_of(const CLI::App& command) {
  return command.get_options(
      [](const CLI::Option* option) { return !option->get_group().empty(); });
}

std::vector<std::string> names_of(const CLI::Option& option) {
  if (option.get_positional()) return {option.get_name(true)};
  std::vector<std::string> names;
  for (const std::string& name : option.get_snames()) names.push_back('-' + name);
  for (const std::string& name : option.get_lnames()) names.push_back("--" + name);
  return names;
}

std::string type_of(const CLI::Option& option) {
  return option.get_expected_max() == 0 ? "" : option.get_type_name();
}

std::vector<std::string> choices_of(const CLI::Option& option) {
  // Other types, such as FILE|URL, are in upper case.
  const std::string type = type_of(option);
  const bool lists_values = type.find('|') != type.npos && type.front() >= 'a';
  return lists_values ? CLI::detail::split(type, '|') : std::vector<std::string>();
}

std::vector<Block> manual_of(const CLI::App& command) {
  std::vector<Block> blocks;
  if (!commands_of(command).empty()) blocks.push_back({.kind = Kind::kTitle, .text = "Commands"});
  for (const CLI::App* other : commands_of(command)) {
    blocks.push_back({Kind::kEntry, other->get_description(), {other->get_name()}});
  }
  append_options(blocks, command);
  append_footer(blocks, command.get_footer());
  return blocks;
}

}  // namespace r2router::cli
