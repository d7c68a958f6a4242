// The state that serves requests: everything derived from the configuration, the checkpoint and the
// pool. Immutable, and replaced as a whole by a reload; a request keeps the one that it started
// with.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "r2router/error.h"
#include "r2router/router.h"

#include "gateway/config.h"
#include "gateway/dialects/dialect.h"
#include "gateway/health.h"
#include "gateway/spending/keys.h"
#include "gateway/spending/ledger.h"
#include "llm/http/exchange.h"

namespace r2router::gateway {

/// The highest published factor for cache writes: Anthropic's, for a cache of one hour.
inline constexpr double kMostCacheWriteFactor = 2;

/// One byte for each model of the pool; if it is not 0, the model is excluded.
using ModelMask = std::vector<std::uint8_t>;

struct ServedEndpoint {
  EndpointConfig config;
  std::shared_ptr<const llm::CheckedEndpoint> checked;
  std::array<std::string, std::size(kDialects)> urls;  ///< by DialectKind
  std::shared_ptr<Condition> condition;

  bool speaks(DialectKind kind) const;
  /// The endpoint's text without its keys.
  std::string redacted(std::string text) const;
  bool is_busy() const {
    return config.concurrency > 0 && condition->in_flight >= config.concurrency;
  }
};

struct ServedModel {
  const ServedEndpoint* endpoint = nullptr;  ///< null: nothing serves it
  std::shared_ptr<Condition> condition = {};
};

/// The client that sends a request.
struct Client {
  const Key* key = nullptr;  ///< null: anonymous
  std::shared_ptr<Account> account = {};
  ModelMask denied = {};  ///< models that the key may not use

  const std::string& name() const;
};

struct Service {
  /// Loads the checkpoint and the pool. `ledger`: null to check the configuration only. Throws what
  /// load_checkpoint() and read_pool() throw, and Error(kBadConfig) if the parts do not match.
  Service(GatewayConfig configuration, Health& health, Ledger* ledger, const LogCallback& log);
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  const Pool& pool() const { return router.pool(); }
  /// The index of the model with this name in the pool, or else with this catalogue name.
  std::optional<std::uint32_t> find_model(std::string_view name) const;
  /// The error for a request whose model find_model() does not know.
  Error unknown_model(std::string_view name) const;
  /// The client with this key; null if there is none. Without configured keys, every client is the
  /// anonymous one.
  const Client* find_client(std::string_view key) const;

  GatewayConfig config;
  Router router;
  /// For requests that write to a cache. If the pool has no price for that, the price is
  /// kMostCacheWriteFactor times the input's.
  Router cache_writing_router;
  std::vector<ServedEndpoint> endpoints;
  std::vector<ServedModel> models;                            ///< as the pool
  std::array<ModelMask, std::size(kDialects)> wrong_dialect;  ///< by DialectKind
  ModelMask out_of_bounds;
  Keys keys;
  std::vector<Client> clients;  ///< as keys
  Client anonymous;
  /// The model that costs are compared with.
  std::optional<std::uint32_t> baseline;
  std::string problem;   ///< why no request can be answered; empty: there is no problem
  std::int64_t created;  ///< Unix seconds

 private:
  std::map<std::string, std::uint32_t, std::less<>> by_name_;
};

}  // namespace r2router::gateway
