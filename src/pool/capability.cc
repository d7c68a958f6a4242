#include "r2router/capability.h"

#include <algorithm>
#include <array>

namespace r2router {
namespace {

constexpr std::array<std::string_view, kCapabilities> kNames = {"tools", "images", "audio",
                                                                "json_schema", "reasoning"};

}  // namespace

std::string_view to_string(Capability capability) noexcept {
  return kNames[static_cast<std::size_t>(capability)];
}

std::optional<Capability> find_capability(std::string_view name) noexcept {
  const auto* const found = std::ranges::find(kNames, name);
  if (found == kNames.end()) return {};
  return static_cast<Capability>(found - kNames.begin());
}

}  // namespace r2router
