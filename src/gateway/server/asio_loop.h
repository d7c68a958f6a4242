// A Loop on Boost.Asio, which also drives the transport of calls to endpoints.
#pragma once

#include <functional>
#include <memory>
#include <unordered_map>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include "gateway/server/loop.h"

namespace r2router::gateway {

namespace asio = boost::asio;

class AsioLoop final : public Loop, private llm::EventLoop {
 public:
  AsioLoop() : timer_(context_), transport_(*this) {}

  asio::io_context& context() { return context_; }

  llm::EventTransport& transport() override { return transport_; }

  std::unique_ptr<Timer> after(std::chrono::nanoseconds delay,
                               std::function<void()> function) override {
    return std::make_unique<SteadyTimer>(context_, delay, std::move(function));
  }

  void post(std::function<void()> function) override { asio::post(context_, std::move(function)); }

 private:
  class SteadyTimer final : public Timer {
   public:
    SteadyTimer(asio::io_context& context, std::chrono::nanoseconds delay,
                std::function<void()> function)
        : timer_(context, delay) {
      // The function may destroy this timer.
      timer_.async_wait([function = std::move(function),
                         alive = std::weak_ptr(alive_)](boost::system::error_code error) {
        if (!error && !alive.expired()) function();
      });
    }

   private:
    asio::steady_timer timer_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  };

  /// A socket of libcurl's: watched, but never closed here.
  struct Watched {
    explicit Watched(asio::io_context& context) : descriptor(context) {}
    asio::posix::stream_descriptor descriptor;
    bool read = false, write = false;       // what is wanted
    bool reading = false, writing = false;  // what is being waited for
    bool forgotten = false;
  };

  void watch(int socket, bool read, bool write) override {
    std::shared_ptr<Watched>& watched = watched_[socket];
    if (!read && !write) {
      if (watched) {
        watched->forgotten = true;
        watched->descriptor.release();
      }
      watched_.erase(socket);
      return;
    }
    if (!watched) {
      watched = std::make_shared<Watched>(context_);
      watched->descriptor.assign(socket);
    }
    watched->read = read;
    watched->write = write;
    wait(socket, watched);
  }

  void wait(int socket, const std::shared_ptr<Watched>& watched) {
    if (watched->read && !watched->reading) {
      watched->reading = true;
      watched->descriptor.async_wait(asio::posix::stream_descriptor::wait_read,
                                     [this, socket, watched](boost::system::error_code error) {
                                       watched->reading = false;
                                       if (error || watched->forgotten) return;
                                       if (watched->read)
                                         transport_.on_socket(socket, true, false, false);
                                       if (!watched->forgotten) wait(socket, watched);
                                     });
    }
    if (watched->write && !watched->writing) {
      watched->writing = true;
      watched->descriptor.async_wait(asio::posix::stream_descriptor::wait_write,
                                     [this, socket, watched](boost::system::error_code error) {
                                       watched->writing = false;
                                       if (error || watched->forgotten) return;
                                       if (watched->write)
                                         transport_.on_socket(socket, false, true, false);
                                       if (!watched->forgotten) wait(socket, watched);
                                     });
    }
  }

  /// Setting a timer of the kernel takes longer than all else here. So it is left as it is if it
  /// ends earlier, since the transport then sets it again, and not used for what is already due.
  void set_timer(llm::Clock::time_point time) override {
    if (time <= llm::Clock::now()) {
      if (std::exchange(due_, true)) return;
      asio::post(context_, [this] {
        due_ = false;
        transport_.on_timer();
      });
    } else if (time < timer_end_) {
      timer_end_ = time;
      timer_.expires_at(time);
      timer_.async_wait([this](boost::system::error_code error) {
        if (error) return;
        timer_end_ = llm::Clock::time_point::max();
        transport_.on_timer();
      });
    }
  }

  asio::io_context context_{1};
  asio::steady_timer timer_;
  llm::Clock::time_point timer_end_ = llm::Clock::time_point::max();
  bool due_ = false;  // on_timer() is about to be called
  std::unordered_map<int, std::shared_ptr<Watched>> watched_;
  llm::EventTransport transport_;
};

}  // namespace r2router::gateway
