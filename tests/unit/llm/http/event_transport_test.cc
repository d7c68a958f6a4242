#include "llm/http/event_transport.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include "support/fault_server.h"

namespace r2router::llm {
namespace {

using testing::FaultServer;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::service;
using Json = nlohmann::json;

constexpr const char* kStreamHead =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";

/// The least loop that drives a transport: poll().
class PollLoop final : public EventLoop {
 public:
  void watch(int socket, bool read, bool write) override {
    if (read || write) {
      watched_[socket] = static_cast<short>((read ? POLLIN : 0) | (write ? POLLOUT : 0));
    } else {
      watched_.erase(socket);
    }
  }
  void set_timer(Clock::time_point time) override { timer_ = time; }

  /// Every timer ends after a millisecond.
  bool early_timers = false;

  /// Runs until the condition holds, at most ten seconds; whether it does.
  bool run(EventTransport& transport, const std::function<bool()>& condition,
           std::chrono::milliseconds most = std::chrono::seconds(10)) {
    const auto end = Clock::now() + most;
    while (!condition()) {
      if (Clock::now() >= end) return false;
      std::vector<pollfd> sockets;
      for (const auto& [socket, events] : watched_) {
        sockets.push_back({.fd = socket, .events = events, .revents = 0});
      }
      const auto wait = std::chrono::ceil<std::chrono::milliseconds>(
          early_timers
              ? std::chrono::milliseconds(1)
              : std::max<Clock::duration>(std::min(timer_.value_or(end), end) - Clock::now(), {}));
      ::poll(sockets.data(), sockets.size(), static_cast<int>(wait.count()));
      for (const pollfd& one : sockets) {
        if (one.revents == 0 || !watched_.contains(one.fd)) continue;
        transport.on_socket(one.fd, (one.revents & (POLLIN | POLLHUP)) != 0,
                            (one.revents & POLLOUT) != 0, (one.revents & POLLERR) != 0);
      }
      if (timer_ && (early_timers || Clock::now() >= *timer_)) {
        timer_.reset();
        transport.on_timer();
      }
    }
    return true;
  }

 private:
  std::map<int, short> watched_;
  std::optional<Clock::time_point> timer_;
};

struct Answer final : EventTransport::Receiver {
  void on_head(const Response& response) override {
    EXPECT_THAT(body, IsEmpty()) << "the head comes first";
    EXPECT_FALSE(head) << "there is one head";
    head = response.status;
  }
  void on_body(std::string_view piece) override {
    EXPECT_TRUE(head);
    body += piece;
    if (on_piece) on_piece();
  }
  void on_end(const Response& response) override {
    EXPECT_FALSE(end);
    end = response;
  }

  std::optional<int> head;
  std::string body;
  std::optional<Response> end;
  std::function<void()> on_piece;
};

struct EventTransportTest : ::testing::Test {
  std::shared_ptr<const CheckedEndpoint> endpoint(const std::string& url, Timeouts timeouts = {}) {
    return std::make_shared<const CheckedEndpoint>(
        Endpoint{.base_url = url, .api_key = Secret("secret-key-1"), .timeouts = timeouts});
  }
  std::unique_ptr<EventTransport::Call> start(const std::string& url, Answer& answer,
                                              const std::string& body = "{}",
                                              Timeouts timeouts = {}) {
    return transport.start(endpoint(url, timeouts),
                           {.url = url + "/chat/completions", .body = body}, answer);
  }
  bool run_until_end(const Answer& answer) {
    return loop.run(transport, [&] { return answer.end.has_value(); });
  }

