// r2-router version: the library's version and what this machine can run.
#include "r2router/version.h"

#include <string>

#include <CLI/CLI.hpp>

#include "r2router/scorer.h"

#include "cli/commands.h"
#include "cli/output.h"

namespace r2router::cli {

void add_version_command(CLI::App& app, int&) {
  CLI::App* command =
      app.add_subcommand("version", "Print the version and the compute kernels of this machine");
  command->footer(R"(Examples:
  r2-router version
  r2-router --version     # the version only
)");
  command->callback([] {
    Output output;
    output.write(std::string("r2-router ") + version() + "\nKernels:");
    for (const std::string& kernel : available_kernels()) output.write(" " + kernel);
    output.write("  (the last one is used unless --kernel names another)\n");
    output.flush();
  });
}

}  // namespace r2router::cli
