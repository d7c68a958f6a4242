#include "cli/run.h"

#include <exception>
#include <new>
#include <string>

#include <CLI/CLI.hpp>

#include "r2router/error.h"
#include "r2router/version.h"

#include "cli/commands.h"
#include "cli/output.h"

namespace r2router::cli {
namespace {

constexpr const char* kDescription =
    "Chooses, for each query, which LLM should answer it and how many tokens it may spend.";

constexpr const char* kFooter = R"(Examples:
  r2-router route --query "Solve the equation: 2x + 5 = 13"
  r2-router route --input queries.jsonl > decisions.jsonl
  r2-router info
  r2-router route --help

Exit codes: 0 success; 1 failure, told in one line on standard error; 2 wrong usage.)";

/// The end of every usage error: where to read more.
std::string help_hint(const CLI::App& app) {
  std::string command = "r2-router";
  for (const CLI::App* given = &app; !given->get_subcommands().empty();) {
    given = given->get_subcommands().front();
    command += " " + given->get_name();
  }
  return " (see " + command + " --help)";
}

}  // namespace

int run(int argc, char** argv) {
  int exit_code = 0;
  CLI::App app(kDescription, "r2-router");
  app.footer(kFooter);
  app.set_version_flag("--version", std::string("r2-router ") + version());
  // CLI11's own check would hide a misspelt command behind "a subcommand is required".
  app.require_subcommand(0, 1);
  app.callback([&app] {
    if (app.get_subcommands().empty()) throw CLI::ValidationError("no command given");
  });
  add_route_command(app, exit_code);
  add_info_command(app, exit_code);
  add_convert_command(app, exit_code);
  add_train_command(app, exit_code);
  add_eval_command(app, exit_code);
  add_calibrate_command(app, exit_code);
  add_models_command(app, exit_code);
  add_add_model_command(app, exit_code);
  add_version_command(app, exit_code);

  try {
    app.parse(argc, argv);  // runs the subcommand
    return exit_code;
  } catch (const CLI::Success& request) {  // --help or --version
    return app.exit(request);
  } catch (const CLI::ParseError& error) {
    print_remark("error", error.what() + help_hint(app));
    return 2;
  } catch (const BrokenPipe&) {  // the reader has seen enough: no failure
    return exit_code;
  } catch (const Error& error) {
    print_remark("error", error.what());
  } catch (const std::bad_alloc&) {  // its what() tells a user nothing
    print_remark("error", "out of memory");
  } catch (const std::exception& error) {
    print_remark("error", error.what());
  }
  return 1;
}

}  // namespace r2router::cli
