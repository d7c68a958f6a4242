// The configuration of the gateway: gateway.json, and what overrides it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "r2router/gateway.h"
#include "r2router/llm/client.h"
#include "r2router/llm/endpoint.h"
#include "r2router/policy.h"

#include "gateway/dialects/dialect.h"
#include "gateway/server/server.h"
#include "gateway/spending/keys.h"
#include "gateway/spending/ledger.h"

namespace r2router::gateway {

/// A server that answers requests.
struct EndpointConfig {
  std::string name;  ///< as in ModelSpec::endpoint
  llm::Endpoint endpoint = {};
  std::vector<DialectKind> dialects = {DialectKind::kChat, DialectKind::kResponses,
                                       DialectKind::kMessages};
  llm::CapField cap_field = llm::CapField::kAutomatic;
  std::vector<llm::Secret> secrets = {};  ///< values of `endpoint.headers` that are never shown
  std::size_t concurrency = 0;  ///< requests in progress at once, in this process; 0: any number
};

/// Embedding requests that are passed on to an endpoint.
struct EmbeddingsConfig {
  std::string endpoint = {};                  ///< name
  std::map<std::string, double> prices = {};  ///< USD per million input tokens, by model
};

struct LogConfig {
  std::string access = {};  ///< path of the access log; "-": standard output; empty: none
  bool prompts = false;     ///< include the text that is routed
};

/// A file of a configuration, with its state before it was read, so that a change during the
/// reading is detected.
struct SourceFile {
  explicit SourceFile(std::string file);
  bool has_changed() const;

  std::string path;
  std::filesystem::file_time_type time;
  std::uintmax_t size;
};

/// All settings, with defaults. Paths are absolute or relative to the current folder.
struct GatewayConfig {
  std::string host = "127.0.0.1";
  std::uint16_t port = 4000;
  std::size_t threads = 0;  ///< 0: one for each core
  std::optional<TlsFiles> tls = {};
  bool allow_anonymous = false;
  /// Lower-case names under which a gateway without keys is used, in addition to `host`, localhost
  /// and addresses.
  std::vector<std::string> allowed_hosts = {};
  ServerLimits limits = {};

  std::string checkpoint = {};  ///< folder
  std::string pool = {};        ///< file; empty: the checkpoint's own
  std::string kernel = {};
  Policy policy = {};                           ///< of the model id "auto"
  std::map<std::string, Policy> policies = {};  ///< of "auto:NAME"
  /// No request can exceed these limits, whatever it sets. Only max_cost_usd, max_output_tokens,
  /// allow and deny count.
  Policy bounds = {};
  /// Names of fields of requests (Surcharge::name) that are accepted under a spending limit
  /// although they may cost more than the worst case.
  std::vector<std::string> accepted_fields = {};
  std::uint32_t max_fallbacks = 2;
  std::string baseline = {};  ///< the model that costs are compared with; empty: the best one

  /// The first is the default for models that name no endpoint. Empty: no request can be answered.
  std::vector<EndpointConfig> endpoints = {};
  std::optional<EmbeddingsConfig> embeddings = {};
  std::vector<Key> keys = {};
  LedgerLocation ledger = {};
  LogConfig log = {};

  /// The files that the configuration was read from. It is reloaded if one of them changes.
  std::vector<SourceFile> files = {};
};

/// Reads the configuration with its files, but neither the checkpoint nor the pool. Throws
/// Error(kBadConfig) with a JSON pointer, and what load_policy() throws.
GatewayConfig load_config(const GatewayOptions& options);

/// Throws Error(kInvalidArgument) if other machines reach `host`, and may not without keys.
void check_access(const GatewayConfig& config, const std::string& host);

/// `json` with comments (// … and /* … */) replaced by spaces, so that positions stay the same.
std::string without_comments(std::string_view json);

}  // namespace r2router::gateway
