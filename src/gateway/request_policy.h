// The policy of a request: the configuration's, changed by the policy it names, by its body and by
// its headers "x-r2-*", within the configuration's bounds.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>

#include "r2router/policy.h"

#include "gateway/incoming.h"

namespace r2router::gateway {

/// The policy's name in the model id "auto:NAME"; an empty string for "auto"; an empty optional for
/// any other model.
std::optional<std::string_view> routed_policy(std::string_view model);

/// `policy_name`: from the model id or the body. `own`: the settings in the body. Throws
/// Error(kInvalidArgument) that names the field, and kAuthentication for a policy that the key may
/// not use.
Policy policy_of(const Incoming& incoming, std::string_view policy_name, const Policy& own);

/// Excludes the models that are marked, in addition to those that the policy excludes.
void deny(const ModelMask& mask, const Service& service, Policy& policy);

/// The lower of two limits, or the one that is set.
template <typename Value>
std::optional<Value> lower(const std::optional<Value>& a, const std::optional<Value>& b) {
  return a && b ? std::min(*a, *b) : a ? a : b;
}

}  // namespace r2router::gateway
