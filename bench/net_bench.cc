// Overhead of the transport: posts the bytes of one embedding through it and, for comparison, over
// a plain persistent socket. The server runs in this process and answers immediately. Two cores:
// taskset -c 0,1 build/release/bench/net_bench
#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include <benchmark/benchmark.h>

#include "llm/http/transport.h"
#include "loopback_server.h"

namespace r2router {
namespace {

using bench::Connection;
using bench::LoopbackServer;
using llm::Clock;

std::string answer_of(const std::string& body) {
  return "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\n\r\n" + body;
}

// A prompt of 300 characters, and 1,024 float32 numbers in base64.
const std::string kQuestion = R"({"encoding_format": "base64", "input": [")" +
                              std::string(300, 'x') +
                              R"("], "model": "Qwen/Qwen3-Embedding-0.6B"})";
const std::string kAnswer =
    answer_of(R"({"data": [{"index": 0, "embedding": ")" + std::string(5464, 'A') + "\"}]}");

/// Answers immediately, and remembers the last request.
class Server {
 public:
  Server()
      : server_([this](const Connection& connection, const std::string& request) {
          {
            const std::lock_guard lock(mutex_);
            last_request_ = request;
          }
          connection.send(kAnswer);
        }) {}

  const LoopbackServer& operator*() const { return server_; }
  std::string last_request() {
    const std::lock_guard lock(mutex_);
    return last_request_;
  }

 private:
  std::mutex mutex_;
  std::string last_request_;
  LoopbackServer server_;
};

llm::Request question_to(const LoopbackServer& server) {
  return {.url = server.url() + "/v1/embeddings",
          .headers = {{"Content-Type", "application/json"}},
          .body = kQuestion};
}

std::shared_ptr<const llm::Transport> transport_to(const LoopbackServer& server) {
  return llm::make_transport({.base_url = server.url(), .api_key = llm::Secret("sk-0123456789")});
}

double microseconds(Clock::duration duration) {
  return std::chrono::duration<double, std::micro>(duration).count();
}

/// Adds the median to the output: the mean includes the machine's other work.
class Latencies {
 public:
  explicit Latencies(benchmark::State& state) : state_(state) {}
  ~Latencies() {
    const auto percentile = [this](double share) {
      const auto at = times_.begin() +
                      static_cast<std::ptrdiff_t>(share * static_cast<double>(times_.size() - 1));
      std::nth_element(times_.begin(), at, times_.end());
      return *at;
    };
    if (times_.empty()) return;
    state_.counters["p50_us"] = percentile(0.5);
    state_.counters["p99_us"] = percentile(0.99);
  }
  void add(Clock::duration time) { times_.push_back(microseconds(time)); }

 private:
  benchmark::State& state_;
  std::vector<double> times_;
};

// Alternates between the two, so that both see the same machine.
void one_post(benchmark::State& state) {
  Server server;
  const auto transport = transport_to(*server);
  const llm::Request request = question_to(*server);
  transport->send(request);  // connects
  const std::string bytes = server.last_request();
  const Connection bare = Connection::to((*server).port());
  Latencies ours(state);
  std::vector<double> bare_times;
  for (auto _ : state) {
    const auto start = Clock::now();
    bare.send(bytes);
    if (bare.receive().size() != kAnswer.size()) state.SkipWithError("a wrong answer");
    const auto middle = Clock::now();
    const llm::Response response = transport->send(request);
    if (response.status != 200) state.SkipWithError("a failed request");
    const auto end = Clock::now();
    bare_times.push_back(microseconds(middle - start));
    ours.add(end - middle);
  }
  if (bare_times.empty()) return;
  const auto middle = bare_times.begin() + static_cast<std::ptrdiff_t>(bare_times.size() / 2);
  std::nth_element(bare_times.begin(), middle, bare_times.end());
  state.counters["bare_p50_us"] = *middle;
  state.counters["connections"] = static_cast<double>((*server).connections() - 1);
}
BENCHMARK(one_post)->Unit(benchmark::kMicrosecond)->UseRealTime();

/// `threads` threads make 100 calls each; `call_of` gives a thread its way to make one.
template <typename CallOf>
void from_threads(benchmark::State& state, const CallOf& call_of) {
  constexpr int kCalls = 100;
  const int threads = static_cast<int>(state.range(0));
  for (auto _ : state) {
    std::vector<std::jthread> callers;
    for (int i = 0; i < threads; ++i) {
      callers.emplace_back([&] {
        const auto call = call_of();
        for (int n = 0; n < kCalls; ++n) call();
      });
    }
  }
  state.SetItemsProcessed(state.iterations() * threads * kCalls);
}

void threads_through_transport(benchmark::State& state) {
  Server server;
  const auto transport = transport_to(*server);
  const llm::Request request = question_to(*server);
  from_threads(state, [&] {
    return [&] {
      if (transport->send(request).status != 200) state.SkipWithError("a failed request");
    };
  });
  state.counters["connections"] = static_cast<double>((*server).connections());
}
BENCHMARK(threads_through_transport)
    ->Arg(1)
    ->Arg(8)
    ->Arg(64)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

void threads_over_bare_sockets(benchmark::State& state) {
  Server server;
  transport_to(*server)->send(question_to(*server));
  const std::string bytes = server.last_request();
  from_threads(state, [&] {
    return [&, connection = std::make_shared<Connection>(Connection::to((*server).port()))] {
      connection->send(bytes);
      if (connection->receive().size() != kAnswer.size()) state.SkipWithError("a wrong answer");
    };
  });
}
BENCHMARK(threads_over_bare_sockets)
    ->Arg(1)
    ->Arg(8)
    ->Arg(64)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

// From the server's send of a chunk to on_body. Each chunk carries its time.
void streamed_piece(benchmark::State& state) {
  constexpr int kPieces = 100;
  const LoopbackServer server([](const Connection& connection, const std::string&) {
    Clock::time_point now;
    connection.send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(kPieces * sizeof now) +
                    "\r\n\r\n");
    for (int i = 0; i < kPieces; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      now = Clock::now();
      connection.send({reinterpret_cast<const char*>(&now), sizeof now});
    }
  });
  const auto transport = transport_to(server);
  llm::Request request = question_to(server);
  Latencies latencies(state);
  request.on_body = [&](std::string_view piece) {
    Clock::time_point sent;
    std::memcpy(&sent, piece.data() + piece.size() - sizeof sent, sizeof sent);
    latencies.add(Clock::now() - sent);
    return true;
  };
  for (auto _ : state) transport->send(request);
}
BENCHMARK(streamed_piece)->Unit(benchmark::kMillisecond)->UseRealTime();

// From another thread's stop request to the return of a waiting call.
void cancel(benchmark::State& state) {
  const LoopbackServer server([](const Connection& connection, const std::string&) {
    connection.receive();  // until the client goes away
  });
  const auto transport = transport_to(server);
  Latencies latencies(state);
  for (auto _ : state) {
    std::stop_source stop;
    Clock::time_point stopped;
    std::jthread canceller([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      stopped = Clock::now();
      stop.request_stop();
    });
    llm::Request request = question_to(server);
    request.cancel = stop.get_token();
    transport->send(request);
    const auto returned = Clock::now();
    canceller.join();
    latencies.add(returned - stopped);
  }
}
BENCHMARK(cancel)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace r2router
