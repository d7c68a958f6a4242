// An HTTP/1.1 server: one event loop and one thread for each core, which share nothing. Each loop
// has a listening socket of its own (SO_REUSEPORT), so the kernel distributes the connections.
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

/// What clients may demand of a server. Times in seconds.
struct ServerLimits {
  std::size_t header_bytes = std::size_t{64} << 10;
  std::size_t body_bytes = std::size_t{32} << 20;
  /// Of the bodies of all requests in progress, of all loops. A request that would exceed it is
  /// refused with status 503. Each body is in memory up to three times.
  std::size_t buffered_bytes = std::size_t{256} << 20;
  /// All loops together. Above it, a new connection replaces the one that has been idle longest.
  std::size_t connections = 10'000;
  double head = 10;   ///< from a request's first byte to the end of its head
  double body = 60;   ///< from there to the end of its body
  double idle = 75;   ///< between two requests of a connection
  double write = 60;  ///< without any progress of a reply that the client does not read
  double drain = 30;  ///< for requests in progress at the end
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
  /// Receives exceptions that left a handler, which is a bug. On any loop's thread.
  using OnFault = std::function<void(std::string_view what)>;

  /// `make_handler` is called once for each loop. Throws Error(kInvalidArgument) for a host that
  /// cannot be resolved, and Error(kIo) if the port is in use or may not be used.
  Server(const ServerOptions& options, const MakeHandler& make_handler, OnFault on_fault);
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  /// Calls stop().
  ~Server();

  std::uint16_t port() const;

  /// New connections use TLS with these files from now on. Throws Error(kBadConfig) if they cannot
  /// be used, and keeps the previous ones. Thread-safe.
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
