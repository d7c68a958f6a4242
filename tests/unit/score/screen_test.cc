#include "score/screen.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "r2router/decision.h"
#include "r2router/router.h"

#include "support/heads.h"

namespace r2router {
namespace {

std::vector<const score::Kernel*> byte_kernels() {
  std::vector<const score::Kernel*> kernels;
  for (const score::Kernel* kernel : score::runnable_kernels()) {
    if (kernel->byte_product != nullptr) kernels.push_back(kernel);
  }
  return kernels;
}

std::vector<float> random_numbers(std::size_t count, std::mt19937_64& random) {
  std::normal_distribution<float> normal;
  std::vector<float> numbers(count);
  for (float& number : numbers) number = normal(random);
  return numbers;
}

TEST(ByteRows, AreTheNumbersRoundedToSteps) {
  std::mt19937_64 random(31);
  for (const score::Kernel* kernel : byte_kernels()) {
    for (const std::size_t size : {1, 3, 16, 63, 64, 65, 300, 1024}) {
      for (const float factor : {1.0F, 1e-20F, 1e15F}) {
        std::vector<float> numbers = random_numbers(size, random);
        double largest = 0;
        for (float& number : numbers) {
          number *= factor;
          largest = std::max(largest, std::abs(static_cast<double>(number)));
        }
        std::vector<signed char> bytes(score::byte_stride(size), 55);
        const score::ByteRow row = kernel->to_bytes(numbers.data(), size, bytes.data());
        ASSERT_NEAR(row.step, largest / 127, 1e-6 * largest);
        double squares = 0, error_squares = 0;
        int sum = 0;
        for (std::size_t k = 0; k < size; ++k) {
          const double exact = numbers[k] / static_cast<double>(row.step);
          ASSERT_LE(std::abs(exact - bytes[k]), 0.5001);
          ASSERT_GE(bytes[k], -127);
          squares += exact * exact;
          error_squares += (exact - bytes[k]) * (exact - bytes[k]);
          sum += bytes[k];
        }
        for (std::size_t k = size; k < bytes.size(); ++k) ASSERT_EQ(bytes[k], 0);
        EXPECT_NEAR(row.squares, squares, 1e-4 * squares);
        EXPECT_NEAR(row.error_squares, error_squares, 1e-4 * squares / 127);
        EXPECT_EQ(row.sum, sum);
      }
    }
  }
}

TEST(ByteRows, MarkNumbersThatHaveNoStep) {
  for (const score::Kernel* kernel : byte_kernels()) {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(),
                            -std::numeric_limits<float>::infinity(), -1e19F}) {
      for (const std::size_t at : {0, 17, 69}) {
        std::vector<float> numbers(70, 2.0F);
        numbers[at] = bad;
        std::vector<signed char> bytes(128, 55);
        const score::ByteRow row = kernel->to_bytes(numbers.data(), 70, bytes.data());
        EXPECT_TRUE(std::isinf(row.step)) << bad << " at " << at;
        EXPECT_EQ(std::ranges::count(bytes, 0), 128);
      }
    }
    for (const float tiny : {0.0F, 1e-31F, -1e-40F}) {
      const std::vector<float> numbers(70, tiny);
      std::vector<signed char> bytes(128, 55);
      const score::ByteRow row = kernel->to_bytes(numbers.data(), 70, bytes.data());
      EXPECT_EQ(row.step, 0) << tiny;
      EXPECT_EQ(std::ranges::count(bytes, 0), 128);
    }
  }
}

/// Heads × dimension numbers in the panels of byte_product().
std::vector<unsigned char> byte_panels(const std::vector<int>& weights, std::size_t heads,
                                       std::size_t stride, std::size_t width) {
  std::vector<unsigned char> panels((heads + width - 1) / width * width * stride, 128);
  for (std::size_t h = 0; h < heads; ++h) {
    for (std::size_t k = 0; k < stride; ++k) {
      const std::size_t group = h / width * (stride / 4) + k / 4;
      panels[(group * width + h % width) * 4 + k % 4] =
          static_cast<unsigned char>(weights[h * stride + k] + 128);
    }
  }
  return panels;
}

