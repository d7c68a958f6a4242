// Options that say what may be chosen, and by what.
#pragma once

#include <cstdint>
#include <string>

#include "r2router/error.h"
#include "r2router/options.h"

namespace CLI {
class App;
}

namespace r2router::cli {

/// For CLI::Validator: what is wrong with a number that must be 0 or more, or nothing.
std::string check_not_negative(const std::string& text);

struct ConstraintSettings {
  std::string policy, objective;
  RouteOptions given = {};  ///< what the command line sets itself
};

/// Adds --policy, --objective, --max-cost and the like to `command`, in a group of their own.
/// `settings` must outlive it.
void add_constraint_options(CLI::App& command, ConstraintSettings& settings);

/// Takes over the numbers that `from` sets; where it says by what to choose, `to` no longer does.
void take_numbers(const RouteOptions& from, RouteOptions& to);

/// The options of --policy, a file or a name in the folder of --checkpoint-dir; empty: none. Throws
/// what find_policy() and load_policy() throw.
RouteOptions read_policy(const std::string& policy, const std::string& checkpoint_dir);

/// `policy` with what the options and the command line say instead.
RouteOptions with_constraints(const CLI::App& command, const ConstraintSettings& settings,
                              const RouteOptions& options, const RouteOptions& policy);

/// The error with the command line's own name for the option that cannot be met, if the command
/// line set it. `options`: those of the call.
Error with_flag_named(const Error& error, const ConstraintSettings& settings,
                      const RouteOptions& options);

}  // namespace r2router::cli
