// The library's exception type, and the callback for diagnostics.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "r2router/export.h"

namespace r2router {

/// The kind of error. Values are stable: programs may branch on them.
enum class ErrorCode : std::uint8_t {
  kInvalidArgument,  ///< an argument is outside the accepted range
  kNotFound,         ///< the named file, folder, model or kernel does not exist
  kIo,               ///< the operating system could not read or write
  kBadConfig,        ///< config.json is readable but invalid; Where::pointer says where
  kBadCheckpoint,    ///< head files are truncated, corrupt, unsupported or contradict the config
  kUnsafe,       ///< a file attempts something that a checkpoint may never do, such as running code
  kBadData,      ///< an outcome table or query file is invalid
  kUnsupported,  ///< valid, but not supported by this build, this version or a model
  // Errors of servers. In a Failure, some of these codes let another model answer (see generate()
  // in llm/generate.h).
  kConnection,  ///< no connection, or a broken one: refused, reset, name not found, proxy
  kUntrusted,   ///< the server's TLS certificate was refused
  kTimeout,     ///< a time limit or the deadline expired
  kCancelled,   ///< the caller cancelled the call
  // If the server's message names the problem, the code follows the message, not the status.
  kAuthentication,  ///< the key was refused (HTTP 401, 403)
  kCredit,          ///< the account cannot pay (HTTP 402)
  kRateLimited,     ///< too many requests (HTTP 429)
  kServer,          ///< the server failed (HTTP 408, 5xx, or an error that it reports mid-answer)
  kRefused,         ///< the server rejected the request (HTTP 400, 413, 422, …)
  kBadResponse,     ///< the answer violates the protocol: truncated, malformed, too large
  kBudget,          ///< nothing fits the cost limit, or the budget was spent before an answer
  kTooLong,         ///< query and answer exceed the model's context
  /// The model returned no text: it refused, a content filter withheld the answer, it stopped after
  /// reasoning, or the answer was empty.
  kNoAnswer,
};

/// The code as spelled in JSON output: "invalid_argument", "not_found", …
R2ROUTER_EXPORT std::string_view to_string(ErrorCode code) noexcept;

/// The only exception type that the library throws. `what()` is one or two complete sentences for
/// people: where, what was found, what was expected, and how to fix it. The accessors provide the
/// same facts to programs. Immutable, so safe to read from any thread.
class R2ROUTER_EXPORT Error : public std::runtime_error {
 public:
  /// Where the error is. Fields that do not apply are empty.
  struct Where {
    std::string file = {};                          ///< path of the invalid file
    std::optional<std::uint64_t> byte_offset = {};  ///< position in a binary file
    std::string pointer = {};                       ///< JSON pointer (RFC 6901) in a config
    std::optional<std::uint64_t> line = {};         ///< 1-based line in a line-oriented file
    /// Field name of the option that cannot be satisfied. A front end that spells it differently
    /// can combine its own name with message().
    std::string option = {};
  };

  /// `message`: what was found, what was expected, how to fix it. what() is `where` followed by
  /// `message`.
  Error(ErrorCode code, const std::string& message, Where where);
  Error(ErrorCode code, const std::string& message);

  ErrorCode code() const noexcept { return code_; }
  const Where& where() const noexcept { return where_; }
  /// what() without where().
  const std::string& message() const noexcept { return message_; }

 private:
  ErrorCode code_;
  std::string message_;
  Where where_;
};

/// Why a call to a server failed, as data: retries and fallbacks depend on it.
struct Failure {
  ErrorCode code = ErrorCode::kServer;
  /// 0: no answer. For an error reported under status 200, the status that the error names.
  int http_status = 0;
  std::string message = {};  ///< one or two sentences for people; never contains a key

  friend bool operator==(const Failure&, const Failure&) = default;
};

enum class LogLevel : std::uint8_t { kDebug, kInfo, kWarning };

/// Receives diagnostics, such as a skipped model. The library itself never prints. Called on the
/// thread that caused the message, and only during the call that it was passed to.
using LogCallback = std::function<void(LogLevel, std::string_view)>;

}  // namespace r2router
