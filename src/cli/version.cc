// r2-router version: the library's version and what this machine can run.
#include "r2router/version.h"

#include <string>

#include "r2router/scorer.h"

#include "cli/command.h"
#include "cli/help_texts.h"  // written by CMake

namespace r2router::cli {

void add_version_command(CLI::App& app) {
  struct Settings {};
  Command<Settings>(app, "version", "Print the version and the compute kernels of this machine",
                    kVersionHelp)
      .runs([](const Settings&) {
        print(std::string("r2-router ") + version() +
              "\nKernels: " + CLI::detail::join(available_kernels(), " ") +
              "  (the last one is used unless --kernel names another)\n");
      });
}

}  // namespace r2router::cli
