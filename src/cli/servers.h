// Options of commands that call servers, and the resulting clients.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "r2router/config.h"
#include "r2router/encoder.h"
#include "r2router/llm/client.h"
#include "r2router/llm/generate.h"

namespace CLI {
class App;
}

namespace r2router::cli {

/// Server options of the command line.
struct ServerSettings {
  std::string embed_url, embed_model, embed_api_key;
  std::string llm_api_base, llm_api_key, cap_field;
  std::string ca_file;
  std::optional<double> timeout;  ///< seconds
  std::optional<double> temperature = llm::GenerateOptions{}.temperature;
  std::uint32_t max_fallbacks = llm::GenerateOptions{}.max_fallbacks;
  std::size_t concurrency = 4;
  bool split_thinking = llm::GenerateOptions{}.split_thinking;
  bool stream = false;

  bool embeds() const { return !embed_url.empty(); }
  bool answers() const { return !llm_api_base.empty(); }
};

/// Adds --embed-url and related options to `command`, in the group of servers. `settings` must
/// outlive it.
void add_embedding_server_options(CLI::App& command, ServerSettings& settings);

/// The same for --llm-api-base.
void add_answer_server_options(CLI::App& command, ServerSettings& settings);

/// The encoder for a checkpoint's queries: null without --embed-url, which selects the
/// checkpoint's encoder. Throws Error(kInvalidArgument) if the checkpoint has one and a server is
/// given.
std::shared_ptr<const Encoder> make_encoder(const ServerSettings& settings, const Config& config);

/// Null without --llm-api-base. The key is --llm-api-key, else the environment's.
std::shared_ptr<const llm::Client> make_client(const ServerSettings& settings);

}  // namespace r2router::cli
