// An HTTP server that implements the APIs of OpenAI and Anthropic, and chooses a model and a budget
// for each request.
//
//     r2router::Gateway gateway({.config_file = "gateway.json"});
//     gateway.start();
//     std::cout << "listening on " << gateway.url() << '\n';
//     …
//     gateway.stop();
//
// config/gateway.schema.json describes the configuration, and "r2-router serve --help" the program.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "r2router/error.h"
#include "r2router/export.h"
#include "r2router/llm/client.h"
#include "r2router/llm/endpoint.h"
#include "r2router/policy.h"

namespace r2router {

/// Where the configuration comes from, and what overrides it. By default, the gateway uses the
/// default checkpoint with its pool, listens on 127.0.0.1:4000, and has OpenRouter as its only
/// endpoint if there is a key for it.
struct GatewayOptions {
  std::string config_file = {};  ///< gateway.json; empty: none
  /// The text of the configuration, instead of a file. Paths in it are relative to the current
  /// folder.
  std::string config = {};

  // These override the configuration; empty: as configured.
  std::string listen = {};          ///< "HOST:PORT", "HOST" or ":PORT"; port 0: any free one
  std::string checkpoint_dir = {};  ///< a checkpoint's folder
  std::string pool = {};            ///< a pool file
  std::string policy = {};          ///< a policy file, or a policy's name
  Policy settings = {};             ///< override the policy
  std::string kernel = {};          ///< as RouterOptions::kernel
  /// Base URL of the default endpoint, such as "http://127.0.0.1:8000/v1".
  std::string llm_api_base = {};
  /// Its key; empty: the environment variable OPENROUTER_API_KEY.
  llm::Secret llm_api_key = {};
  llm::CapField cap_field = llm::CapField::kAutomatic;
  std::string ca_file = {};            ///< as Endpoint::ca_file, of the default endpoint
  std::optional<double> timeout = {};  ///< as Timeouts::total, of the default endpoint
  /// Allow a gateway without keys on an address that other machines can reach.
  bool allow_anonymous = false;

  /// Reload when a file of the configuration changes.
  bool watch_files = true;
  /// Receives notes and warnings, on any thread.
  LogCallback log = {};
};

/// The server. Methods may be called from any thread, but not from within GatewayOptions::log.
class R2ROUTER_EXPORT Gateway {
 public:
  /// Reads the configuration and binds the port; connections are served after start(). Throws
  /// Error(kBadConfig) with a JSON pointer for an invalid configuration, kNotFound for a missing
  /// file, kInvalidArgument for bad options, kIo if the port or the ledger cannot be used, and what
  /// load_checkpoint(), read_pool() and load_policy() throw.
  explicit Gateway(const GatewayOptions& options = {});
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;
  /// Calls stop().
  ~Gateway();

  /// Throws what the constructor throws for these options, without binding a port or opening the
  /// ledger.
  static void check(const GatewayOptions& options);

  void start();
  /// Stops the server: accepts no more connections and waits for requests in progress, at most 30
  /// seconds or as configured.
  void stop();

  /// Reads configuration, checkpoint, pool, policies, keys and certificates again. Requests in
  /// progress keep the settings that they started with. If anything is invalid, throws its Error
  /// and changes nothing. The address, the number of threads, the limits of connections and the
  /// ledger are not changed: differences are logged and need a restart.
  void reload();

  std::uint16_t port() const;
  /// "http://127.0.0.1:4000".
  std::string url() const;
  /// Why chat requests cannot be answered, such as a missing key; empty: they can.
  std::string problem() const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace r2router
