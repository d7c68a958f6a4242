// What the sanitizers need to know about programs that fork while they have several threads.

// In a child, the thread sanitizer allows no new thread by default.
extern "C" const char* __tsan_default_options();
extern "C" const char* __tsan_default_options() { return "die_after_fork=0"; }

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
