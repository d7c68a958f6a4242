// The output of --help.
#pragma once

#include <cstddef>
#include <string>

namespace CLI {
class App;
}

namespace r2router::cli {

/// The terminal's width, at most 100; 100 if standard output is not a terminal.
std::size_t help_width();

/// The help of a command. Only lines of examples can be longer than `width`.
std::string help_text(const CLI::App& command, std::size_t width);

}  // namespace r2router::cli
