// Calls of servers while they last, and what becomes of them when the process forks or exits.
#pragma once

#include <memory>
#include <stop_token>

namespace r2router::llm {

struct CallState;

/// A call under way, as long as this object exists. Its token stops it: after stop(), when `cancel`
/// asks for it, and when the process exits, which waits for the calls of other threads to end. A
/// call that begins later is stopped from the start. In a child that fork() makes, a stop of
/// `cancel` does nothing to the parent's calls.
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

/// Stops every call of this process and waits until those of other threads have ended, or for a few
/// seconds: a callback may wait for something that the exiting thread holds.
void end_calls();

}  // namespace r2router::llm
