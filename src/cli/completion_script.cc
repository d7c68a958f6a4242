// In each language the script first finds the command before the cursor. A "path" is the words of a
// command, each preceded by a space: " models sync". Arguments of help and man are modelled as
// subcommands of help and man.
#include "cli/completion_script.h"

#include <functional>
#include <string_view>
#include <vector>

namespace r2router::cli {
namespace {

using Value = OptionInfo::Value;

std::vector<std::string> names_of_commands(const CommandInfo& command) {
  std::vector<std::string> names;
  for (const CommandInfo& other : command.commands) names.push_back(other.name);
  return names;
}

std::string path_of(const CommandInfo& command) {
  std::string path;
  for (std::size_t i = 1; i < command.path.size(); ++i) path += ' ' + command.path[i];
  return path;
}

void for_each_command(const CommandInfo& command,
                      const std::function<void(const CommandInfo&)>& visit) {
  visit(command);
  for (const CommandInfo& other : command.commands) for_each_command(other, visit);
}

/// The kind of its positional arguments, if they all have the same.
Value positional_value(const CommandInfo& command) {
  for (const OptionInfo& option : command.options) {
    if (option.positional) return option.value;
  }
  return Value::kNone;
}

std::vector<std::string> positional_choices(const CommandInfo& command) {
  for (const OptionInfo& option : command.options) {
    if (option.positional) return option.choices;
  }
  return {};
}

/// `text` with a backslash before each of `characters`.
std::string backslashed(std::string_view text, std::string_view characters) {
  std::string result;
  for (const char c : text) {
    if (characters.find(c) != characters.npos) result += '\\';
    result += c;
  }
  return result;
}

/// For single quotes in bash and zsh.
std::string shell_quoted(std::string_view text) {
  std::string result = "'";
  for (const char c : text) {
    if (c == '\'') {
      result += "'\\''";
    } else {
      result += c;
    }
  }
  return result + "'";
}

// --- bash

/// The commands that fill COMPREPLY with a value.
std::string bash_values(Value value, const std::vector<std::string>& choices) {
  switch (value) {
    case Value::kFile:
      return "_r2_router_reply -f";
    case Value::kFolder:
      return "_r2_router_reply -d";
    case Value::kChoice:
      return "_r2_router_reply -W '" + joined(choices, " ") + "'";
    case Value::kNone:
    case Value::kText:
      break;
  }
  return ":";
}

std::string bash_command(const CommandInfo& command) {
  std::string text = "    " + shell_quoted(path_of(command)) + ")\n      case $previous in\n";
  std::string names;
  for (const OptionInfo& option : command.options) {
    if (option.positional) continue;
    for (const std::string& name : option.names) names += (names.empty() ? "" : " ") + name;
    if (option.value == Value::kNone) continue;
    text += "        " + joined(option.names, "|") + ") " +
            bash_values(option.value, option.choices) + "; return ;;\n";
  }
  const std::string values =
      command.commands.empty()
          ? bash_values(positional_value(command), positional_choices(command))
          : "_r2_router_reply -W '" + joined(names_of_commands(command), " ") + "'";
  // If there is nothing else to complete, an empty word becomes an option.
  text += "      esac\n      case $current in\n        " + std::string(values == ":" ? "''|" : "") +
          "-*) _r2_router_reply -W '" + names + "' ;;\n        *) " + values;
  return text + " ;;\n      esac\n      ;;\n";
}

// --- zsh

std::string zsh_values(const OptionInfo& option) {
  switch (option.value) {
    case Value::kFile:
      return "_files";
    case Value::kFolder:
      return "_files -/";
    case Value::kChoice:
      return "(" + joined(option.choices, " ") + ")";
    case Value::kNone:
    case Value::kText:
      break;
  }
  return " ";
}

/// One specification for _arguments.
std::string zsh_option(const OptionInfo& option) {
  const std::string value =
      option.value == Value::kNone
          ? ""
          : ":" + backslashed(option.type.empty() ? option.names[0] : option.type, ":\\") + ":" +
                zsh_values(option);
  if (option.positional) {
    return "      " +
           shell_quoted((option.takes_many ? "*:" : ":") + backslashed(option.names[0], ":\\") +
                        ":" + zsh_values(option)) +
           " \\\n";
  }
  std::vector<std::string> excluded = option.names;
  excluded.insert(excluded.end(), option.excludes.begin(), option.excludes.end());
  const std::string before = option.repeatable ? "*" : "(" + joined(excluded, " ") + ")";
  std::string text;
  for (const std::string& name : option.names) {
    const bool takes_equals = option.value != Value::kNone && name.starts_with("--");
    text += "      " +
            shell_quoted(before + name + (takes_equals ? "=[" : "[") +
                         backslashed(option.description, ":[]\\") + "]" + value) +
            " \\\n";
  }
  return text;
}

std::string zsh_function(const CommandInfo& command) {
  std::string name = "_r2-router";
  for (std::size_t i = 1; i < command.path.size(); ++i) name += "__" + command.path[i];
  return name;
}

std::string zsh_command(const CommandInfo& command) {
  const std::string name = zsh_function(command);
  const bool is_root = command.path.size() == 1;
  std::string text = (is_root ? std::string("_r2-router_main") : name) + "() {\n";
  std::string arguments;
  for (const OptionInfo& option : command.options) {
    if (command.commands.empty() || !option.positional) arguments += zsh_option(option);
  }
  if (command.commands.empty()) {
    return text + "  _arguments -s \\\n" + arguments + "      && return 0\n}\n\n";
  }
  text += "  local context state state_descr line\n  typeset -A opt_args\n  _arguments -s -C \\\n" +
          arguments + "      '1:command:->command' '*::argument:->argument' && return 0\n";
  text += "  case $state in\n    command)\n      local -a commands=(\n";
  for (const CommandInfo& other : command.commands) {
    text += "        " + shell_quoted(other.name + ":" + other.description) + "\n";
  }
  text +=
      "      )\n      _describe command commands\n      ;;\n    argument)\n      case $line[1] "
      "in\n";
  for (const CommandInfo& other : command.commands) {
    text += "        " + other.name + ") " + zsh_function(other) + " ;;\n";
  }
  return text + "      esac\n      ;;\n  esac\n}\n\n";
}

// --- fish

/// For single quotes in fish.
std::string fish_quoted(std::string_view text) { return "'" + backslashed(text, "'\\") + "'"; }

std::string fish_values(const OptionInfo& option) {
  switch (option.value) {
    case Value::kFile:
      return " -r -F";
    case Value::kFolder:
      return " -x -a '(__fish_complete_directories)'";
    case Value::kChoice:
      return " -x -a " + fish_quoted(joined(option.choices, " "));
    case Value::kText:
      return " -x";
    case Value::kNone:
      break;
  }
  return "";
}

std::string fish_command(const CommandInfo& command) {
  const std::string begin =
      "complete -c r2-router -n " + fish_quoted("__r2_router_at " + fish_quoted(path_of(command)));
  std::string text;
  for (const CommandInfo& other : command.commands) {
    text +=
        begin + " -a " + fish_quoted(other.name) + " -d " + fish_quoted(other.description) + '\n';
  }
  for (const OptionInfo& option : command.options) {
    if (option.positional) {
      if (!command.commands.empty() || option.value == Value::kText) continue;
      text += begin + fish_values(option) + '\n';
      continue;
    }
    text += begin;
    for (const std::string& name : option.names) {
      text += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
    }
    text += fish_values(option) + " -d " + fish_quoted(option.description) + '\n';
  }
  return text;
}

std::string title(std::string_view shell) {
  return "# " + std::string(shell) +
         " completion for r2-router, written by \"r2-router completion " + std::string(shell) +
         "\".\n";
}

}  // namespace

std::string bash_completion(const CommandInfo& root) {
  std::string text = title("bash") + R"(
# Fills COMPREPLY with what compgen finds for the word at the cursor.
_r2_router_reply() {
  local IFS=$'\n' words
  case $1 in
    -f|-d) compopt -o filenames 2> /dev/null ;;
    -W) words=${2// /$'\n'}; set -- -W "$words" ;;
  esac
  COMPREPLY=($(compgen "$@" -- "$current"))
}

_r2_router() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} path="" i
  COMPREPLY=()
  # --option=value comes as three words.
  if [[ $current == "=" ]]; then
    current=""
  elif [[ $previous == "=" && $COMP_CWORD -ge 2 ]]; then
    previous=${COMP_WORDS[COMP_CWORD-2]}
  fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$path ${COMP_WORDS[i]}" in
)";
  std::string known, commands;
  for_each_command(root, [&](const CommandInfo& command) {
    if (!path_of(command).empty()) {
      known += (known.empty() ? "      " : "|") + shell_quoted(path_of(command));
    }
    commands += bash_command(command);
  });
  return text + known +
         ") path=\"$path ${COMP_WORDS[i]}\" ;;\n    esac\n  done\n  case $path in\n" + commands +
         "  esac\n}\n\ncomplete -F _r2_router r2-router\n";
}

std::string zsh_completion(const CommandInfo& root) {
  std::string text = "#compdef r2-router\n" + title("zsh") + "\n";
  for_each_command(root, [&](const CommandInfo& command) { text += zsh_command(command); });
  return text + R"(_r2-router() {
  _r2-router_main "$@"
}

# As an autoloaded function, this file is the body of the first call. Sourced, it only registers.
if [[ $funcstack[1] == _r2-router ]]; then
  _r2-router "$@"
else
  compdef _r2-router r2-router
fi
)";
}

std::string fish_completion(const CommandInfo& root) {
  std::string text = title("fish") + R"(
# Whether the words before the cursor name the command with this path.
function __r2_router_at
    set -l path ''
    for word in (commandline -opc)[2..-1]
        contains -- "$path $word" $__r2_router_paths; and set path "$path $word"
    end
    test "$path" = "$argv[1]"
end

)";
  std::string paths, commands;
  for_each_command(root, [&](const CommandInfo& command) {
    if (!path_of(command).empty()) paths += ' ' + fish_quoted(path_of(command));
    commands += fish_command(command);
  });
  return text + "set -g __r2_router_paths" + paths + "\ncomplete -c r2-router -f\n" + commands;
}

}  // namespace r2router::cli
