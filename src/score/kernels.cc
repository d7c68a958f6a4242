#include "score/kernels.h"

#include <array>
#include <string>

#include "r2router/error.h"
#include "r2router/scorer.h"

namespace r2router {
namespace score {
namespace {

struct Runnable {
  std::array<const Kernel*, 4> kernels{};
  std::size_t count = 0;

  Runnable() {
    kernels[count++] = &kBaselineKernel;
#ifdef R2ROUTER_X86_KERNELS
    // These ask the operating system too: a processor's registers are of no use unless it saves
    // them.
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (avx2) kernels[count++] = &kAvx2Kernel;
    if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
      kernels[count++] = &kAvx512Kernel;
      if (__builtin_cpu_supports("avx512vnni")) kernels[count++] = &kAvx512VnniKernel;
    }
#endif
  }
};

}  // namespace

std::span<const Kernel* const> runnable_kernels() {
  static const Runnable runnable;
  return {runnable.kernels.data(), runnable.count};
}

const Kernel& find_kernel(std::string_view name) {
  const auto runnable = runnable_kernels();
  if (name.empty()) return *runnable.back();
  std::string names;
  for (const Kernel* kernel : runnable) {
    if (kernel->name == name) return *kernel;
    names += (names.empty() ? "" : ", ") + std::string(kernel->name);
  }
  throw Error(ErrorCode::kNotFound, "there is no kernel \"" + std::string(name) +
                                        "\" that this machine can run; it has: " + names);
}

}  // namespace score

std::vector<std::string> available_kernels() {
  std::vector<std::string> names;
  for (const score::Kernel* kernel : score::runnable_kernels()) names.emplace_back(kernel->name);
  return names;
}

}  // namespace r2router
