// An HTTP server on loopback with minimal latency: one thread per connection, and no parsing except
// the length of a request.
#pragma once

#include <charconv>
#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

namespace r2router::bench {

/// A connected stream socket, closed on destruction.
class Connection {
 public:
  explicit Connection(int socket) : socket_(socket) {
    const int on = 1;
    ::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  /// To a port of this machine.
  static Connection to(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    Connection connection(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::connect(connection.socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
      throw std::runtime_error("no connection to the loopback server");
    }
    return connection;
  }
  Connection(Connection&& other) noexcept : socket_(std::exchange(other.socket_, -1)) {}
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() {
    if (socket_ >= 0) ::close(socket_);
  }

  int socket() const { return socket_; }

  /// False after the peer has closed.
  bool send(std::string_view bytes) const {
    while (!bytes.empty()) {
      const ssize_t count = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (count <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(count));
    }
    return true;
  }

  /// Reads one message with its Content-Length; empty after the peer has closed.
  std::string receive() const {
    std::string message;
    std::size_t size = std::string::npos;  // until it is known
    while (message.size() < size) {
      char block[1 << 16];
      const ssize_t count = ::recv(socket_, block, sizeof block, 0);
      if (count <= 0) return {};
      message.append(block, static_cast<std::size_t>(count));
      const std::size_t end = message.find("\r\n\r\n");
      if (size == std::string::npos && end != std::string::npos) {
        size = end + 4 + content_length(message);
      }
    }
    return message;
  }

 private:
  static std::size_t content_length(std::string_view message) {
    constexpr std::string_view kName = "Content-Length: ";
    const std::size_t at = message.find(kName);
    std::size_t length = 0;
    if (at != message.npos) {
      message.remove_prefix(at + kName.size());
      std::from_chars(message.data(), message.data() + message.size(), length);
    }
    return length;
  }

  int socket_;
};

class LoopbackServer {
 public:
  /// Answers a complete request.
  using Answer = std::function<void(const Connection& connection, const std::string& request)>;

  explicit LoopbackServer(Answer answer) : answer_(std::move(answer)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* const raw = reinterpret_cast<sockaddr*>(&address);
    socklen_t size = sizeof address;
    if (::bind(listener_, raw, size) != 0 || ::listen(listener_, 256) != 0 ||
        ::getsockname(listener_, raw, &size) != 0) {
      throw std::runtime_error("the loopback server cannot listen");
    }
    port_ = ntohs(address.sin_port);
    acceptor_ = std::jthread([this] { accept(); });
  }
  LoopbackServer(const LoopbackServer&) = delete;
  LoopbackServer& operator=(const LoopbackServer&) = delete;
  ~LoopbackServer() {
    ::shutdown(listener_, SHUT_RDWR);  // ends accept()
    acceptor_.join();
    for (const Connection& connection : connections_) ::shutdown(connection.socket(), SHUT_RDWR);
    threads_.clear();  // joins
    ::close(listener_);
  }

  std::uint16_t port() const { return port_; }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  /// Number of connections so far.
  std::size_t connections() const {
    const std::lock_guard lock(mutex_);
    return connections_.size();
  }

 private:
  void accept() {
    for (int socket = 0; (socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC)) >= 0;) {
      const std::lock_guard lock(mutex_);
      const Connection& connection = connections_.emplace_back(socket);
      threads_.emplace_back([this, &connection] { serve(connection); });
    }
  }

  void serve(const Connection& connection) const {
    for (std::string request; !(request = connection.receive()).empty();) {
      answer_(connection, request);
    }
  }

  const Answer answer_;
  int listener_ = -1;
  std::uint16_t port_ = 0;
  mutable std::mutex mutex_;
  std::list<Connection> connections_;  // a list, for stable addresses
  std::vector<std::jthread> threads_;
  std::jthread acceptor_;
};

}  // namespace r2router::bench
