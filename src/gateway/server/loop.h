// The interface of an event loop for the code on its thread.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "llm/http/event_transport.h"

namespace r2router::gateway {

/// One of the server's event loops. Loops share no connections and no requests. Except for post(),
/// every method must be called on the loop's thread.
class Loop {
 public:
  /// A timer; its destruction cancels it.
  class Timer {
   public:
    virtual ~Timer() = default;
  };

  virtual ~Loop() = default;

  virtual llm::EventTransport& transport() = 0;
  /// Calls the function once, after the delay.
  virtual std::unique_ptr<Timer> after(std::chrono::nanoseconds delay,
                                       std::function<void()> function) = 0;
  /// Calls the function soon on the loop's thread, unless the loop ends before. Thread-safe.
  virtual void post(std::function<void()> function) = 0;
};

}  // namespace r2router::gateway