TEST(ByteProducts, AreThoseOfANaiveLoop) {
  std::mt19937_64 random(32);
  std::uniform_int_distribution<int> any(-127, 127);
  for (const score::Kernel* kernel : byte_kernels()) {
    for (const std::size_t heads : {1, 31, 32, 33, 65, 100, 187}) {
      for (const std::size_t stride : {64, 128, 1024}) {
        for (const std::size_t rows : {1, 2, 11, 12, 13, 25}) {
          std::vector<int> weights(heads * stride);
          for (int& weight : weights) weight = any(random);
          const auto panels = byte_panels(weights, heads, stride, kernel->panel_width);
          const std::size_t padded = panels.size() / stride;
          std::vector<float> steps(padded, 0.25F), out(rows * padded, -1.0F);
          std::vector<signed char> bytes(rows * stride);
          std::vector<score::ByteRow> about(rows, {.step = 0.5F});
          for (std::size_t i = 0; i < bytes.size(); ++i) {
            bytes[i] = static_cast<signed char>(any(random));
            about[i / stride].sum += bytes[i];
          }
          kernel->byte_product(panels.data(), steps.data(), padded / kernel->panel_width, stride,
                               bytes.data(), about.data(), rows, out.data());
          for (std::size_t r = 0; r < rows; ++r) {
            for (std::size_t h = 0; h < heads; ++h) {
              int sum = 0;
              for (std::size_t k = 0; k < stride; ++k) {
                sum += weights[h * stride + k] * bytes[r * stride + k];
              }
              ASSERT_EQ(out[r * padded + h], 0.125F * static_cast<float>(sum))
                  << kernel->name << " heads " << heads << " stride " << stride << " rows " << rows;
            }
          }
        }
      }
    }
  }
}

TEST(ByteProducts, OfTheLargestVectorsDoNotOverflow) {
  constexpr std::size_t kStride = score::kLargestByteDimension;
  for (const score::Kernel* kernel : byte_kernels()) {
    for (const int sign : {-1, 1}) {
      const auto panels =
          byte_panels(std::vector<int>(kStride, 127), 1, kStride, kernel->panel_width);
      const std::vector<signed char> bytes(kStride, static_cast<signed char>(127 * sign));
      const score::ByteRow about{.step = 1, .sum = 127 * sign * static_cast<int>(kStride)};
      const std::vector<float> steps(kernel->panel_width, 1.0F);
      std::vector<float> out(kernel->panel_width);
      kernel->byte_product(panels.data(), steps.data(), 1, kStride, bytes.data(), &about, 1,
                           out.data());
      EXPECT_EQ(out[0], static_cast<float>(127 * 127 * sign * static_cast<int>(kStride)));
    }
  }
}

double exact_product(const float* w, const float* x, std::size_t size) {
  long double sum = 0;
  for (std::size_t k = 0; k < size; ++k) sum += static_cast<long double>(w[k]) * x[k];
  return static_cast<double>(sum);
}

/// The largest error of a screen's products in units of its bound.
double largest_error(const score::Screen& screen, const std::vector<float>& weights,
                     const std::vector<float>& embeddings, std::size_t dimension) {
  const std::size_t rows = embeddings.size() / dimension, heads = weights.size() / dimension;
  std::vector<float> products(rows * screen.stride());
  std::vector<double> scale(rows);
  screen.multiply(embeddings.data(), rows, products.data(), scale.data());
  EXPECT_EQ(screen.errors().size(), heads);
  double largest = 0;
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t h = 0; h < heads; ++h) {
      const double exact = exact_product(weights.data() + h * dimension,
                                         embeddings.data() + r * dimension, dimension);
      const double error = std::abs(products[r * screen.stride() + h] - exact);
      largest = std::max(largest, error / (scale[r] * screen.errors()[h]));
    }
  }
  return largest;
}

/// The heads and their opposites, which have no direction in common.
std::vector<float> with_opposites(std::vector<float> weights) {
  const std::size_t size = weights.size();
  for (std::size_t i = 0; i < size; ++i) weights.push_back(-weights[i]);
  return weights;
}

