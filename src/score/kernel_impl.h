// The kernels' one source. Each kernel_*.cc defines the widths and includes it, compiled for its
// own instruction set. Nothing here may have external linkage or come from the standard library's
// templates: the linker would merge such a function with other files' copies, and a processor
// without the instructions could then run it.
//
// Before inclusion: R2ROUTER_VECTOR_FLOATS, floats in a register; R2ROUTER_PANEL_VECTORS, registers
// across a panel; R2ROUTER_BATCH_ROWS, embeddings that a panel is multiplied with at once (their
// product plus a few is the number of registers); and multiply_add(a, b, c) on Floats = a·b + c.
#pragma once

#include <cstddef>

#include "score/kernels.h"

namespace r2router::score {
namespace {

constexpr std::size_t kWidth = R2ROUTER_VECTOR_FLOATS;
constexpr std::size_t kPanelVectors = R2ROUTER_PANEL_VECTORS;
constexpr std::size_t kPanelWidth = kWidth * kPanelVectors;

// As in memory, where nothing but the element's own alignment is promised.
typedef float LooseFloats __attribute__((vector_size(4 * kWidth), aligned(4), may_alias));

inline Floats load(const float* p) { return *reinterpret_cast<const LooseFloats*>(p); }
inline void store(float* p, Floats v) { *reinterpret_cast<LooseFloats*>(p) = v; }

// Rows × Panels products over the dimensions [begin, end); every accumulator stays in a register.
template <std::size_t Rows, std::size_t Panels>
inline void multiply_block(const float* panels, std::size_t dimension, const float* embeddings,
                           std::size_t begin, std::size_t end, float* out, std::size_t out_stride) {
  Floats sums[Rows][Panels * kPanelVectors];
#pragma GCC unroll 64
  for (std::size_t r = 0; r < Rows; ++r) {
#pragma GCC unroll 64
    for (std::size_t v = 0; v < Panels * kPanelVectors; ++v) sums[r][v] = Floats{};
  }
  for (std::size_t k = begin; k < end; ++k) {
    Floats weights[Panels * kPanelVectors];
#pragma GCC unroll 64
    for (std::size_t v = 0; v < Panels * kPanelVectors; ++v) {
      const std::size_t panel = v / kPanelVectors, within = v % kPanelVectors;
      weights[v] = load(panels + (panel * dimension + k) * kPanelWidth + within * kWidth);
    }
#pragma GCC unroll 64
    for (std::size_t r = 0; r < Rows; ++r) {
      const Floats x = embeddings[r * dimension + k] - Floats{};
#pragma GCC unroll 64
      for (std::size_t v = 0; v < Panels * kPanelVectors; ++v) {
        sums[r][v] = multiply_add(weights[v], x, sums[r][v]);
      }
    }
  }
#pragma GCC unroll 64
  for (std::size_t r = 0; r < Rows; ++r) {
#pragma GCC unroll 64
    for (std::size_t v = 0; v < Panels * kPanelVectors; ++v) {
      float* target = out + r * out_stride + v * kWidth;
      store(target, begin == 0 ? sums[r][v] : sums[r][v] + load(target));
    }
  }
}

// One embedding: several panels at once, since a single panel's few accumulators would wait for
// each other.
void multiply_one(const float* panels, std::size_t panel_count, std::size_t dimension,
                  const float* embedding, std::size_t begin, std::size_t end, float* out) {
  constexpr std::size_t kTogether = 8 / kPanelVectors > 1 ? 8 / kPanelVectors : 1;
  std::size_t p = 0;
  for (; p + kTogether <= panel_count; p += kTogether) {
    multiply_block<1, kTogether>(panels + p * dimension * kPanelWidth, dimension, embedding, begin,
                                 end, out + p * kPanelWidth, 0);
  }
  for (; p < panel_count; ++p) {
    multiply_block<1, 1>(panels + p * dimension * kPanelWidth, dimension, embedding, begin, end,
                         out + p * kPanelWidth, 0);
  }
}

void product(const float* panels, std::size_t panel_count, std::size_t dimension,
             const float* embeddings, std::size_t rows, float* out) {
  const std::size_t stride = panel_count * kPanelWidth;
  constexpr std::size_t kRows = R2ROUTER_BATCH_ROWS;
  const std::size_t batched = rows / kRows * kRows;
  for (std::size_t begin = 0; begin < dimension; begin += kBlockDimensions) {
    const std::size_t end =
        begin + kBlockDimensions < dimension ? begin + kBlockDimensions : dimension;
    for (std::size_t p = 0; batched != 0 && p < panel_count; ++p) {
      for (std::size_t r = 0; r < batched; r += kRows) {
        multiply_block<kRows, 1>(panels + p * dimension * kPanelWidth, dimension,
                                 embeddings + r * dimension, begin, end,
                                 out + r * stride + p * kPanelWidth, stride);
      }
    }
    for (std::size_t r = batched; r < rows; ++r) {
      multiply_one(panels, panel_count, dimension, embeddings + r * dimension, begin, end,
                   out + r * stride);
    }
  }
}

constexpr std::size_t kDoubles = kWidth / 2;  // float64 elements in a register
constexpr std::size_t kPartialSums = 16;
constexpr std::size_t kSumVectors = kPartialSums / kDoubles;
typedef double Doubles __attribute__((vector_size(8 * kDoubles)));
typedef double LooseDoubles __attribute__((vector_size(8 * kDoubles), aligned(8), may_alias));
typedef float HalfFloats __attribute__((vector_size(4 * kDoubles), aligned(4), may_alias));

inline Doubles load_doubles(const float* p) {
  return __builtin_convertvector(*reinterpret_cast<const HalfFloats*>(p), Doubles);
}
inline Doubles load_doubles(const double* p) { return *reinterpret_cast<const LooseDoubles*>(p); }

template <typename A, typename B>
double dot(const A* a, const B* b, std::size_t size) {
  Doubles sums[kSumVectors];
#pragma GCC unroll 64
  for (std::size_t v = 0; v < kSumVectors; ++v) sums[v] = Doubles{};
  std::size_t i = 0;
  for (; i + kPartialSums <= size; i += kPartialSums) {
#pragma GCC unroll 64
    for (std::size_t v = 0; v < kSumVectors; ++v) {
      sums[v] += load_doubles(a + i + v * kDoubles) * load_doubles(b + i + v * kDoubles);
    }
  }
  double parts[kPartialSums];
#pragma GCC unroll 64
  for (std::size_t v = 0; v < kSumVectors; ++v) {
    *reinterpret_cast<LooseDoubles*>(parts + v * kDoubles) = sums[v];
  }
  for (std::size_t lane = 0; i < size; ++i, ++lane) {
    parts[lane] += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  }
  for (std::size_t half = kPartialSums / 2; half > 0; half /= 2) {
    for (std::size_t lane = 0; lane < half; ++lane) parts[lane] += parts[lane + half];
  }
  return parts[0];
}

}  // namespace
}  // namespace r2router::score

#define R2ROUTER_DEFINE_KERNEL(variable, name)                                                 \
  namespace r2router::score {                                                                  \
  extern const Kernel variable;                                                                \
  constinit const Kernel variable = {                                                          \
      name, kPanelWidth, product, dot<float, float>, dot<float, double>, dot<double, double>}; \
  }
