// Screening in 8 bits. Heads and embeddings are rounded to signed bytes, each with its own step: w
// is about ŵ = s·p and x about x̂ = t·q, for vectors of bytes p and q. The product ŵ·x̂ = s·t·Σpₖ·qₖ
// is computed from a sum that is exact, since it has at most 2¹⁶ terms below 2¹⁵. As
//
//     w·x − ŵ·x̂ = (w − ŵ)·x + ŵ·(x − x̂),
//
// Cauchy–Schwarz bounds it by ‖w − ŵ‖·‖x‖ + ‖ŵ‖·‖x − x̂‖. Estimates have one number for each
// embedding and one for each head, whose product is the bound. So for any ρ > 0 that is no larger
// than
//
//     max(‖x‖, ‖x − x̂‖/ρ) · (‖w − ŵ‖ + ρ·‖ŵ‖),
//
// and little more than the bound itself if ρ is about ‖x − x̂‖/‖x‖, which hardly varies among
// embeddings. These norms are measured, not bounded by the step: half a step in every number would
// be √3 times as much.
//
// Heads have much in common, since some queries are hard for every model and at every budget. So a
// head is w = a·m + v, where m is the mean direction of all heads, and only v is rounded to bytes:
// w·x = a·(m·x) + v·x. The product m·x is computed in float64, once for each embedding. Above, v
// takes the place of w. In the released checkpoint the bounds are 0.58 of those without m.
//
// The rest is rounding. Let u = 2⁻²⁴. A number divided by its step, which is how to_bytes()
// measures both norms, comes from three roundings; so ‖w − ŵ‖ and ‖x − x̂‖ are at most 4u·‖w‖ and
// 4u·‖x‖ larger than measured, with one more for numbers narrowed from float64. Sums of up to 2¹⁶
// squares are off by 2¹⁶·u = 2⁻⁸ at most and their roots by half of that, which the hundredth in
// kSlack covers. Three roundings of the product add 3u·‖v̂‖·‖x̂‖, that of v to float32 u·‖v‖·‖x‖,
// three of a·(m·x) and of the sum u·(3|a|·‖m‖·‖x‖ + ‖v̂‖·‖x̂‖), and the exact prediction's own
// rounding less than u·‖w‖·‖x‖, together at most 8u·(‖v̂‖ + |a|·‖m‖) in a head's part. Numbers that
// are too small for a step, and products that underflow, are far below the product of the smallest
// norms.
#include <algorithm>
#include <cmath>

#include "score/aligned.h"
#include "score/screen.h"

