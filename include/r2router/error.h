// The one exception type of the library, and how the library tells what it would otherwise print.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "r2router/export.h"

namespace r2router {

/// What kind of thing went wrong; stable, for programs to branch on.
enum class ErrorCode : std::uint8_t {
  kInvalidArgument,  ///< a caller's value is outside what the function accepts
  kNotFound,         ///< a file, folder, model or kernel that was named does not exist
  kIo,               ///< the operating system refused to read or write
  kBadConfig,        ///< config.json is readable but wrong; `pointer()` says where
  kBadCheckpoint,    ///< head files are truncated, corrupt, unsupported or contradict the config
  kUnsafe,           ///< a file asks for something a checkpoint may never do, such as running code
  kBadData,          ///< an outcome table or query file is wrong
  kUnsupported,      ///< understood, but not available: in this build or version, or by a model
  // Of servers that are called. In Failure, where these codes are data, some of them let another
  // model answer (see generate() in llm/generate.h).
  kConnection,  ///< no connection, or it broke: refused, reset, name not found, proxy
  kUntrusted,   ///< the server's TLS certificate was refused
  kTimeout,     ///< a time limit or the deadline passed
  kCancelled,   ///< the caller asked to stop
  // Whatever its status, an error that says in words what is wrong has the code of that.
  kAuthentication,  ///< the key was refused (HTTP 401, 403)
  kCredit,          ///< the account cannot pay (HTTP 402)
  kRateLimited,     ///< too many requests (HTTP 429)
  kServer,          ///< the server failed (HTTP 408, 5xx, or an error that it reports mid-answer)
  kRefused,         ///< the server finds fault with the request (HTTP 400, 413, 422, …)
  kBadResponse,     ///< the answer is not what the protocol says: truncated, malformed, too large
  kBudget,          ///< nothing fits the cost limit, or the budget was spent before an answer
  kTooLong,         ///< query and answer are longer than the model's context
  /// The model gave no text: it refused, a content filter withheld the answer, it ended after its
  /// reasoning, or there was nothing at all.
  kNoAnswer,
};

/// "invalid_argument", "not_found", … : the code's spelling in JSON output.
R2ROUTER_EXPORT std::string_view to_string(ErrorCode code) noexcept;

/// Everything the library throws. `what()` is one complete sentence or two for a person: where,
/// what was found, what was expected, and what to do about it. The accessors give the same facts to
/// a program. Immutable, so safe to read from any thread.
class R2ROUTER_EXPORT Error : public std::runtime_error {
 public:
  /// Where in the outside world the fault lies; leave out what does not apply.
  struct Where {
    std::string file = {};                          ///< path of the offending file
    std::optional<std::uint64_t> byte_offset = {};  ///< position in a binary file
    std::string pointer = {};                       ///< JSON pointer (RFC 6901) in a config
    std::optional<std::uint64_t> line = {};         ///< 1-based line in a line-oriented file
    /// The option that cannot be met, by its field's name; a program that calls it otherwise can
    /// say so with message().
    std::string option = {};
  };

  /// `message`: found, expected and remedy. `where` is put before it in `what()`.
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

/// What went wrong with a call to a server, as data: it feeds retries and fallbacks.
struct Failure {
  ErrorCode code = ErrorCode::kServer;
  /// 0: there was no answer. An error that a server reports under status 200 has the one it names.
  int http_status = 0;
  std::string message = {};  ///< one sentence or two for a person; never holds a key

  friend bool operator==(const Failure&, const Failure&) = default;
};

enum class LogLevel : std::uint8_t { kDebug, kInfo, kWarning };

/// The library never prints. Whoever wants its remarks (a skipped model, say) passes one of these.
/// Called on the thread that caused the remark, only during the call that it was passed to.
using LogCallback = std::function<void(LogLevel, std::string_view)>;

}  // namespace r2router
