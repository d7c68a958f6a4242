// Ctrl-C as a request to come to an end in order.
#pragma once

#include <atomic>
#include <csignal>
#include <stop_token>
#include <thread>

namespace r2router::cli {

/// While it lives, SIGINT asks for a stop; a second one ends the program at once, as it does
/// without this. One at a time.
class Interrupt {
 public:
  /// The exit code of a program that was interrupted.
  static constexpr int kExitCode = 130;

  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  bool requested() const;
  /// Asks for a stop soon after requested() says so.
  std::stop_token token() const { return source_.get_token(); }
  /// A file descriptor that becomes readable after requested() has become true: for poll().
  int descriptor() const { return pipe_[0]; }

 private:
  void watch();

  std::stop_source source_;
  int pipe_[2] = {-1, -1};
  std::atomic<bool> ending_ = false;
  struct sigaction old_action_ = {};
  std::thread watcher_;
};

}  // namespace r2router::cli
