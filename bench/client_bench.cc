// Latency of streaming through the client: from the server's write of a chunk to the caller's
// callback. Two cores: taskset -c 0,1 build/release/bench/client_bench
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <benchmark/benchmark.h>

#include "r2router/llm/client.h"
#include "r2router/llm/generate.h"

#include "loopback_server.h"

namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

std::string chunk(std::string_view text) {
  char size[20];
  std::snprintf(size, sizeof size, "%zx\r\n", text.size());
  return size + std::string(text) + "\r\n";
}

/// From the write of the first token's event to on_text.
void first_streamed_token(benchmark::State& state) {
  std::atomic<Clock::time_point> written;
  r2router::bench::LoopbackServer server(
      [&written](const r2router::bench::Connection& connection, const std::string&) {
        connection.send(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            "Transfer-Encoding: chunked\r\n\r\n" +
            chunk(": PROCESSING\n\n"));
        std::this_thread::sleep_for(1ms);  // the client waits, as it does for a model
        const std::string token =
            chunk(R"(data: {"choices": [{"index": 0, "delta": {"content": "Hello"}}]})"
                  "\n\n");
        written = Clock::now();
        connection.send(token);
        connection.send(
            chunk(R"(data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})"
                  "\n\ndata: [DONE]\n\n") +
            "0\r\n\r\n");
      });
  const auto client = r2router::llm::make_openai_client({.base_url = server.url()});
  const r2router::llm::ChatRequest request = {
      .model = "vendor/model", .messages = {{"user", "Hi"}}, .max_tokens = 16};
  std::vector<double> samples;
  for (auto _ : state) {
    Clock::time_point received;
    const r2router::llm::Completion completion = client->complete(
        request, {.deadline = Clock::now() + 10s,
                  .on_text = [&received](std::string_view) { received = Clock::now(); }});
    if (!completion.ok()) {
      state.SkipWithError(completion.failure->message.c_str());
      break;
    }
    const double seconds = std::chrono::duration<double>(received - written.load()).count();
    state.SetIterationTime(seconds);
    samples.push_back(seconds);
  }
  if (samples.empty()) return;
  std::ranges::sort(samples);
  state.counters["p50_us"] = 1e6 * samples[samples.size() / 2];
  state.counters["p99_us"] = 1e6 * samples[samples.size() * 99 / 100];
}
BENCHMARK(first_streamed_token)->UseManualTime()->Iterations(500)->Unit(benchmark::kMicrosecond);

}  // namespace
