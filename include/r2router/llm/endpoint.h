// How to call a server: address, key, timeouts, retries.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "r2router/export.h"

namespace r2router::llm {

/// An API key. Only reveal() exposes it, so it cannot leak into a stream or a message. Its memory
/// is overwritten on destruction.
class R2ROUTER_EXPORT Secret {
 public:
  Secret() = default;
  /// Throws Error(kInvalidArgument), without showing the key, if it contains control characters,
  /// which an HTTP header cannot hold.
  explicit Secret(std::string_view value);
  Secret(const Secret&);
  Secret& operator=(const Secret&);
  ~Secret();

  bool empty() const { return value_.empty(); }
  /// The key itself. Use it only to send it.
  const std::string& reveal() const { return value_; }

 private:
  std::string value_;
};

/// Timeouts in seconds, each > 0.
struct Timeouts {
  double connect = 10;      ///< name lookup, TCP and TLS
  double first_byte = 120;  ///< from the start of the request to the first byte of the answer
  double idle = 60;         ///< between two parts of an answer
  double total = 600;       ///< deadline of the whole call, including retries and waits
};

/// When a failed request is retried: after the statuses below (an error reported under status 200
/// counts as the status that it names), and after a connection that failed or timed out before any
/// part of an answer arrived. The wait before retry n = 0, 1, … is drawn uniformly from [0,
/// min(max_delay, first_delay·2ⁿ)] ("full jitter": Brooker, "Exponential backoff and jitter",
/// 2015), or is the server's Retry-After.
struct RetryPolicy {
  std::uint32_t max_retries = 3;  ///< 0: never
  double first_delay = 0.5;       ///< seconds
  double max_delay = 20;          ///< seconds
  double max_retry_after = 60;    ///< seconds; if Retry-After is longer, there is no retry
  /// 520 to 529 come from gateways and overloaded servers.
  std::vector<int> statuses = {408, 409, 425, 429, 500, 502, 503, 504, 520,
                               521, 522, 523, 524, 525, 526, 527, 528, 529};
};

/// A server and how to call it. Plain data.
///
/// Clients and encoders made from it may be used on both sides of a fork(): the child opens its
/// own connections and does not touch the parent's, even if other threads have calls in progress.
/// When the process exits, calls in progress end with kCancelled before static objects are
/// destroyed, and so do calls that start later.
struct Endpoint {
  /// "http://" or "https://", host, and optionally a port, a path and a query string. The path of a
  /// call is inserted between path and query: "https://host/v1?api-version=1" is called as
  /// "https://host/v1/chat/completions?api-version=1". An address that already ends with such a
  /// path is refused. Surrounding white space is ignored.
  std::string base_url;
  /// Sent as "Authorization: Bearer …" to this host only, never to the target of a redirect.
  Secret api_key = {};
  /// The header that carries the key instead, without "Bearer", such as "x-api-key"; empty:
  /// Authorization.
  std::string key_header = {};
  /// Sent with each request, such as {"HTTP-Referer", "https://example.org"}. Those that describe
  /// the connection or the body (Host, Content-Type, Content-Length, …) are refused.
  std::vector<std::pair<std::string, std::string>> headers = {};
  Timeouts timeouts = {};
  RetryPolicy retry = {};
  std::string ca_file = {};  ///< PEM file of certificate authorities that replace the system's
  /// URL of the proxy. Empty: taken from the environment (https_proxy, http_proxy, no_proxy,
  /// all_proxy).
  std::string proxy = {};
  std::size_t max_response_bytes = std::size_t{64} << 20;  ///< a longer answer is an error
};

/// $OPENROUTER_API_KEY, or an empty secret.
R2ROUTER_EXPORT Secret api_key_from_environment();

}  // namespace r2router::llm
