// r2-router completion: completion scripts for shells.
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "cli/command_tree.h"
#include "cli/commands.h"
#include "cli/completion_script.h"
#include "cli/output.h"
#include "cli/usage_error.h"

namespace r2router::cli {
namespace {

/// Commands as arguments of help and man: without their options.
std::vector<CommandInfo> as_arguments(std::vector<CommandInfo> commands,
                                      const std::vector<std::string>& path) {
  for (CommandInfo& command : commands) {
    command.path = path;
    command.path.push_back(command.name);
    command.options.clear();
    command.commands = as_arguments(std::move(command.commands), command.path);
  }
  return commands;
}

CommandInfo describe_with_arguments(const CLI::App& app) {
  CommandInfo root = describe(app);
  const std::vector<CommandInfo> commands = root.commands;
  for (CommandInfo& command : root.commands) {
    if (command.name == "help" || command.name == "man") {
      command.commands = as_arguments(commands, command.path);
    }
  }
  return root;
}

}  // namespace

void add_completion_command(CLI::App& app, int&) {
  CLI::App* command = app.add_subcommand("completion", "Print the completion script of a shell");
  command->footer(R"(Examples:
  source <(r2-router completion bash)          # for this shell; in ~/.bashrc for every shell
  r2-router completion zsh > _r2-router        # to be moved to a folder of $fpath
  r2-router completion fish > r2-router.fish   # to be moved to ~/.config/fish/completions

The installed program has its completions where the shells look for them.)");
  const auto shell = std::make_shared<std::string>();
  command->add_option("SHELL", *shell, "bash, zsh or fish")
      ->required()
      ->check(one_of({"bash", "zsh", "fish"}))
      ->type_name("");
  command->callback([&app, shell] {
    const CommandInfo root = describe_with_arguments(app);
    Output output;
    output.write(*shell == "bash"  ? bash_completion(root)
                 : *shell == "zsh" ? zsh_completion(root)
                                   : fish_completion(root));
    output.flush();
  });
}

}  // namespace r2router::cli
