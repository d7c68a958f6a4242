// One client's connection.
#pragma once

#include <atomic>
#include <cstddef>
#include <list>
#include <memory>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>

#include "gateway/server/http_message.h"
#include "gateway/server/server.h"

namespace r2router::gateway {

class Connection;

/// The connections of a loop. Among the idle ones, the one that has been idle longest is first.
using ConnectionList = std::list<std::shared_ptr<Connection>>;

/// Shared by the connections of a loop.
struct ConnectionContext {
  const ServerLimits& limits;
  HttpHandler& handler;
  std::atomic<std::size_t>& count;     ///< of connections; read by other threads
  std::atomic<std::size_t>& buffered;  ///< bytes of bodies, of all loops
  ConnectionList connections = {};
  bool draining = false;
};

/// Reads one request at a time, has it answered, and then reads the next one. Pipelined requests
/// wait. Every method must be called on the loop's thread.
class Connection {
 public:
  virtual ~Connection() = default;

  /// Whether no request has begun.
  virtual bool is_idle() const = 0;
  /// Closes now if idle, else after the reply.
  virtual void drain() = 0;
  /// Closes immediately; a request in progress is abandoned.
  virtual void close() = 0;
  /// Called about once a second.
  virtual void check_time(llm::Clock::time_point now) = 0;
};

/// Adds a connection to the context's list. `tls`: null without TLS.
void serve_connection(boost::asio::ip::tcp::socket socket,
                      std::shared_ptr<boost::asio::ssl::context> tls, ConnectionContext& context);

}  // namespace r2router::gateway
