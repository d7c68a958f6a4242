// Manual pages.
#pragma once

#include <string>

#include "cli/command_tree.h"

namespace r2router::cli {

/// The page of a command, for section 1, in the man(7) language. `root` is the program.
std::string man_page(const CommandInfo& command, const CommandInfo& root);

}  // namespace r2router::cli
