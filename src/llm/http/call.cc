#include "llm/http/call.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <new>
#include <set>
#include <shared_mutex>
#include <thread>

#include <pthread.h>

#include "base/fork_gate.h"

namespace r2router::llm {

/// On the heap, so that it remains valid in a child, where the stack of the parent's thread is
/// gone: the caller's stop source refers to it.
struct CallState {
  struct Forward {
    CallState* call;
    void operator()() const {
      if (!call->inherited) call->stop.request_stop();
    }
  };

  explicit CallState(const std::stop_token& cancel) : forward(cancel, Forward{this}) {}

  std::stop_source stop;
  const std::thread::id thread = std::this_thread::get_id();
  bool inherited = false;  // a parent's: its thread is not in this process
  std::stop_callback<Forward> forward;
};

namespace {

constexpr std::chrono::seconds kPatience{5};

struct Calls {
  std::mutex mutex;
  std::condition_variable one_ended;
  std::set<CallState*> under_way;
  bool exiting = false;
};

/// Never destroyed: calls may end or start while static objects are destroyed. First called inside
/// the fork gate.
Calls& calls() {
  static Calls& instance = []() -> Calls& {
    pthread_atfork(nullptr, nullptr, [] {
      for (CallState* call : calls().under_way) call->inherited = true;
      new (&calls().one_ended) std::condition_variable;  // no thread waits in the child
    });
    return *new Calls;
  }();
  return instance;
}

}  // namespace

Call::Call(const std::stop_token& cancel) {
  const std::shared_lock behind(internal::fork_gate);
  state_ = std::make_unique<CallState>(cancel);
  const std::lock_guard lock(calls().mutex);
  calls().under_way.insert(state_.get());
  if (calls().exiting) state_->stop.request_stop();
}

Call::~Call() {
  const std::shared_lock behind(internal::fork_gate);
  {
    const std::lock_guard lock(calls().mutex);
    calls().under_way.erase(state_.get());
    if (calls().exiting) calls().one_ended.notify_all();
  }
  state_.reset();  // inside the gate: it changes the caller's stop source
}

std::stop_token Call::token() const { return state_->stop.get_token(); }

void Call::stop() { state_->stop.request_stop(); }

void end_calls() {
  Calls& all = calls();
  std::unique_lock lock(all.mutex);
  all.exiting = true;
  for (CallState* call : all.under_way) {
    if (!call->inherited) call->stop.request_stop();
  }
  all.one_ended.wait_for(lock, kPatience, [&] {
    return std::ranges::none_of(all.under_way, [](const CallState* call) {
      return !call->inherited && call->thread != std::this_thread::get_id();
    });
  });
}

}  // namespace r2router::llm
