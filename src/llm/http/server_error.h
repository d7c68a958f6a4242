// What a server says in place of an answer.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "r2router/error.h"

namespace r2router::llm {

struct ServerError {
  /// The error's own status, such as 429, where it names one; else 0. Under HTTP 200 nothing else
  /// tells what kind of error it is.
  int status = 0;
  /// What the server says, on one line; perhaps nothing.
  std::string words = {};
  /// The codes and types that it names, such as "invalid_request_error model_not_found".
  std::string kinds = {};
  /// Names of the request's parameters that it finds fault with.
  std::vector<std::string> parameters = {};
};

/// Reads the forms in which servers report: {"error": {"message", "code", "param"}}, {"error":
/// "…"}, {"message": "…"}, {"detail": …}, {"errors": […]}, a list of any of these, JSON within a
/// string, HTML and plain text. A message may be a string, a list or an object. OpenRouter's
/// {"error": {"metadata": {"raw"}}} is what the provider behind it has said. What is returned is as
/// untrusted as what was read.
ServerError read_server_error(std::string_view body);

/// What kind of error it is. A status that has one meaning decides (see classify()); for one that
/// servers use for anything (400, 403, 413, 422, or 0 for none) the words and codes decide: a bad
/// key, no credit, too many requests, a query that is too long, a content policy, something that
/// the model does not support, an unknown model.
ErrorCode classify(int status, const ServerError& error);

/// True if the error is about this parameter of the request.
bool names_parameter(const ServerError& error, std::string_view name);

/// True if the error says that something is not supported at all, rather than that a value is
/// wrong.
bool says_unsupported(const ServerError& error);

}  // namespace r2router::llm