// Weights and embeddings of one repeated number are rounded the same way everywhere, so that the
// errors add up to the bound. Random ones stay far below it, whatever the bound is.
TEST(ByteScreen, ReachesItsBoundsAndStaysWithinThem) {
  for (const score::Kernel* kernel : byte_kernels()) {
    for (const std::size_t dimension : {1024, 4096, 65536}) {
      for (const double fraction : {0.45, 0.49, 0.499}) {
        const auto repeated = [&](double number) {
          std::vector<float> numbers(dimension, static_cast<float>(number));
          numbers[0] = 127;  // makes the step 1
          return numbers;
        };
        // Errors of both, of the weights alone, of the embedding alone.
        const auto both = repeated(60 + fraction), small = repeated(8 + fraction);
        const auto whole = repeated(60);
        const auto heads = with_opposites(both), whole_heads = with_opposites(whole);
        const auto screen = score::make_byte_screen(heads, dimension, *kernel);
        const double error = largest_error(*screen, heads, both, dimension);
        EXPECT_LE(error, 1) << dimension << ' ' << fraction;
        EXPECT_GT(error, 0.85) << dimension << ' ' << fraction;
        EXPECT_LE(largest_error(*screen, heads, whole, dimension), 1);
        EXPECT_LE(largest_error(*screen, heads, small, dimension), 1);
        // An error that is large for the norm, compared with a typical one.
        const auto exact = score::make_byte_screen(whole_heads, dimension, *kernel);
        const double of_embedding = largest_error(*exact, whole_heads, small, dimension);
        EXPECT_LE(of_embedding, 1);
        EXPECT_GT(of_embedding, 0.85);
      }
    }
  }
}

// What the heads have in common is not rounded to bytes.
TEST(ByteScreen, BoundsOnlyWhatTheHeadsDoNotHaveInCommon) {
  constexpr std::size_t kDimension = 1024, kHeads = 40;
  std::mt19937_64 random(34);
  for (const score::Kernel* kernel : byte_kernels()) {
    const std::vector<float> common = random_numbers(kDimension, random);
    std::vector<float> weights = random_numbers(kHeads * kDimension, random);
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const float size = i / kDimension % 2 == 0 ? 1 : 1e4F;
      weights[i] = size * (common[i % kDimension] + 0.3F * weights[i]);
    }
    const auto embeddings = random_numbers(20 * kDimension, random);
    const auto screen = score::make_byte_screen(weights, kDimension, *kernel);
    const auto apart = score::make_byte_screen(with_opposites(weights), kDimension, *kernel);
    for (std::size_t head = 0; head < kHeads; ++head) {
      EXPECT_LT(screen->errors()[head], 0.4 * apart->errors()[head]) << head;
    }
    EXPECT_LE(largest_error(*screen, weights, embeddings, kDimension), 1);
    // Embeddings along the common direction have the largest part in common.
    EXPECT_LE(largest_error(*screen, weights, common, kDimension), 1);
  }
}

// Rounding is all that is left of a head that the others repeat.
TEST(ByteScreen, CoversTheRoundingOfTheCommonPart) {
  std::mt19937_64 random(35);
  for (const score::Kernel* kernel : byte_kernels()) {
    for (const std::size_t dimension : {1, 64, 1000}) {
      const std::vector<float> head = random_numbers(dimension, random);
      std::vector<float> weights;
      for (const float factor : {1.0F, 3.0F, 1e-7F}) {
        for (const float number : head) weights.push_back(factor * number);
      }
      const auto screen = score::make_byte_screen(weights, dimension, *kernel);
      const auto embeddings = random_numbers(200 * dimension, random);
      EXPECT_LE(largest_error(*screen, weights, embeddings, dimension), 1) << dimension;
      EXPECT_LE(largest_error(*screen, weights, head, dimension), 1) << dimension;
    }
  }
}

TEST(Screens, StayWithinTheirBoundsForVectorsOfEverySize) {
  std::mt19937_64 random(33);
  for (const score::Kernel* kernel : score::runnable_kernels()) {
    for (const std::size_t dimension : {1, 7, 64, 300, 1024}) {
      constexpr std::size_t kHeads = 40, kRows = 15;
      std::vector<float> weights = random_numbers(kHeads * dimension, random);
      std::vector<float> embeddings = random_numbers(kRows * dimension, random);
      const auto scale = [&](std::vector<float>& rows, std::size_t row, float factor) {
        for (std::size_t k = 0; k < dimension; ++k) rows[row * dimension + k] *= factor;
      };
      const float factors[] = {0, 1e-40F, 1e-31F, 1e-20F, 1e-10F, 1e10F, 1e16F};
      for (std::size_t i = 0; i < std::size(factors); ++i) {
        scale(weights, i, factors[i]);
        scale(embeddings, i, factors[i]);
      }
      // One number that dwarfs the others, which round to zero.
      weights[10 * dimension] = 1e6F;
      embeddings[10 * dimension] = 1e6F;
      const auto floats = score::make_float_screen(weights, dimension, *kernel);
      EXPECT_LE(largest_error(*floats, weights, embeddings, dimension), 1) << kernel->name;
      if (kernel->byte_product == nullptr) continue;
      const auto bytes = score::make_byte_screen(weights, dimension, *kernel);
      EXPECT_LE(largest_error(*bytes, weights, embeddings, dimension), 1) << dimension;
    }
  }
}

