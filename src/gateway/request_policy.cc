#include "gateway/request_policy.h"

#include <vector>

#include "r2router/error.h"
#include "r2router/settings.h"

#include "base/suggestion.h"

namespace r2router::gateway {
namespace {

constexpr std::string_view kHeaderPrefix = "x-r2-";

/// The setting that a header "x-r2-max-cost-usd" sets, or null.
const Setting* setting_of(std::string_view header) {
  std::string name(header.substr(kHeaderPrefix.size()));
  for (const Setting& setting : settings()) {
    std::string spelt(setting.name);
    for (char& c : spelt) {
      if (c == '_' || c == '.') c = '-';
    }
    if (spelt == name) return &setting;
  }
  return nullptr;
}

[[noreturn]] void refuse(const std::string& message, const std::string& field) {
  throw Error(ErrorCode::kInvalidArgument, message, {.option = field});
}

}  // namespace

std::optional<std::string_view> routed_policy(std::string_view model) {
  constexpr std::string_view kAuto = "auto";
  if (model.empty() || model == kAuto) return std::string_view();
  if (model.starts_with("auto:")) return model.substr(kAuto.size() + 1);
  return std::nullopt;
}

Policy policy_of(const Incoming& incoming, std::string_view policy_name, const Policy& own) {
  const Service& service = *incoming.service;
  Policy policy = service.config.policy;
  const auto apply_named = [&](std::string_view name, const char* field) {
    const auto& policies = service.config.policies;
    const auto found = policies.find(std::string(name));
    if (found == policies.end()) {
      std::vector<std::string> names;
      for (const auto& [known, settings] : policies) names.push_back(known);
      refuse("there is no policy \"" + std::string(name) + "\"; " +
                 (names.empty() ? "none is configured" : "expected " + internal::list_of(names)),
             field);
    }
    if (incoming.client->key != nullptr && !incoming.client->key->allows_policy(name)) {
      throw Error(ErrorCode::kAuthentication,
                  "this key may not use the policy \"" + std::string(name) + "\"",
                  {.option = field});
    }
    policy = merge(policy, found->second);
  };
  const std::string* header = llm::find_header(incoming.http.headers, "x-r2-policy");
  if (!policy_name.empty()) apply_named(policy_name, "model");
  if (header != nullptr && !header->empty()) apply_named(*header, "x-r2-policy");
  policy = merge(policy, own);
  Policy of_headers;
  for (const auto& [name, value] : incoming.http.headers) {
    if (!name.starts_with(kHeaderPrefix) || name == "x-r2-policy" || name == "x-r2-tag") continue;
    const Setting* setting = setting_of(name);
    if (setting == nullptr) {
      refuse("there is no such setting: expected one of a policy, such as x-r2-max-cost-usd", name);
    }
    if (!assign_text(*setting, value, of_headers)) {
      refuse("this header has another value than expected: " + setting->expected(), name);
    }
  }
  policy = merge(policy, of_headers);
  const Policy& bounds = service.config.bounds;
  policy.max_cost_usd = lower(policy.max_cost_usd, bounds.max_cost_usd);
  policy.max_output_tokens = lower(policy.max_output_tokens, bounds.max_output_tokens);
  return policy;
}

void deny(const ModelMask& mask, const Service& service, Policy& policy) {
  if (std::ranges::find_if(mask, [](auto mark) { return mark != 0; }) == mask.end()) return;
  if (!policy.deny) policy.deny = service.router.config().policy.deny;
  if (!policy.deny) policy.deny.emplace();
  for (std::size_t i = 0; i < mask.size(); ++i) {
    if (mask[i] != 0) policy.deny->push_back(service.pool()[i].name);
  }
}

}  // namespace r2router::gateway
