// Policies: what a call may set, kept in a file under a name of one's own.
//
//     {"objective": "usd", "willingness_to_pay": 0.0021, "max_cost_usd": 0.01, "deny": ["*-mini"]}
//
// Members are named and mean as the fields of RouteOptions; "cap" is an object with "margin",
// "minimum" and "unlimited". "calibration" holds where the settings come from, and is for people.
#pragma once

#include <string>
#include <string_view>

#include "r2router/calibrate.h"
#include "r2router/export.h"
#include "r2router/options.h"

namespace r2router {

/// Reads a policy. `file` is only for error messages. Throws Error(kBadConfig) with the JSON
/// pointer of what is wrong; contradictions between options are found when they are used.
R2ROUTER_EXPORT RouteOptions parse_policy(std::string_view json,
                                          const std::string& file = "policy.json");

/// Reads a policy file. Throws Error(kNotFound), Error(kIo) and what parse_policy() throws.
R2ROUTER_EXPORT RouteOptions load_policy(const std::string& path);

/// Where a checkpoint's folder keeps the policy of a name: FOLDER/policies/NAME.json. Throws
/// Error(kInvalidArgument) for a name that has anything but letters, digits, - and _.
R2ROUTER_EXPORT std::string named_policy_path(std::string_view name,
                                              const std::string& checkpoint_folder);

/// The file that is meant by `policy`, which is the path of one that exists, or else the name of
/// one in the checkpoint's folder (empty: there is no folder). Throws Error(kNotFound) that lists
/// the names that are there, the nearest first.
R2ROUTER_EXPORT std::string find_policy(const std::string& policy,
                                        const std::string& checkpoint_folder);

/// The policy as JSON text; parse_policy() gives it back. What is of one call alone (input_tokens,
/// max_input_tokens, cancel, rank, explain) is left out.
R2ROUTER_EXPORT std::string to_json(const RouteOptions& policy);

/// `base` with the setting that a calibration found in the place of its own objective.
R2ROUTER_EXPORT RouteOptions calibrated_policy(const RouteOptions& base,
                                               const Calibration& calibration);

/// The same as JSON text, with the target and its figures as "calibration".
R2ROUTER_EXPORT std::string to_json(const RouteOptions& base, const Calibration& calibration);

}  // namespace r2router
