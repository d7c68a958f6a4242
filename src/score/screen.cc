#include "score/screen.h"

#include <algorithm>
#include <cmath>

#include "score/aligned.h"

namespace r2router::score {
namespace {

/// Heads of fewer weights fit in the caches as float32, whose narrow bounds save more time than
/// bytes would.
constexpr std::size_t kFewWeights = std::size_t{1} << 16;

class FloatScreen final : public Screen {
 public:
  FloatScreen(std::span<const float> weights, std::size_t dimension, const Kernel& kernel)
      : Screen(kernel, weights.size() / dimension, dimension), panels_(stride() * dimension) {
    const std::size_t width = kernel.panel_width;
    // |computed − exact| ≤ γ·Σ|wₖ·xₖ| ≤ γ·‖w‖·‖x‖, with γ = n·u/(1 − n·u) for n roundings of
    // relative size u = 2⁻²⁴ (Higham, Accuracy and Stability of Numerical Algorithms, §3.1, and
    // Cauchy–Schwarz). Two more roundings cover weights and embeddings narrowed to float32; the
    // last hundredth, the rounding of norms and float64's own.
    const double n = static_cast<double>(product_roundings(dimension)) + 2;
    const double gamma = 1.01 * n * 0x1p-24 / (1 - n * 0x1p-24);
    for (std::size_t head = 0; head < weights.size() / dimension; ++head) {
      const float* w = weights.data() + head * dimension;
      float* panel = panels_.data() + head / width * width * dimension;
      for (std::size_t k = 0; k < dimension; ++k) panel[k * width + head % width] = w[k];
      errors_.push_back(gamma * std::max(norm(w), kSmallestNorm));
    }
  }

  void multiply(const float* embeddings, std::size_t rows, float* products,
                double* scale) const override {
    for (std::size_t r = 0; r < rows; ++r) {
      const double length = norm(embeddings + r * dimension_);
      scale[r] = length < kSmallestNorm ? kSmallestNorm : length;
    }
    kernel_.product(panels_.data(), panel_count_, dimension_, embeddings, rows, products);
  }

 private:
  double norm(const float* x) const { return std::sqrt(kernel_.dot_float_float(x, x, dimension_)); }

  Aligned<float> panels_;
};

}  // namespace

std::unique_ptr<const Screen> make_float_screen(std::span<const float> weights,
                                                std::size_t dimension, const Kernel& kernel) {
  return std::make_unique<FloatScreen>(weights, dimension, kernel);
}

std::unique_ptr<const Screen> make_screen(std::span<const float> weights, std::size_t dimension,
                                          const Kernel& kernel) {
  const bool in_bytes = kernel.byte_product != nullptr && weights.size() > kFewWeights &&
                        dimension <= kLargestByteDimension;
  return in_bytes ? make_byte_screen(weights, dimension, kernel)
                  : make_float_screen(weights, dimension, kernel);
}

}  // namespace r2router::score
