// The answer to a query, and the attempts that it took.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "r2router/error.h"
#include "r2router/types.h"

namespace r2router::llm {

/// One request to one model: each retry and each fallback is an attempt of its own.
struct Attempt {
  Pair pair = {};                       ///< `pair.model` indexes the decision's pool
  std::string model = {};               ///< the catalogue name that was asked for
  std::uint32_t max_tokens = 0;         ///< the cap that was sent
  int http_status = 0;                  ///< 0: no answer
  std::optional<ErrorCode> error = {};  ///< empty: it succeeded
  std::string message = {};             ///< of the error
  double seconds = 0;                   ///< from its start to its end
  /// As charged, or as computed from the usage; 0 if it was not sent or refused by HTTP status;
  /// empty: unknown.
  std::optional<double> cost_usd = {};
};

/// A model's answer, or what became of the attempts to get one. A plain value.
struct Completion {
  std::string text = {};  ///< with a failure: what had come before it
  /// What the model thought before it answered, where the server returns that; not part of `text`.
  std::string reasoning = {};
  std::string refusal = {};  ///< why the model will not answer, in its own words
  /// Empty: this is a whole answer. Otherwise the last attempt's failure, and `text` is partial.
  std::optional<Failure> failure = {};
  Pair pair = {};  ///< the last that was asked: differs from the decision's after a fallback
  std::string requested_model = {};  ///< catalogue name
  std::string served_model = {};     ///< as the server names it; empty: it did not say
  bool redirected = false;           ///< another model answered than the one that was asked
  std::string finish_reason = {};    ///< "stop", "length", …, as the server says
  /// The cap cut the answer off: the finish reason says so, or the answer is as long as the cap.
  bool truncated = false;
  /// Reasoning took the whole cap and left no text: `failure` is ErrorCode::kBudget then.
  bool empty_after_reasoning = false;
  bool over_cap = false;                   ///< the server counts more tokens than the cap allowed
  std::optional<Usage> usage = {};         ///< empty: the server did not say
  std::optional<double> charged_usd = {};  ///< the server's own figure (OpenRouter's usage.cost)
  /// Usage × the pool's prices: those of the model that was asked, or of a fallback named to the
  /// provider if that is the one that answered. Empty if one of the two is unknown.
  std::optional<double> computed_usd = {};
  /// Seconds from the last attempt's start to the first text, when streamed.
  std::optional<double> first_text_seconds = {};
  double seconds = 0;  ///< of all attempts and the waits between them
  std::vector<Attempt> attempts = {};

  bool ok() const { return !failure; }
};

}  // namespace r2router::llm
