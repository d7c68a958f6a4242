// r2-router serve where the gateway is not part of the program: hidden, and says how to get it.
#include "r2router/error.h"

#include "cli/command.h"
#include "cli/help_texts.h"  // written by CMake

namespace r2router::cli {

void add_serve_command(CLI::App& app) {
  CLI::App* serve = app.add_subcommand("serve")->group("")->prefix_command();
  serve->set_help_flag();
  serve->callback([] { throw Error(ErrorCode::kUnsupported, kServeMissingHelp); });
}

}  // namespace r2router::cli
