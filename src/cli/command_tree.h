// The program's commands and options as plain data, read from their CLI11 definitions. Help, man
// pages and shell completion are written from it.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace r2router::cli {

struct OptionInfo {
  enum class Value { kNone, kText, kFile, kFolder, kChoice };

  std::vector<std::string> names = {};  ///< "--lambda", "-h"; of an argument without dashes "DIR"
  std::string type = {};                ///< name of its value, such as "FILE"
  Value value = Value::kNone;
  std::vector<std::string> choices = {};   ///< the only values, for kChoice
  std::vector<std::string> excludes = {};  ///< options that cannot be given together with it
  std::string group = {}, description = {}, default_value = {};
  bool positional = false, required = false;
  bool repeatable = false;  ///< may be given more than once
  bool takes_many = false;  ///< takes several values, one after the other

  /// "--file FILE", "-h, --help" or "--predictor ridge|knn|mlp".
  std::string usage() const;
};

struct CommandInfo {
  std::string name = {};               ///< "sync"
  std::vector<std::string> path = {};  ///< "r2-router", "models", "sync"
  std::string description = {}, footer = {};
  std::vector<OptionInfo> options = {};  ///< positional ones too
  std::vector<CommandInfo> commands = {};

  std::string full_name(char separator = ' ') const;
  /// "r2-router convert [OPTIONS] SRC DST".
  std::string synopsis() const;
};

/// A part of a footer: prose to wrap, or literal lines.
struct Paragraph {
  std::string text = {};  ///< of examples: with their line breaks, without their indentation
  bool literal = false;
};

/// A footer is paragraphs, with blank lines between them. Indented lines are literal. The first
/// paragraph is "Examples:" and indented command lines. `examples` are those lines.
struct Footer {
  std::vector<std::string> examples = {};
  std::vector<std::vector<Paragraph>> notes = {};
};
Footer parse_footer(std::string_view footer);

/// The command with this path, or null. `names` do not include the program's name.
const CommandInfo* find_command(const CommandInfo& root, std::span<const std::string> names);

/// Describes a command and its subcommands. Skips options without a group, which are hidden.
CommandInfo describe(const CLI::App& app);

/// The names of an option as they are typed, such as "--lambda" and "-h".
std::vector<std::string> names_of(const CLI::Option& option);

/// The parts, with the separator between them.
std::string joined(const std::vector<std::string>& parts, std::string_view separator);

/// Splits text into lines of at most `width` columns at white space. Counts code points.
std::vector<std::string> wrap(std::string_view text, std::size_t width);

/// The width of a text in columns. Counts code points.
std::size_t columns(std::string_view text);

}  // namespace r2router::cli
