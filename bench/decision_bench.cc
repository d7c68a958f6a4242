// One decision and a batch of decisions, compared with only the float32 products that they need.
// Uses the released checkpoint and its golden embeddings if given, else random ones of the same
// shape (187 heads × 1,024). Pin it to one core: taskset -c 1 build/release/bench/decision_bench
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <Eigen/Core>
#include <benchmark/benchmark.h>

#include "r2router/router.h"

#include "score/kernels.h"
#include "support/heads.h"
#include "support/shared_data.h"

#ifdef R2ROUTER_HAVE_BLAS
extern "C" {
void cblas_sgemv(int order, int transpose, int m, int n, float alpha, const float* a, int lda,
                 const float* x, int incx, float beta, float* y, int incy);
void cblas_sgemm(int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha,
                 const float* a, int lda, const float* b, int ldb, float beta, float* c, int ldc);
void openblas_set_num_threads(int threads) __attribute__((weak));
}
#endif

namespace r2router {
namespace {

constexpr int kDimension = 1024, kHeads = 187, kRows = 1024;
using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

struct Setting {
  Checkpoint checkpoint;
  std::vector<float> embeddings;  // kRows × kDimension

  Setting() {
    const std::string released = testing::shared_path("released");
    if (std::filesystem::exists(released)) {
      checkpoint = load_checkpoint(released);
      std::ifstream file(testing::shared_path("golden/embeddings.npy"), std::ios::binary);
      embeddings.resize(std::size_t{kRows} * kDimension);
      file.seekg(-512LL * kDimension * 4, std::ios::end);
      file.read(reinterpret_cast<char*>(embeddings.data()), 512LL * kDimension * 4);
      std::copy_n(embeddings.begin(), 512 * kDimension, embeddings.begin() + 512 * kDimension);
    } else {
      checkpoint = testing::random_checkpoint(11, 15, kDimension, 1);
      embeddings = testing::random_embeddings(kRows, kDimension, 2);
    }
#ifdef R2ROUTER_HAVE_BLAS
    if (openblas_set_num_threads != nullptr) openblas_set_num_threads(1);
#endif
  }
  const float* weights() const {
    return std::get<std::vector<float>>(testing::linear_heads(checkpoint).weights).data();
  }
  std::span<const float> embedding(std::size_t i) const {
    return std::span(embeddings).subspan(i % kRows * kDimension, kDimension);
  }
};

const Setting& setting() {
  static const Setting instance;
  return instance;
}

void product_kernel(benchmark::State& state, const score::Kernel& kernel, std::size_t rows) {
  const std::size_t panels = (kHeads + kernel.panel_width - 1) / kernel.panel_width;
  const std::size_t size = panels * kernel.panel_width * kDimension;
  std::unique_ptr<float[], decltype(&std::free)> packed(
      static_cast<float*>(std::aligned_alloc(64, size * sizeof(float))), &std::free);
  std::copy_n(setting().weights(), std::size_t{kHeads} * kDimension, packed.get());
  std::vector<float> out(rows * panels * kernel.panel_width);
  std::size_t i = 0;
  for (auto _ : state) {
    const float* embeddings =
        rows == 1 ? setting().embedding(i++).data() : setting().embeddings.data();
    kernel.product(packed.get(), panels, kDimension, embeddings, rows, out.data());
    benchmark::DoNotOptimize(out.data());
  }
}

void one_product_eigen(benchmark::State& state) {
  const Eigen::Map<const Matrix> weights(setting().weights(), kHeads, kDimension);
  Eigen::VectorXf out(kHeads);
  std::size_t i = 0;
  for (auto _ : state) {
    out.noalias() =
        weights * Eigen::Map<const Eigen::VectorXf>(setting().embedding(i++).data(), kDimension);
    benchmark::DoNotOptimize(out.data());
  }
}
BENCHMARK(one_product_eigen)->Name("one/product_only/eigen_baseline");

#ifdef R2ROUTER_HAVE_BLAS
void one_product_blas(benchmark::State& state) {
  std::vector<float> out(kHeads);
  std::size_t i = 0;
  for (auto _ : state) {
    cblas_sgemv(101, 111, kHeads, kDimension, 1, setting().weights(), kDimension,
                setting().embedding(i++).data(), 1, 0, out.data(), 1);
    benchmark::DoNotOptimize(out.data());
  }
}
BENCHMARK(one_product_blas)->Name("one/product_only/blas");

void batch_product_blas(benchmark::State& state) {
  std::vector<float> out(std::size_t{kRows} * kHeads);
  for (auto _ : state) {
    cblas_sgemm(101, 111, 112, kRows, kHeads, kDimension, 1, setting().embeddings.data(),
                kDimension, setting().weights(), kDimension, 0, out.data(), kHeads);
    benchmark::DoNotOptimize(out.data());
  }
  state.SetItemsProcessed(state.iterations() * kRows);
}
BENCHMARK(batch_product_blas)->Name("batch/product_only/blas")->Unit(benchmark::kMillisecond);
#endif

void one_decision(benchmark::State& state, const std::string& kernel, double lambda) {
  const Router router(setting().checkpoint, {.kernel = kernel});
  RouteOptions options;
  options.policy.lambda = lambda;
  std::size_t i = 0;
  for (auto _ : state) benchmark::DoNotOptimize(router.route(setting().embedding(i++), options));
}

/// A decision with further options.
void one_decision_with(benchmark::State& state, const std::string& kernel,
                       const RouteOptions& options) {
  const Router router(setting().checkpoint, {.kernel = kernel});
  std::size_t i = 0;
  for (auto _ : state) benchmark::DoNotOptimize(router.route(setting().embedding(i++), options));
}

void batch_decisions(benchmark::State& state, const std::string& kernel) {
  const Router router(setting().checkpoint, {.kernel = kernel});
  const RouteOptions options{.threads = 1};
  for (auto _ : state) benchmark::DoNotOptimize(router.route_batch(setting().embeddings, options));
  state.SetItemsProcessed(state.iterations() * kRows);
}

const bool registered = [] {
  for (const score::Kernel* kernel : score::runnable_kernels()) {
    const std::string name(kernel->name);
    benchmark::RegisterBenchmark(("one/product_only/" + name).c_str(),
                                 [kernel](benchmark::State& s) { product_kernel(s, *kernel, 1); });
    benchmark::RegisterBenchmark(("batch/product_only/" + name).c_str(), [kernel](
                                                                             benchmark::State& s) {
      product_kernel(s, *kernel, kRows);
    })->Unit(benchmark::kMillisecond);
    for (const double lambda : {0.0, 0.5, 0.999, 0.99999}) {
      benchmark::RegisterBenchmark(
          ("one/decision/" + name + "/lambda:" + std::to_string(lambda)).c_str(),
          [name, lambda](benchmark::State& s) { one_decision(s, name, lambda); });
    }
    RouteOptions cost{.policy = {.max_cost_usd = 0.0005}};
    RouteOptions quality{.policy = {.quality_fraction = 0.95}};
    RouteOptions all{
        .policy = {.willingness_to_pay = 0.01, .min_quality = 0.3, .quality_fraction = 0.9}};
    all.policy.max_cost_usd = 0.001;
    all.policy.max_output_tokens = 1500;
    RouteOptions continuous{.policy = {.max_cost_usd = 0.0005, .continuous = true}};
    const std::pair<const char*, RouteOptions> requests[] = {
        {"constrained:cost", cost},  {"constrained:quality", quality},
        {"constrained:all", all},    {"continuous", continuous},
        {"ranking", {.rank = true}}, {"explanation", {.explain = true}}};
    for (const auto& [request, options] : requests) {
      benchmark::RegisterBenchmark(
          ("one/decision/" + name + "/" + request).c_str(),
          [name, options = options](benchmark::State& s) { one_decision_with(s, name, options); });
    }
    benchmark::RegisterBenchmark(("batch/decisions/" + name).c_str(), [name](benchmark::State& s) {
      batch_decisions(s, name);
    })->Unit(benchmark::kMillisecond);
  }
  return true;
}();

}  // namespace
}  // namespace r2router
