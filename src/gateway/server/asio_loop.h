// A Loop on Boost.Asio. It also drives the transport of calls to endpoints.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <sys/epoll.h>

#include "gateway/server/loop.h"

namespace r2router::gateway {

namespace asio = boost::asio;

class AsioLoop final : public Loop, private llm::EventLoop {
 public:
  AsioLoop()
      : timer_(context_), sockets_(context_, ::epoll_create1(EPOLL_CLOEXEC)), transport_(*this) {
    wait_for_sockets();
  }

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

  /// libcurl's sockets are in a separate epoll set, which is one descriptor of the context. This
  /// takes one system call for each change of the watched events, instead of several for each
  /// event.
  void watch(int socket, bool read, bool write) override {
    if (!read && !write) {
      ::epoll_ctl(sockets_.native_handle(), EPOLL_CTL_DEL, socket, nullptr);
      return;
    }
    epoll_event wanted{};
    wanted.events = (read ? EPOLLIN : 0U) | (write ? EPOLLOUT : 0U);
    wanted.data.fd = socket;
    if (::epoll_ctl(sockets_.native_handle(), EPOLL_CTL_ADD, socket, &wanted) != 0) {
      ::epoll_ctl(sockets_.native_handle(), EPOLL_CTL_MOD, socket, &wanted);
    }
  }

  /// Also after an exception.
  struct Again {
    AsioLoop& loop;
    ~Again() { loop.wait_for_sockets(); }
  };

  void wait_for_sockets() {
    sockets_.async_wait(
        asio::posix::stream_descriptor::wait_read, [this](boost::system::error_code error) {
          if (error) return;
          const Again again{*this};
          std::array<epoll_event, 64> ready;
          const int count = ::epoll_wait(sockets_.native_handle(), ready.data(), ready.size(), 0);
          for (int i = 0; i < count; ++i) {
            const std::uint32_t events = ready[static_cast<std::size_t>(i)].events;
            transport_.on_socket(ready[static_cast<std::size_t>(i)].data.fd,
                                 (events & (EPOLLIN | EPOLLHUP)) != 0, (events & EPOLLOUT) != 0,
                                 (events & EPOLLERR) != 0);
          }
        });
  }

  /// Setting a kernel timer is the slowest operation here. It is therefore not changed if it ends
  /// earlier, since the transport then sets it again, and not used for times that have already
  /// passed.
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
  asio::posix::stream_descriptor sockets_;
  llm::EventTransport transport_;
};

}  // namespace r2router::gateway
