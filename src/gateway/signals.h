// Signals for a program that serves.
#pragma once

#include <initializer_list>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>

namespace r2router::gateway {

/// Receives signals while it lives. They have handlers instead of being blocked, since the process
/// may have threads that do not block them, such as NumPy's.
class Signals {
 public:
  explicit Signals(std::initializer_list<int> numbers) {
    for (const int number : numbers) set_.add(number);
  }

  /// Waits for one of them.
  int next() {
    int number = 0;
    set_.async_wait([&](const boost::system::error_code&, int arrived) { number = arrived; });
    while (number == 0) {  // the reactor has handlers of its own
      context_.restart();
      context_.run_one();
    }
    return number;
  }

  /// From now on, they have their default effects.
  void restore() { set_.clear(); }

 private:
  boost::asio::io_context context_{1};
  boost::asio::signal_set set_{context_};
};

}  // namespace r2router::gateway
