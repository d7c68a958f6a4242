#include "cli/run.h"

#include <exception>
#include <new>
#include <string>

#include <CLI/CLI.hpp>

#include "r2router/error.h"
#include "r2router/version.h"

#include "cli/command_tree.h"
#include "cli/commands.h"
#include "cli/help_text.h"
#include "cli/output.h"
#include "cli/usage_error.h"

namespace r2router::cli {
namespace {

constexpr const char* kDescription =
    "Choose, for each query, which LLM should answer it and how many tokens it may spend";

constexpr const char* kFooter = R"(Examples:
  r2-router route --query "Solve the equation: 2x + 5 = 13"
  r2-router route --input requests.jsonl > decisions.jsonl
  r2-router info
  r2-router help route

Exit codes: 0 success; 1 failure, with one line on standard error; 2 wrong usage; 130 interrupted.)";

/// The command that was typed, such as "r2-router route", to point to its help.
std::string command_given(const CLI::App& app) {
  std::string command = "r2-router";
  for (const CLI::App* given = &app; !given->get_subcommands().empty();) {
    given = given->get_subcommands().front();
    command += " " + given->get_name();
  }
  return command;
}

void print(const std::string& text) {
  Output output;
  output.write(text);
  output.flush();
}

/// Runs the command line and returns the exit code. Throws on errors.
int parse_and_run(CLI::App& app, int argc, char** argv, const int& exit_code) {
  try {
    app.parse(argc, argv);  // runs the subcommand
    return exit_code;
  } catch (const CLI::CallForHelp&) {
    print(app.help());
  } catch (const CLI::CallForVersion& request) {
    print(request.what() + std::string("\n"));
  } catch (const CLI::ParseError& error) {
    print_remark("error", usage_message(error, app) + " (see " + command_given(app) + " --help)");
    return 2;
  }
  return 0;
}

}  // namespace

int run(int argc, char** argv) {
  int exit_code = 0;
  try {
    CLI::App app(kDescription, "r2-router");
    app.footer(kFooter);
    app.formatter_fn([](const CLI::App* command, const std::string&, CLI::AppFormatMode) {
      return help_text(describe(*command), help_width());
    });
    app.set_help_flag("-h,--help", "Print this help and exit");
    app.set_version_flag("-V,--version", std::string("r2-router ") + version(),
                         "Print the version and exit");
    // CLI11's check would report a misspelt command as "a subcommand is required".
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
    add_help_command(app, exit_code);
    add_man_command(app, exit_code);
    add_completion_command(app, exit_code);
    return parse_and_run(app, argc, argv, exit_code);
  } catch (const BrokenPipe&) {  // the reader closed the pipe: not a failure
    return exit_code;
  } catch (const Error& error) {
    print_remark("error", error.what());
  } catch (const std::bad_alloc&) {  // its what() does not help users
    print_remark("error", "out of memory");
  } catch (const std::exception& error) {
    print_remark("error", error.what());
  }
  return 1;
}

}  // namespace r2router::cli
