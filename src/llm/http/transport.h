// The one seam to the network: a request goes out, a response or a failure comes back.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "r2router/error.h"
#include "r2router/llm/endpoint.h"

namespace r2router::llm {

using Clock = std::chrono::steady_clock;
/// Names and values.
using Headers = std::vector<std::pair<std::string, std::string>>;

struct Request {
  std::string method = "POST";  ///< "POST" sends `body`; "GET" has none
  std::string url;
  Headers headers = {};  ///< beside the endpoint's own and its key
  std::string body = {};
  Clock::time_point deadline = Clock::time_point::max();
  std::stop_token cancel = {};
  /// Set: called with each piece of the body of a 2xx answer as it comes, instead of collecting it.
  /// False ends the transfer without a failure. What it throws passes through send().
  std::function<bool(std::string_view piece)> on_body = {};
};

struct Response {
  int status = 0;         ///< 0: no answer
  Headers headers = {};   ///< names in lower case
  std::string body = {};  ///< empty where on_body took it
  /// Why there is no answer, or not all of it. An answer with an error status is no failure here.
  std::optional<Failure> failure = {};
  bool sent = false;      ///< some of the request was sent: the server may have acted on it
  bool answered = false;  ///< at least one line of an answer came
  double seconds = 0;     ///< that send() took
};

/// The first header of this (lower-case) name, or null.
const std::string* find_header(const Headers& headers, std::string_view name);

/// Sends requests. Immutable; send() may be called from many threads and keeps connections open
/// between calls.
class Transport {
 public:
  virtual ~Transport() = default;
  virtual Response send(const Request& request) const = 0;
};

/// libcurl with the endpoint's key, headers, time limits, authorities, proxy and size limit.
/// Redirects are not followed, so that the key goes nowhere else, and a request is sent once: also
/// when a connection that was kept open turns out to be dead. Throws Error(kInvalidArgument) for an
/// endpoint that cannot be used, and Error(kNotFound) for a ca_file that is not there.
std::shared_ptr<const Transport> make_transport(const Endpoint& endpoint);

/// The host of a URL, in lower case and without its port; "" if it is no URL.
std::string url_host(const std::string& url);

}  // namespace r2router::llm
