// The kernels' one source. Each kernel_*.cc defines the widths and includes it, compiled for its
// own instruction set. Nothing here may have external linkage or come from the standard library's
// templates: the linker would merge such a function with other files' copies, and a processor
// without the instructions could then run it.
//
// Before inclusion: R2ROUTER_VECTOR_FLOATS, floats in a register; R2ROUTER_PANEL_VECTORS, registers
// across a panel; R2ROUTER_BATCH_ROWS, embeddings that a panel is multiplied with at once (their
// product plus a few is the number of registers); multiply_add(a, b, c) on Floats = a·b + c; and
// load_widened(p), a register of doubles from floats; and add_exact_product(a, b, c) on registers
// of doubles = a·b + c, where no product is rounded, so that it may be fused. With
// R2ROUTER_BYTE_PRODUCTS also multiply_add_bytes(w, x, c) on Ints = c plus, in each lane, the
// products of w's four unsigned bytes with x's four signed ones; and store_low_bytes(p, v), the
// lowest byte of each lane.
#pragma once

#include <cstddef>

#include "score/kernels.h"

namespace r2router::score {
namespace {

constexpr std::size_t kWidth = R2ROUTER_VECTOR_FLOATS;
constexpr std::size_t kPanelVectors = R2ROUTER_PANEL_VECTORS;
constexpr std::size_t kPanelWidth = kWidth * kPanelVectors;
constexpr std::size_t kTogether = 8 / kPanelVectors > 1 ? 8 / kPanelVectors : 1;

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
template <std::size_t Together>
inline void multiply_one(const float* panels, std::size_t panel_count, std::size_t dimension,
                         const float* embedding, std::size_t begin, std::size_t end, float* out) {
  std::size_t p = 0;
  for (; p + Together <= panel_count; p += Together) {
    multiply_block<1, Together>(panels + p * dimension * kPanelWidth, dimension, embedding, begin,
                                end, out + p * kPanelWidth, 0);
  }
  if constexpr (Together > 1) {
    multiply_one<Together / 2>(panels + p * dimension * kPanelWidth, panel_count - p, dimension,
                               embedding, begin, end, out + p * kPanelWidth);
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
      multiply_one<kTogether>(panels, panel_count, dimension, embeddings + r * dimension, begin,
                              end, out + r * stride);
    }
  }
}

#ifdef R2ROUTER_BYTE_PRODUCTS
static_assert(kByteStride % kWidth == 0);

typedef int LooseInts __attribute__((vector_size(4 * kWidth), aligned(4), may_alias));

inline Ints load_bits(const void* p) { return *static_cast<const LooseInts*>(p); }

// Calls body(index, numbers) for a register of numbers at a time, the last one filled with zeros.
template <typename Body>
inline void for_each_vector(const float* numbers, std::size_t size, Body body) {
  std::size_t i = 0;
  for (; i + kWidth <= size; i += kWidth) body(i, load(numbers + i));
  if (i == size) return;
  Floats last{};
  __builtin_memcpy(&last, numbers + i, (size - i) * sizeof(float));
  body(i, last);
}

ByteRow to_bytes(const float* numbers, std::size_t size, signed char* bytes) {
  // The bits of magnitudes are in the order of the magnitudes; infinity and NaN follow.
  Ints most{};
  for_each_vector(numbers, size, [&](std::size_t, Floats x) {
    const Ints bits = (Ints)x & 0x7FFFFFFF;
    most = bits > most ? bits : most;
  });
  int bits = 0;
  for (std::size_t lane = 0; lane < kWidth; ++lane) bits = most[lane] > bits ? most[lane] : bits;
  float largest = 0;
  __builtin_memcpy(&largest, &bits, sizeof(largest));
  ByteRow row{.step = 0, .squares = 0, .error_squares = 0, .sum = 0};  // not by its constructor
  float inverse = 0;
  const std::size_t stride = (size + kByteStride - 1) / kByteStride * kByteStride;
  if (!(largest <= kLargestByteNumber)) {
    row.step = __builtin_inff();
    size = 0;
  } else if (largest >= kSmallestByteNumber) {
    row.step = largest / 127;
    inverse = 127 / largest;
  }

  // Adding it rounds to a whole number, which is then in the lowest bits.
  constexpr float kRounder = 0x1.8p23F;
  Floats squares{}, error_squares{};
  Ints sums{};
  std::size_t filled = 0;
  for_each_vector(numbers, size, [&](std::size_t i, Floats x) {
    const Floats scaled = x * inverse, rounded = scaled + kRounder;
    const Floats error = scaled - (rounded - kRounder);
    squares = multiply_add(scaled, scaled, squares);
    error_squares = multiply_add(error, error, error_squares);
    const Ints whole = (Ints)rounded - (Ints)(Floats{} + kRounder);
    sums += whole;
    store_low_bytes(bytes + i, whole);
    filled = i + kWidth;
  });
  for (; filled < stride; ++filled) bytes[filled] = 0;
  for (std::size_t lane = 0; lane < kWidth; ++lane) {
    row.squares += squares[lane];
    row.error_squares += error_squares[lane];
    row.sum += sums[lane];
  }
  return row;
}

template <std::size_t Rows, std::size_t Panels>
inline void multiply_bytes(const unsigned char* panels, const float* steps, std::size_t stride,
                           const signed char* bytes, const ByteRow* rows, float* out,
                           std::size_t out_stride) {
  constexpr std::size_t kVectors = Panels * kPanelVectors;
  Ints sums[Rows][kVectors];
#pragma GCC unroll 64
  for (std::size_t r = 0; r < Rows; ++r) {
#pragma GCC unroll 64
    for (std::size_t v = 0; v < kVectors; ++v) sums[r][v] = Ints{};
  }
  for (std::size_t k = 0; k < stride; k += 4) {
    Ints weights[kVectors];
#pragma GCC unroll 64
    for (std::size_t v = 0; v < kVectors; ++v) {
      const std::size_t panel = v / kPanelVectors, within = v % kPanelVectors;
      weights[v] = load_bits(panels + (panel * stride + k) * kPanelWidth + within * kWidth * 4);
    }
#pragma GCC unroll 64
    for (std::size_t r = 0; r < Rows; ++r) {
      int four = 0;
      __builtin_memcpy(&four, bytes + r * stride + k, 4);
#pragma GCC unroll 64
      for (std::size_t v = 0; v < kVectors; ++v) {
        sums[r][v] = multiply_add_bytes(weights[v], four, sums[r][v]);
      }
    }
  }
#pragma GCC unroll 64
  for (std::size_t r = 0; r < Rows; ++r) {
#pragma GCC unroll 64
    for (std::size_t v = 0; v < kVectors; ++v) {
      const Floats whole = __builtin_convertvector(sums[r][v] - rows[r].sum * kByteOffset, Floats);
      store(out + r * out_stride + v * kWidth, whole * rows[r].step * load(steps + v * kWidth));
    }
  }
}

// As multiply_one().
template <std::size_t Together>
inline void multiply_one_of_bytes(const unsigned char* panels, const float* steps,
                                  std::size_t panel_count, std::size_t stride,
                                  const signed char* bytes, const ByteRow* row, float* out) {
  std::size_t p = 0;
  for (; p + Together <= panel_count; p += Together) {
    multiply_bytes<1, Together>(panels + p * stride * kPanelWidth, steps + p * kPanelWidth, stride,
                                bytes, row, out + p * kPanelWidth, 0);
  }
  if constexpr (Together > 1) {
    multiply_one_of_bytes<Together / 2>(panels + p * stride * kPanelWidth, steps + p * kPanelWidth,
                                        panel_count - p, stride, bytes, row, out + p * kPanelWidth);
  }
}

void byte_product(const unsigned char* panels, const float* steps, std::size_t panel_count,
                  std::size_t stride, const signed char* bytes, const ByteRow* rows,
                  std::size_t row_count, float* out) {
  const std::size_t out_stride = panel_count * kPanelWidth;
  constexpr std::size_t kRows = R2ROUTER_BATCH_ROWS;
  const std::size_t batched = row_count / kRows * kRows;
  for (std::size_t p = 0; batched != 0 && p < panel_count; ++p) {
    for (std::size_t r = 0; r < batched; r += kRows) {
      multiply_bytes<kRows, 1>(panels + p * stride * kPanelWidth, steps + p * kPanelWidth, stride,
                               bytes + r * stride, rows + r, out + r * out_stride + p * kPanelWidth,
                               out_stride);
    }
  }
  for (std::size_t r = batched; r < row_count; ++r) {
    multiply_one_of_bytes<kTogether>(panels, steps, panel_count, stride, bytes + r * stride,
                                     rows + r, out + r * out_stride);
  }
}
#else
constexpr decltype(Kernel::to_bytes) to_bytes = nullptr;
constexpr decltype(Kernel::byte_product) byte_product = nullptr;
#endif

constexpr std::size_t kDoubles = kWidth / 2;  // float64 elements in a register
constexpr std::size_t kPartialSums = 16;
constexpr std::size_t kSumVectors = kPartialSums / kDoubles;
typedef double Doubles __attribute__((vector_size(8 * kDoubles)));
typedef double LooseDoubles __attribute__((vector_size(8 * kDoubles), aligned(8), may_alias));

// Not __builtin_convertvector, for which GCC converts the halves of a register one by one.
inline Doubles load_doubles(const float* p) { return load_widened(p); }
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
      const Doubles x = load_doubles(a + i + v * kDoubles), y = load_doubles(b + i + v * kDoubles);
      if constexpr (sizeof(A) == sizeof(float) && sizeof(B) == sizeof(float)) {
        sums[v] = add_exact_product(x, y, sums[v]);
      } else {
        sums[v] += x * y;
      }
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

template <typename Number>
inline Number least_of(Number a, Number b) {
  return b < a ? b : a;
}
template <typename Number>
inline Number greatest_of(Number a, Number b) {
  return a < b ? b : a;
}

double bound_utilities(const UtilityTerms& terms, std::size_t count, double* upper) {
  const auto bound = [&](auto quality, auto quality_error, auto tokens, auto tokens_error,
                         auto most_tokens) {
    using Number = decltype(quality);
    const Number highest = quality + terms.scale * quality_error;
    const Number shortest = tokens - terms.scale * tokens_error;
    const Number clipped = least_of(greatest_of(highest, Number{}), Number{} + 1);
    const Number least =
        least_of(greatest_of(shortest, Number{} + terms.least_tokens), most_tokens);
    return terms.quality_weight * clipped - (terms.fixed_cost + terms.token_cost * least);
  };
  Doubles most = Doubles{} - __builtin_inf();
  std::size_t i = 0;
  for (; i + kDoubles <= count; i += kDoubles) {
    const Doubles bounds =
        bound(load_doubles(terms.quality + i), load_doubles(terms.quality_error + i),
              load_doubles(terms.tokens + i), load_doubles(terms.tokens_error + i),
              load_doubles(terms.most_tokens + i));
    *reinterpret_cast<LooseDoubles*>(upper + i) = bounds;
    most = greatest_of(most, bounds);
  }
  double largest = -__builtin_inf();
  for (std::size_t lane = 0; lane < kDoubles; ++lane) largest = greatest_of(largest, most[lane]);
  for (; i < count; ++i) {
    upper[i] = bound(terms.quality[i], terms.quality_error[i], terms.tokens[i],
                     terms.tokens_error[i], terms.most_tokens[i]);
    largest = greatest_of(largest, upper[i]);
  }
  return largest;
}

}  // namespace
}  // namespace r2router::score

#define R2ROUTER_DEFINE_KERNEL(variable, name)            \
  namespace r2router::score {                             \
  extern const Kernel variable;                           \
  constinit const Kernel variable = {name,                \
                                     kPanelWidth,         \
                                     product,             \
                                     dot<float, float>,   \
                                     dot<float, double>,  \
                                     dot<double, double>, \
                                     to_bytes,            \
                                     byte_product,        \
                                     bound_utilities};    \
  }
