// The subcommands of the r2-router program, one file each: src/cli/<name>.cc.
//
// To add one: write add_<name>_command() in a file of that name, declare it here, call it in
// run.cc.
#pragma once

namespace CLI {
class App;
}

namespace r2router::cli {

/// Each adds its subcommand to `app`. The work is done in the subcommand's callback, which runs
/// once the whole command line has been parsed:
///   - it throws r2router::Error on failure: run() prints it as one line and returns 1;
///   - it throws CLI::ValidationError for a wrong command line: run() returns 2;
///   - it sets `exit_code` (initially 0) to end with another code after its work.
/// `exit_code` outlives `app`.
///
/// The description is a phrase without a full stop. The footer begins with "Examples:" and indented
/// command lines, which the tests run; paragraphs of prose follow (command_tree.h). A type name
/// that begins with FILE or DIR makes shells complete names of files or folders.
void add_route_command(CLI::App& app, int& exit_code);
void add_info_command(CLI::App& app, int& exit_code);
void add_convert_command(CLI::App& app, int& exit_code);
void add_train_command(CLI::App& app, int& exit_code);
void add_eval_command(CLI::App& app, int& exit_code);
void add_calibrate_command(CLI::App& app, int& exit_code);
void add_models_command(CLI::App& app, int& exit_code);
void add_add_model_command(CLI::App& app, int& exit_code);
void add_version_command(CLI::App& app, int& exit_code);
void add_help_command(CLI::App& app, int& exit_code);
void add_man_command(CLI::App& app, int& exit_code);
void add_completion_command(CLI::App& app, int& exit_code);

}  // namespace r2router::cli
