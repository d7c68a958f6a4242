// The compute kernels: the same arithmetic compiled for several instruction sets.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace r2router::score {

/// A vector as signed bytes: number k is about step·bytes[k].
struct ByteRow {
  /// The largest magnitude / 127. 0, and all bytes are, if it is below kSmallestByteNumber;
  /// infinite if it is above kLargestByteNumber or a number is NaN.
  float step = 0;
  float squares = 0;        ///< Σ (number k / step)², in float32
  float error_squares = 0;  ///< Σ (number k / step − bytes[k])², in float32
  int sum = 0;              ///< of the bytes
};

inline constexpr float kLargestByteNumber = 1e18F, kSmallestByteNumber = 1e-30F;

/// Vectors of bytes are filled with zeros to a multiple of this.
inline constexpr std::size_t kByteStride = 64;
constexpr std::size_t byte_stride(std::size_t size) {
  return (size + kByteStride - 1) / kByteStride * kByteStride;
}
/// Sums of products of longer ones could overflow.
inline constexpr std::size_t kLargestByteDimension = std::size_t{1} << 16;
/// Is added to weights in bytes, since instructions multiply unsigned bytes with signed ones.
inline constexpr int kByteOffset = 128;

/// Predictions of pairs, one element for each, and what their utilities are made of. A prediction
/// is within scale·error of the exact one.
struct UtilityTerms {
  const double *quality, *quality_error;
  const double *tokens, *tokens_error;  ///< lengths of answers
  const double* most_tokens;            ///< of each
  double least_tokens;                  ///< of all
  double scale;
  double quality_weight, fixed_cost, token_cost;
};

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

  /// Both are null if the instruction set multiplies floats as fast, at least in a batch.
  ByteRow (*to_bytes)(const float* numbers, std::size_t size, signed char* bytes);
  /// As product(), for weights and embeddings in bytes, `stride` numbers apart. Panels hold, for
  /// each four dimensions in turn, those of each head. The sums of products are exact; three
  /// roundings follow. `steps`: of each head, 0 for padding.
  void (*byte_product)(const unsigned char* panels, const float* steps, std::size_t panel_count,
                       std::size_t stride, const signed char* bytes, const ByteRow* rows,
                       std::size_t row_count, float* out);

  /// Upper bounds on quality_weight·quality − (fixed_cost + token_cost·tokens), with quality
  /// clipped to [0, 1] and tokens to their limits. Rounding differs between kernels. Returns the
  /// largest.
  double (*bound_utilities)(const UtilityTerms& terms, std::size_t count, double* upper);
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
extern const Kernel kAvx512VnniKernel;
#endif

/// Kernels that this machine can run, slowest first; never empty.
std::span<const Kernel* const> runnable_kernels();

/// The kernel of that name, or the fastest for an empty name. Throws Error(kNotFound).
const Kernel& find_kernel(std::string_view name);

}  // namespace r2router::score