  PollLoop loop;
  EventTransport transport{loop};
  FaultServer& server = FaultServer::instance();
};

TEST_F(EventTransportTest, ReturnsAnAnswerInPieces) {
  const std::string url = server.script({{{{"answer", {{"json", {{"a", 1}}}}}}}});
  Answer answer;
  const std::string body(300'000, 'x');  // more than a buffer
  const auto call = start(url, answer, body);
  ASSERT_TRUE(run_until_end(answer));
  EXPECT_FALSE(answer.end->failure);
  EXPECT_EQ(answer.head, 200);
  EXPECT_EQ(answer.body, R"({"a": 1})");
  const auto seen = server.requests(url).at(0);
  EXPECT_EQ(seen.header("authorization"), "Bearer secret-key-1");
  EXPECT_EQ(seen.body, body);
  EXPECT_TRUE(call->sent());
}

TEST_F(EventTransportTest, CollectsTheBodyOfAnError) {
  Answer answer;
  const auto call =
      start(server.script({{{{"answer", {{"status", 429}, {"text", "later"}}}}}}), answer);
  ASSERT_TRUE(run_until_end(answer));
  EXPECT_FALSE(answer.end->failure);
  EXPECT_EQ(answer.end->status, 429);
  EXPECT_EQ(answer.end->body, "later");
  EXPECT_THAT(answer.body, IsEmpty());
}

TEST_F(EventTransportTest, RunsManyCallsAtOnceAndReusesConnections) {
  const std::string url = server.script({{service()}});
  const std::string body = R"({"model": "m", "messages": [{"role": "user", "content": "q"}]})";
  for (int round = 0; round < 3; ++round) {
    std::vector<Answer> answers(20);
    std::vector<std::unique_ptr<EventTransport::Call>> calls;
    for (Answer& answer : answers) calls.push_back(start(url, answer, body));
    for (const Answer& answer : answers) {
      ASSERT_TRUE(run_until_end(answer));
      EXPECT_FALSE(answer.end->failure);
      EXPECT_THAT(answer.body, HasSubstr("An answer to: q"));
    }
  }
  std::set<int> connections;
  for (const auto& request : server.requests(url)) connections.insert(request.connection);
  EXPECT_LE(connections.size(), 20U);
}

TEST_F(EventTransportTest, CancelsAtOnce) {
  const std::string url =
      server.script({{{{"send", std::string(kStreamHead) + "x"}}, {{"wait", 30}}}});
  Answer answer;
  auto call = start(url, answer);
  ASSERT_TRUE(loop.run(transport, [&] { return !answer.body.empty(); }));
  const std::string connection = std::to_string(server.requests(url).at(0).connection);
  const auto begin = Clock::now();
  call.reset();
  while (!server.ends().contains(connection)) {
    ASSERT_LT(Clock::now() - begin, std::chrono::milliseconds(100));
  }
  EXPECT_FALSE(answer.end);
}

TEST_F(EventTransportTest, MayBeCancelledAndStartedFromWithinACallback) {
  const std::string url =
      server.script({{{{"send", std::string(kStreamHead) + "x"}}, {{"wait", 30}}},
                     {{{"answer", {{"text", "second"}}}}}});
  Answer first, second;
  std::unique_ptr<EventTransport::Call> call, next;
  first.on_piece = [&] {
    call.reset();
    next = start(url, second);
  };
  call = start(url, first);
  ASSERT_TRUE(run_until_end(second));
  EXPECT_EQ(second.body, "second");
  EXPECT_FALSE(first.end);
}

TEST_F(EventTransportTest, PausesAndResumes) {
  const std::string url = server.script({{{{"send", kStreamHead}}, {{"endless", "0123456789"}}}});
  Answer answer;
  auto call = start(url, answer);
  answer.on_piece = [&] { call->pause(); };
  ASSERT_TRUE(loop.run(transport, [&] { return !answer.body.empty(); }));
  const std::size_t before = answer.body.size();
  EXPECT_FALSE(loop.run(
      transport, [&] { return answer.body.size() > before; }, std::chrono::milliseconds(300)));
  answer.on_piece = {};
  call->resume();
  EXPECT_TRUE(loop.run(transport, [&] { return answer.body.size() > before + (1 << 20); }));
  for (std::size_t i = 0; i < answer.body.size(); ++i) {
    ASSERT_EQ(answer.body[i], static_cast<char>('0' + i % 10)) << "nothing is lost or repeated";
  }
}

TEST_F(EventTransportTest, KeepsToTheTimeLimits) {
  Answer silent, stuck;
  const auto first = start(server.script({{{{"wait", 30}}}}), silent, "{}", {.first_byte = 0.2});
  const auto second =
      start(server.script({{{{"send", std::string(kStreamHead) + "x"}}, {{"wait", 30}}}}), stuck,
            "{}", {.idle = 0.2});
  ASSERT_TRUE(run_until_end(silent));
  ASSERT_TRUE(run_until_end(stuck));
  EXPECT_EQ(silent.end->failure->code, ErrorCode::kTimeout);
  EXPECT_THAT(silent.end->failure->message, HasSubstr("Timeouts::first_byte"));
  EXPECT_FALSE(silent.end->answered);
  EXPECT_EQ(stuck.end->failure->code, ErrorCode::kTimeout);
  EXPECT_THAT(stuck.end->failure->message, HasSubstr("Timeouts::idle"));
  EXPECT_EQ(stuck.body, "x");
}

TEST_F(EventTransportTest, KeepsToTheTimeLimitsIfTimersEndEarly) {
  loop.early_timers = true;
  Answer silent;
  const auto begin = Clock::now();
  const auto call = start(server.script({{{{"wait", 30}}}}), silent, "{}", {.first_byte = 0.2});
  ASSERT_TRUE(run_until_end(silent));
  EXPECT_THAT(silent.end->failure->message, HasSubstr("Timeouts::first_byte"));
  EXPECT_GE(Clock::now() - begin, std::chrono::milliseconds(200)) << "it waits no less";
}

TEST_F(EventTransportTest, ReportsFailuresAsTheBlockingTransportDoes) {
  Answer refused, reset, cut;
  const auto first = start("http://127.0.0.1:" + server.closed_port(), refused);
  const auto second = start(server.script({{{{"reset", true}}}}), reset);
  const auto third = start(
      server.script(
          {{{{"send", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"}}, {{"close", true}}}}),
      cut);
  for (Answer* answer : {&refused, &reset, &cut}) {
    ASSERT_TRUE(run_until_end(*answer));
    ASSERT_TRUE(answer->end->failure);
    EXPECT_EQ(answer->end->failure->code, ErrorCode::kConnection);
  }
  EXPECT_FALSE(refused.end->sent);
  EXPECT_TRUE(reset.end->sent);
  EXPECT_FALSE(reset.end->answered);
  EXPECT_TRUE(cut.end->answered);
  EXPECT_EQ(cut.body, "abc");
}

}  // namespace
}  // namespace r2router::llm
