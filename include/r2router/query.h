// Queries: the input of routing, as a plain value.
//
//     Query query{.text = "Who wrote Faust?"};
//     Query chat{.messages = {{"system", "Be brief."}, {"user", "Who wrote Faust?"}}};
//     Query embedded{.embedding = std::move(numbers), .size = {.input_tokens = 40}};
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "r2router/capability.h"

namespace r2router {

/// One message of a conversation.
struct Message {
  std::string role;  ///< "system", "user" or "assistant"
  std::string content;

  friend bool operator==(const Message&, const Message&) = default;
};

/// The size of a query, which determines its cost, and the capabilities that it requires.
struct QuerySize {
  /// Length of the query in tokens, ≥ 0. Empty: estimated from the text or the messages, or 100 if
  /// there are none.
  std::optional<std::int64_t> input_tokens = {};
  /// Upper bound on the input tokens, including everything that is sent with the query, ≥
  /// input_tokens. Used for worst-case costs. Empty: input_tokens if that is set, or else
  /// most_input_tokens() of the text or the messages, or 100 if there are none.
  std::optional<std::int64_t> max_input_tokens = {};
  /// Tokens of a model's context that the query uses, ≥ 0. Empty: max_input_tokens. An estimate is
  /// enough: if the context is exceeded, the server rejects the request, and another model can be
  /// tried.
  std::optional<std::int64_t> context_tokens = {};
  /// Images that are sent with the query, for models that charge for them.
  std::uint32_t images = 0;
  /// Capabilities that the model must have; with images, also Capability::kImages. Models that are
  /// known to lack one of these are left out (ModelSpec::capabilities).
  Capabilities requirements = {};

  friend bool operator==(const QuerySize&, const QuerySize&) = default;
};

/// A query. Set `text` or `messages`, or an embedding, or both a text and its embedding.
struct Query {
  std::string text = {};
  /// A conversation. It is routed by the last user message; its length is that of all messages.
  std::vector<Message> messages = {};
  /// The embedding, owned or a view of numbers that must outlive the query. Empty: the router's
  /// encoder computes it. Views of adjacent rows of a float32 matrix are routed without a copy.
  std::variant<std::vector<float>, std::vector<double>, std::span<const float>,
               std::span<const double>>
      embedding = {};
  QuerySize size = {};

  bool has_embedding() const {
    return std::visit([](const auto& numbers) { return !numbers.empty(); }, embedding);
  }
};

}  // namespace r2router
