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

/// `options` with what the policy file says where they say nothing, and with what the command line
/// says. Throws what load_policy() throws.
RouteOptions with_constraints(const CLI::App& command, const ConstraintSettings& settings,
                              const RouteOptions& options);

/// The error with the command line's own name for the option that cannot be met, if the command
/// line set it. `options`: those of the call.
Error with_flag_named(const Error& error, const ConstraintSettings& settings,
                      const RouteOptions& options);

}  // namespace r2router::cli
