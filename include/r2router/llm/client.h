// Stage 4: query + Decision -> Completion.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "r2router/export.h"
#include "r2router/llm/completion.h"
#include "r2router/llm/endpoint.h"
#include "r2router/query.h"

namespace r2router::llm {

/// A request to one model.
struct ChatRequest {
  std::string model;  ///< catalogue name
  std::vector<Message> messages;
  std::uint32_t max_tokens = 0;                   ///< the cap, > 0; always sent
  std::optional<double> temperature = {};         ///< empty: not sent
  std::vector<std::string> fallback_models = {};  ///< tried by the provider; usually none
  std::vector<std::string> omit = {};             ///< as ModelSpec::omit
  std::string extra = {};                         ///< as ModelSpec::request
  bool split_thinking = false;                    ///< as GenerateOptions::split_thinking
};

/// Options of one call.
struct CallOptions {
  std::chrono::steady_clock::time_point deadline;           ///< also limits retries and waits
  std::function<void(std::string_view text)> on_text = {};  ///< as GenerateOptions::on_text
  std::stop_token cancel = {};
  /// Maximum number of attempts that may be charged, ≥ 1. An attempt whose outcome is unknown
  /// (sent, but not answered) counts. After that many, the client does not retry.
  std::uint32_t max_charges = UINT32_MAX;
};

/// Calls a model. Derive from it to call models in another way than by HTTP. Implementations are
/// immutable after construction; all methods are thread-safe.
class R2ROUTER_EXPORT Client {
 public:
  virtual ~Client() = default;

  /// Sends the request, with retries, and reports each attempt (without its pair, which the caller
  /// knows). Failures of network and server are reported in Completion::failure; it is kNotFound if
  /// the server does not serve the model. Throws Error(kInvalidArgument) for a request that cannot
  /// be sent, and what `on_text` throws.
  virtual Completion complete(const ChatRequest& request, const CallOptions& options) const = 0;

  /// Seconds until the deadline of a call that sets none.
  virtual double default_timeout() const = 0;
};

/// The request field that carries the cap. If a model rejects it, the other is sent.
enum class CapField : std::uint8_t {
  kAutomatic,  ///< max_completion_tokens for OpenRouter and OpenAI, else max_tokens
  kMaxCompletionTokens,
  kMaxTokens,  ///< deprecated by OpenAI, but the only one that some servers support
};

struct OpenAiClientOptions {
  CapField cap_field = CapField::kAutomatic;
  /// OpenRouter's provider preferences as a JSON object, sent as "provider". For OpenRouter
  /// "require_parameters" is true unless set here: without it a provider may drop the cap.
  std::string provider = {};
};

/// A client of POST {base_url}/chat/completions, for OpenRouter, OpenAI, vLLM, llama.cpp and
/// others. Requests are retried according to RetryPolicy, but never after text has arrived. If the
/// server rejects an optional parameter (the temperature) by name, the next attempt omits it; if it
/// rejects the cap, the other field is used. The client remembers what a model does not support. An
/// answer without text is a failure: kNoAnswer, or kBudget if the cap was spent. A tool call or an
/// image is an answer. Throws Error(kInvalidArgument) for a bad endpoint or options, and
/// Error(kNotFound) for a missing ca_file.
R2ROUTER_EXPORT std::shared_ptr<const Client> make_openai_client(
    const Endpoint& endpoint, const OpenAiClientOptions& options = {});

}  // namespace r2router::llm
