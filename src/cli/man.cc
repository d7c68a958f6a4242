// r2-router man: manual pages.
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "base/file.h"
#include "cli/command_tree.h"
#include "cli/commands.h"
#include "cli/man_page.h"
#include "cli/output.h"
#include "cli/usage_error.h"

namespace r2router::cli {
namespace {

struct Settings {
  std::vector<std::string> names;
  std::string folder;
};

void write_pages(const CommandInfo& command, const CommandInfo& root, const std::string& folder) {
  const auto file = std::filesystem::path(folder) / (command.full_name('-') + ".1");
  io::write_file(file.string(), man_page(command, root));
  for (const CommandInfo& other : command.commands) write_pages(other, root, folder);
}

}  // namespace

void add_man_command(CLI::App& app, int&) {
  CLI::App* command = app.add_subcommand("man", "Print the manual page of a command");
  command->footer(R"(Examples:
  r2-router man route > r2-router-route.1
  r2-router man models sync > r2-router-models-sync.1
  r2-router man --output-dir man1

The installed program has its pages where man looks for them: man r2-router-route.)");
  const auto settings = std::make_shared<Settings>();
  command->add_option("COMMAND", settings->names, "The command; default: r2-router itself")
      ->type_name("");
  command
      ->add_option("--output-dir", settings->folder,
                   "Write the pages of all commands to this folder")
      ->type_name("DIR");
  command->callback([&app, settings] {
    const CommandInfo root = describe(app);
    if (settings->folder.empty()) {
      Output output;
      output.write(man_page(command_named(root, settings->names), root));
      output.flush();
      return;
    }
    if (!settings->names.empty()) {
      throw CLI::ValidationError("--output-dir writes all pages: remove " +
                                 settings->names.front());
    }
    io::make_folder(settings->folder);
    write_pages(root, root, settings->folder);
  });
}

}  // namespace r2router::cli
