// What every processor of the architecture has: SSE2 on x86-64, NEON on aarch64.
#define R2ROUTER_VECTOR_FLOATS 4
#define R2ROUTER_PANEL_VECTORS 4
#define R2ROUTER_BATCH_ROWS 2

namespace {
typedef float Floats __attribute__((vector_size(16)));
typedef float TwoFloats __attribute__((vector_size(8), aligned(4), may_alias));
typedef double TwoDoubles __attribute__((vector_size(16)));
inline Floats multiply_add(Floats a, Floats b, Floats c) { return a * b + c; }
inline TwoDoubles load_widened(const float* p) {
  return __builtin_convertvector(*reinterpret_cast<const TwoFloats*>(p), TwoDoubles);
}
}  // namespace

#include "score/kernel_impl.h"

R2ROUTER_DEFINE_KERNEL(kBaselineKernel, "baseline")
