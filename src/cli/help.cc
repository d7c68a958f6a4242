// r2-router help: the text of --help.
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "cli/command_tree.h"
#include "cli/commands.h"
#include "cli/help_text.h"
#include "cli/output.h"
#include "cli/usage_error.h"

namespace r2router::cli {

void add_help_command(CLI::App& app, int&) {
  CLI::App* command = app.add_subcommand("help", "Print the help of a command");
  command->footer(R"(Examples:
  r2-router help
  r2-router help route
  r2-router help models sync)");
  const auto names = std::make_shared<std::vector<std::string>>();
  command->add_option("COMMAND", *names, "The command; default: r2-router itself")->type_name("");
  command->callback([&app, names] {
    Output output;
    output.write(help_text(command_named(describe(app), *names), help_width()));
    output.flush();
  });
}

}  // namespace r2router::cli
