// r2-router help: the text of --help.
#include <algorithm>
#include <utility>
#include <vector>

#include <sys/ioctl.h>
#include <unistd.h>

#include "base/text_layout.h"
#include "cli/command.h"
#include "cli/command_tree.h"
#include "cli/help_texts.h"  // written by CMake

namespace r2router::cli {
namespace {

constexpr std::size_t kNarrowest = 60, kWidest = 100;
constexpr std::size_t kDescriptionColumn = 30;

/// "  name      description", the description wrapped within its column.
std::string entry_text(const Block& entry, std::size_t width) {
  std::string line = "  " + CLI::detail::join(entry.names, ", ");
  if (!entry.value.empty()) line += ' ' + entry.value;
  std::string text;
  if (columns(line) + 2 > kDescriptionColumn) text = std::exchange(line, "") + '\n';
  for (const std::string& part : wrap(entry.text, width - kDescriptionColumn)) {
    line.append(kDescriptionColumn - columns(line), ' ');
    text += std::exchange(line, "") + part + '\n';
  }
  return text;
}

std::string block_text(const Block& block, std::size_t width) {
  switch (block.kind) {
    case Block::Kind::kTitle:
    case Block::Kind::kGroup:
      return '\n' + block.text + ":\n";
    case Block::Kind::kEntry:
      return entry_text(block, width);
    case Block::Kind::kNote:
      return "\n";
    case Block::Kind::kProse:
      return CLI::detail::join(wrap(block.text, width), "\n") + '\n';
    case Block::Kind::kLiteral:
      break;
  }
  return "  " + CLI::detail::find_and_replace(block.text, "\n", "\n  ") + '\n';
}

}  // namespace

std::size_t help_width() {
  winsize size{};
  if (::isatty(STDOUT_FILENO) == 0 || ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 ||
      size.ws_col == 0) {
    return kWidest;
  }
  return std::clamp<std::size_t>(size.ws_col, kNarrowest, kWidest);
}

std::string help_text(const CLI::App& command, std::size_t width) {
  std::string text = CLI::detail::join(wrap(command.get_description() + '.', width), "\n") +
                     "\n\nUsage: " + synopsis(command) + '\n';
  for (const Block& block : manual_of(command)) text += block_text(block, width);
  return text;
}

void add_help_command(CLI::App& app) {
  using Names = std::vector<std::string>;
  Command<Names> command(app, "help", "Print the help of a command", kHelpHelp);
  command.add("COMMAND", *command.settings, "COMMAND", "The command; default: r2-router itself");
  command.runs(
      [&app](const Names& names) { print(help_text(command_named(app, names), help_width())); });
}

}  // namespace r2router::cli
