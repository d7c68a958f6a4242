// r2-router completion: completion for shells. The script of a shell, in the folder completion,
// passes the words before the cursor to this command, which lists what the last one can become.
#include <cstddef>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/command_tree.h"
#include "cli/completion_scripts.h"  // written by CMake
#include "cli/help_texts.h"          // written by CMake

namespace r2router::cli {
namespace {

// These lines leave the names of files and folders to the shell.
constexpr const char kFile[] = "FILE", kFolder[] = "DIR";

/// Candidates, each with its description after a tab.
using Lines = std::vector<std::string>;

Lines values_of(const CLI::Option* option) {
  if (option == nullptr) return {};
  const std::string type = type_of(*option);
  for (const char* names : {kFile, kFolder}) {
    if (type.starts_with(names)) return {names};
  }
  return choices_of(*option);
}

Lines options_lines(const CLI::App& command) {
  Lines lines;
  for (const CLI::Option* option : options_of(command)) {
    if (option->get_positional()) continue;
    for (const std::string& name : names_of(*option)) {
      lines.push_back(name + '\t' + option->get_description());
    }
  }
  return lines;
}

/// The positional argument number `index`; the last one takes the rest.
const CLI::Option* argument_of(const CLI::App& command, std::size_t index) {
  const CLI::Option* found = nullptr;
  for (const CLI::Option* option : options_of(command)) {
    if (option->get_positional() && (found == nullptr || index-- > 0)) found = option;
  }
  return found;
}

/// What can come after `words`; `word` is what has been typed of it.
Lines candidates(const CLI::App& program, const std::vector<std::string>& words,
                 const std::string& word) {
  const CLI::App* command = &program;
  const CLI::App* names = &program;     // its subcommands can come next
  const CLI::Option* option = nullptr;  // its value comes next
  std::size_t arguments = 0;
  for (const std::string& passed : words) {
    const CLI::App* below = find_command(*names, passed);
    if (option != nullptr) {
      option = nullptr;
    } else if (passed.starts_with('-')) {
      option = command->get_option_no_throw(passed);
      if (option != nullptr && type_of(*option).empty()) option = nullptr;
    } else if (below != nullptr && names == command) {
      names = command = below;
      const CLI::Option* argument = argument_of(*command, 0);
      if (argument != nullptr && type_of(*argument) == "COMMAND") names = &program;
    } else if (below != nullptr) {  // as in "help models sync"
      names = below;
    } else {
      ++arguments;
    }
  }
  if (option != nullptr) return values_of(option);
  if (word.starts_with('-')) return options_lines(*command);
  Lines lines;
  for (const CLI::App* below : commands_of(*names)) {
    lines.push_back(below->get_name() + '\t' + below->get_description());
  }
  if (lines.empty()) lines = values_of(argument_of(*command, arguments));
  return lines.empty() && word.empty() ? options_lines(*command) : lines;
}

/// The candidates for the last word.
std::string completions(const CLI::App& program, std::vector<std::string> words) {
  std::string word = words.back();
  words.pop_back();
  if (!words.empty()) words.erase(words.begin());  // the program
  std::erase(words, "=");                          // bash makes three words of --option=value
  if (word == "=") word.clear();
  if (const std::size_t equals = word.find('='); word.starts_with("--") && equals != word.npos) {
    words.push_back(word.substr(0, equals));
    word.erase(0, equals + 1);
  }
  std::string text;
  for (const std::string& line : candidates(program, words, word)) {
    if (line == kFile || line == kFolder || line.starts_with(word)) text += line + '\n';
  }
  return text;
}

}  // namespace

void add_completion_command(CLI::App& app) {
  Command<std::string> command(app, "completion", "Print the completion script of a shell",
                               kCompletionHelp);
  command.app.prefix_command();  // the words after SHELL, whatever they are
  command
      .add("SHELL", *command.settings, "bash|zsh|fish", "bash, zsh or fish",
           one_of({"bash", "zsh", "fish"}))
      ->required();
  command.runs([&program = app, &own = command.app](const std::string& shell) {
    const std::vector<std::string> words = own.remaining();
    if (!words.empty()) return print(completions(program, words));
    print(shell == "bash" ? kBash : shell == "zsh" ? kZsh : kFish);
  });
}

}  // namespace r2router::cli
