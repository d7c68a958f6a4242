// Errors of the gateway in the clients' dialects.
#pragma once

#include <string>

#include "r2router/error.h"

#include "gateway/dialects/dialect.h"

namespace r2router::gateway {

/// The error that a client receives for a server's failure. Failures of the gateway's own key or
/// account become 502.
ErrorReport report_of(const Failure& failure);

/// {"error": {"message", "type", "param", "code"}}, as in both APIs of OpenAI.
std::string openai_error(const ErrorReport& error);
/// The object within it.
std::string openai_error_object(const ErrorReport& error);
/// {"type": "error", "error": {"type", "message"}}.
std::string anthropic_error(const ErrorReport& error);

}  // namespace r2router::gateway
