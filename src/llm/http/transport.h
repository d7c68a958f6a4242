// The interface to the network: sends a request, returns a response or a failure.
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
  Headers headers = {};  ///< in addition to the endpoint's headers and key
  std::string body = {};
  Clock::time_point deadline = Clock::time_point::max();
  std::stop_token cancel = {};
  /// If set, called with each chunk of the body of a 2xx answer instead of collecting it. False
  /// ends the transfer without a failure. Exceptions pass through send().
  std::function<bool(std::string_view piece)> on_body = {};
};

struct Response {
  int status = 0;         ///< 0: no answer
  Headers headers = {};   ///< names in lower case
  std::string body = {};  ///< empty where on_body took it
  /// Why there is no answer, or an incomplete one. An answer with an error status is not a failure.
  std::optional<Failure> failure = {};
  bool sent = false;      ///< part of the request was sent, so the server may have processed it
  bool answered = false;  ///< at least one line of an answer arrived
  double seconds = 0;     ///< that send() took
};

/// The first header of this (lower-case) name, or null.
const std::string* find_header(const Headers& headers, std::string_view name);

/// Sends requests. Immutable and thread-safe. Keeps connections open between calls.
class Transport {
 public:
  virtual ~Transport() = default;
  virtual Response send(const Request& request) const = 0;
};

/// libcurl with the endpoint's key, headers, time limits, authorities, proxy and size limit.
/// Redirects are not followed, so that the key is sent to no other host. A request is sent only
/// once, even if a reused connection turns out to be dead. Throws Error(kInvalidArgument) for an
/// invalid endpoint, and Error(kNotFound) for a missing ca_file.
std::shared_ptr<const Transport> make_transport(const Endpoint& endpoint);

/// The host of a URL in lower case, without the port; "" if it is not a URL.
std::string url_host(const std::string& url);

}  // namespace r2router::llm
