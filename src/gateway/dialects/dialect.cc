#include "gateway/dialects/dialect.h"

#include "gateway/dialects/dialects.h"

namespace r2router::gateway {

std::string_view to_string(DialectKind kind) noexcept {
  switch (kind) {
    case DialectKind::kChat:
      return "chat";
    case DialectKind::kResponses:
      return "responses";
    case DialectKind::kMessages:
      return "messages";
  }
  return "unknown";
}

std::optional<DialectKind> find_dialect(std::string_view name) noexcept {
  for (const DialectKind kind : kDialects) {
    if (to_string(kind) == name) return kind;
  }
  return {};
}

const Dialect& dialect_of(DialectKind kind) {
  switch (kind) {
    case DialectKind::kChat:
      return chat_dialect();
    case DialectKind::kResponses:
      return responses_dialect();
    case DialectKind::kMessages:
      return messages_dialect();
  }
  throw Error(ErrorCode::kInvalidArgument, "the kind of a dialect has a value out of range");
}

std::string token_count(const ClientRequest& request) {
  return "{\"input_tokens\": " + std::to_string(request.size.input_tokens.value_or(0)) + "}";
}

}  // namespace r2router::gateway
