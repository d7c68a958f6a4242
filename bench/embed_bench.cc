// Overhead of a server's embeddings: reading its answers, compared with a parser that builds a
// tree, and the round trip of one text, compared with a plain persistent socket. The server runs in
// this process and answers immediately.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <benchmark/benchmark.h>
#include <nlohmann/json.hpp>

#include "r2router/encoder.h"
#include "r2router/llm/http_encoder.h"

#include "encode/remote/embeddings_response.h"
#include "loopback_server.h"
#include "support/base64.h"
#include "support/heads.h"

namespace r2router {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kDimension = 1024;

/// An answer with `texts` embeddings, their numbers written by `format`, or in base64 for "".
std::string answer_body(std::size_t texts, const std::string& format) {
  const std::vector<float> numbers = testing::random_embeddings(texts, kDimension, 1);
  std::string body = R"({"object":"list","data":[)";
  for (std::size_t i = 0; i < texts; ++i) {
    if (i > 0) body += ',';
    body += R"({"object":"embedding","index":)" + std::to_string(i) + R"(,"embedding":)";
    const auto row = std::span(numbers).subspan(i * kDimension, kDimension);
    if (format.empty()) {
      body += '"' + testing::base64(row) + "\"}";
      continue;
    }
    for (std::size_t k = 0; k < kDimension; ++k) {
      char text[64];
      std::snprintf(text, sizeof text, format.c_str(), static_cast<double>(row[k]));
      body.append(k == 0 ? "[" : ",").append(text);
    }
    body += "]}";
  }
  return body + R"(],"model":"m","usage":{"prompt_tokens":9,"total_tokens":9}})";
}

constexpr std::size_t kTexts = 64;

/// Counts the bytes of the resulting floats, and of the input text.
void count(benchmark::State& state, const std::string& body) {
  state.SetBytesProcessed(state.iterations() *
                          static_cast<std::int64_t>(kTexts * kDimension * sizeof(float)));
  state.counters["text_bytes_per_second"] = benchmark::Counter(
      static_cast<double>(body.size()), benchmark::Counter::kIsIterationInvariantRate);
}

void read_answer(benchmark::State& state, const std::string& format) {
  const std::string body = answer_body(kTexts, format);
  std::vector<float> numbers(kTexts * kDimension);
  std::vector<std::span<float>> rows;
  for (std::size_t i = 0; i < kTexts; ++i) {
    rows.push_back(std::span(numbers).subspan(i * kDimension, kDimension));
  }
  for (auto _ : state) {
    internal::read_embeddings(body, rows);
    benchmark::DoNotOptimize(numbers.data());
  }
  count(state, body);
}
BENCHMARK_CAPTURE(read_answer, base64, "");
BENCHMARK_CAPTURE(read_answer, nine_digits, "%.9g");
BENCHMARK_CAPTURE(read_answer, seventeen_digits, "%.17g");

// The tree alone: base64 is not decoded, and decimals stay doubles.
void read_tree(benchmark::State& state, const std::string& format) {
  const std::string body = answer_body(kTexts, format);
  for (auto _ : state) benchmark::DoNotOptimize(nlohmann::json::parse(body));
  count(state, body);
}
BENCHMARK_CAPTURE(read_tree, base64, "");
BENCHMARK_CAPTURE(read_tree, nine_digits, "%.9g");
BENCHMARK_CAPTURE(read_tree, seventeen_digits, "%.17g");

double median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Alternates between the two, so that both see the same machine; the mean includes its other work.
void embed_one_text(benchmark::State& state) {
  const std::string body = answer_body(1, "");
  const std::string answer =
      "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " +
      std::to_string(body.size()) + "\r\n\r\n" + body;
  std::mutex mutex;
  std::string last_request;
  const bench::LoopbackServer server(
      [&](const bench::Connection& connection, const std::string& request) {
        {
          const std::lock_guard lock(mutex);
          last_request = request;
        }
        connection.send(answer);
      });
  const auto encoder =
      llm::make_http_encoder({.base_url = server.url(), .api_key = llm::Secret("sk-0123456789")},
                             {.model = "Qwen/Qwen3-0.6B", .dimension = kDimension});
  const std::string text(300, 'x');
  const std::string_view view = text;
  std::vector<float> embedding = encoder->embed_one(text);  // connects
  const std::string request = [&] {
    const std::lock_guard lock(mutex);
    return last_request;
  }();
  const bench::Connection bare = bench::Connection::to(server.port());
  std::vector<double> ours, bare_times;
  const auto microseconds = [](Clock::duration duration) {
    return std::chrono::duration<double, std::micro>(duration).count();
  };
  for (auto _ : state) {
    const auto start = Clock::now();
    bare.send(request);
    if (bare.receive().size() != answer.size()) state.SkipWithError("a wrong answer");
    const auto middle = Clock::now();
    encoder->embed({&view, 1}, embedding);
    ours.push_back(microseconds(Clock::now() - middle));
    bare_times.push_back(microseconds(middle - start));
  }
  if (ours.empty()) return;
  state.counters["embed_p50_us"] = median(ours);
  state.counters["bare_p50_us"] = median(bare_times);
  state.counters["connections"] = static_cast<double>(server.connections() - 1);
}
BENCHMARK(embed_one_text)->Unit(benchmark::kMicrosecond)->UseRealTime();

// One that the cache holds.
void embed_known_text(benchmark::State& state) {
  EmbeddingCache cache(std::size_t{64} << 20);
  const std::vector<float> numbers = testing::random_embeddings(1000, kDimension, 1);
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < 1000; ++i) {
    texts.push_back(std::string(300, 'x') + std::to_string(i));
    cache.insert("m", texts.back(), std::span(numbers).subspan(i * kDimension, kDimension));
  }
  std::vector<float> embedding(kDimension);
  std::size_t i = 0;
  for (auto _ : state) {
    if (!cache.find("m", texts[i++ % texts.size()], embedding)) state.SkipWithError("not found");
  }
}
BENCHMARK(embed_known_text)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace r2router