namespace r2router::score {
namespace {

/// ρ. Of an embedding of normally distributed numbers, it is 0.0078.
constexpr double kTypicalError = 0x1p-7;
constexpr double kSlack = 1.01;
constexpr double kRounding = 0x1p-24;

/// Upper bounds.
struct Norms {
  double norm, error;  ///< ‖v‖ and ‖v − v̂‖
};

Norms norms(const ByteRow& row) {
  const double step = row.step;
  const double norm = kSlack * step * std::sqrt(static_cast<double>(row.squares));
  const double error = kSlack * step * std::sqrt(static_cast<double>(row.error_squares));
  return {norm, error + 5 * kRounding * norm};
}

/// The mean of the heads' directions, of length 1; or 0, if all heads are.
std::vector<float> mean_direction(std::span<const float> weights, std::size_t dimension,
                                  const Kernel& kernel) {
  const auto length = [&](const auto* numbers, auto dot) {
    return std::sqrt(dot(numbers, numbers, dimension));
  };
  std::vector<double> mean(dimension);
  for (std::size_t begin = 0; begin < weights.size(); begin += dimension) {
    const float* head = weights.data() + begin;
    const double norm = length(head, kernel.dot_float_float);
    for (std::size_t k = 0; norm > 0 && k < dimension; ++k) mean[k] += head[k] / norm;
  }
  const double norm = length(mean.data(), kernel.dot_double_double);
  std::vector<float> direction(dimension);
  for (std::size_t k = 0; norm > 0 && k < dimension; ++k) {
    direction[k] = static_cast<float>(mean[k] / norm);
  }
  return direction;
}

class ByteScreen final : public Screen {
 public:
  ByteScreen(std::span<const float> weights, std::size_t dimension, const Kernel& kernel)
      : Screen(kernel, weights.size() / dimension, dimension),
        byte_stride_(byte_stride(dimension)),
        panels_(stride() * byte_stride_),
        steps_(stride()),
        direction_(mean_direction(weights, dimension, kernel)),
        shares_(stride()) {
    const std::size_t width = kernel.panel_width;
    const double length = std::sqrt(along(direction_.data()));
    std::vector<float> rest(dimension);
    std::vector<signed char> bytes(byte_stride_);
    for (std::size_t head = 0; head < weights.size() / dimension; ++head) {
      const float* w = weights.data() + head * dimension;
      const auto share = static_cast<float>(along(w));
      for (std::size_t k = 0; k < dimension; ++k) {
        rest[k] = static_cast<float>(w[k] - static_cast<double>(share) * direction_[k]);
      }
      shares_[head] = share;
      const ByteRow row = kernel.to_bytes(rest.data(), dimension, bytes.data());
      steps_[head] = row.step;
      unsigned char* panel = panels_.data() + head / width * width * byte_stride_;
      for (std::size_t k = 0; k < byte_stride_; ++k) {
        panel[(k / 4 * width + head % width) * 4 + k % 4] =
            static_cast<unsigned char>(bytes[k] + kByteOffset);
      }
      const auto [norm, error] = norms(row);
      const double bound = error + (kTypicalError + 8 * kRounding) * (norm + error) +
                           8 * kRounding * length * std::abs(static_cast<double>(share));
      errors_.push_back(std::max(bound, kTypicalError * kSmallestNorm));
    }
  }

  void multiply(const float* embeddings, std::size_t rows, float* products,
                double* scale) const override {
    thread_local std::vector<signed char> bytes;
    thread_local std::vector<ByteRow> steps;
    thread_local std::vector<float> common;
    bytes.resize(rows * byte_stride_);
    steps.resize(rows);
    common.resize(rows);
    for (std::size_t r = 0; r < rows; ++r) {
      if (r + 1 < rows) prefetch(embeddings + (r + 1) * dimension_);
      steps[r] = kernel_.to_bytes(embeddings + r * dimension_, dimension_,
                                  bytes.data() + r * byte_stride_);
      common[r] = static_cast<float>(along(embeddings + r * dimension_));
      const auto [norm, error] = norms(steps[r]);
      scale[r] = std::max({norm, error / kTypicalError, kSmallestNorm});
    }
    kernel_.byte_product(panels_.data(), steps_.data(), panel_count_, byte_stride_, bytes.data(),
                         steps.data(), rows, products);
    for (std::size_t r = 0; r < rows; ++r) {
      float* product = products + r * stride();
      for (std::size_t head = 0; head < stride(); ++head) {
        product[head] += shares_[head] * common[r];
      }
    }
  }

 private:
  /// Processors do not foresee where the next row is if each begins a page of memory.
  void prefetch(const float* embedding) const {
    for (std::size_t k = 0; k < dimension_; k += 16) __builtin_prefetch(embedding + k);
  }

  /// A vector's product with the direction.
  double along(const float* vector) const {
    return kernel_.dot_float_float(direction_.data(), vector, dimension_);
  }

  std::size_t byte_stride_;
  Aligned<unsigned char> panels_;
  std::vector<float> steps_;      ///< of the heads
  std::vector<float> direction_;  ///< m
  std::vector<float> shares_;     ///< a, of the heads
};

}  // namespace

std::unique_ptr<const Screen> make_byte_screen(std::span<const float> weights,
                                               std::size_t dimension, const Kernel& kernel) {
  return std::make_unique<ByteScreen>(weights, dimension, kernel);
}

}  // namespace r2router::score
