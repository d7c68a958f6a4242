#include "r2router/gateway.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include "gateway/config.h"
#include "gateway/routes.h"
#include "gateway/server/server.h"
#include "gateway/service.h"

namespace r2router {
namespace {

constexpr std::chrono::seconds kWatchInterval{1};
constexpr std::chrono::seconds kFlushPatience{10};

/// The names of settings that differ and need a restart.
std::string needing_restart(const gateway::GatewayConfig& a, const gateway::GatewayConfig& b) {
  std::string names;
  const auto compare = [&](bool same, const char* name) {
    if (!same) names += (names.empty() ? "" : ", ") + std::string(name);
  };
  compare(a.host == b.host && a.port == b.port, "listen");
  compare(a.threads == b.threads, "threads");
  compare(a.tls.has_value() == b.tls.has_value(), "tls");
  compare(a.limits.header_bytes == b.limits.header_bytes &&
              a.limits.body_bytes == b.limits.body_bytes &&
              a.limits.buffered_bytes == b.limits.buffered_bytes &&
              a.limits.connections == b.limits.connections && a.limits.head == b.limits.head &&
              a.limits.body == b.limits.body && a.limits.idle == b.limits.idle &&
              a.limits.write == b.limits.write && a.limits.drain == b.limits.drain,
          "limits");
  compare(a.ledger.location == b.ledger.location, "ledger");
  compare(a.log.access == b.log.access, "log.access");
  return names;
}

}  // namespace

class Gateway::State {
 public:
  explicit State(const GatewayOptions& options) : options_(options) {
    gateway::GatewayConfig config = gateway::load_config(options_);
    shared_.log = std::make_unique<gateway::AccessLog>(config.log.access);
    shared_.ledger = gateway::open_ledger(config.ledger, {.log = options_.log});
    const gateway::ServerOptions server{
        .host = config.host,
        .port = config.port,
        .loops =
            config.threads > 0 ? config.threads : std::max(1U, std::thread::hardware_concurrency()),
        .limits = config.limits};
    const auto tls = config.tls;
    host_ = config.host;
    scheme_ = tls ? "https" : "http";
    shared_.service = std::make_shared<const gateway::Service>(std::move(config), shared_.health,
                                                               shared_.ledger.get(), options_.log);
    server_ = std::make_unique<gateway::Server>(
        server, [this](gateway::Loop& loop) { return gateway::make_routes(loop, shared_); },
        [this](std::string_view what) {
          log(LogLevel::kWarning, "a request has failed unexpectedly: " + std::string(what));
        });
    if (tls) server_->use_tls(*tls);
    warn();
  }

  ~State() { stop(); }

  void start() {
    shared_.ready = true;
    server_->start();
    if (options_.watch_files) {
      watcher_ = std::jthread([this](const std::stop_token& stop) { watch(stop); });
    }
  }

  void stop() {
    shared_.ready = false;
    watcher_ = {};
    server_->stop();
    shared_.ledger->flush(kFlushPatience);
  }

  void reload() {
    const std::lock_guard lock(reload_mutex_);
    const std::shared_ptr<const gateway::Service> before = shared_.service;
    try {
      gateway::GatewayConfig config = gateway::load_config(options_);
      gateway::check_access(config, host_);  // a new address needs a restart
      const auto tls = config.tls;
      const std::string restart = needing_restart(before->config, config);
      // Accounts get their new limits here, after everything that can fail.
      auto service = std::make_shared<const gateway::Service>(std::move(config), shared_.health,
                                                              shared_.ledger.get(), options_.log);
      if (tls && before->config.tls) server_->use_tls(*tls);
      shared_.service = std::move(service);
      ++shared_.reloads;
      if (!restart.empty()) {
        log(LogLevel::kWarning, "changes of these settings need a restart: " + restart);
      }
      warn();
    } catch (const Error&) {
      ++shared_.failed_reloads;
      throw;
    }
  }

  std::uint16_t port() const { return server_->port(); }
  std::string url() const {
    const bool six = host_.find(':') != host_.npos;
    return scheme_ + "://" + (six ? "[" + host_ + "]" : host_) + ":" + std::to_string(port());
  }
  std::string problem() const { return shared_.service.load()->problem; }

 private:
  void log(LogLevel level, const std::string& message) const {
    if (options_.log) options_.log(level, message);
  }

  void warn() const {
    if (const std::string text = problem(); !text.empty()) log(LogLevel::kWarning, text);
  }

  void watch(const std::stop_token& stop) {
    std::mutex mutex;
    std::condition_variable_any wakeup;
    std::shared_ptr<const gateway::Service> service;
    std::vector<gateway::SourceFile> known;
    while (!stop.stop_requested()) {
      if (const auto current = shared_.service.load(); current != service) {
        service = current;
        known = service->config.files;
      }
      std::unique_lock lock(mutex);
      wakeup.wait_for(lock, stop, kWatchInterval, [] { return false; });
      if (stop.stop_requested() || std::ranges::none_of(known, &gateway::SourceFile::has_changed)) {
        continue;
      }
      // The same invalid files are not tried again.
      for (gateway::SourceFile& file : known) file = gateway::SourceFile(file.path);
      try {
        reload();
        log(LogLevel::kInfo, "the configuration has changed and was read again");
      } catch (const Error& error) {
        log(LogLevel::kWarning,
            std::string("the changed configuration is not used: ") + error.what());
      }
    }
  }

  const GatewayOptions options_;
  gateway::Shared shared_;
  std::string host_, scheme_;
  std::unique_ptr<gateway::Server> server_;
  std::mutex reload_mutex_;
  std::jthread watcher_;
};

Gateway::Gateway(const GatewayOptions& options) : state_(std::make_unique<State>(options)) {}
Gateway::~Gateway() = default;

void Gateway::check(const GatewayOptions& options) {
  gateway::Health health;
  const gateway::Service service(gateway::load_config(options), health, nullptr, options.log);
}

void Gateway::start() { state_->start(); }
void Gateway::stop() { state_->stop(); }
void Gateway::reload() { state_->reload(); }
std::uint16_t Gateway::port() const { return state_->port(); }
std::string Gateway::url() const { return state_->url(); }
std::string Gateway::problem() const { return state_->problem(); }

}  // namespace r2router
