// The settings of a policy as options of the command line.
#pragma once

#include <string>

#include "r2router/error.h"
#include "r2router/policy.h"

namespace CLI {
class App;
}

namespace r2router::cli {

struct PolicySettings {
  std::string policy;  ///< a file or a name
  Policy given = {};   ///< set by the command line
};

/// Adds --policy and an option for every setting to `command`, in a separate group. `settings` must
/// outlive it.
void add_policy_options(CLI::App& command, PolicySettings& settings);

/// The policy of a file or of a name in the folder of --checkpoint-dir; empty: none. Throws what
/// find_policy() and load_policy() throw.
Policy read_policy(const std::string& policy, const std::string& checkpoint_dir);

/// The error with the flag of the unsatisfiable setting, if the command line set it. `policy`: that
/// of the call.
Error with_flag_named(const Error& error, const PolicySettings& settings, const Policy& policy);

}  // namespace r2router::cli
