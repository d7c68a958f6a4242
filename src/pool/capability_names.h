// Lists of names of capabilities, as files, queries and flags have them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "r2router/capability.h"

namespace r2router::internal {

inline constexpr std::string_view kCapabilityList =
    "a list of capabilities: tools, images, audio, json_schema or reasoning";

inline std::vector<std::string> names_of(Capabilities capabilities) {
  std::vector<std::string> names;
  capabilities.for_each([&](Capability one) { names.emplace_back(to_string(one)); });
  return names;
}

/// Empty if one of the names is not a capability's.
inline std::optional<Capabilities> capabilities_of(const std::vector<std::string>& names) {
  Capabilities capabilities;
  for (const std::string& name : names) {
    const std::optional<Capability> one = find_capability(name);
    if (!one) return {};
    capabilities.add(*one);
  }
  return capabilities;
}

}  // namespace r2router::internal
