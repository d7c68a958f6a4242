// Messages for wrong command lines. Each says what was found, what was expected, and how to fix it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "cli/command_tree.h"

namespace r2router::cli {

/// Rewrites CLI11's error as this program's message. `app`: the parsed program.
std::string usage_message(const CLI::ParseError& error, const CLI::App& app);

/// The command with this path. Throws CLI::ValidationError if there is none.
const CommandInfo& command_named(const CommandInfo& root, std::span<const std::string> names);

/// Checks for option values. CLI11's checks have poorer messages, and its ranges accept NaN.
CLI::Validator one_of(std::vector<std::string> values);
CLI::Validator number_in(double least, double most);
CLI::Validator whole_number_in(std::uint64_t least, std::uint64_t most);

}  // namespace r2router::cli
