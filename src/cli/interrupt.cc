#include "cli/interrupt.h"

#include <cerrno>
#include <cstring>
#include <string>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "r2router/error.h"

namespace r2router::cli {
namespace {

// Of the one Interrupt that there is: a signal's handler can reach nothing else.
std::atomic<int> signal_pipe = -1;
std::atomic<bool> signal_came = false;
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);

// Almost nothing may be called here: a stop_source is not among it, write() is.
void on_signal(int) {
  const int error = errno;
  signal_came = true;
  [[maybe_unused]] const ssize_t written = ::write(signal_pipe, "", 1);
  errno = error;
}

}  // namespace

Interrupt::Interrupt() {
  if (::pipe2(pipe_, O_CLOEXEC) != 0) {
    throw Error(ErrorCode::kIo, std::string("cannot open a pipe: ") + std::strerror(errno));
  }
  signal_came = false;
  signal_pipe = pipe_[1];
  ::sigaction(SIGINT, nullptr, &old_action_);
  // A shell starts what runs in the background with SIGINT ignored, and so it stays.
  if (old_action_.sa_handler != SIG_IGN) {
    struct sigaction action = {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART | SA_RESETHAND;
    ::sigaction(SIGINT, &action, nullptr);
  }
  watcher_ = std::thread([this] { watch(); });
}

Interrupt::~Interrupt() {
  ::sigaction(SIGINT, &old_action_, nullptr);
  ending_ = true;
  [[maybe_unused]] const ssize_t written = ::write(pipe_[1], "", 1);
  watcher_.join();
  ::close(pipe_[0]);
  ::close(pipe_[1]);
}

bool Interrupt::requested() const { return signal_came; }

// What the signal wrote is left in the pipe, so that whoever else polls it is woken too.
void Interrupt::watch() {
  pollfd readable = {.fd = pipe_[0], .events = POLLIN, .revents = 0};
  while (::poll(&readable, 1, -1) < 0 && errno == EINTR) {
  }
  if (!ending_) source_.request_stop();
}

}  // namespace r2router::cli
