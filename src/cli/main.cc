// r2-router: the library's work from a shell. Each subcommand has its own file (commands.h).
#include <csignal>
#include <exception>
#include <new>
#include <string>

#include <CLI/CLI.hpp>

#include "r2router/error.h"
#include "r2router/version.h"

#include "cli/commands.h"
#include "cli/output.h"

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

int run(int argc, char** argv) {
  int exit_code = 0;
  CLI::App app(kDescription, "r2-router");
  app.footer(kFooter);
  app.set_version_flag("--version", std::string("r2-router ") + r2router::version());
  // CLI11's own check would hide a misspelt command behind "a subcommand is required".
  app.require_subcommand(0, 1);
  app.callback([&app] {
    if (app.get_subcommands().empty()) throw CLI::ValidationError("no command given");
  });
  r2router::cli::add_route_command(app, exit_code);
  r2router::cli::add_info_command(app, exit_code);
  r2router::cli::add_convert_command(app, exit_code);
  r2router::cli::add_train_command(app, exit_code);
  r2router::cli::add_eval_command(app, exit_code);
  r2router::cli::add_calibrate_command(app, exit_code);
  r2router::cli::add_models_command(app, exit_code);
  r2router::cli::add_add_model_command(app, exit_code);
  r2router::cli::add_version_command(app, exit_code);

  try {
    app.parse(argc, argv);  // runs the subcommand
    return exit_code;
  } catch (const CLI::Success& request) {  // --help or --version
    return app.exit(request);
  } catch (const CLI::ParseError& error) {
    r2router::cli::print_remark("error", error.what() + help_hint(app));
    return 2;
  } catch (const r2router::cli::BrokenPipe&) {  // the reader has seen enough: no failure
    return exit_code;
  } catch (const r2router::Error& error) {
    r2router::cli::print_remark("error", error.what());
  } catch (const std::bad_alloc&) {  // its what() tells a user nothing
    r2router::cli::print_remark("error", "out of memory");
  } catch (const std::exception& error) {
    r2router::cli::print_remark("error", error.what());
  }
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  // A reader that goes away shows as a failed write, which ends the program in order.
  std::signal(SIGPIPE, SIG_IGN);
  return run(argc, argv);
}
