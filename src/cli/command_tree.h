// What help, manual pages, completion and error messages show of commands and their options, read
// from their CLI11 definitions.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace r2router::cli {

/// The subcommands.
std::vector<const CLI::App*> commands_of(const CLI::App& command);

/// The subcommand of this name, or null.
const CLI::App* find_command(const CLI::App& command, std::string_view name);

/// The command below `program` with this path. Throws CLI::ValidationError if there is none.
const CLI::App& command_named(const CLI::App& program, const std::vector<std::string>& names);

/// The message about a subcommand that `above` does not have.
std::string unknown_command(const CLI::App& above, const std::string& name);

/// "r2-router models sync".
std::string full_name(const CLI::App& command, char separator = ' ');

/// "r2-router convert [OPTIONS] SRC DST".
std::string synopsis(const CLI::App& command);

/// The options and arguments. Options without a group are hidden.
std::vector<const CLI::Option*> options_of(const CLI::App& command);

/// As they are typed: "-h" and "--help"; of an argument "DIR".
std::vector<std::string> names_of(const CLI::Option& option);

/// The type of the option's value: "FILE" or "ridge|knn|mlp"; empty for a flag.
std::string type_of(const CLI::Option& option);

/// The only values that it accepts, if there are few.
std::vector<std::string> choices_of(const CLI::Option& option);

/// A part of a manual.
struct Block {
  enum class Kind {
    kTitle,    ///< of a section
    kGroup,    ///< title of a group of options
    kEntry,    ///< names, value and text of a command, an argument or an option
    kNote,     ///< begins a note, which is made of the next two
    kProse,    ///< to be wrapped
    kLiteral,  ///< lines that stay as they are
  };
  Kind kind = Kind::kTitle;
  std::string text = {};
  std::vector<std::string> names = {};
  std::string value = {};
};

/// The manual of a command from its definition and its footer. A footer is paragraphs, with blank
/// lines between them. Indented lines are literal. The first paragraph is "Examples:" and indented
/// command lines.
std::vector<Block> manual_of(const CLI::App& command);

/// The terminal's width, at most 100; 100 if standard output is not a terminal.
std::size_t help_width();

/// The manual as --help prints it. Only lines of examples can be longer than `width`.
std::string help_text(const CLI::App& command, std::size_t width);

}  // namespace r2router::cli
