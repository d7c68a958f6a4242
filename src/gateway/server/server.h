// An HTTP/1.1 server with one event loop and one thread for each core. The loops share nothing.
// Each has its own listening socket (SO_REUSEPORT), so the kernel distributes the connections.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "gateway/server/http_message.h"
#include "gateway/server/loop.h"

namespace r2router::gateway {

/// Limits on clients. Times are in seconds.
struct ServerLimits {
  std::size_t header_bytes = std::size_t{64} << 10;
  std::size_t body_bytes = std::size_t{32} << 20;
  /// Total size of the bodies of all requests in progress, in all loops. A request that would
  /// exceed it is refused with status 503. Up to three copies of each body are in memory.
  std::size_t buffered_bytes = std::size_t{256} << 20;
  /// Number of connections in all loops. Above it, a new connection replaces the one that has been
  /// idle longest.
  std::size_t connections = 10'000;
  double head = 10;   ///< from a request's first byte to the end of its head
  double body = 60;   ///< from there to the end of its body
  double idle = 75;   ///< between two requests of a connection
  double write = 60;  ///< without any progress of a reply that the client does not read
  double drain = 30;  ///< for requests in progress during shutdown
};

/// Certificate chain and key, both PEM.
struct TlsFiles {
  std::string certificate, key;
};

/// Throws Error(kBadConfig) if the files cannot be used.
void check_tls(const TlsFiles& files);

struct ServerOptions {
  std::string host = "127.0.0.1";  ///< an address or a name
  std::uint16_t port = 4000;       ///< 0: any free one
  std::size_t loops = 1;           ///< > 0
  ServerLimits limits = {};
};

/// The sockets are bound by the constructor, and served from start() to stop().
class Server {
 public:
  using MakeHandler = std::function<std::unique_ptr<HttpHandler>(Loop& loop)>;
  /// Receives exceptions thrown by a handler, which are bugs. Called on any loop's thread.
  using OnFault = std::function<void(std::string_view what)>;

  /// `make_handler` is called once for each loop. Throws Error(kInvalidArgument) for a host that
  /// cannot be resolved, and Error(kIo) if the port is in use or may not be used.
  Server(const ServerOptions& options, const MakeHandler& make_handler, OnFault on_fault);
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  /// Calls stop().
  ~Server();

  std::uint16_t port() const;

  /// Uses TLS with these files for new connections. Throws Error(kBadConfig) and keeps the previous
  /// files if they cannot be used. Thread-safe.
  void use_tls(const TlsFiles& files);

  void start();
  /// Accepts no more connections, waits for requests in progress, at most ServerLimits::drain, and
  /// ends the threads.
  void stop();

  std::size_t connections() const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace r2router::gateway
