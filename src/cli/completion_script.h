// Completion scripts for shells.
#pragma once

#include <string>

#include "cli/command_tree.h"

namespace r2router::cli {

/// Completes commands, options, values of options with a fixed set, and names of files and folders.
/// Install it where the shell looks for completions, or source it.
std::string bash_completion(const CommandInfo& root);
std::string zsh_completion(const CommandInfo& root);
std::string fish_completion(const CommandInfo& root);

}  // namespace r2router::cli
