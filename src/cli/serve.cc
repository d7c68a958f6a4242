// r2-router serve: the gateway as a program.
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <iterator>
#include <string>

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "r2router/error.h"
#include "r2router/gateway.h"

#include "cli/command.h"
#include "cli/help_texts.h"  // written by CMake
#include "cli/interrupt.h"
#include "cli/router_options.h"

namespace r2router::cli {
namespace {

struct ServeSettings : RouterSettings {
  GatewayOptions gateway = {};
  bool check = false;
};

GatewayOptions options_of(const ServeSettings& settings) {
  GatewayOptions options = settings.gateway;
  options.checkpoint_dir = settings.checkpoint_dir;
  options.pool = settings.pool;
  options.policy = settings.policy;
  options.settings = settings.given;
  options.kernel = settings.kernel;
  options.llm_api_base = settings.llm_api_base;
  options.llm_api_key = llm::Secret(settings.llm_api_key);
  options.cap_field = settings.cap_field;
  options.ca_file = settings.ca_file;
  options.timeout = settings.generate.timeout;
  options.log = print_remarks();
  return options;
}

/// As many connections as the system allows.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

void reload(Gateway& gateway) {
  try {
    gateway.reload();
    print_remark("note", "the configuration was read again");
  } catch (const Error& error) {
    print_remark("warning", std::string("the new configuration is not used: ") + error.what());
  }
}

constexpr int kSignals[] = {SIGTERM, SIGINT, SIGHUP};

// Of the one Signals that there is: a handler can reach nothing else.
std::atomic<unsigned> arrived = 0;
std::atomic<int> wakeup = -1;
static_assert(std::atomic<unsigned>::is_always_lock_free && std::atomic<int>::is_always_lock_free);

void note_signal(int signal) {
  const int error = errno;
  arrived |= 1U << signal;
  [[maybe_unused]] const ssize_t written = ::write(wakeup, "", 1);
  errno = error;
}

/// While it lives, the signals are received by next(). They have handlers instead of being blocked
/// for sigwait(), since the process may have threads that do not block them, such as NumPy's.
class Signals {
 public:
  Signals() {
    if (::pipe2(pipe_, O_CLOEXEC | O_NONBLOCK) != 0) {
      throw Error(ErrorCode::kIo, std::string("cannot open a pipe: ") + std::strerror(errno));
    }
    arrived = 0;
    wakeup = pipe_[1];
    struct sigaction action = {};
    action.sa_handler = note_signal;
    action.sa_flags = SA_RESTART;
    for (std::size_t i = 0; i < std::size(kSignals); ++i) {
      ::sigaction(kSignals[i], &action, &before_[i]);
    }
  }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;
  ~Signals() {
    restore();
    ::close(pipe_[0]);
    ::close(pipe_[1]);
  }

  /// Waits for one of the signals.
  int next() {
    for (;;) {
      const unsigned now = arrived.exchange(0);
      for (const int signal : kSignals) {
        if ((now & 1U << signal) != 0) return signal;
      }
      pollfd readable = {.fd = pipe_[0], .events = POLLIN, .revents = 0};
      ::poll(&readable, 1, -1);
      char bytes[256];
      [[maybe_unused]] const ssize_t read = ::read(pipe_[0], bytes, sizeof bytes);
    }
  }

  /// From now on, the signals have the effect that they had before.
  void restore() {
    for (std::size_t i = 0; i < std::size(kSignals); ++i) {
      ::sigaction(kSignals[i], &before_[i], nullptr);
    }
  }

 private:
  int pipe_[2] = {-1, -1};
  struct sigaction before_[std::size(kSignals)] = {};
};

/// Serves until a signal ends it. Returns the exit code.
int serve(const GatewayOptions& options) {
  Signals signals;
  raise_descriptor_limit();
  Gateway gateway(options);
  gateway.start();
  print_remark("note", "listening on " + gateway.url());
  int signal = 0;
  while ((signal = signals.next()) == SIGHUP) reload(gateway);
  print_remark("note", "ending, once the requests in progress are answered");
  signals.restore();  // a second signal ends the program at once
  gateway.stop();
  return signal == SIGINT ? Interrupt::kExitCode : 0;
}

}  // namespace

void add_serve_command(CLI::App& app) {
  Command<ServeSettings> command(app, "serve", "Serve the APIs of OpenAI and Anthropic over HTTP",
                                 kServeHelp);
  Options& add = command.add;
  add("--config", command->gateway.config_file, "FILE.json",
      "Configuration of the gateway (config/gateway.schema.json); options override it");
  add("--check", command->check, "Only check the configuration");
  add("--listen", command->gateway.listen, "HOST:PORT",
      "Address to listen on; default: 127.0.0.1:4000. Port 0 is any free one");
  add("--allow-anonymous", command->gateway.allow_anonymous,
      "Serve without keys on an address that other machines can reach");
  add_router_options(command.app, *command.settings);
  add_policy_options(command.app, *command.settings);
  add_endpoint_options(command.app, *command.settings);
  command.runs([](const ServeSettings& settings) {
    const GatewayOptions options = options_of(settings);
    if (!settings.check) throw CLI::RuntimeError(serve(options));
    Gateway::check(options);
    print("The configuration is valid.\n");
  });
}

}  // namespace r2router::cli
