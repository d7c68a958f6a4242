// Errors of the gateway in the clients' dialects.
#pragma once

#include <string>

#include "gateway/dialects/dialect.h"

namespace r2router::gateway {

/// {"error": {"message", "type", "param", "code"}}, of both APIs of OpenAI.
std::string openai_error(const ErrorReport& error);
/// The object within it.
std::string openai_error_object(const ErrorReport& error);
/// {"type": "error", "error": {"type", "message"}}.
std::string anthropic_error(const ErrorReport& error);

}  // namespace r2router::gateway
