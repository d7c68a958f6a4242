// Where a server is and how it is called: address, key, time limits, retries.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "r2router/export.h"

namespace r2router::llm {

/// A key. It has no way into a stream or a message but reveal(), and its memory is overwritten when
/// it goes.
class R2ROUTER_EXPORT Secret {
 public:
  Secret() = default;
  /// Throws Error(kInvalidArgument), without showing it, for a key that no HTTP header can hold:
  /// one with control characters in it.
  explicit Secret(std::string_view value);
  Secret(const Secret&);
  Secret& operator=(const Secret&);
  ~Secret();

  bool empty() const { return value_.empty(); }
  /// The key itself: for the one place that sends it.
  const std::string& reveal() const { return value_; }

 private:
  std::string value_;
};

/// Time limits in seconds, each > 0.
struct Timeouts {
  double connect = 10;      ///< name look-up, TCP and TLS
  double first_byte = 120;  ///< from the request's start to the answer's first byte
  double idle = 60;         ///< between two pieces of an answer
  double total = 600;       ///< the deadline of a whole call, which no retry and no wait outlives
};

/// When a failed request is sent again: after the statuses below (an error that is reported under
/// status 200 counts as the status that it names), and after a failed or timed-out
/// connection of which no part of an answer had come. The wait before retry n = 0, 1, … is drawn
/// evenly from [0, min(max_delay, first_delay·2ⁿ)] ("full jitter": Brooker, "Exponential backoff
/// and jitter", 2015), or is what the server's Retry-After says.
struct RetryPolicy {
  std::uint32_t max_retries = 3;  ///< 0: never
  double first_delay = 0.5;       ///< seconds
  double max_delay = 20;          ///< seconds
  double max_retry_after = 60;    ///< seconds; a server that asks for more is not waited for
  /// 520 to 529 are those of gateways and of overloaded servers.
  std::vector<int> statuses = {408, 409, 425, 429, 500, 502, 503, 504, 520,
                               521, 522, 523, 524, 525, 526, 527, 528, 529};
};

/// A server and how to call it. Plain data.
///
/// What is made from it (a client, an embedder) may be used after fork() on both sides: a child
/// opens connections of its own and leaves the parent's alone, also those of calls that other
/// threads have under way. When the process exits, calls that are under way end with kCancelled
/// before static objects go, and so does a call that begins later.
struct Endpoint {
  /// "http://" or "https://", host, and perhaps a port, a path and a query string. The path of a
  /// call goes between path and query: "https://host/v1?api-version=1" is called as
  /// "https://host/v1/chat/completions?api-version=1". White space around it is ignored.
  std::string base_url;
  /// Sent as "Authorization: Bearer …" to this host alone, never along a redirect.
  Secret api_key = {};
  /// Sent with each request, such as {"HTTP-Referer", "https://example.org"}.
  std::vector<std::pair<std::string, std::string>> headers = {};
  Timeouts timeouts = {};
  RetryPolicy retry = {};
  std::string ca_file = {};  ///< PEM file of authorities to trust instead of the system's
  /// Proxy's URL. Empty: as the environment says (https_proxy, http_proxy, no_proxy, all_proxy).
  std::string proxy = {};
  std::size_t max_response_bytes = std::size_t{64} << 20;  ///< a longer answer is an error
};

/// The value of $OPENROUTER_API_KEY, or an empty secret.
R2ROUTER_EXPORT Secret api_key_from_environment();

}  // namespace r2router::llm