TEST(Screens, MarkEmbeddingsBeyondTheirRange) {
  for (const score::Kernel* kernel : score::runnable_kernels()) {
    const std::vector<float> weights(300, 0.1F);
    std::vector<float> embeddings(4 * 100, 1.0F);
    embeddings[100 + 7] = std::numeric_limits<float>::quiet_NaN();
    embeddings[200] = -std::numeric_limits<float>::infinity();
    embeddings[399] = 1e30F;
    std::vector<std::unique_ptr<const score::Screen>> screens;
    screens.push_back(score::make_float_screen(weights, 100, *kernel));
    if (kernel->byte_product != nullptr) {
      screens.push_back(score::make_byte_screen(weights, 100, *kernel));
    }
    for (const auto& screen : screens) {
      std::vector<float> products(4 * screen->stride());
      std::vector<double> scale(4);
      screen->multiply(embeddings.data(), 4, products.data(), scale.data());
      EXPECT_LE(scale[0], score::kLargestNorm);
      for (std::size_t r = 1; r < 4; ++r) EXPECT_FALSE(scale[r] <= score::kLargestNorm) << r;
    }
  }
}

// Heads of a size that is screened in bytes, with ties and near-ties of every width.
TEST(Screens, LeaveTheChoicesOfExactPredictions) {
  constexpr std::size_t kDimension = 1024, kRows = 60;
  Checkpoint checkpoint = testing::random_checkpoint(9, 15, kDimension, 34);
  auto& weights = std::get<std::vector<float>>(testing::linear_heads(checkpoint).weights);
  std::mt19937_64 random(35);
  const std::size_t of_a_model = weights.size() / 9;
  for (std::size_t model = 1; model < 9; model += 2) {  // has the prices of the one before
    const double width = std::pow(10.0, -static_cast<double>(model + 1));
    for (std::size_t i = 0; i < of_a_model; ++i) {
      const float twin = weights[(model - 1) * of_a_model + i];
      weights[model * of_a_model + i] =
          model == 7 ? twin : twin * static_cast<float>(1 + width * (random() % 3 == 0 ? -1 : 1));
    }
  }
  auto embeddings = testing::random_embeddings(kRows, kDimension, 36);
  for (std::size_t r = 0; r < kRows; ++r) {
    const float factor = r == 0 ? 0 : std::pow(10.0F, static_cast<float>(r % 7) - 3);
    for (std::size_t k = 0; k < kDimension; ++k) embeddings[r * kDimension + k] *= factor;
  }
  for (const std::string& kernel : available_kernels()) {
    const Router router(checkpoint, {.kernel = kernel});
    for (const double lambda : {0.0, 0.5, 0.999, 0.99999, 1.0}) {
      for (const DecisionRules rules : {DecisionRules::kReference, DecisionRules::kCorrected}) {
        RouteOptions options;
        options.policy.lambda = lambda;
        options.policy.rules = rules;
        const DecisionBatch batch = router.route_batch(embeddings, options);
        for (std::size_t r = 0; r < kRows; ++r) {
          const auto row = std::span(std::as_const(embeddings)).subspan(r * kDimension, kDimension);
          Predictions predictions;
          router.scorer()->predict(row, predictions);
          std::vector<PairFacts> facts(router.scorer()->pairs().size());
          for (std::size_t p = 0; p < facts.size(); ++p) {
            facts[p].predicts_length = router.scorer()->predicts_length(p);
          }
          const Decision exact =
              decide(std::make_shared<const Pool>(router.pool()), router.scorer()->pairs(),
                     predictions, options, router.config().default_policy(), facts);
          ASSERT_EQ(router.route(row, options).chosen, exact.chosen) << kernel << " row " << r;
          ASSERT_EQ(batch.option(r), exact.chosen) << kernel << " row " << r;
        }
      }
    }
  }
}

}  // namespace
}  // namespace r2router
