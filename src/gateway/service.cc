#include "gateway/service.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "r2router/error.h"
#include "r2router/pool.h"
#include "r2router/settings.h"

#include "base/suggestion.h"
#include "llm/http/endpoint.h"
#include "route/decide.h"

namespace r2router::gateway {
namespace {

[[noreturn]] void fail(const GatewayConfig& config, const std::string& message,
                       const std::string& pointer) {
  throw Error(ErrorCode::kBadConfig, message,
              {.file = config.files.empty() ? std::string() : config.files.front().path,
               .pointer = pointer});
}

std::vector<std::string> names_of(const Pool& pool) {
  std::vector<std::string> names;
  for (const ModelSpec& spec : pool) names.push_back(spec.name);
  return names;
}

std::string no_such_model(const Pool& pool, const std::string& name) {
  const auto meant = internal::likely_name(name, names_of(pool));
  return "no model of the pool is called \"" + name + "\"" +
         (meant ? "; did you mean \"" + *meant + "\"?" : ": change the name, or the pool");
}

Router load_router(GatewayConfig& config, const LogCallback& log) {
  config.files.emplace_back(config.checkpoint + "/config.json");
  Checkpoint checkpoint = load_checkpoint(config.checkpoint, log);
  if (!config.pool.empty()) {
    config.files.emplace_back(config.pool);
    apply_pool(checkpoint.config, read_pool(config.pool), log);
  }
  Router router(std::move(checkpoint), {.kernel = config.kernel, .log = log});
  if (!router.encoder()) {
    throw Error(ErrorCode::kUnsupported,
                "this checkpoint has no encoder for text, which the gateway needs: choose another, "
                "such as the default one",
                {.file = config.checkpoint});
  }
  return router;
}

Router cache_writing(const Router& router) {
  Pool pool = router.pool();
  for (ModelSpec& spec : pool) {
    Prices& prices = spec.prices;
    if (prices.cache_write) continue;
    prices.cache_write = prices.input * kMostCacheWriteFactor;
    for (PriceTier& tier : prices.tiers) {
      if (tier.input && !tier.cache_write) tier.cache_write = *tier.input * kMostCacheWriteFactor;
    }
  }
  return router.with_pool(pool);
}

/// The models that do not match `allow`, or match `deny`.
ModelMask excluded(const Pool& pool, const std::optional<std::vector<std::string>>& allow,
                   const std::optional<std::vector<std::string>>& deny,
                   const std::function<void(const std::string&)>& on_unknown) {
  ModelMask mask(pool.size(), allow ? 1 : 0);
  const auto mark = [&](const auto& names, std::uint8_t value) {
    if (!names) return;
    for (const std::string& name : *names) {
      if (!internal::mark_model(pool, name, value, mask)) on_unknown(name);
    }
  };
  mark(allow, 0);
  mark(deny, 1);
  return mask;
}

/// The best single model on average: the best one for an embedding of zeros, for which predictors
/// return their means.
std::optional<std::uint32_t> best_model(const Router& router) {
  const std::vector<float> nothing(router.dimension());
  try {
    const Decision decision =
        router.route(std::span<const float>(nothing),
                     {.policy = {.objective = Objective::kBest, .available_only = true}});
    return decision.chosen.model;
  } catch (const Error&) {
    return std::nullopt;  // no model is available
  }
}

}  // namespace

bool ServedEndpoint::speaks(DialectKind kind) const {
  return std::ranges::find(config.dialects, kind) != config.dialects.end();
}

std::string ServedEndpoint::redacted(std::string text) const {
  text = llm::redact(std::move(text), config.endpoint.api_key);
  for (const llm::Secret& secret : config.secrets) {
    text = llm::redact(std::move(text), secret);
    // The key alone of a header such as "Bearer KEY".
    const std::string_view value = secret.reveal();
    text = llm::redact(std::move(text), llm::Secret(value.substr(value.rfind(' ') + 1)));
  }
  return text;
}

const std::string& Client::name() const {
  static const std::string anonymous = "anonymous";
  return key == nullptr ? anonymous : key->name;
}

Service::Service(GatewayConfig configuration, Health& health, Ledger* ledger,
                 const LogCallback& log)
    : config(std::move(configuration)),
      router(load_router(config, log)),
      cache_writing_router(cache_writing(router)),
      keys(config.keys),
      created(std::chrono::duration_cast<std::chrono::seconds>(
                  std::chrono::system_clock::now().time_since_epoch())
                  .count()) {
  r2router::check(config.policy);
  for (const EndpointConfig& endpoint : config.endpoints) {
    ServedEndpoint& served = endpoints.emplace_back();
    served.config = endpoint;
    served.checked = std::make_shared<const llm::CheckedEndpoint>(endpoint.endpoint);
    const llm::BaseUrl base(endpoint.endpoint.base_url);
    for (const DialectKind kind : kDialects) {
      served.urls[static_cast<std::size_t>(kind)] = base.with(dialect_of(kind).path());
    }
    served.condition = health.condition("endpoint " + endpoint.name);
  }
  for (ModelMask& mask : wrong_dialect) mask.resize(pool().size());
  for (std::uint32_t i = 0; i < pool().size(); ++i) {
    const ModelSpec& spec = pool()[i];
    ServedModel& model = models.emplace_back();
    const auto endpoint =
        spec.endpoint.empty()
            ? endpoints.begin()
            : std::ranges::find(endpoints, spec.endpoint,
                                [](const ServedEndpoint& one) { return one.config.name; });
    if (endpoint == endpoints.end() && !spec.endpoint.empty() && !endpoints.empty()) {
      fail(config,
           "the model \"" + spec.name + "\" of the pool is served by the endpoint \"" +
               spec.endpoint + "\", which is missing: add it, or change the pool",
           "/endpoints");
    }
    if (endpoint != endpoints.end() && !spec.openrouter_id.empty()) {
      model.endpoint = &*endpoint;
      model.condition = health.condition("model " + endpoint->config.name + " " + spec.name);
    }
    for (const DialectKind kind : kDialects) {
      wrong_dialect[static_cast<std::size_t>(kind)][i] =
          model.endpoint == nullptr || !model.endpoint->speaks(kind);
    }
    by_name_.emplace(spec.name, i);
  }
  // Names in the pool come before catalogue names, of which several entries may share one.
  for (std::uint32_t i = 0; i < pool().size(); ++i) {
    if (!pool()[i].openrouter_id.empty()) by_name_.emplace(pool()[i].openrouter_id, i);
  }
  out_of_bounds = excluded(
      pool(), config.bounds.allow, config.bounds.deny,
      [&](const std::string& name) { fail(config, no_such_model(pool(), name), "/bounds"); });
  const auto check_models = [&](const Policy& policy, const std::string& pointer) {
    excluded(pool(), policy.allow, policy.deny,
             [&](const std::string& name) { fail(config, no_such_model(pool(), name), pointer); });
  };
  check_models(config.policy, "/policy");
  for (const auto& [name, policy] : config.policies) check_models(policy, "/policies/" + name);
  for (std::size_t i = 0; i < keys.all().size(); ++i) {
    const Key& key = keys.all()[i];
    Client& client = clients.emplace_back();
    client.key = &key;
    if (ledger != nullptr) client.account = ledger->account(key.name, key.limits);
    client.denied = excluded(pool(), key.models, {}, [&](const std::string& name) {
      if (config.embeddings && config.embeddings->prices.contains(name)) return;
      fail(config, no_such_model(pool(), name), "/keys/" + std::to_string(i) + "/models");
    });
  }
  if (ledger != nullptr) anonymous.account = ledger->account(anonymous.name(), {});
  anonymous.denied.resize(pool().size());
  if (config.baseline.empty()) {
    baseline = best_model(router);
  } else if (baseline = find_model(config.baseline); !baseline) {
    fail(config, no_such_model(pool(), config.baseline), "/baseline");
  }
  if (endpoints.empty()) {
    problem =
        "there is no server to send requests to: set OPENROUTER_API_KEY, or --llm-api-base, or "
        "\"endpoints\" in the configuration, and start the gateway again";
  }
}

std::optional<std::uint32_t> Service::find_model(std::string_view name) const {
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) return std::nullopt;
  return found->second;
}

Error Service::unknown_model(std::string_view name) const {
  std::vector<std::string> names = names_of(pool());
  std::erase(names, name);  // it may be one that the client may not use
  const auto meant = internal::likely_name(name, names);
  return Error(ErrorCode::kNotFound,
               "there is no model \"" + std::string(name) + "\"; " +
                   (meant ? "did you mean \"" + *meant + "\"?"
                          : "expected \"auto\", \"auto:POLICY\" or a model of GET /v1/models"),
               {.option = "model"});
}

const Client* Service::find_client(std::string_view key) const {
  if (keys.empty()) return &anonymous;  // any key is accepted
  const Key* const found = keys.find(key);
  if (found == nullptr) return nullptr;
  return &clients[static_cast<std::size_t>(found - keys.all().data())];
}

}  // namespace r2router::gateway
