// What readers and writers of policies share in addition to r2router/settings.h.
#pragma once

#include <string_view>
#include <vector>

#include "r2router/policy.h"

#include "base/json.h"

namespace r2router {

/// Whether settings are members of an object of that name, as "cap.margin" is of "cap".
bool is_group(std::string_view name);

/// The keys of an object of settings, such as "cap." for "cap.margin"; of the whole policy if
/// `group` is empty.
std::vector<std::string_view> keys_in(std::string_view group);

/// The settings that are not empty. Throws what to_json() throws for one out of range.
io::Json policy_json(const Policy& policy);

}  // namespace r2router
