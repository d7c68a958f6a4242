// The answer to a query, and the attempts made for it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "r2router/error.h"
#include "r2router/export.h"
#include "r2router/types.h"

namespace r2router::llm {

/// One request to one model. Each retry and each fallback is a separate attempt.
struct Attempt {
  Pair pair = {};                       ///< `pair.model` is an index into the decision's pool
  std::string model = {};               ///< the requested catalogue name
  std::uint32_t max_tokens = 0;         ///< the cap that was sent
  int http_status = 0;                  ///< 0: no response
  std::optional<ErrorCode> error = {};  ///< empty: it succeeded
  std::string message = {};             ///< of the error
  double seconds = 0;                   ///< from start to end
  /// As charged, or computed from the usage. 0 if it was not sent or was rejected by HTTP status.
  /// Empty: unknown.
  std::optional<double> cost_usd = {};
};

/// A model's answer, or the reason why there is none. A plain value.
struct Completion {
  std::string text = {};       ///< if it failed: the part that arrived
  std::string reasoning = {};  ///< the model's reasoning, if the server returns it
  std::string refusal = {};    ///< the model's own words, if it refused to answer
  /// Empty: the answer is complete. Otherwise the last attempt's failure, and `text` is partial.
  std::optional<Failure> failure = {};
  Pair pair = {};  ///< the last one called; differs from the decision's after a fallback
  std::string requested_model = {};  ///< catalogue name
  std::string served_model = {};     ///< as the server names it; empty: not reported
  bool redirected = false;           ///< a model other than the requested one answered
  std::string finish_reason = {};    ///< as the server reports it: "stop", "length", …
  /// The cap cut the answer off: by the finish reason, or because the answer is as long as the cap.
  bool truncated = false;
  /// Reasoning used the whole cap and left no text. `failure` is then ErrorCode::kBudget.
  bool empty_after_reasoning = false;
  bool over_cap = false;                   ///< the server reports more tokens than the cap allows
  std::optional<Usage> usage = {};         ///< empty: not reported
  std::optional<double> charged_usd = {};  ///< the server's own figure (OpenRouter's usage.cost)
  /// Usage × the pool's prices of the model that answered. Empty if either is unknown.
  std::optional<double> computed_usd = {};
  /// Seconds from the last attempt's start to the first text, if streamed.
  std::optional<double> first_text_seconds = {};
  double seconds = 0;  ///< all attempts and the waits between them
  std::vector<Attempt> attempts = {};

  bool ok() const { return !failure; }
};

/// The model, tokens, cost and time of an answer, as one line of text for people. `pool`: the
/// decision's.
R2ROUTER_EXPORT std::string to_text(const Completion& completion, const Pool& pool);

}  // namespace r2router::llm
