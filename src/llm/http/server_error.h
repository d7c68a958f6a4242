// Error reports of servers.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "r2router/error.h"

namespace r2router::llm {

struct ServerError {
  /// The status that the error names, such as 429; else 0. Under HTTP 200 only this gives the kind
  /// of error.
  int status = 0;
  /// The server's message on one line; may be empty.
  std::string words = {};
  /// Its codes and types, such as "invalid_request_error model_not_found".
  std::string kinds = {};
  /// Names of the request parameters that it rejects.
  std::vector<std::string> parameters = {};
};

/// Reads the forms in which servers report: {"error": {"message", "code", "param"}}, {"error":
/// "…"}, {"message": "…"}, {"detail": …}, {"errors": […]}, a list of any of these, JSON within a
/// string, HTML and plain text. A message may be a string, a list or an object. OpenRouter's
/// {"error": {"metadata": {"raw"}}} is the error of the provider behind it. The result is as
/// untrusted as the input.
ServerError read_server_error(std::string_view body);

/// The kind of error. An unambiguous status decides (see classify()). For ambiguous ones (400, 403,
/// 413, 422, or 0 for none) text and codes decide: a bad key, no credit, too many requests, a query
/// that is too long, a content policy, an unsupported feature, an unknown model.
ErrorCode classify(int status, const ServerError& error);

/// True if the error concerns this request parameter.
bool names_parameter(const ServerError& error, std::string_view name);

/// True if the error says that something is not supported at all, rather than that a value is
/// wrong.
bool says_unsupported(const ServerError& error);

/// True if the answer says that the server does not support this parameter, so that the request may
/// succeed without it.
bool rejects_parameter(int status, const ServerError& error, std::string_view name);

}  // namespace r2router::llm
