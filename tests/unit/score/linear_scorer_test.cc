#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "r2router/error.h"
#include "r2router/scorer.h"

#include "support/heads.h"

namespace r2router {
namespace {

using testing::random_embeddings;

constexpr std::size_t kDimension = 300;

LinearHeads random_heads(std::uint32_t models, std::uint32_t budgets, std::size_t dimension,
                         std::uint64_t seed, bool token_head_for_each_pair = false) {
  return testing::linear_heads(
      testing::random_checkpoint(models, budgets, dimension, seed, token_head_for_each_pair));
}

TEST(LinearScorer, PredictsWeightsTimesEmbeddingPlusIntercept) {
  const LinearHeads heads = random_heads(3, 2, kDimension, 1);
  const auto scorer = make_linear_scorer(heads);
  const auto x = random_embeddings(1, kDimension, 2);
  Predictions predictions;
  scorer->predict(std::span<const float>(x), predictions);

  const auto& weights = std::get<std::vector<float>>(heads.weights);
  ASSERT_EQ(scorer->pairs().size(), 9U);
  for (std::size_t p = 0; p < scorer->pairs().size(); ++p) {
    const Pair pair = scorer->pairs()[p];
    double tokens = pair.budget.is_unlimited() ? NAN : pair.budget.tokens();
    double quality = NAN;
    for (std::size_t h = 0; h < heads.names.size(); ++h) {
      if (heads.names[h].pair != pair) continue;
      double sum = heads.intercepts[h];
      for (std::size_t k = 0; k < kDimension; ++k) {
        sum += static_cast<double>(weights[h * kDimension + k]) * x[k];
      }
      (heads.names[h].target == Target::kQuality ? quality : tokens) = sum;
    }
    EXPECT_NEAR(predictions.quality[p], quality, 1e-12);
    EXPECT_NEAR(predictions.tokens[p], tokens, 1e-9);
  }
}

TEST(LinearScorer, EstimatesStayWithinTheirBoundsOnEveryKernel) {
  for (const bool narrow : {true, false}) {
    LinearHeads heads = random_heads(5, 3, kDimension, 3, true);
    if (!narrow) {
      const auto& floats = std::get<std::vector<float>>(heads.weights);
      std::vector<double> doubles(floats.begin(), floats.end());
      for (double& value : doubles) value *= 1 + 1e-9;  // not representable in float32
      heads.weights = doubles;
    }
    constexpr std::size_t kRows = 17;
    const auto x32 = random_embeddings(kRows, kDimension, 4);
    std::vector<double> x(x32.begin(), x32.end());
    for (std::size_t i = 0; i < x.size(); ++i) x[i] *= 1 + 1e-9 * static_cast<double>(i % 7);
    // Rows of very different size.
    for (std::size_t k = 0; k < kDimension; ++k) {
      x[k] *= 1e-25;
      x[kDimension + k] *= 1e12;
      x[2 * kDimension + k] *= 1e30;
    }
    std::vector<double> first;
    for (const std::string& kernel : available_kernels()) {
      const auto scorer = make_linear_scorer(heads, kernel);
      Estimates estimates;
      scorer->estimate(std::span<const double>(x), kRows, estimates);
      const std::size_t pairs = scorer->pairs().size();
      std::vector<double> exact;
      for (std::size_t r = 0; r < kRows; ++r) {
        Predictions predictions;
        scorer->predict(std::span<const double>(x).subspan(r * kDimension, kDimension),
                        predictions);
        for (std::size_t p = 0; p < pairs; ++p) {
          EXPECT_LE(std::abs(estimates.quality[r * pairs + p] - predictions.quality[p]),
                    estimates.scale[r] * estimates.quality_error[p]);
          EXPECT_LE(std::abs(estimates.tokens[r * pairs + p] - predictions.tokens[p]),
                    estimates.scale[r] * estimates.tokens_error[p]);
        }
        exact.insert(exact.end(), predictions.quality.begin(), predictions.quality.end());
        exact.insert(exact.end(), predictions.tokens.begin(), predictions.tokens.end());
      }
      // A useful bound, not just a true one.
      EXPECT_LT(estimates.scale[5] * estimates.quality_error[0], 1e-3);
      if (first.empty()) first = exact;
      EXPECT_EQ(exact, first) << "exact predictions differ on " << kernel;
    }
  }
}

TEST(LinearScorer, MarksEmbeddingsThatAreNotFinite) {
  const auto scorer = make_linear_scorer(random_heads(2, 1, kDimension, 5));
  auto x = random_embeddings(3, kDimension, 6);
  x[kDimension + 7] = std::numeric_limits<float>::quiet_NaN();
  x[2 * kDimension] = std::numeric_limits<float>::infinity();
  Estimates estimates;
  scorer->estimate(std::span<const float>(x), 3, estimates);
  EXPECT_TRUE(std::isfinite(estimates.scale[0]));
  EXPECT_FALSE(std::isfinite(estimates.scale[1]));
  EXPECT_FALSE(std::isfinite(estimates.scale[2]));
}

class BadHeads : public ::testing::Test {
 protected:
  static void expect_refused(const LinearHeads& heads, const std::string& words) {
    try {
      make_linear_scorer(heads);
      FAIL() << "accepted; expected a refusal about: " << words;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kBadCheckpoint);
      EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
    }
  }
  LinearHeads heads_ = random_heads(2, 1, 8, 9);  // per model: quality 50, quality, tokens
};

TEST_F(BadHeads, WithTooFewWeights) {
  std::get<std::vector<float>>(heads_.weights).pop_back();
  expect_refused(heads_, "47 weights");
}
TEST_F(BadHeads, GivenTwice) {
  heads_.names[1] = heads_.names[0];
  expect_refused(heads_, "given twice");
}
TEST_F(BadHeads, WithoutUnlimitedLength) {
  heads_.names[2] = {{0, Budget(70)}, Target::kQuality};
  expect_refused(heads_, "missing");
}
TEST_F(BadHeads, WithModelsMixed) {
  std::swap(heads_.names[0], heads_.names[3]);
  expect_refused(heads_, "separated from");
}
TEST_F(BadHeads, ThatAreNotFinite) {
  std::get<std::vector<float>>(heads_.weights)[9] = std::numeric_limits<float>::infinity();
  expect_refused(heads_, "not finite");
}
TEST_F(BadHeads, OfAnInterceptThatIsNotFinite) {
  heads_.intercepts[4] = std::numeric_limits<double>::quiet_NaN();
  expect_refused(heads_, "not finite");
}

}  // namespace
}  // namespace r2router
