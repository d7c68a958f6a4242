// The router that a command works with: its checkpoint, prices, policy and servers, as options of
// the command line.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "r2router/error.h"
#include "r2router/llm/client.h"
#include "r2router/llm/generate.h"
#include "r2router/policy.h"
#include "r2router/router.h"

namespace CLI {
class App;
}

namespace r2router::cli {

struct RouterSettings {
  std::string checkpoint_dir, pool, kernel;
  std::string policy;  ///< a file or a name
  Policy given = {};   ///< the settings of the policy that the command line has
  std::string embed_url, embed_model, embed_api_key;
  std::string encoder;  ///< a file in the GGUF format
  std::string llm_api_base, llm_api_key;
  llm::CapField cap_field = llm::CapField::kAutomatic;
  std::string ca_file;
  llm::GenerateOptions generate = {};  ///< its timeout also limits calls for embeddings
  std::size_t concurrency = 4;
  bool stream = false;

  /// Whether embeddings come from elsewhere than the checkpoint's encoder.
  bool embeds() const { return !embed_url.empty() || !encoder.empty(); }
  bool answers() const { return !llm_api_base.empty(); }
};

// `settings` must outlive the command.

/// Adds --checkpoint-dir, --pool and --kernel.
void add_router_options(CLI::App& command, RouterSettings& settings);
/// Adds --policy and an option for every setting of one, in a separate group.
void add_policy_options(CLI::App& command, RouterSettings& settings);
/// Adds --encoder, --embed-url and related options.
void add_embedding_options(CLI::App& command, RouterSettings& settings);
/// The same for --llm-api-base.
void add_answer_server_options(CLI::App& command, RouterSettings& settings);
/// Adds --llm-api-base and the options of its connections, for a server that all requests go to.
void add_endpoint_options(CLI::App& command, RouterSettings& settings);

/// Fills in --checkpoint-dir: the default checkpoint, or if --encoder or --embed-url is given,
/// which need a checkpoint without an encoder, the released folder in the current folder. Throws
/// Error(kNotFound) if there is none.
void find_checkpoint(RouterSettings& settings);

/// The policy of --policy without what the command line overrides, and the router. Remarks are
/// printed. Both need find_checkpoint(). Throw what load_policy(), load_checkpoint() and
/// read_pool() throw, what make_llama_encoder() throws, and Error(kInvalidArgument) for --encoder
/// or
/// --embed-url if the checkpoint has an encoder.
Policy read_policy(const RouterSettings& settings);
Router load_router(const RouterSettings& settings);

/// Null without --llm-api-base. The key is --llm-api-key, else the environment's.
std::shared_ptr<const llm::Client> make_client(const RouterSettings& settings);

/// The error of text that is routed by a checkpoint without an encoder.
Error missing_encoder(const Router& router);

/// The error with the flag of the unsatisfiable setting, if the command line set it. `policy`: that
/// of the call.
Error with_flag_named(const Error& error, const RouterSettings& settings, const Policy& policy);

}  // namespace r2router::cli
