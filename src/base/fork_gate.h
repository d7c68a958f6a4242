// fork() in a process that has several threads.
//
// A child starts with one thread, the one that called fork(), and with the memory as it was at that
// moment. A lock that another thread held is never released there, and what another thread was
// changing stays half changed. So shared state is changed behind a gate: fork() waits until nobody
// is behind it.
#pragma once

#include <pthread.h>

namespace r2router::internal {

/// Any number of threads may be behind the gate. fork() waits for all of them to leave and lets
/// nobody enter meanwhile; in the child the gate is open and nobody is behind it. Hold it with
/// std::shared_lock, as briefly as a lock: not while waiting for a server, and not while code of
/// the user's runs. A thread that is behind the gate must not enter it again.
class ForkGate {
 public:
  constexpr ForkGate() = default;
  ForkGate(const ForkGate&) = delete;
  ForkGate& operator=(const ForkGate&) = delete;

  void lock_shared();
  void unlock_shared();

 private:
  friend struct ForkHandlers;
  void close();
  void open_in_parent();
  void open_in_child();

  pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t changed_ = PTHREAD_COND_INITIALIZER;
  unsigned inside_ = 0;
  bool forking_ = false;
};

/// The one of this process. It needs neither construction nor destruction.
extern constinit ForkGate fork_gate;

}  // namespace r2router::internal
