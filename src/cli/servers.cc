#include "cli/servers.h"

#include <cmath>
#include <utility>

#include <CLI/CLI.hpp>

#include "r2router/error.h"
#include "r2router/llm/http_encoder.h"

#include "base/unicode.h"
#include "cli/usage_error.h"

namespace r2router::cli {
namespace {

// Enough for every text of a batch at any concurrency, but little memory.
constexpr std::size_t kCacheBytes = std::size_t{64} << 20;
constexpr std::size_t kMostConcurrent = 256;

constexpr std::pair<const char*, llm::CapField> kCapFields[] = {
    {"max_completion_tokens", llm::CapField::kMaxCompletionTokens},
    {"max_tokens", llm::CapField::kMaxTokens}};

// CLI11's ranges accept NaN.
std::string check_seconds(const std::string& text) {
  double value = 0;
  if (CLI::detail::lexical_cast(text, value) && value > 0 && std::isfinite(value)) return {};
  return "expected a number of seconds above 0, found \"" + text + "\"";
}

std::string check_temperature(const std::string& text) {
  double value = 0;
  if (CLI::detail::lexical_cast(text, value) && value >= 0 && std::isfinite(value)) return {};
  return "expected a number, 0 or more, found \"" + text + "\"";
}

std::string check_url(const std::string& text) {
  const std::string lower = internal::lower_case(trimmed(text));
  if (lower.starts_with("http://") || lower.starts_with("https://")) return {};
  return "expected an address that begins with http:// or https://, found \"" + text + "\"";
}

llm::Endpoint endpoint_of(const ServerSettings& settings, const std::string& base_url,
                          llm::Secret key) {
  llm::Endpoint endpoint{
      .base_url = base_url, .api_key = std::move(key), .ca_file = settings.ca_file};
  if (settings.timeout) {
    endpoint.timeouts.total = *settings.timeout;
    // Without streaming, the first byte arrives when the answer is complete.
    endpoint.timeouts.first_byte = *settings.timeout;
  }
  return endpoint;
}

/// Adds an option to the group of servers.
struct OptionAdder {
  CLI::App& command;

  template <typename Value>
  CLI::Option* operator()(const char* name, Value& value, const char* description,
                          const char* type) const {
    return command.add_option(name, value, description)->type_name(type)->group("Servers");
  }
};

}  // namespace

void add_embedding_server_options(CLI::App& command, ServerSettings& settings) {
  const OptionAdder add{command};
  CLI::Option* embed_url =
      add("--embed-url", settings.embed_url,
          "Embedding server (POST URL/v1/embeddings), for checkpoints without an encoder", "URL")
          ->check(CLI::Validator(check_url, ""));
  add("--embed-model", settings.embed_model,
      "The server's name for the embedding model; default: the checkpoint's", "NAME")
      ->needs(embed_url);
  add("--embed-api-key", settings.embed_api_key, "Key for the embedding server", "KEY")
      ->needs(embed_url);
  add("--timeout", settings.timeout, "Timeout of a request with retries, in seconds; default: 600",
      "SECONDS")
      ->check(CLI::Validator(check_seconds, ""));
  add("--ca-file", settings.ca_file,
      "Certificate authorities to trust instead of the system's, PEM", "FILE");
  add("--concurrency", settings.concurrency, "Requests in flight at once; default: 4", "N")
      ->check(whole_number_in(1, kMostConcurrent));
}

void add_answer_server_options(CLI::App& command, ServerSettings& settings) {
  const OptionAdder add{command};
  CLI::Option* base =
      add("--llm-api-base", settings.llm_api_base,
          "Call each query's chosen model at this server (POST URL/chat/completions), such as "
          "https://openrouter.ai/api/v1",
          "URL")
          ->check(CLI::Validator(check_url, ""));
  add("--llm-api-key", settings.llm_api_key,
      "Key for that server; default: the environment variable OPENROUTER_API_KEY, which is safer: "
      "process lists show keys of command lines",
      "KEY")
      ->needs(base);
  add("--temperature", settings.temperature,
      "Sampling temperature, if the model supports it; default: the server's", "X")
      ->check(CLI::Validator(check_temperature, ""))
      ->needs(base);
  add("--max-fallbacks", settings.max_fallbacks,
      "Other models to try if the chosen one fails; default: 2", "N")
      ->check(whole_number_in(0, 1000))
      ->needs(base);
  add("--cap-field", settings.cap_field,
      "Request field for the cap; default: the one that the server expects. If a model rejects it, "
      "the other is sent",
      "NAME")
      ->check(one_of({kCapFields[0].first, kCapFields[1].first}))
      ->needs(base);
  command
      .add_flag("--split-thinking", settings.split_thinking,
                "Treat <think>...</think> at the start of an answer as reasoning, not text")
      ->group("Servers")
      ->needs(base);
  command
      .add_flag("--stream", settings.stream, "Print each answer while it arrives, one at a time")
      ->group("Servers")
      ->needs(base);
}

std::shared_ptr<const Encoder> make_encoder(const ServerSettings& settings, const Config& config) {
  if (!settings.embeds()) return nullptr;
  if (config.encoder) {
    throw Error(ErrorCode::kInvalidArgument,
                "the checkpoint has a built-in encoder, and its heads accept no other embeddings: "
                "remove --embed-url, or set --checkpoint-dir to a released folder (config.json and "
                "checkpoints/)");
  }
  return llm::make_http_encoder(
      endpoint_of(settings, settings.embed_url, llm::Secret(settings.embed_api_key)),
      {.model = settings.embed_model.empty() ? config.embedding_model : settings.embed_model,
       .dimension = config.embedding_dim,
       .max_concurrency = settings.concurrency,
       .cache = std::make_shared<EmbeddingCache>(kCacheBytes)});
}

std::shared_ptr<const llm::Client> make_client(const ServerSettings& settings) {
  if (!settings.answers()) return nullptr;
  llm::OpenAiClientOptions options;
  for (const auto& [name, field] : kCapFields) {
    if (settings.cap_field == name) options.cap_field = field;
  }
  llm::Secret key = settings.llm_api_key.empty() ? llm::api_key_from_environment()
                                                 : llm::Secret(settings.llm_api_key);
  return llm::make_openai_client(endpoint_of(settings, settings.llm_api_base, std::move(key)),
                                 options);
}

}  // namespace r2router::cli
