// What a server says in place of an answer.
#pragma once

#include <string>
#include <string_view>

namespace r2router::net {

struct ServerError {
  /// The error's own status, such as 429, where it names one; else 0. Under HTTP 200 it is all that
  /// tells what kind of error it is.
  int status = 0;
  std::string words = {};  ///< as the server has put it, perhaps none
};

/// Reads the forms in which OpenAI-compatible servers report: {"error": {"message", "code"}},
/// {"error": "…"}, {"message": "…"} and {"detail": "…"}; OpenRouter's {"error": {"metadata":
/// {"raw"}}} is what the provider behind it has said. A body that is none of these stands in for
/// the words. What is returned is as untrusted as what was read.
ServerError read_server_error(std::string_view body);

}  // namespace r2router::net
