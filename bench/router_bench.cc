// Latency of the whole router: loading a checkpoint, and routing a prompt. Each load also reports
// the memory growth of the process.
#include <filesystem>
#include <fstream>
#include <string>

#include <benchmark/benchmark.h>
#include <unistd.h>

#include "r2router/router.h"

#include "support/shared_data.h"

namespace r2router {
namespace {

namespace fs = std::filesystem;

double resident_megabytes() {
  std::size_t total = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> total >> resident;
  return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE)) / 1e6;
}

void load(benchmark::State& state, const std::string& folder) {
  if (!fs::exists(folder)) {
    state.SkipWithError((folder + " is not here").c_str());
    return;
  }
  for (auto _ : state) benchmark::DoNotOptimize(Router::from_pretrained(folder));
}

void load_released(benchmark::State& state) {
  const std::string folder = testing::shared_path("released");
  // Only the first load counts: later ones reuse freed memory.
  static const double growth = [&] {
    if (!fs::exists(folder)) return 0.0;
    const double before = resident_megabytes();
    const Router router = Router::from_pretrained(folder);
    return resident_megabytes() - before;
  }();
  load(state, folder);
  state.counters["resident_MB"] = growth;
}
BENCHMARK(load_released)->Unit(benchmark::kMillisecond);

void load_converted(benchmark::State& state) {
  const std::string released = testing::shared_path("released");
  const fs::path folder =
      fs::temp_directory_path() / ("r2router-bench-" + std::to_string(getpid()));
  if (fs::exists(released)) save_checkpoint(load_checkpoint(released), folder.string());
  load(state, folder.string());
  fs::remove_all(folder);
}
BENCHMARK(load_converted)->Unit(benchmark::kMillisecond);

void load_default(benchmark::State& state) { load(state, Router::default_checkpoint_path()); }
BENCHMARK(load_default)->Unit(benchmark::kMillisecond);

const std::string kPrompt =
    "A company invests $45,000 at an annual rate of 6.5 %, compounded monthly, and withdraws the "
    "whole sum "
    "after 7 years. How much interest has it earned?\nA. $12,840.10\nB. $18,220.75\nC. $25,838.22\n"
    "D. $31,004.50\nE. $20,475.00\nF. $26,911.38\nG. $29,250.00\nH. $23,107.64\nI. $19,500.00\nJ. "
    "$27,36.05";

void prompt_to_decision(benchmark::State& state) {
  const Router router = Router::from_pretrained();
  const std::string_view prompt = std::string_view(kPrompt).substr(0, 300);
  for (auto _ : state) benchmark::DoNotOptimize(router.route_text(prompt));
}
BENCHMARK(prompt_to_decision)->Unit(benchmark::kMicrosecond);

void prompt_to_embedding(benchmark::State& state) {
  const Router router = Router::from_pretrained();
  const std::string_view prompt = std::string_view(kPrompt).substr(0, 300);
  std::vector<float> embedding(router.dimension());
  for (auto _ : state) {
    router.encoder()->embed(std::span(&prompt, 1), embedding);
    benchmark::DoNotOptimize(embedding.data());
  }
}
BENCHMARK(prompt_to_embedding)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace r2router
