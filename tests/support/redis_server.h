// A Redis server of a test's own, on loopback.
#pragma once

#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/process.h"
#include "support/temporary_folder.h"

namespace r2router::testing {

class RedisServer {
 public:
  /// Empty if no redis-server is installed.
  static std::string program() {
    for (const char* path : {"/usr/bin/redis-server", "/usr/local/bin/redis-server"}) {
      if (std::filesystem::exists(path)) return path;
    }
    return {};
  }

  explicit RedisServer(std::vector<std::string> options = {})
      : port_(free_port()), options_(std::move(options)) {
    start();
  }

  std::string url() const { return "redis://127.0.0.1:" + std::to_string(port_); }

  /// Starts it again on the same port with what it has written.
  void start() {
    std::vector<std::string> arguments = {
        program(), "--bind",       "127.0.0.1",    "--port", std::to_string(port_),
        "--dir",   folder_.path(), "--appendonly", "yes",    "--appendfsync",
        "always"};
    arguments.insert(arguments.end(), options_.begin(), options_.end());
    process_ = std::make_unique<Process>(arguments);
    if (!wait_until([&] { return answers(); })) throw std::runtime_error("Redis does not start");
  }
  void kill() { process_.reset(); }
  void pause() { process_->signal(SIGSTOP); }
  void resume() { process_->signal(SIGCONT); }

 private:
  static sockaddr_in address(int port) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }
  static int free_port() {
    const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in bound = address(0);
    socklen_t size = sizeof bound;
    if (::bind(socket, reinterpret_cast<sockaddr*>(&bound), size) != 0 ||
        ::getsockname(socket, reinterpret_cast<sockaddr*>(&bound), &size) != 0) {
      throw std::runtime_error("no free port");
    }
    ::close(socket);
    return ntohs(bound.sin_port);
  }
  bool answers() const {
    const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
    const sockaddr_in server = address(port_);
    const bool connected =
        ::connect(socket, reinterpret_cast<const sockaddr*>(&server), sizeof server) == 0;
    char reply[16] = {};
    ssize_t size = 0;
    if (connected && ::write(socket, "PING\r\n", 6) == 6)
      size = ::read(socket, reply, sizeof reply);
    ::close(socket);
    // "-NOAUTH" is an answer too; "-LOADING" is not ready.
    return size > 0 &&
           !std::string_view(reply, static_cast<std::size_t>(size)).starts_with("-LOADING");
  }

  TemporaryFolder folder_;
  int port_;
  std::vector<std::string> options_;
  std::unique_ptr<Process> process_;
};

}  // namespace r2router::testing
