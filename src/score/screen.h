// The first pass of a decision: products of all heads with an embedding, in arithmetic that is fast
// and within proven bounds of the exact products. Most pairs are ruled out by them.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "score/kernels.h"

namespace r2router::score {

/// Beyond this norm float32 products could overflow.
inline constexpr double kLargestNorm = 1e18;
/// Below this norm float32 underflow would not be covered by a relative bound.
inline constexpr double kSmallestNorm = 1e-12;

/// Heads in the form that the arithmetic takes. Immutable and safe from many threads.
class Screen {
 public:
  Screen(const Kernel& kernel, std::size_t heads, std::size_t dimension)
      : kernel_(kernel),
        dimension_(dimension),
        panel_count_((heads + kernel.panel_width - 1) / kernel.panel_width) {}
  virtual ~Screen() = default;
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  /// Products of each embedding: the number of heads, rounded up.
  std::size_t stride() const { return panel_count_ * kernel_.panel_width; }

  /// Multiplies all heads with `rows` embeddings: products[row·stride() + head], which is within
  /// scale[row]·errors()[head] of the exact product. The scale is above kLargestNorm or NaN, and
  /// the products mean nothing, if the embedding's norm is.
  virtual void multiply(const float* embeddings, std::size_t rows, float* products,
                        double* scale) const = 0;

  std::span<const double> errors() const { return errors_; }

 protected:
  const Kernel& kernel_;
  std::size_t dimension_, panel_count_;
  std::vector<double> errors_;
};

/// `weights`: heads × dimension, each head's norm at most kLargestNorm. The bounds also cover the
/// rounding of these and of embeddings from float64 to float32.
std::unique_ptr<const Screen> make_float_screen(std::span<const float> weights,
                                                std::size_t dimension, const Kernel& kernel);

/// In bytes. Requires Kernel::byte_product and a dimension of at most kLargestByteDimension.
std::unique_ptr<const Screen> make_byte_screen(std::span<const float> weights,
                                               std::size_t dimension, const Kernel& kernel);

/// The faster one of them.
std::unique_ptr<const Screen> make_screen(std::span<const float> weights, std::size_t dimension,
                                          const Kernel& kernel);

}  // namespace r2router::score
