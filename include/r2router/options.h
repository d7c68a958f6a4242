// What a caller may set for one call. Plain structs: change the fields you care about.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string_view>

#include "r2router/policy.h"

namespace r2router {

/// Options of one routing call. What concerns the query is in query.h.
struct RouteOptions {
  /// What the choice depends on. What it leaves empty is as the checkpoint's policy says.
  Policy policy = {};
  /// Also fill Decision::ranking; costs a few tens of microseconds.
  bool rank = false;
  /// Also fill Decision::explanation; costs a few tens of microseconds.
  bool explain = false;
  /// Stops waiting for a server of embeddings: the call then throws Error(kCancelled).
  std::stop_token cancel = {};
};

/// Options of one call for an answer.
struct GenerateOptions {
  /// ≥ 0. Left empty: none is sent, and the server uses its default. Many models take no other.
  std::optional<double> temperature = {};
  /// Seconds for all attempts, waits and fallbacks together. Left empty: the endpoint's total.
  std::optional<double> timeout = {};
  /// How many other models may be tried after the chosen one has failed. Needs Decision::ranking.
  std::uint32_t max_fallbacks = 2;
  /// Name the fallbacks to the provider too (the request's "models"), which then tries them itself:
  /// the messages and the cap stay the chosen pair's, so that models with another
  /// ModelSpec::instruction, omit or request are not named; the bill follows the model that
  /// answers.
  bool provider_fallback = false;
  /// A model's text that begins with <think>…</think> becomes Completion::reasoning and what
  /// follows the text. For servers that do not part the two.
  bool split_thinking = false;
  /// Set: the answer is streamed, and this is called with each piece of its text, in order, on the
  /// calling thread. Pieces end between characters. What it throws ends the call and passes
  /// through.
  std::function<void(std::string_view text)> on_text = {};
  /// Stops the call: it returns within 100 ms with the failure kCancelled.
  std::stop_token cancel = {};
};

}  // namespace r2router
