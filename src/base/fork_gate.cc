#include "base/fork_gate.h"

namespace r2router::internal {

constinit ForkGate fork_gate;

void ForkGate::lock_shared() {
  pthread_mutex_lock(&mutex_);
  while (forking_) pthread_cond_wait(&changed_, &mutex_);
  ++inside_;
  pthread_mutex_unlock(&mutex_);
}

void ForkGate::unlock_shared() {
  pthread_mutex_lock(&mutex_);
  if (--inside_ == 0 && forking_) pthread_cond_broadcast(&changed_);
  pthread_mutex_unlock(&mutex_);
}

// Two threads may fork at once. The mutex stays locked until the fork is over.
void ForkGate::close() {
  pthread_mutex_lock(&mutex_);
  while (forking_) pthread_cond_wait(&changed_, &mutex_);
  forking_ = true;
  while (inside_ > 0) pthread_cond_wait(&changed_, &mutex_);
}

void ForkGate::open_in_parent() {
  forking_ = false;
  pthread_cond_broadcast(&changed_);
  pthread_mutex_unlock(&mutex_);
}

// Waiting threads do not exist in the child, so the condition variable must forget them.
void ForkGate::open_in_child() {
  constexpr pthread_cond_t kNobodyWaits = PTHREAD_COND_INITIALIZER;
  changed_ = kNobodyWaits;
  forking_ = false;
  pthread_mutex_unlock(&mutex_);
}

struct ForkHandlers {
  static void before() { fork_gate.close(); }
  static void in_parent() { fork_gate.open_in_parent(); }
  static void in_child() { fork_gate.open_in_child(); }
};

// Registered when the library is loaded, so that no fork can interrupt it.
[[maybe_unused]] const int kRegistered =
    pthread_atfork(&ForkHandlers::before, &ForkHandlers::in_parent, &ForkHandlers::in_child);

}  // namespace r2router::internal
