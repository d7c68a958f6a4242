// Requests and replies, as passed between the server, which reads and writes HTTP, and its
// handlers.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "llm/http/transport.h"

namespace r2router::gateway {

/// A request, complete and checked: the head follows HTTP/1.1 strictly, and the body is whole.
struct HttpRequest {
  std::string method = {};
  std::string path = {};      ///< begins with "/"; without the query
  std::string query = {};     ///< without the "?"; empty: none
  llm::Headers headers = {};  ///< names in lower case
  std::string body = {};
  std::string peer = {};              ///< address of the client
  llm::Clock::time_point begin = {};  ///< when its first byte arrived
};

/// The reply to one request. Either send() is called, or begin(), any number of write() and
/// finish(). A header whose value has a line break is omitted. After the last call the reply must
/// not be used.
class HttpReply {
 public:
  virtual void send(int status, const llm::Headers& headers, std::string_view body) = 0;

  /// Begins a reply whose length is not known.
  virtual void begin(int status, const llm::Headers& headers) = 0;
  virtual void write(std::string_view piece) = 0;
  virtual void finish() = 0;

  /// Whether the client reads more slowly than the reply is written. Write no more until
  /// HttpTask::on_drained().
  virtual bool is_full() const = 0;

 protected:
  ~HttpReply() = default;
};

/// A request that is being answered. Destroyed when its reply has been sent, or as soon as the
/// client disconnects; it must then stop its work.
class HttpTask {
 public:
  virtual ~HttpTask() = default;
  /// The reply is no longer full.
  virtual void on_drained() {}
};

/// Answers the requests of one loop.
class HttpHandler {
 public:
  virtual ~HttpHandler() = default;
  /// Returns false if the reply does not depend on the body, such as for a request without a valid
  /// key: handle() then gets the request without its body, which is not read. `head`: without body.
  virtual bool wants_body(const HttpRequest& head) = 0;
  /// `reply` remains valid until the task is destroyed. Returns null if everything has been
  /// written.
  virtual std::unique_ptr<HttpTask> handle(HttpRequest request, HttpReply& reply) = 0;
  /// The body of a reply to a request that is refused before it is complete. `path` may be empty.
  virtual std::string refusal(int status, std::string_view message, std::string_view path) = 0;
};

}  // namespace r2router::gateway
