// A real HTTP server for tests, in a separate process. fault_server.py documents its scripts.
#pragma once

#include <array>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

namespace r2router::testing {

/// A request as the server saw it.
struct SeenRequest {
  std::string method, path, body;
  nlohmann::json headers;  ///< names in lower case
  int connection = 0;      ///< number of the connection that it came on
  bool proxied = false;    ///< it was sent as to a proxy

  /// The header's value, or "" without it.
  std::string header(const std::string& name) const { return headers.value(name, std::string()); }
  nlohmann::json json() const { return nlohmann::json::parse(body); }
};

/// One server for each test program; every method may be called from many threads.
class FaultServer {
 public:
  using Json = nlohmann::json;

  static FaultServer& instance() {
    static FaultServer server;
    return server;
  }

  /// Registers what the n-th request is answered with, as lists of steps; returns the URL below
  /// which the answers are given.
  std::string script(const Json& answers) { return "http://127.0.0.1:" + port_ + path(answers); }

  /// Registers a script and returns its path: for another port of this server.
  std::string path(const Json& answers) { return command({{"script", answers}}).at("path"); }

  /// Requests to a URL that script() gave, or to a path that path() gave.
  std::vector<SeenRequest> requests(const std::string& url) {
    std::vector<SeenRequest> requests;
    const Json answer = command({{"requests", url.substr(url.rfind('/'))}});
    for (const Json& seen : answer.at("requests")) {
      requests.push_back({.method = seen.at("method"),
                          .path = seen.at("path"),
                          .body = seen.at("body"),
                          .headers = seen.at("headers"),
                          .connection = seen.at("connection"),
                          .proxied = seen.at("proxied")});
    }
    return requests;
  }

  /// Targets of the CONNECT requests so far.
  std::vector<std::string> tunnels() { return command({{"tunnels", true}}).at("tunnels"); }

  /// When connections have ended, by their number.
  Json ends() { return command({{"ends", true}}).at("ends"); }

  std::string port() const { return port_; }
  std::string closed_port() {
    return std::to_string(command({{"closed_port", true}}).at("port").get<int>());
  }

  struct Listener {
    std::string port, ca_file;
  };
  /// Another port: "http", or TLS with a "good", "expired" or "wrong-host" certificate.
  Listener listen(const std::string& kind) {
    const Json answer = command({{"listen", kind}});
    return {std::to_string(answer.at("port").get<int>()), answer.at("ca_file")};
  }

  FaultServer(const FaultServer&) = delete;
  FaultServer& operator=(const FaultServer&) = delete;

 private:
  FaultServer() {
    ::setenv("no_proxy", "*", 1);  // a proxy that this machine uses must not come between
    std::array<int, 2> to{}, from{};
    if (pipe2(to.data(), O_CLOEXEC) != 0 || pipe2(from.data(), O_CLOEXEC) != 0) {
      throw std::runtime_error("no pipe");
    }
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, to[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, from[1], STDOUT_FILENO);
    const std::string program = R2ROUTER_SOURCE_DIR "/tests/support/fault_server.py";
    std::array<const char*, 3> arguments = {"python3", program.c_str(), nullptr};
    const int failed = posix_spawnp(&child_, arguments[0], &actions, nullptr,
                                    const_cast<char**>(arguments.data()), environ);
    posix_spawn_file_actions_destroy(&actions);
    close(to[0]);
    close(from[1]);
    if (failed != 0) throw std::runtime_error("cannot run python3 " + program);
    to_ = to[1];
    from_ = fdopen(from[0], "r");
    port_ = listen("http").port;
  }

  ~FaultServer() {
    close(to_);
    std::fclose(from_);
    waitpid(child_, nullptr, 0);
  }

  Json command(const Json& command) {
    const std::string line = command.dump() + '\n';
    const std::lock_guard lock(mutex_);
    for (std::size_t sent = 0; sent < line.size();) {
      const ssize_t count = write(to_, line.data() + sent, line.size() - sent);
      if (count <= 0) throw std::runtime_error("the server has ended");
      sent += static_cast<std::size_t>(count);
    }
    std::string answer;
    for (int c = std::fgetc(from_); c != '\n'; c = std::fgetc(from_)) {
      if (c == EOF) throw std::runtime_error("the server has ended: see its message above");
      answer += static_cast<char>(c);
    }
    return Json::parse(answer);
  }

  std::mutex mutex_;
  pid_t child_ = 0;
  int to_ = -1;
  std::FILE* from_ = nullptr;
  std::string port_;
};

/// One step that answers with a status and a JSON body.
inline nlohmann::json answer(int status, const nlohmann::json& body,
                             const nlohmann::json& headers = nlohmann::json::object()) {
  return {{"answer", {{"status", status}, {"json", body}, {"headers", headers}}}};
}

/// One step that answers as a well-behaved server.
inline nlohmann::json service(const nlohmann::json& settings = nlohmann::json::object()) {
  return {{"service", settings}};
}

}  // namespace r2router::testing
