// What every processor of the architecture has: SSE2 on x86-64, NEON on aarch64.
#define R2ROUTER_VECTOR_FLOATS 4
#define R2ROUTER_PANEL_VECTORS 4
#define R2ROUTER_BATCH_ROWS 2
#ifdef __SSE2__
#include <emmintrin.h>
#define R2ROUTER_BYTE_PRODUCTS
#endif

namespace {
typedef float Floats __attribute__((vector_size(16)));
typedef float TwoFloats __attribute__((vector_size(8), aligned(4), may_alias));
typedef double TwoDoubles __attribute__((vector_size(16)));
inline Floats multiply_add(Floats a, Floats b, Floats c) { return a * b + c; }
inline TwoDoubles load_widened(const float* p) {
  return __builtin_convertvector(*reinterpret_cast<const TwoFloats*>(p), TwoDoubles);
}
inline TwoDoubles add_exact_product(TwoDoubles a, TwoDoubles b, TwoDoubles c) { return a * b + c; }
#ifdef __SSE2__
typedef int Ints __attribute__((vector_size(16)));
// Of bytes widened to 16 bits, the first and third of each four apart from the others.
inline Ints multiply_add_bytes(Ints w, int x, Ints c) {
  const __m128i all = _mm_set1_epi32(x);
  const __m128i x02 = _mm_srai_epi16(_mm_slli_epi16(all, 8), 8), x13 = _mm_srai_epi16(all, 8);
  const __m128i w02 = (__m128i)(w & 0x00FF00FF), w13 = _mm_srli_epi16((__m128i)w, 8);
  return c + (Ints)_mm_madd_epi16(w02, x02) + (Ints)_mm_madd_epi16(w13, x13);
}
inline void store_low_bytes(signed char* p, Ints v) {
  const __m128i words = _mm_packs_epi32((__m128i)v, (__m128i)v);
  const int bytes = _mm_cvtsi128_si32(_mm_packs_epi16(words, words));
  __builtin_memcpy(p, &bytes, sizeof(bytes));
}
#endif
}  // namespace

#include "score/kernel_impl.h"

R2ROUTER_DEFINE_KERNEL(kBaselineKernel, "baseline")
