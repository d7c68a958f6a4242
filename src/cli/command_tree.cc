#include "cli/command_tree.h"

#include <algorithm>
#include <utility>

#include <CLI/CLI.hpp>

namespace r2router::cli {
namespace {

using Value = OptionInfo::Value;

constexpr std::string_view kSpace = " \n\t";

/// "a,b,c" -> a, b and c.
std::vector<std::string> split(std::string_view list, char separator) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= list.size();) {
    const std::size_t end = std::min(list.find(separator, begin), list.size());
    parts.emplace_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

OptionInfo describe_option(const CLI::Option& option) {
  OptionInfo info{.names = names_of(option),
                  .group = option.get_group(),
                  .description = option.get_description(),
                  .positional = option.get_positional(),
                  .required = option.get_required()};
  for (const CLI::Option* other : option.get_excludes()) {
    const std::vector<std::string> names = names_of(*other);
    info.excludes.insert(info.excludes.end(), names.begin(), names.end());
  }
  if (option.get_expected_max() == 0) return info;  // a flag

  // "KIND:{ridge,knn,mlp}": after the type come the descriptions of its checks.
  const std::string type = option.get_type_name();
  info.type = type.substr(0, type.find(':'));
  info.value = Value::kText;
  if (const std::size_t begin = type.find(":{"); begin != type.npos) {
    info.value = Value::kChoice;
    info.choices = split(type.substr(begin + 2, type.find('}', begin) - begin - 2), ',');
  } else if (info.type.starts_with("FILE")) {
    info.value = Value::kFile;
  } else if (info.type.starts_with("DIR")) {
    info.value = Value::kFolder;
  }
  info.repeatable = option.get_expected_max() == CLI::detail::expected_max_vector_size;
  info.takes_many = info.repeatable && (info.positional || option.get_allow_extra_args());
  info.default_value = option.get_default_str();
  if (info.default_value.starts_with('[') && info.default_value.ends_with(']')) {  // a list
    info.default_value = info.default_value.substr(1, info.default_value.size() - 2);
  }
  return info;
}

bool is_indented(std::string_view line) { return line.starts_with(' '); }

/// Consecutive lines of the same kind become one paragraph each.
std::vector<Paragraph> parse_block(const std::vector<std::string_view>& lines) {
  std::vector<Paragraph> block;
  for (const std::string_view line : lines) {
    const bool literal = is_indented(line);
    if (block.empty() || block.back().literal != literal) {
      block.push_back({.literal = literal});
    } else {
      block.back().text += literal ? '\n' : ' ';
    }
    block.back().text += literal ? line.substr(2) : line;
  }
  return block;
}

}  // namespace

std::string joined(const std::vector<std::string>& parts, std::string_view separator) {
  std::string text;
  for (const std::string& part : parts) {
    if (!text.empty()) text += separator;
    text += part;
  }
  return text;
}

std::string OptionInfo::usage() const {
  std::string text = joined(names, ", ");
  if (!positional && value != Value::kNone) {
    text += ' ' + (value == Value::kChoice ? joined(choices, "|") : type);
  }
  return takes_many ? text + "..." : text;
}

std::string CommandInfo::full_name(char separator) const {
  return joined(path, std::string_view(&separator, 1));
}

std::string CommandInfo::synopsis() const {
  std::string text = full_name() + " [OPTIONS]";
  for (const OptionInfo& option : options) {
    if (!option.positional) continue;
    text += option.required ? ' ' + option.usage() : " [" + option.usage() + "]";
  }
  return commands.empty() ? text : text + " COMMAND";
}

Footer parse_footer(std::string_view footer) {
  Footer parsed;
  std::vector<std::string_view> block;
  const auto end_block = [&] {
    if (block.empty()) return;
    if (block.front() == "Examples:") {
      for (std::size_t i = 1; i < block.size(); ++i) {
        parsed.examples.emplace_back(block[i].substr(block[i].find_first_not_of(' ') < 2 ? 0 : 2));
      }
    } else {
      parsed.notes.push_back(parse_block(block));
    }
    block.clear();
  };
  for (std::size_t begin = 0; begin < footer.size();) {
    const std::size_t end = std::min(footer.find('\n', begin), footer.size());
    const std::string_view line = footer.substr(begin, end - begin);
    begin = end + 1;
    if (line.empty()) {
      end_block();
    } else {
      block.push_back(line);
    }
  }
  end_block();
  return parsed;
}

std::vector<std::string> names_of(const CLI::Option& option) {
  if (option.get_positional()) return {option.get_name(true)};
  std::vector<std::string> names;
  for (const std::string& name : option.get_snames()) names.push_back('-' + name);
  for (const std::string& name : option.get_lnames()) names.push_back("--" + name);
  return names;
}

CommandInfo describe(const CLI::App& app) {
  CommandInfo info{
      .name = app.get_name(), .description = app.get_description(), .footer = app.get_footer()};
  for (const CLI::App* up = &app; up != nullptr; up = up->get_parent()) {
    info.path.insert(info.path.begin(), up->get_name());
  }
  for (const CLI::Option* option :
       app.get_options([](const CLI::Option* option) { return !option->get_group().empty(); })) {
    info.options.push_back(describe_option(*option));
  }
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    info.commands.push_back(describe(*command));
  }
  return info;
}

const CommandInfo* find_command(const CommandInfo& root, std::span<const std::string> names) {
  const CommandInfo* found = &root;
  for (const std::string& name : names) {
    const auto next = std::ranges::find(found->commands, name, &CommandInfo::name);
    if (next == found->commands.end()) return nullptr;
    found = &*next;
  }
  return found;
}

std::size_t columns(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::vector<std::string> wrap(std::string_view text, std::size_t width) {
  std::vector<std::string> lines(1);
  for (std::size_t begin = text.find_first_not_of(kSpace); begin != text.npos;
       begin = text.find_first_not_of(kSpace, begin)) {
    const std::size_t end = std::min(text.find_first_of(kSpace, begin), text.size());
    const std::string_view word = text.substr(begin, end - begin);
    begin = end;
    if (lines.back().empty()) {
      lines.back() = word;
    } else if (columns(lines.back()) + 1 + columns(word) <= width) {
      (lines.back() += ' ') += word;
    } else {
      lines.emplace_back(word);
    }
  }
  return lines;
}

}  // namespace r2router::cli
