#include "score/kernels.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "r2router/error.h"
#include "r2router/scorer.h"

#include "support/heads.h"

namespace r2router {
namespace {

std::vector<double> exact_products(const std::vector<float>& weights, const std::vector<float>& x,
                                   std::size_t heads, std::size_t dimension, std::size_t rows,
                                   std::vector<double>* magnitudes) {
  std::vector<double> products;
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t h = 0; h < heads; ++h) {
      long double sum = 0, magnitude = 0;
      for (std::size_t k = 0; k < dimension; ++k) {
        const long double term =
            static_cast<long double>(weights[h * dimension + k]) * x[r * dimension + k];
        sum += term;
        magnitude += std::abs(term);
      }
      products.push_back(static_cast<double>(sum));
      magnitudes->push_back(static_cast<double>(magnitude));
    }
  }
  return products;
}

struct Shape {
  std::size_t heads, dimension, rows;
};

// Every remainder of rows, panels and dimensions that the loops treat apart.
std::vector<Shape> shapes() {
  std::vector<Shape> all;
  for (const std::size_t heads : {1, 15, 16, 17, 33, 64, 187}) {
    for (const std::size_t dimension : {1, 3, 16, 255, 256, 257, 1024, 1031}) {
      for (const std::size_t rows : {1, 2, 5, 6, 12, 13, 30})
        all.push_back({heads, dimension, rows});
    }
  }
  return all;
}

TEST(Kernels, ProductsStayWithinTheStatedRoundings) {
  std::mt19937_64 random(7);
  std::normal_distribution<float> normal;
  for (const score::Kernel* kernel : score::runnable_kernels()) {
    for (const Shape& shape : shapes()) {
      if (shape.heads > 64 && shape.rows > 13) continue;
      std::vector<float> weights(shape.heads * shape.dimension), x(shape.rows * shape.dimension);
      for (float& value : weights) value = normal(random);
      for (float& value : x) value = normal(random);
      const std::size_t width = kernel->panel_width;
      const std::size_t panels = (shape.heads + width - 1) / width;
      std::vector<float> memory(panels * width * shape.dimension + 16);
      float* packed = memory.data();
      while (reinterpret_cast<std::uintptr_t>(packed) % 64 != 0) ++packed;
      for (std::size_t h = 0; h < shape.heads; ++h) {
        for (std::size_t k = 0; k < shape.dimension; ++k) {
          packed[(h / width * shape.dimension + k) * width + h % width] =
              weights[h * shape.dimension + k];
        }
      }
      std::vector<float> out(shape.rows * panels * width, -1.0F);
      kernel->product(packed, panels, shape.dimension, x.data(), shape.rows, out.data());

      std::vector<double> magnitudes;
      const auto expected =
          exact_products(weights, x, shape.heads, shape.dimension, shape.rows, &magnitudes);
      const double n = static_cast<double>(score::product_roundings(shape.dimension));
      for (std::size_t r = 0; r < shape.rows; ++r) {
        for (std::size_t h = 0; h < shape.heads; ++h) {
          const std::size_t i = r * shape.heads + h;
          ASSERT_NEAR(out[r * panels * width + h], expected[i], 1.001 * n * 0x1p-24 * magnitudes[i])
              << kernel->name << " heads " << shape.heads << " dimension " << shape.dimension
              << " rows " << shape.rows;
        }
      }
    }
  }
}

TEST(Kernels, DotProductsAreBitIdenticalOnEveryKernel) {
  std::mt19937_64 random(8);
  std::normal_distribution<double> normal;
  for (const std::size_t size : {0, 1, 7, 15, 16, 17, 31, 32, 1000, 1024, 1039}) {
    std::vector<double> a(size), b(size);
    for (double& value : a) value = normal(random);
    for (double& value : b) value = normal(random);
    const std::vector<float> a32(a.begin(), a.end()), b32(b.begin(), b.end());

    // The documented order of summation, spelled out.
    const auto reference = [size](const auto& u, const auto& v) {
      double parts[16] = {};
      for (std::size_t i = 0; i < size; ++i) {
        parts[i % 16] += static_cast<double>(u[i]) * static_cast<double>(v[i]);
      }
      for (std::size_t half = 8; half > 0; half /= 2) {
        for (std::size_t lane = 0; lane < half; ++lane) parts[lane] += parts[lane + half];
      }
      return parts[0];
    };
    for (const score::Kernel* kernel : score::runnable_kernels()) {
      EXPECT_EQ(kernel->dot_float_float(a32.data(), b32.data(), size), reference(a32, b32));
      EXPECT_EQ(kernel->dot_float_double(a32.data(), b.data(), size), reference(a32, b));
      EXPECT_EQ(kernel->dot_double_double(a.data(), b.data(), size), reference(a, b));
    }
  }
}

TEST(Kernels, BoundUtilitiesAsANaiveLoopDoes) {
  std::mt19937_64 random(9);
  std::uniform_real_distribution<double> number(-0.5, 1.5);
  for (const std::size_t count : {0, 1, 5, 7, 8, 9, 16, 17, 40}) {
    std::vector<double> quality(count), quality_error(count), tokens(count), tokens_error(count),
        most_tokens(count);
    for (std::size_t i = 0; i < count; ++i) {
      quality[i] = number(random);
      quality_error[i] = std::abs(number(random)) / 4;
      tokens[i] = 1000 * number(random);
      tokens_error[i] = 100 * std::abs(number(random));
      most_tokens[i] = i % 3 == 0 ? INFINITY : 800 * std::abs(number(random));
    }
    if (count > 5) quality_error[5] = 1e300;  // of a prediction without a bound
    for (const score::Kernel* kernel : score::runnable_kernels()) {
      const score::UtilityTerms terms{.quality = quality.data(),
                                      .quality_error = quality_error.data(),
                                      .tokens = tokens.data(),
                                      .tokens_error = tokens_error.data(),
                                      .most_tokens = most_tokens.data(),
                                      .least_tokens = 20,
                                      .scale = 1.5,
                                      .quality_weight = 0.7,
                                      .fixed_cost = 0.1,
                                      .token_cost = 0.001};
      std::vector<double> upper(count + 1, 55);
      const double largest = kernel->bound_utilities(terms, count, upper.data());
      double expected_largest = -INFINITY;
      for (std::size_t i = 0; i < count; ++i) {
        const double best = std::clamp(quality[i] + 1.5 * quality_error[i], 0.0, 1.0);
        const double least =
            std::min(std::max(tokens[i] - 1.5 * tokens_error[i], 20.0), most_tokens[i]);
        ASSERT_NEAR(upper[i], 0.7 * best - (0.1 + 0.001 * least), 1e-14) << kernel->name;
        expected_largest = std::max(expected_largest, upper[i]);
      }
      EXPECT_EQ(largest, expected_largest) << kernel->name << ' ' << count;
      EXPECT_EQ(upper[count], 55) << kernel->name << ' ' << count;
    }
  }
}

TEST(Kernels, AreListedSlowestFirstAndFoundByName) {
  const auto names = available_kernels();
  ASSERT_FALSE(names.empty());
  EXPECT_EQ(names.front(), "baseline");
  for (const std::string& name : names) EXPECT_EQ(score::find_kernel(name).name, name);
  EXPECT_EQ(score::find_kernel("").name, names.back());
  try {
    score::find_kernel("mmx");
    FAIL() << "an unknown kernel was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNotFound);
    EXPECT_NE(std::string(error.what()).find("baseline"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace r2router
