#include "route/query_length.h"

#include <algorithm>
#include <cstdint>
#include <string>

#include "r2router/decision.h"
#include "r2router/error.h"

#include "base/unicode.h"

namespace r2router::internal {

InputTokens estimate_length(const Query& query, std::string_view budget_prompt) {
  if (!query.text.empty()) {
    return {.expected = estimate_input_tokens(query.text),
            .most = r2router::most_input_tokens(query.text, budget_prompt)};
  }
  if (query.messages.empty()) return kDefaultInputTokens;
  InputTokens length;
  for (const Message& message : query.messages) {
    // Each is wrapped by the chat template, and bounded as if it were sent by itself.
    length.expected += estimate_input_tokens(message.content);
    length.most += r2router::most_input_tokens(message.content, budget_prompt);
  }
  return length;
}

std::string_view routed_text(const Query& query) {
  const auto refuse = [](const std::string& message) {
    throw Error(ErrorCode::kInvalidArgument, message);
  };
  std::string_view text = query.text;
  if (!query.messages.empty()) {
    if (!text.empty()) refuse("the query has a text and messages: expected one of them");
    const auto last =
        std::ranges::find(query.messages.rbegin(), query.messages.rend(), "user", &Message::role);
    if (last == query.messages.rend()) {
      refuse("no message of the query has the role \"user\": expected one, which is routed");
    }
    text = last->content;
  }
  if (is_blank(text)) {
    refuse(std::string("the query is empty") + (text.empty() ? "" : ", nothing but white space") +
           ": expected some text");
  }
  return text;
}

}  // namespace r2router::internal
