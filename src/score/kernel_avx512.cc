// AVX-512: 32 registers of 16 floats.
#include <immintrin.h>

#define R2ROUTER_VECTOR_FLOATS 16
#define R2ROUTER_PANEL_VECTORS 2
#define R2ROUTER_BATCH_ROWS 12

namespace {
typedef float Floats __attribute__((vector_size(64)));
inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
// With a mask of ones, since GCC 12 warns of the undefined operand of the intrinsic without one.
inline __m512d load_widened(const float* p) {
  return _mm512_maskz_cvtps_pd(0xFF, _mm256_loadu_ps(p));
}
inline __m512d add_exact_product(__m512d a, __m512d b, __m512d c) {
  return _mm512_fmadd_pd(a, b, c);
}
}  // namespace

#include "score/kernel_impl.h"

R2ROUTER_DEFINE_KERNEL(kAvx512Kernel, "avx512")
