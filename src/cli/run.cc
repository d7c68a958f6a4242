#include "cli/run.h"

#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "r2router/error.h"
#include "r2router/version.h"

#include "base/excerpt.h"
#include "base/suggestion.h"
#include "cli/command.h"
#include "cli/command_tree.h"
#include "cli/help_texts.h"  // written by CMake

namespace r2router::cli {
namespace {

constexpr const char* kDescription =
    "Choose, for each query, which LLM should answer it and how many tokens it may spend";

// Messages for wrong command lines. Each says what was found, what was expected, and how to fix it.

/// How CLI11's messages are worded here: the text before and after `found` stays.
struct Wording {
  std::string_view found, begin, between, end;
};
constexpr Wording kWordings[] = {
    {" requires ", "", " needs ", ": use both, or neither"},
    {" excludes ", "", " and ", " exclude each other: use one of them"},
    {": At Most 1 required but received ", "", " is given ", " times: use it once"},
    {": 1 required ", "", " needs a value: ", ""},
    {" was given a disallowed flag override", "--", " takes no value", ""}};

/// The subcommands that have an option of this name, at any depth.
void find_commands_with(const CLI::App& command, const std::string& option,
                        std::vector<std::string>& found) {
  for (const CLI::App* below : commands_of(command)) {
    if (below->get_option_no_throw(option) != nullptr) found.push_back(full_name(*below));
    find_commands_with(*below, option, found);
  }
}

std::string unknown_option(const CLI::App& command, const std::string& argument) {
  const std::string name = argument.substr(0, argument.find('='));
  std::string text = "unknown option " + name;
  std::vector<std::string> commands, known;
  find_commands_with(command, name, commands);
  if (!commands.empty()) {
    return text + "; it belongs to a command: " + internal::list_of(commands, 3);
  }
  for (const CLI::Option* option : options_of(command)) {
    if (option->get_positional()) continue;
    for (const std::string& typed : names_of(*option)) known.push_back(typed);
  }
  const auto meant = internal::likely_name(name, known);
  return meant ? text + "; did you mean " + *meant + "?" : text;
}

/// About an argument that the command does not take.
std::string unexpected_argument(const CLI::App& command, const std::string& argument) {
  if (argument.size() > 1 && argument.starts_with('-')) return unknown_option(command, argument);
  if (!commands_of(command).empty()) return unknown_command(command, argument);
  const std::string text = "unexpected argument " + excerpt(argument);
  for (const CLI::Option* option : options_of(command)) {
    if (type_of(*option) == "TEXT") {
      return text + ": pass text as " + names_of(*option).front() + " \"...\", in quotes";
    }
  }
  return text;
}

std::string reworded(std::string text) {
  constexpr std::string_view kMissing = " missing";
  if (text.ends_with(kMissing)) text.resize(text.size() - kMissing.size());
  for (const auto& [found, begin, between, end] : kWordings) {
    const std::size_t place = text.find(found);
    if (place == text.npos) continue;
    return text.replace(place, found.size(), between).insert(0, begin).append(end);
  }
  return text;
}

/// Without a pointer to the help. `commands`: those that were typed, from the program on.
std::string message_of(const CLI::ParseError& error, const std::vector<const CLI::App*>& commands) {
  const auto kind = static_cast<CLI::ExitCodes>(error.get_exit_code());
  if (kind == CLI::ExitCodes::ValidationError) return error.what();  // by our own checks
  // A misspelt option explains why a required one is missing.
  if (kind == CLI::ExitCodes::ExtrasError || kind == CLI::ExitCodes::RequiredError) {
    for (auto command = commands.rbegin(); command != commands.rend(); ++command) {
      const std::vector<std::string> extras = (*command)->remaining();
      if (!extras.empty()) return unexpected_argument(**command, extras.front());
    }
  }
  return reworded(error.what());
}

/// The message with a pointer to the help.
std::string usage_message(const CLI::ParseError& error, const CLI::App& app) {
  std::vector<const CLI::App*> commands = {&app};
  while (!commands.back()->get_subcommands().empty()) {
    commands.push_back(commands.back()->get_subcommands().front());
  }
  return message_of(error, commands) + " (see " + full_name(*commands.back()) + " --help)";
}

}  // namespace

int run(int argc, char** argv) {
  try {
    CLI::App app(kDescription, "r2-router");
    app.footer(kProgramHelp);
    app.formatter_fn([](const CLI::App* command, const std::string&, CLI::AppFormatMode) {
      return help_text(*command, help_width());
    });
    app.set_help_flag("-h,--help", "Print this help and exit");
    app.set_version_flag("-V,--version", std::string("r2-router ") + version(),
                         "Print the version and exit");
    // CLI11's check would report a misspelt command as "a subcommand is required".
    app.require_subcommand(0, 1);
    app.callback([&app] {
      if (app.get_subcommands().empty()) throw CLI::ValidationError("no command given");
    });
    for (AddCommand* add :
         {add_route_command, add_info_command, add_convert_command, add_train_command,
          add_eval_command, add_calibrate_command, add_models_command, add_add_model_command,
          add_serve_command, add_version_command, add_help_command, add_man_command,
          add_completion_command}) {
      add(app);
    }
    try {
      app.parse(argc, argv);  // runs the subcommand
    } catch (const CLI::CallForHelp&) {
      print(app.help());
    } catch (const CLI::CallForVersion& request) {
      print(request.what() + std::string("\n"));
    } catch (const CLI::RuntimeError& end) {
      return end.get_exit_code();
    } catch (const CLI::ParseError& error) {
      print_remark("error", usage_message(error, app));
      return 2;
    }
    return 0;
  } catch (const BrokenPipe&) {  // the reader closed the pipe: not a failure
    return 0;
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
