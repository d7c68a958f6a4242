// The output of --help and the help command.
#pragma once

#include <cstddef>
#include <string>

#include "cli/command_tree.h"

namespace r2router::cli {

/// Maximum width of help.
inline constexpr std::size_t kHelpWidth = 100;

/// The terminal's width, at most kHelpWidth; kHelpWidth if standard output is not a terminal.
std::size_t help_width();

/// Only lines of examples can be longer than `width`.
std::string help_text(const CommandInfo& command, std::size_t width);

}  // namespace r2router::cli
