#include "cli/router_options.h"

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <utility>
#include <vector>

#include "r2router/llama_encoder.h"
#include "r2router/llm/http_encoder.h"
#include "r2router/pool.h"
#include "r2router/settings.h"

#include "base/unicode.h"
#include "checkpoint/released.h"
#include "cli/command.h"

namespace r2router::cli {
namespace {
constexpr const char* kGroup = "Constraints and trade-off";

/// CLI11 passes the number of times that the flag is given, minus that of its opposite.
bool flag_value(const std::string& flags, std::int64_t count) {
  if (count != 0) return count > 0;
  const std::size_t comma = flags.find(",!");
  throw CLI::ValidationError(flags.substr(0, comma) + " and " + flags.substr(comma + 2) +
                             " exclude each other: use one of them");
}

CLI::Option* add_setting(CLI::App& command, const Setting& setting, Policy& given) {
  const std::string flags = setting.flags(), help = setting.flag_help();
  if (setting.type() == Setting::Type::kFlag) {
    const auto set = [&setting, &given, flags](std::int64_t count) {
      assign(setting, flag_value(flags, count), given);
    };
    return command.add_flag_function(flags, set, help)->disable_flag_override();
  }
  const auto set = [&setting, &given](const std::string& text) {
    assign_text(setting, text, given);
  };
  const auto accepts = [&setting](const std::string& text) {
    Policy ignored;
    return assign_text(setting, text, ignored);
  };
  std::vector<std::string> names;
  for (const std::string_view name : setting.names()) names.emplace_back(name);
  CLI::Option* option =
      command.add_option_function<std::string>(flags, set, help)
          ->check(names.empty() ? check_that(setting.expected(), accepts) : one_of(names))
          ->type_name(setting.value_name());
  return setting.type() == Setting::Type::kModels ? option->join(',') : option;
}

// Enough for every text of a batch at any concurrency, but little memory.
constexpr std::size_t kCacheBytes = std::size_t{64} << 20;
constexpr std::size_t kMostConcurrent = 256;

Check check_url() {
  return check_that("an address that begins with http:// or https://", [](const std::string& text) {
    const std::string lower = internal::lower_case(trimmed(text));
    return lower.starts_with("http://") || lower.starts_with("https://");
  });
}

llm::Endpoint endpoint_of(const RouterSettings& settings, const std::string& base_url,
                          llm::Secret key) {
  llm::Endpoint endpoint{
      .base_url = base_url, .api_key = std::move(key), .ca_file = settings.ca_file};
  if (const auto& timeout = settings.generate.timeout) {
    endpoint.timeouts.total = *timeout;
    // Without streaming, the first byte arrives when the answer is complete.
    endpoint.timeouts.first_byte = *timeout;
  }
  return endpoint;
}

/// Null without --encoder and --embed-url, which selects the checkpoint's encoder.
std::shared_ptr<const Encoder> make_encoder(const RouterSettings& settings, const Config& config) {
  if (!settings.embeds()) return nullptr;
  if (config.encoder) {
    throw Error(ErrorCode::kInvalidArgument,
                "the checkpoint has a built-in encoder, and its heads accept no other embeddings: "
                "remove " +
                    std::string(settings.encoder.empty() ? "--embed-url" : "--encoder") +
                    ", or set --checkpoint-dir to a released folder (config.json and "
                    "checkpoints/)");
  }
  if (!settings.encoder.empty()) return make_llama_encoder(settings.encoder);
  return llm::make_http_encoder(
      endpoint_of(settings, settings.embed_url, llm::Secret(settings.embed_api_key)),
      {.model = settings.embed_model.empty() ? config.embedding_model : settings.embed_model,
       .dimension = config.embedding_dim,
       .max_concurrency = settings.concurrency,
       .cache = std::make_shared<EmbeddingCache>(kCacheBytes)});
}

// Options that several commands have.

void add_connection_options(Options& add, RouterSettings& settings) {
  add("--timeout", settings.generate.timeout, "SECONDS",
      "Timeout of a request with retries, in seconds; default: 600",
      check_that("a number of seconds above 0", [](const std::string& text) {
        double value = 0;
        return CLI::detail::lexical_cast(text, value) && value > 0 && std::isfinite(value);
      }));
  add("--ca-file", settings.ca_file, "FILE",
      "Certificate authorities to trust instead of the system's, PEM");
}

/// Returns the option of the base URL, which `help` describes.
CLI::Option* add_server(Options& add, RouterSettings& settings, const std::string& help) {
  CLI::Option* base = add("--llm-api-base", settings.llm_api_base, "URL", help, check_url());
  add("--llm-api-key", settings.llm_api_key, "KEY",
      "Key for that server; default: the environment variable OPENROUTER_API_KEY, which is safer: "
      "process lists show keys of command lines");
  add.choice("--cap-field", settings.cap_field,
             {{"max_completion_tokens", llm::CapField::kMaxCompletionTokens},
              {"max_tokens", llm::CapField::kMaxTokens}},
             "Request field for the cap; default: the one that the server expects. If a model "
             "rejects it, the other is sent");
  return base;
}

}  // namespace

void add_router_options(CLI::App& command, RouterSettings& settings) {
  Options add(command);
  add("--checkpoint-dir", settings.checkpoint_dir, "DIR",
      "Checkpoint folder, native or released, or the name of an installed one; default: default");
  add("--pool", settings.pool, "FILE.json",
      "Take prices, availability and catalogue names from this pool file; models of the checkpoint "
      "that it lacks count as unavailable");
  add("--kernel", settings.kernel, "NAME",
      "Compute kernel; default: the fastest (see r2-router version)");
}

void add_policy_options(CLI::App& command, RouterSettings& settings) {
  Options add(command, kGroup);
  add("--policy", settings.policy, "FILE.json|NAME",
      "File, or name of a policy in the checkpoint's folder (see r2-router calibrate), with "
      "defaults for these options");
  for (const Setting& setting : r2router::settings()) {
    add_setting(command, setting, settings.given)->group(kGroup);
  }
}

void add_embedding_options(CLI::App& command, RouterSettings& settings) {
  CLI::Option* encoder = Options(command)(
      "--encoder", settings.encoder, "FILE.gguf",
      "Embedding model to run in this process, for checkpoints without an encoder");
  Options add(command, "Servers");
  CLI::Option* embed_url = add(
      "--embed-url", settings.embed_url, "URL",
      "Embedding server (POST URL/v1/embeddings), for checkpoints without an encoder", check_url());
  embed_url->excludes(encoder);
  add("--embed-model", settings.embed_model, "NAME",
      "The server's name for the embedding model; default: the checkpoint's")
      ->needs(embed_url);
  add("--embed-api-key", settings.embed_api_key, "KEY", "Key for the embedding server")
      ->needs(embed_url);
  add_connection_options(add, settings);
  add("--concurrency", settings.concurrency, "N", "Requests in flight at once",
      whole_number_in(1, kMostConcurrent));
}

void add_answer_server_options(CLI::App& command, RouterSettings& settings) {
  Options add(command, "Servers");
  CLI::Option* base = add_server(add, settings,
                                 "Call each query's chosen model at this server (POST "
                                 "URL/chat/completions), such as https://openrouter.ai/api/v1");
  add("--temperature", settings.generate.temperature, "X",
      "Sampling temperature, if the model supports it; default: the server's", number_in(0));
  add("--max-fallbacks", settings.generate.max_fallbacks, "N",
      "Other models to try if the chosen one fails", whole_number_in(0, 1000));
  add("--split-thinking", settings.generate.split_thinking,
      "Treat <think>...</think> at the start of an answer as reasoning, not text");
  add("--stream", settings.stream, "Print each answer while it arrives, one at a time");
  for (CLI::Option* option : add.added()) {
    if (option != base) option->needs(base);
  }
}

void add_endpoint_options(CLI::App& command, RouterSettings& settings) {
  Options add(command, "Servers");
  add_server(
      add, settings,
      "Server to send requests to, such as http://127.0.0.1:8000/v1; default: OpenRouter, or "
      "as configured");
  add_connection_options(add, settings);
}

void find_checkpoint(RouterSettings& settings) {
  const char* chosen = std::getenv("R2ROUTER_CHECKPOINT");
  const bool no_choice = settings.checkpoint_dir.empty() && (chosen == nullptr || *chosen == '\0');
  if (no_choice && settings.embeds()) {
    // The default checkpoint has an encoder of its own.
    settings.checkpoint_dir = io::find_released_folder().value_or("r2-router");
    print_remark("note", "using the checkpoint " + settings.checkpoint_dir);
  }
  settings.checkpoint_dir = checkpoint_folder(settings.checkpoint_dir);
}

Policy read_policy(const RouterSettings& settings) {
  if (settings.policy.empty()) return {};
  return load_policy(find_policy(settings.policy, settings.checkpoint_dir));
}

Router load_router(const RouterSettings& settings) {
  const LogCallback log = print_warnings();
  Checkpoint checkpoint = load_checkpoint(settings.checkpoint_dir, log);
  if (!settings.pool.empty()) apply_pool(checkpoint.config, read_pool(settings.pool), log);
  auto encoder = make_encoder(settings, checkpoint.config);
  return Router(std::move(checkpoint),
                {.kernel = settings.kernel, .encoder = std::move(encoder), .log = log});
}

std::shared_ptr<const llm::Client> make_client(const RouterSettings& settings) {
  if (!settings.answers()) return nullptr;
  llm::Secret key = settings.llm_api_key.empty() ? llm::api_key_from_environment()
                                                 : llm::Secret(settings.llm_api_key);
  return llm::make_openai_client(endpoint_of(settings, settings.llm_api_base, std::move(key)),
                                 {.cap_field = settings.cap_field});
}

Error missing_encoder(const Router& router) {
  return Error(ErrorCode::kUnsupported,
               "this checkpoint has no encoder for text: name a server that serves " +
                   router.config().embedding_model +
                   " with --embed-url, or its file with --encoder, or give embeddings with "
                   "--embeddings, or to route as \"embedding\" in the lines of --input");
}

Error with_flag_named(const Error& error, const RouterSettings& settings, const Policy& policy) {
  const Setting* setting = find_setting(error.where().option);
  if (setting == nullptr) return error;
  // If a query line or a policy set it, keep the library's name.
  const auto given = value_of(*setting, settings.given);
  if (!given || given != value_of(*setting, policy)) return error;
  Error::Where where = error.where();
  where.option = setting->main_flag();
  return Error(error.code(), error.message(), where);
}

}  // namespace r2router::cli
