// The subcommands of the r2-router program, one file each: src/cli/<name>.cc, and what they are
// written with. To add one: write add_<name>_command() in a file of that name, declare it at the
// end of this header, and call it in run.cc.
//
//     struct DoSettings {
//       std::uint64_t seed = 0;
//       bool json = false, hard_cap = false;
//     };
//     Command<DoSettings> command(app, "do", "Do what it says", kDoHelp);  // help/do.txt
//     command.add("--seed", command->seed, "N", "Varies the folds");
//     command.add("--json", command->json, "Print one JSON object");
//     command.add.choice("--budgets", command->hard_cap, {{"given", 0}, {"hard-cap", 1}}, "...");
//     command.runs([](const DoSettings& settings) { print(...); });
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include "cli/output.h"

namespace r2router::cli {

/// Returns the error of a value, or an empty string. CLI11's checks say less, and accept NaN.
using Check = std::function<std::string(const std::string& text)>;

/// The error is "expected `expected`, found …".
Check check_that(const std::string& expected, std::function<bool(const std::string&)> accepts);
Check one_of(std::vector<std::string> values);
Check number_in(double least, double most = std::numeric_limits<double>::max());
Check whole_number_in(std::uint64_t least, std::uint64_t most);

/// The check for any value of a type, or of any in a list.
template <typename Value>
Check check_of() {
  using Limits = std::numeric_limits<Value>;
  if constexpr (std::is_floating_point_v<Value>) {
    return number_in(Limits::lowest());
  } else if constexpr (std::is_integral_v<Value>) {
    return whole_number_in(0, Limits::max());
  } else if constexpr (std::is_same_v<Value, std::string>) {
    return {};
  } else {
    return check_of<typename Value::value_type>();
  }
}

/// Adds options to a command, in one group of its help. Their values must outlive the command. Help
/// shows what they are before parsing as the default.
class Options {
 public:
  explicit Options(CLI::App& command, std::string group = "Options")
      : command_(command), group_(std::move(group)) {}

  /// `type` is the name of the value in help. If it begins with FILE or DIR, shells complete names
  /// of files or folders. Lists are separated by commas. Without `check`, check_of() is used.
  template <typename Value>
  CLI::Option* operator()(const std::string& name, Value& value, const std::string& type,
                          const std::string& help, Check check = {}) {
    CLI::Option* option = command_.add_option(name, value, help);
    if constexpr (std::is_arithmetic_v<Value>) {
      option->capture_default_str();
    } else if constexpr (requires { value.empty(); }) {
      if (!value.empty()) option->capture_default_str();
    }
    return finish(option, type, check ? std::move(check) : check_of<Value>());
  }

  /// A flag.
  CLI::Option* operator()(const std::string& name, bool& value, const std::string& help) {
    return finish(command_.add_flag(name, value, help)->disable_flag_override(), "", {});
  }

  /// An option that accepts a few names, each with its value.
  template <typename Value>
  CLI::Option* choice(const std::string& name, Value& value,
                      std::vector<std::pair<std::string, std::type_identity_t<Value>>> values,
                      const std::string& help) {
    std::vector<std::string> names;
    std::string chosen;
    for (const auto& [known, meaning] : values) {
      names.push_back(known);
      if (meaning == value) chosen = known;
    }
    const auto choose = [&value, values = std::move(values)](const std::string& text) {
      for (const auto& [known, meaning] : values) {
        if (known == text) value = meaning;
      }
    };
    return finish(command_.add_option_function<std::string>(name, choose, help),
                  CLI::detail::join(names, "|"), one_of(names))
        ->default_str(chosen);
  }

  /// All that were added.
  const std::vector<CLI::Option*>& added() const { return added_; }

 private:
  CLI::Option* finish(CLI::Option* option, const std::string& type, Check check);

  CLI::App& command_;
  const std::string group_;
  std::vector<CLI::Option*> added_;
};

/// A subcommand. Its settings live as long as its definition.
template <typename Settings>
struct Command {
  Command(CLI::App& parent, const std::string& name, const std::string& description,
          const std::string& footer)
      : app(*parent.add_subcommand(name, description)), add(app) {
    app.footer(footer);
  }

  Settings* operator->() const { return settings.get(); }

  /// `run` gets the settings after parsing.
  template <typename Run>
  void runs(Run run) const {
    app.callback([settings = settings, run] { run(*settings); });
  }

  CLI::App& app;
  Options add;  ///< adds an option
  const std::shared_ptr<Settings> settings = std::make_shared<Settings>();
};

/// Adds a subcommand to `app`. The function that Command::runs() names runs once the whole command
/// line has been parsed:
///   - it throws r2router::Error on failure: run() prints it as one line and returns 1;
///   - it throws CLI::ValidationError for a wrong command line: run() returns 2;
///   - it throws CLI::RuntimeError to end with another exit code after its work.
///
/// The description is a phrase without a full stop. The footer begins with "Examples:" and indented
/// command lines, which the tests run; paragraphs of prose follow (command_tree.h).
using AddCommand = void(CLI::App& app);

AddCommand add_route_command, add_info_command, add_convert_command, add_train_command,
    add_eval_command, add_calibrate_command, add_models_command, add_add_model_command,
    add_serve_command, add_version_command, add_help_command, add_man_command,
    add_completion_command;

}  // namespace r2router::cli
