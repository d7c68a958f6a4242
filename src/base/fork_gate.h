// fork() in a process that has several threads.
//
// A child starts with a single thread, the one that called fork(), and a copy of the memory. A lock
// held by another thread is never released in the child, and data that another thread was changing
// stays half changed. So shared state is changed only inside a gate, and fork() waits until all
// threads have left it.
#pragma once

#include <pthread.h>

namespace r2router::internal {

/// Any number of threads may be inside the gate. fork() waits for all of them to leave, and no
/// thread can enter meanwhile. In the child the gate is open and empty. Hold it with
/// std::shared_lock, as briefly as a mutex: not while waiting for a server, and not while user code
/// runs. A thread inside the gate must not enter it again.
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

/// The gate of this process. Needs no construction or destruction.
extern constinit ForkGate fork_gate;

}  // namespace r2router::internal
