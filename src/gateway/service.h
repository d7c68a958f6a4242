// What requests are served with: everything that follows from the configuration, the checkpoint and
// the pool. Immutable, and replaced as a whole by a reload; requests keep the one they began with.
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

#include "r2router/router.h"

#include "gateway/config.h"
#include "gateway/dialects/dialect.h"
#include "gateway/health.h"
#include "gateway/spending/keys.h"
#include "gateway/spending/ledger.h"
#include "llm/http/exchange.h"

namespace r2router::gateway {

/// The dearest factor that a server publishes for writing a cache: Anthropic's, for an hour.
inline constexpr double kMostCacheWriteFactor = 2;

/// One byte for each model of the pool; not 0: it is left out.
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

/// Who sends a request.
struct Client {
  const Key* key = nullptr;  ///< null: anonymous
  std::shared_ptr<Account> account = {};
  ModelMask denied = {};  ///< models that the key may not use

  const std::string& name() const;
};

struct Service {
  /// Loads the checkpoint and the pool. `ledger`: null to check the configuration only. Throws what
  /// load_checkpoint() and read_pool() throw, and Error(kBadConfig) for what does not fit together.
  Service(GatewayConfig configuration, Health& health, Ledger* ledger, const LogCallback& log);
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  const Pool& pool() const { return router.pool(); }
  /// The index of the model that a client names: by its name in the pool, or the catalogue name.
  std::optional<std::uint32_t> find_model(std::string_view name) const;
  /// The client that presents a key; null if there is no such key. Without configured keys,
  /// everybody is the anonymous client.
  const Client* find_client(std::string_view key) const;

  GatewayConfig config;
  Router router;
  /// For requests that write a cache: where the pool has no price for that, it is
  /// kMostCacheWriteFactor times that of the input.
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
  std::string problem;   ///< why nothing can be answered; empty: it can
  std::int64_t created;  ///< Unix seconds

 private:
  std::map<std::string, std::uint32_t, std::less<>> by_name_;
};

}  // namespace r2router::gateway
