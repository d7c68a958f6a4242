// What the sanitizers need to know about programs that fork while they have several threads.
#include <cstddef>

// In a child, the thread sanitizer allows no new thread by default; and it takes the parent's
// threads, which the child does not have, for threads that nobody has joined.
extern "C" const char* __tsan_default_options();
extern "C" const char* __tsan_default_options() { return "die_after_fork=0:report_thread_leaks=0"; }

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define R2ROUTER_THREAD_SANITIZER
#endif
#endif
#ifdef R2ROUTER_THREAD_SANITIZER
#include <pthread.h>

namespace {

// Nor may a thread of a child's be where one of its parent's was. The stack of that one is free in
// the child, but too small with this.
void ask_for_larger_stacks() {
  pthread_attr_t attributes;
  std::size_t size = 0;
  pthread_getattr_default_np(&attributes);
  pthread_attr_getstacksize(&attributes, &size);
  pthread_attr_setstacksize(&attributes, size + (std::size_t{64} << 10));
  pthread_setattr_default_np(&attributes);
  pthread_attr_destroy(&attributes);
}

[[gnu::constructor]] void prepare_for_threads_in_children() {
  pthread_atfork(nullptr, nullptr, &ask_for_larger_stacks);
}

}  // namespace
#endif

// Before version 18 the address sanitizer forgets to take its own locks around fork(): a child that
// allocates then waits for ever for a thread of its parent's. These are what later versions call.
#if defined(__clang__) && __clang_major__ < 18
#if __has_feature(address_sanitizer)
#include <pthread.h>

namespace __lsan {
void LockThreadRegistry();
void UnlockThreadRegistry();
void LockAllocator();
void UnlockAllocator();
}  // namespace __lsan
namespace __sanitizer {
void StackDepotLockAll();
void StackDepotUnlockAll();
}  // namespace __sanitizer

namespace {

void lock() {
  __lsan::LockThreadRegistry();
  __lsan::LockAllocator();
  __sanitizer::StackDepotLockAll();
}

void unlock() {
  __sanitizer::StackDepotUnlockAll();
  __lsan::UnlockAllocator();
  __lsan::UnlockThreadRegistry();
}

// Registered first, locked last: the handlers of others, and those they wait for, allocate.
[[gnu::constructor(101)]] void prepare_for_forks() { pthread_atfork(&lock, &unlock, &unlock); }

}  // namespace
#endif
#endif
