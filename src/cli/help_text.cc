#include "cli/help_text.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include <sys/ioctl.h>
#include <unistd.h>

namespace r2router::cli {
namespace {

constexpr std::size_t kNarrowest = 60;
constexpr std::size_t kDescriptionColumn = 30;

/// "  name      description", the description wrapped within its column.
void append_entry(std::string& text, const std::string& name, const std::string& description,
                  std::size_t width) {
  std::string line = "  " + name;
  if (columns(line) + 2 > kDescriptionColumn) {
    text += line + '\n';
    line.clear();
  }
  for (const std::string& part : wrap(description, width - kDescriptionColumn)) {
    line.append(kDescriptionColumn - columns(line), ' ');
    text += line + part + '\n';
    line.clear();
  }
}

std::string description_of(const OptionInfo& option) {
  std::string text = option.description;
  if (option.required && !option.positional) text += " (required)";
  if (!option.default_value.empty()) text += " (default: " + option.default_value + ")";
  return text;
}

void append_options(std::string& text, const CommandInfo& command, std::size_t width) {
  std::vector<std::string> groups;
  for (const OptionInfo& option : command.options) {
    const std::string group = option.positional ? "Arguments" : option.group;
    if (std::ranges::find(groups, group) == groups.end()) groups.push_back(group);
  }
  std::stable_partition(groups.begin(), groups.end(),
                        [](const auto& group) { return group == "Arguments"; });
  for (const std::string& group : groups) {
    text += '\n' + group + ":\n";
    for (const OptionInfo& option : command.options) {
      if ((option.positional ? "Arguments" : option.group) != group) continue;
      append_entry(text, option.usage(), description_of(option), width);
    }
  }
}

void append_footer(std::string& text, const CommandInfo& command, std::size_t width) {
  const Footer footer = parse_footer(command.footer);
  if (!footer.examples.empty()) text += "\nExamples:\n";
  for (const std::string& example : footer.examples) text += "  " + example + '\n';
  for (const auto& block : footer.notes) {
    text += '\n';
    for (const Paragraph& paragraph : block) {
      if (paragraph.literal) {
        std::string_view rest = paragraph.text;
        while (!rest.empty()) {
          const std::size_t end = std::min(rest.find('\n'), rest.size());
          text += "  " + std::string(rest.substr(0, end)) + '\n';
          rest.remove_prefix(std::min(end + 1, rest.size()));
        }
      } else {
        for (const std::string& line : wrap(paragraph.text, width)) text += line + '\n';
      }
    }
  }
}

}  // namespace

std::size_t help_width() {
  winsize size{};
  if (::isatty(STDOUT_FILENO) == 0 || ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 ||
      size.ws_col == 0) {
    return kHelpWidth;
  }
  return std::clamp<std::size_t>(size.ws_col, kNarrowest, kHelpWidth);
}

std::string help_text(const CommandInfo& command, std::size_t width) {
  std::string text;
  const char* end = command.description.ends_with('.') ? "" : ".";
  for (const std::string& line : wrap(command.description + end, width)) text += line + '\n';
  text += "\nUsage: " + command.synopsis() + '\n';
  if (!command.commands.empty()) {
    text += "\nCommands:\n";
    for (const CommandInfo& other : command.commands) {
      append_entry(text, other.name, other.description, width);
    }
  }
  append_options(text, command, width);
  append_footer(text, command, width);
  return text;
}

}  // namespace r2router::cli
