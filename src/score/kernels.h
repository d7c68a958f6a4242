// The compute kernels: the same arithmetic compiled for several instruction sets.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace r2router::score {

/// One instruction set's functions. All are pure and safe from many threads.
struct Kernel {
  std::string_view name;

  /// Heads in a panel. A panel holds, for each dimension in turn, the weight of each of its heads.
  /// The last panel is padded with zeros.
  std::size_t panel_width;

  /// float32 products of `rows` embeddings (row-major, `dimension` apart) with all panels:
  /// out[row·panels·panel_width + head]. Rounding differs between kernels, but a sum never passes
  /// through more than product_roundings(dimension) roundings. `panels` is aligned to 64 bytes.
  void (*product)(const float* panels, std::size_t panel_count, std::size_t dimension,
                  const float* embeddings, std::size_t rows, float* out);

  /// float64 dot products with an order of summation that is the same on every kernel, so that
  /// results are too: element i goes to partial sum i mod 16, and those are added in a fixed tree.
  double (*dot_float_float)(const float* a, const float* b, std::size_t size);
  double (*dot_float_double)(const float* a, const double* b, std::size_t size);
  double (*dot_double_double)(const double* a, const double* b, std::size_t size);
};

/// Products are summed in blocks of this many dimensions, which keeps panels in the first-level
/// cache and the chain of roundings short.
inline constexpr std::size_t kBlockDimensions = 256;

/// Upper bound on the roundings between a product's terms and its result.
constexpr std::size_t product_roundings(std::size_t dimension) {
  return (dimension < kBlockDimensions ? dimension : kBlockDimensions) +
         dimension / kBlockDimensions + 2;
}

extern const Kernel kBaselineKernel;
#ifdef R2ROUTER_X86_KERNELS
extern const Kernel kAvx2Kernel;
extern const Kernel kAvx512Kernel;
#endif

/// Kernels that this machine can run, slowest first; never empty.
std::span<const Kernel* const> runnable_kernels();

/// The kernel of that name, or the fastest for an empty name. Throws Error(kNotFound).
const Kernel& find_kernel(std::string_view name);

}  // namespace r2router::score
