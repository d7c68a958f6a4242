// Internal helpers for readers and writers of policies.
#pragma once

#include <string_view>
#include <vector>

#include "r2router/policy.h"

#include "base/json.h"

namespace r2router {

/// Whether `name` is an object of settings, such as "cap" of "cap.margin".
bool is_group(std::string_view name);

/// The keys of an object of settings, such as "cap." for "cap.margin"; of the whole policy if
/// `group` is empty.
std::vector<std::string_view> keys_in(std::string_view group);

/// The non-empty settings. Throws what to_json() throws for one out of range.
io::Json policy_json(const Policy& policy);

}  // namespace r2router
