// AVX2 with FMA: 16 registers of 8 floats.
#include <immintrin.h>

#define R2ROUTER_VECTOR_FLOATS 8
#define R2ROUTER_PANEL_VECTORS 2
#define R2ROUTER_BATCH_ROWS 6

namespace {
typedef float Floats __attribute__((vector_size(32)));
inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
inline __m256d load_widened(const float* p) { return _mm256_cvtps_pd(_mm_loadu_ps(p)); }
inline __m256d add_exact_product(__m256d a, __m256d b, __m256d c) {
  return _mm256_fmadd_pd(a, b, c);
}
}  // namespace

#include "score/kernel_impl.h"

R2ROUTER_DEFINE_KERNEL(kAvx2Kernel, "avx2")
