// Capabilities of models beyond plain text, which a query may require.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string_view>

#include "r2router/export.h"

namespace r2router {

enum class Capability : std::uint8_t {
  kTools,       ///< function calling
  kImages,      ///< image input
  kAudio,       ///< audio input
  kJsonSchema,  ///< structured output by a JSON schema
  kReasoning,   ///< reasoning before the answer
};
inline constexpr std::size_t kCapabilities = 5;

/// "tools", "images", "audio", "json_schema", "reasoning".
R2ROUTER_EXPORT std::string_view to_string(Capability capability) noexcept;

/// The capability with this name; empty if there is none.
R2ROUTER_EXPORT std::optional<Capability> find_capability(std::string_view name) noexcept;

/// A set of capabilities.
class Capabilities {
 public:
  constexpr Capabilities() = default;
  constexpr Capabilities(std::initializer_list<Capability> all) {
    for (const Capability capability : all) add(capability);
  }

  constexpr void add(Capability capability) { bits_ |= bit(capability); }
  constexpr bool has(Capability capability) const { return (bits_ & bit(capability)) != 0; }
  constexpr bool empty() const { return bits_ == 0; }
  /// Whether all of `others` are in this set.
  constexpr bool includes(Capabilities others) const { return (others.bits_ & ~bits_) == 0; }

  /// Calls visit(capability) for each, in the order of Capability.
  template <typename Visit>
  constexpr void for_each(Visit visit) const {
    for (std::size_t i = 0; i < kCapabilities; ++i) {
      if (has(static_cast<Capability>(i))) visit(static_cast<Capability>(i));
    }
  }

  friend constexpr bool operator==(Capabilities, Capabilities) = default;

 private:
  static constexpr unsigned bit(Capability capability) {
    return 1U << static_cast<unsigned>(capability);
  }

  unsigned bits_ = 0;
};

}  // namespace r2router
