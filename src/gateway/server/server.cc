#include "gateway/server/server.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <future>
#include <list>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "r2router/error.h"

#include "gateway/server/asio_loop.h"
#include "gateway/server/connection.h"

namespace r2router::gateway {
namespace {

using asio::ip::tcp;
using boost::system::error_code;
using Tls = std::shared_ptr<asio::ssl::context>;
using ReusePort = asio::detail::socket_option::boolean<SOL_SOCKET, SO_REUSEPORT>;

constexpr std::chrono::seconds kTick{1};
/// Pause after an error of accept(), such as too many open files.
constexpr std::chrono::milliseconds kAcceptPause{100};

tcp::endpoint resolve(const std::string& host, std::uint16_t port) {
  error_code error;
  const auto address = asio::ip::make_address(host, error);
  if (!error) return {address, port};
  asio::io_context context;
  const auto found =
      tcp::resolver(context).resolve(host, std::to_string(port), tcp::resolver::passive, error);
  if (error || found.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                "the address to listen on, \"" + host + "\", cannot be resolved" +
                    (error ? " (" + error.message() + ")" : "") +
                    ": expected an IP address or a host name, such as 127.0.0.1");
  }
  return found.begin()->endpoint();
}

Tls load_tls(const TlsFiles& files) {
  auto tls = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_server);
  error_code error;
  const auto check = [&](const std::string& file, const char* what) {
    if (!error) return;
    throw Error(ErrorCode::kBadConfig,
                std::string("this ") + what + " cannot be used (" + error.message() +
                    "): expected a PEM file",
                {.file = file});
  };
  tls->set_options(asio::ssl::context::no_tlsv1 | asio::ssl::context::no_tlsv1_1, error);
  tls->use_certificate_chain_file(files.certificate, error);
  check(files.certificate, "certificate");
  tls->use_private_key_file(files.key, asio::ssl::context::pem, error);
  check(files.key, "key");
  return tls;
}

std::string shown(const tcp::endpoint& endpoint) {
  const std::string address = endpoint.address().to_string();
  return (endpoint.address().is_v6() ? "[" + address + "]" : address) + ":" +
         std::to_string(endpoint.port());
}

tcp::acceptor bound(asio::io_context& context, const tcp::endpoint& endpoint, bool shared) {
  tcp::acceptor acceptor(context);
  error_code error;
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error && shared) acceptor.set_option(ReusePort(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (error) {
    throw Error(ErrorCode::kIo, "cannot listen on " + shown(endpoint) + " (" + error.message() +
                                    "): choose another port, or stop what uses it");
  }
  return acceptor;
}

/// One loop with its thread, its listening socket and its connections.
class Worker {
 public:
  Worker(const ServerLimits& limits, std::size_t most_connections,
         std::atomic<std::size_t>& buffered, const Server::MakeHandler& make_handler,
         const Server::OnFault& on_fault)
      : handler_(make_handler(loop_)),
        context_{
            .limits = limits, .handler = *handler_, .count = connections_, .buffered = buffered},
        most_connections_(most_connections),
        on_fault_(on_fault),
        acceptor_(loop_.context()),
        tick_(loop_.context()),
        pause_(loop_.context()) {}
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  ~Worker() {
    join();
    close_all();  // never started
  }

  tcp::endpoint bind(const tcp::endpoint& endpoint) {
    acceptor_ = bound(loop_.context(), endpoint, true);
    return acceptor_.local_endpoint();
  }
  void listen() { acceptor_.listen(asio::socket_base::max_listen_connections); }

  void use_tls(Tls tls) {
    const std::lock_guard lock(tls_mutex_);
    tls_ = std::move(tls);
  }

  void start() {
    listen();
    accept();
    tick();
    thread_ = std::thread([this] { run(); });
  }

  void drain() {
    loop_.post([this] {
      context_.draining = true;
      for_each([](Connection& connection) { connection.drain(); });
      accept_waiting();  // each of them may still send one request
      error_code ignored;
      acceptor_.close(ignored);
      draining_ = true;
    });
  }

  bool is_drained() const { return draining_ && connections_ == 0; }

  void end() {
    loop_.post([this] {
      close_all();
      loop_.context().stop();
    });
  }

  void join() {
    if (thread_.joinable()) thread_.join();
  }

  std::size_t connections() const { return connections_; }

 private:
  void run() {
    for (;;) {
      try {
        loop_.context().run();
        return;
      } catch (const std::exception& error) {
        if (on_fault_) on_fault_(error.what());
      }
    }
  }

  template <typename Function>
  void for_each(Function function) {
    for (auto at = context_.connections.begin(); at != context_.connections.end();) {
      const std::shared_ptr<Connection> connection = *at++;  // it may remove itself
      function(*connection);
    }
  }

  void close_all() {
    for_each([](Connection& connection) { connection.close(); });
  }

  void tick() {
    tick_.expires_after(kTick);
    tick_.async_wait([this](error_code error) {
      if (error) return;
      const auto now = llm::Clock::now();
      for_each([&](Connection& connection) { connection.check_time(now); });
      tick();
    });
  }

  void accept() {
    acceptor_.async_accept([this](error_code error, tcp::socket socket) {
      if (!acceptor_.is_open()) return;
      if (error) {
        pause_.expires_after(kAcceptPause);
        pause_.async_wait([this](error_code ended) {
          if (!ended && acceptor_.is_open()) accept();
        });
        return;
      }
      serve(std::move(socket));
      accept();
    });
  }

  /// Accepts connections in the queue, which would be reset when the socket is closed.
  void accept_waiting() {
    error_code error;
    acceptor_.non_blocking(true, error);
    while (!error) {
      tcp::socket socket(loop_.context());
      acceptor_.accept(socket, error);
      if (!error) serve(std::move(socket));
    }
  }

  void serve(tcp::socket socket) {
    if (context_.connections.size() >= most_connections_ && !evict()) return;
    Tls tls;
    {
      const std::lock_guard lock(tls_mutex_);
      tls = tls_;
    }
    serve_connection(std::move(socket), std::move(tls), context_);
  }

  /// Closes an idle connection. The front of the list is the one that has been idle longest, unless
  /// requests are in progress there.
  bool evict() {
    const auto idle =
        std::ranges::find_if(context_.connections, [](const auto& one) { return one->is_idle(); });
    if (idle == context_.connections.end()) return false;
    const std::shared_ptr<Connection> connection = *idle;
    connection->close();
    return true;
  }

  std::atomic<std::size_t> connections_ = 0;
  std::atomic<bool> draining_ = false;
  AsioLoop loop_;
  std::unique_ptr<HttpHandler> handler_;
  ConnectionContext context_;
  const std::size_t most_connections_;
  const Server::OnFault& on_fault_;
  tcp::acceptor acceptor_;
  asio::steady_timer tick_, pause_;
  std::mutex tls_mutex_;
  Tls tls_;
  std::thread thread_;
};

}  // namespace

