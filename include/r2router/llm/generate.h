// Stage 4: query + Decision -> Completion, with fallbacks within the decision's cost limit.
//
//     auto client = llm::make_openai_client({.base_url = "https://openrouter.ai/api/v1",
//                                            .api_key = llm::api_key_from_environment()});
//     auto decision = router.route_text(query, {.rank = true});
//     auto completion = llm::generate(*client, router, query, decision);
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>

#include "r2router/export.h"
#include "r2router/llm/client.h"
#include "r2router/llm/completion.h"
#include "r2router/query.h"
#include "r2router/types.h"

namespace r2router {
class Router;
}

namespace r2router::llm {

/// Options of one call.
struct GenerateOptions {
  /// ≥ 0. Empty: not sent, so that the server uses its default. Many models accept no other.
  std::optional<double> temperature = {};
  /// Seconds for all attempts, waits and fallbacks together. Empty: Timeouts::total.
  std::optional<double> timeout = {};
  /// Maximum number of other models to try after the chosen one fails. Needs Decision::ranking.
  std::uint32_t max_fallbacks = 2;
  /// Also send the fallbacks to the provider (the request's "models"), which then tries them
  /// itself. The messages and the cap remain those of the chosen pair, so models with another
  /// ModelSpec::instruction, omit, request or endpoint are not sent, nor those whose own limit is
  /// below the cap. The model that answered is billed.
  bool provider_fallback = false;
  /// Moves a leading `<think>…</think>` from the text to Completion::reasoning, for servers that do
  /// not separate the two. The opening tag may be missing, except in a stream, which shows such
  /// text before the closing tag arrives.
  bool split_thinking = false;
  /// If set, the answer is streamed: called with each piece of text, in order, on the calling
  /// thread. Pieces end between characters. An exception that it throws ends the call and
  /// propagates.
  std::function<void(std::string_view text)> on_text = {};
  /// Stops the call, which returns within 100 ms with the failure kCancelled.
  std::stop_token cancel = {};
};

/// The system message that states the budget, sent before the conversation. "{budget}" in the
/// template is replaced by the number of tokens. Empty without a template or for an unlimited
/// budget.
R2ROUTER_EXPORT std::string budget_instruction(std::string_view budget_prompt, Budget budget);

/// Replaces the cap of the chosen pair, in tokens, and the worst case of its cost accordingly.
R2ROUTER_EXPORT void set_cap(Decision& decision, std::uint32_t max_tokens);

/// Calls the decision's model with its cap. ModelSpec::instruction and the budget instruction
/// precede the messages; if the first message is a system message, they are inserted at its start,
/// since many chat templates accept only one. If the call fails in a way that may not affect
/// another model, the next best pair of the ranking on another available model is used, with its
/// own instructions and cap. Entries with the catalogue name or the ModelSpec::family of a model
/// that has failed count as the same model. Another model may answer after
///
///   kNotFound, kRateLimited, kServer      the server does not serve this model, now or ever
///   kConnection, kTimeout, kBadResponse   retries are exhausted, or the answer could not be read
///   kTooLong, kNoAnswer, kUnsupported     the model cannot or will not answer this query
///   kBudget                               the model spent the cap on reasoning; here entries of
///                                         its family with another ModelSpec::request may answer
///
/// but not after kAuthentication, kCredit or kUntrusted (all models share key, account and server),
/// kRefused (the request is invalid) or kCancelled. Nothing is retried once text has arrived. All
/// attempts together stay within Decision::max_cost_usd: a request rejected by HTTP status is free,
/// an attempt whose outcome is unknown counts as fully charged, and an attempt that could exceed
/// the remainder is not made. Thread-safe. Throws Error(kInvalidArgument) for no messages, bad
/// options, a decision without a cap or a model without a catalogue name, and what `on_text`
/// throws; all other failures are in Completion::failure.
R2ROUTER_EXPORT Completion generate(const Client& client, std::span<const Message> messages,
                                    const Decision& decision, std::string_view budget_prompt,
                                    const GenerateOptions& options = {});

/// The same with the budget instruction of the router's checkpoint (Config::budget_prompt). A query
/// is one user message.
R2ROUTER_EXPORT Completion generate(const Client& client, const Router& router,
                                    std::string_view query, const Decision& decision,
                                    const GenerateOptions& options = {});
R2ROUTER_EXPORT Completion generate(const Client& client, const Router& router,
                                    std::span<const Message> messages, const Decision& decision,
                                    const GenerateOptions& options = {});

}  // namespace r2router::llm
