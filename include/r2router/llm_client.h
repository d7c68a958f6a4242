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

#include "r2router/endpoint.h"
#include "r2router/export.h"
#include "r2router/options.h"
#include "r2router/query.h"
#include "r2router/types.h"

namespace r2router {

/// One question to one model.
struct ChatRequest {
  std::string model;  ///< catalogue name
  std::vector<Message> messages;
  std::uint32_t max_tokens = 0;                   ///< the cap, > 0: it is always sent
  std::optional<double> temperature = {};         ///< empty: not sent
  std::vector<std::string> fallback_models = {};  ///< for the provider to try; usually none
  std::vector<std::string> omit = {};             ///< as ModelSpec::omit
  std::string extra = {};                         ///< as ModelSpec::request
  bool split_thinking = false;                    ///< as GenerateOptions::split_thinking
};

/// How one call is made.
struct CallOptions {
  std::chrono::steady_clock::time_point deadline;           ///< no retry and no wait outlives it
  std::function<void(std::string_view text)> on_text = {};  ///< as GenerateOptions::on_text
  std::stop_token cancel = {};
  /// Most attempts that may be charged for, ≥ 1. One whose outcome is unknown (it was sent, and no
  /// answer came) counts; after that many there is no further retry.
  std::uint32_t max_charges = UINT32_MAX;
};

/// Asks one model for an answer. Derive from it to answer by other means than HTTP.
/// Implementations are immutable after construction; every method may be called from many threads.
class R2ROUTER_EXPORT LlmClient {
 public:
  virtual ~LlmClient() = default;

  /// Sends the request, retries included, and reports each attempt (without its pair, which the
  /// caller knows). What the network and the server do is data: Completion::failure, which is
  /// kNotFound for a model that is not served. Throws Error(kInvalidArgument) for a request that
  /// cannot be sent, and what `on_text` throws.
  virtual Completion complete(const ChatRequest& request, const CallOptions& options) const = 0;

  /// The deadline of a call that sets none, in seconds.
  virtual double default_timeout() const = 0;
};

/// The request field that carries the cap.
/// A model that rejects the field is sent the other.
enum class CapField : std::uint8_t {
  kAutomatic,  ///< max_completion_tokens for OpenRouter and OpenAI, else max_tokens
  kMaxCompletionTokens,
  kMaxTokens,  ///< deprecated by OpenAI, but all that some servers know
};

struct OpenAiClientOptions {
  CapField cap_field = CapField::kAutomatic;
  /// OpenRouter's provider preferences as a JSON object, sent as "provider". For OpenRouter
  /// "require_parameters" is true unless set here: a provider may drop the cap without it.
  std::string provider = {};
};

/// A client of POST {base_url}/chat/completions, as OpenRouter, OpenAI, vLLM and llama.cpp serve
/// it. A request is retried as RetryPolicy says, but never after text has come. A parameter that is
/// not required (the temperature) and that the server rejects by name is left out of the next
/// attempt, and a cap that it rejects is sent in the other of the two fields; the client remembers
/// what a model does not support. An answer without any text is a failure: kNoAnswer, or kBudget if
/// the cap was spent. A tool call or an image is an answer. Throws Error(kInvalidArgument) for a
/// bad endpoint or options, and Error(kNotFound) for a missing ca_file.
R2ROUTER_EXPORT std::shared_ptr<const LlmClient> make_openai_client(
    const Endpoint& endpoint, const OpenAiClientOptions& options = {});

/// What a model is told about its budget before the conversation, as a system message; "{budget}"
/// in the template stands for the number of tokens. Nothing without a template or under no limit.
R2ROUTER_EXPORT std::string budget_instruction(std::string_view budget_prompt, Budget budget);

/// Asks the decision's model within its cap, with ModelSpec::instruction and the budget instruction
/// before the messages (in front of the first if that is the system's own: many chat templates
/// admit but one). When that fails in a way that another model may not, it asks with the next best
/// pair of the ranking on another model that is available, with that pair's instructions and cap.
/// Another model may answer after
///
///   kNotFound, kRateLimited, kServer      the server does not serve this model, now or at all
///   kConnection, kTimeout, kBadResponse   its retries are spent, or no answer could be read
///   kTooLong, kNoAnswer, kUnsupported     it cannot or will not answer this query
///   kBudget                               it spent the cap on reasoning
///
/// but not after kAuthentication, kCredit or kUntrusted (all models share key, account and server),
/// kRefused (the request is at fault) or kCancelled. Nothing is tried again once text has come.
/// Under Decision::max_cost_usd all attempts together stay within it: a refusal by HTTP status is
/// free, an attempt whose outcome is unknown counts as fully charged, and what could cost more than
/// the rest is not tried. Safe from many threads. Throws Error(kInvalidArgument) for no messages,
/// bad options, a decision without a cap or a model without a catalogue name, and what `on_text`
/// throws; everything else is in Completion::failure.
R2ROUTER_EXPORT Completion generate(const LlmClient& client, std::span<const Message> messages,
                                    const Decision& decision, std::string_view budget_prompt,
                                    const GenerateOptions& options = {});

}  // namespace r2router
