// Calls to servers in progress, and their handling when the process forks or exits.
#pragma once

#include <memory>
#include <stop_token>

namespace r2router::llm {

struct CallState;

/// A call in progress, for the lifetime of this object. Its token requests a stop after stop(),
/// when `cancel` does, and when the process exits, which waits for the calls of other threads to
/// end. A call that starts later is stopped immediately. After fork(), a stop of `cancel` in the
/// child does not affect the parent's calls.
class Call {
 public:
  explicit Call(const std::stop_token& cancel);
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  std::stop_token token() const;
  void stop();

 private:
  std::unique_ptr<CallState> state_;
};

/// Stops all calls of this process and waits for those of other threads to end, at most a few
/// seconds: a callback may wait for a lock that the exiting thread holds.
void end_calls();

}  // namespace r2router::llm