class Server::State {
 public:
  State(const ServerOptions& options, const MakeHandler& make_handler, OnFault on_fault)
      : options_(options), on_fault_(std::move(on_fault)) {
    tcp::endpoint endpoint = resolve(options_.host, options_.port);
    if (endpoint.port() != 0) {
      // With SO_REUSEPORT alone, two servers could share the port by mistake.
      asio::io_context context;
      bound(context, endpoint, false);
    }
    const std::size_t share =
        std::max<std::size_t>(1, options_.limits.connections / options_.loops);
    for (std::size_t i = 0; i < options_.loops; ++i) {
      workers_.push_back(
          std::make_unique<Worker>(options_.limits, share, buffered_, make_handler, on_fault_));
      endpoint = workers_.back()->bind(endpoint);
    }
    port_ = endpoint.port();
  }

  ~State() { stop(); }

  std::uint16_t port() const { return port_; }

  void use_tls(const TlsFiles& files) {
    const Tls tls = load_tls(files);
    for (const auto& worker : workers_) worker->use_tls(tls);
  }

  void start() {
    started_ = true;
    for (const auto& worker : workers_) worker->start();
  }

  void stop() {
    if (!std::exchange(started_, false)) return;
    for (const auto& worker : workers_) worker->drain();
    const auto deadline =
        llm::Clock::now() + std::chrono::duration_cast<llm::Clock::duration>(
                                std::chrono::duration<double>(options_.limits.drain));
    while (llm::Clock::now() < deadline &&
           !std::ranges::all_of(workers_, [](const auto& one) { return one->is_drained(); })) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    for (const auto& worker : workers_) worker->end();
    for (const auto& worker : workers_) worker->join();
  }

  std::size_t connections() const {
    std::size_t sum = 0;
    for (const auto& worker : workers_) sum += worker->connections();
    return sum;
  }

 private:
  const ServerOptions options_;
  const OnFault on_fault_;
  std::atomic<std::size_t> buffered_ = 0;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::uint16_t port_ = 0;
  bool started_ = false;
};

Server::Server(const ServerOptions& options, const MakeHandler& make_handler, OnFault on_fault)
    : state_(std::make_unique<State>(options, make_handler, std::move(on_fault))) {}
Server::~Server() = default;
std::uint16_t Server::port() const { return state_->port(); }
void Server::use_tls(const TlsFiles& files) { state_->use_tls(files); }
void Server::start() { state_->start(); }
void Server::stop() { state_->stop(); }
std::size_t Server::connections() const { return state_->connections(); }

void check_tls(const TlsFiles& files) { load_tls(files); }

}  // namespace r2router::gateway
