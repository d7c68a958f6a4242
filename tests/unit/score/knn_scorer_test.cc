#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

#include "r2router/error.h"
#include "r2router/router.h"

#include "support/errors.h"
#include "support/heads.h"

namespace r2router {
namespace {

using testing::expect_error;
using testing::random_embeddings;
using Weighting = NearestNeighbours::Weighting;

constexpr std::size_t kDimension = 70, kQueries = 211, kHeads = 4;
constexpr std::size_t kQuality = 1;  // the quality head of the second pair

/// Random neighbours of different lengths, some of them the same and one of them zero, with
/// targets between 0 and 100.
NearestNeighbours random_neighbours(std::uint32_t neighbours, Weighting weighting) {
  NearestNeighbours data;
  data.dimension = kDimension;
  data.names = {{{0, Budget(10)}, Target::kQuality},
                {{0, Budget()}, Target::kQuality},
                {{0, Budget()}, Target::kTokens},
                {{1, Budget(10)}, Target::kQuality}};
  data.neighbours = neighbours;
  data.weighting = weighting;
  data.embeddings = random_embeddings(kQueries, kDimension, 3);
  for (std::size_t i = 0; i < kQueries; ++i) {
    for (std::size_t k = 0; k < kDimension; ++k) {
      float& value = data.embeddings[i * kDimension + k];
      if (i % 5 == 1) value = data.embeddings[(i - 1) * kDimension + k];
      if (i % 7 == 0) value *= 1000;
      if (i == 100) value = 0;
    }
    for (std::size_t head = 0; head < kHeads; ++head) {
      data.targets.push_back(static_cast<float>((i * 37 + head * 11) % 101));
    }
  }
  return data;
}

/// Every similarity, a stable sort, and the mean as the header has it.
double brute_force(const NearestNeighbours& data, std::span<const float> x, std::size_t head) {
  std::vector<long double> similarities;
  for (std::size_t i = 0; i < kQueries; ++i) {
    long double product = 0, a = 0, b = 0;
    for (std::size_t k = 0; k < kDimension; ++k) {
      const long double value = data.embeddings[i * kDimension + k];
      product += value * x[k];
      a += value * value;
      b += static_cast<long double>(x[k]) * x[k];
    }
    // As many digits as are sure, so that equal embeddings of different lengths tie.
    const long double similarity = a > 0 ? product / std::sqrt(a * b) : 0;
    similarities.push_back(std::round(similarity * 1e13L) / 1e13L);
  }
  std::vector<std::size_t> order(kQueries);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](auto i, auto j) { return similarities[i] > similarities[j]; });
  const bool weighted = data.weighting == Weighting::kSimilarity && similarities[order[0]] > 0;
  long double sum = 0, weights = 0;
  for (std::size_t i = 0; i < data.neighbours; ++i) {
    const long double weight = weighted ? std::max(0.0L, similarities[order[i]]) : 1.0L;
    sum += weight * data.targets[order[i] * kHeads + head];
    weights += weight;
  }
  return static_cast<double>(sum / weights);
}

TEST(KnnScorer, EqualsABruteForceSearch) {
  const auto x = random_embeddings(40, kDimension, 8);
  for (const std::uint32_t neighbours : {1, 2, 17, 211}) {
    for (const Weighting weighting : {Weighting::kUniform, Weighting::kSimilarity}) {
      const NearestNeighbours data = random_neighbours(neighbours, weighting);
      const auto scorer = make_knn_scorer(data);
      ASSERT_EQ(scorer->pairs().size(), 3U);
      for (std::size_t row = 0; row < 40; ++row) {
        const auto embedding = std::span(x).subspan(row * kDimension, kDimension);
        Predictions predictions;
        scorer->predict(embedding, predictions);
        EXPECT_NEAR(predictions.quality[1], brute_force(data, embedding, 1), 1e-9);
        EXPECT_NEAR(predictions.tokens[1], brute_force(data, embedding, 2), 1e-9);
        EXPECT_NEAR(predictions.quality[2], brute_force(data, embedding, 3), 1e-9);
        EXPECT_EQ(predictions.tokens[0], 10);  // no length head: the budget
      }
    }
  }
}

TEST(KnnScorer, EqualNeighboursCountInTheirOrder) {
  NearestNeighbours data = random_neighbours(1, Weighting::kUniform);
  const auto scorer = make_knn_scorer(data);
  Predictions predictions;
  // Queries 5 and 6 have the same embedding.
  scorer->predict(std::span<const float>(data.embeddings).subspan(6 * kDimension, kDimension),
                  predictions);
  EXPECT_EQ(predictions.quality[kQuality], data.targets[5 * kHeads + kQuality]);
}

TEST(KnnScorer, AZeroEmbeddingGetsTheMeanOfAll) {
  const NearestNeighbours data = random_neighbours(3, Weighting::kSimilarity);
  double mean = 0;
  for (std::size_t i = 0; i < kQueries; ++i) mean += data.targets[i * kHeads + kQuality];
  mean /= kQueries;
  Predictions predictions;
  make_knn_scorer(data)->predict(std::span<const float>(std::vector<float>(kDimension)),
                                 predictions);
  EXPECT_NEAR(predictions.quality[kQuality], mean, 1e-9);
}

TEST(KnnScorer, EmbeddingsOfAnySizeAreJudgedByTheirDirection) {
  const auto scorer = make_knn_scorer(random_neighbours(5, Weighting::kSimilarity));
  const auto narrow = random_embeddings(1, kDimension, 9);
  Predictions expected;
  scorer->predict(std::span<const float>(narrow), expected);
  for (const double size : {0x1p-1000, 0x1p-300, 0x1p1000}) {
    std::vector<double> wide(narrow.begin(), narrow.end());
    for (double& value : wide) value *= size;
    Predictions predictions;
    scorer->predict(std::span<const double>(wide), predictions);
    EXPECT_EQ(predictions.quality, expected.quality) << size;
  }
}

TEST(KnnScorer, IsTheSameOnEveryKernelAloneAndInABatch) {
  constexpr std::size_t kRows = 75;
  const NearestNeighbours data = random_neighbours(9, Weighting::kSimilarity);
  const auto x = random_embeddings(kRows, kDimension, 4);
  std::vector<double> first;
  for (const std::string& kernel : available_kernels()) {
    const auto scorer = make_knn_scorer(data, kernel);
    Estimates estimates;
    scorer->estimate(std::span<const float>(x), kRows, estimates);
    for (std::size_t row = 0; row < kRows; ++row) {
      const auto embedding = std::span<const float>(x).subspan(row * kDimension, kDimension);
      Predictions predictions;
      scorer->predict(embedding, predictions);
      for (std::size_t p = 0; p < 3; ++p) {
        EXPECT_EQ(estimates.quality[row * 3 + p], predictions.quality[p]);
        EXPECT_EQ(estimates.tokens[row * 3 + p], predictions.tokens[p]);
        EXPECT_EQ(estimates.scale[row] * estimates.quality_error[p], 0);
        double quality = 0, tokens = 0;
        scorer->predict_pair(embedding, p, quality, tokens);
        EXPECT_EQ(quality, predictions.quality[p]);
        EXPECT_EQ(tokens, predictions.tokens[p]);
      }
    }
    if (first.empty()) first = estimates.quality;
    EXPECT_EQ(estimates.quality, first) << kernel;
  }
}

TEST(KnnScorer, MarksEmbeddingsThatAreNotFiniteAndPredictsTheOthers) {
  const auto scorer = make_knn_scorer(random_neighbours(3, Weighting::kUniform));
  auto x = random_embeddings(3, kDimension, 6);
  Predictions third;
  scorer->predict(std::span<const float>(x).subspan(2 * kDimension), third);
  x[kDimension] = std::numeric_limits<float>::infinity();
  Estimates estimates;
  scorer->estimate(std::span<const float>(x), 3, estimates);
  EXPECT_TRUE(std::isfinite(estimates.scale[0]));
  EXPECT_FALSE(std::isfinite(estimates.scale[1]));
  EXPECT_EQ(estimates.quality[6], third.quality[0]);
}

TEST(KnnScorer, ARouterDecidesByItsPredictions) {
  Checkpoint checkpoint;
  checkpoint.config.format_version = 2;
  checkpoint.config.predictor = PredictorKind::kKnn;
  checkpoint.config.embedding_dim = kDimension;
  checkpoint.config.models = {{.name = "a", .prices = {.output = 3}},
                              {.name = "b", .prices = {.output = 1}}};
  NearestNeighbours data = random_neighbours(4, Weighting::kUniform);
  for (float& target : data.targets) target /= 100;
  checkpoint.predictor = data;
  const Router router(checkpoint);
  const auto x = random_embeddings(50, kDimension, 11);
  const DecisionBatch batch =
      router.route_batch(std::span<const float>(x), {.policy = {.lambda = 0.5}});
  for (std::size_t row = 0; row < 50; ++row) {
    const auto embedding = std::span<const float>(x).subspan(row * kDimension, kDimension);
    Predictions predictions;
    router.scorer()->predict(embedding, predictions);
    const Decision expected =
        decide(std::make_shared<const Pool>(checkpoint.config.models), router.scorer()->pairs(),
               predictions, {.policy = {.lambda = 0.5}}, checkpoint.config.default_policy());
    EXPECT_EQ(router.route(embedding, {.policy = {.lambda = 0.5}}).chosen, expected.chosen);
    EXPECT_EQ(batch.option(row), expected.chosen);
  }
}

TEST(KnnScorer, BadDataAreRefused) {
  const auto expect_refused = [](const std::string& words, auto spoil) {
    NearestNeighbours data = random_neighbours(3, Weighting::kUniform);
    spoil(data);
    expect_error(ErrorCode::kBadCheckpoint, words, [&] { make_knn_scorer(data); });
  };
  expect_refused("expected for every query 70", [](auto& d) { d.embeddings.pop_back(); });
  expect_refused("843 targets", [](auto& d) { d.targets.pop_back(); });
  expect_refused("found 0 neighbours", [](auto& d) { d.neighbours = 0; });
  expect_refused("found 212 neighbours, expected 1 to 211", [](auto& d) { d.neighbours = 212; });
  expect_refused("an embedding has a number that is not finite",
                 [](auto& d) { d.embeddings[7] = NAN; });
  expect_refused("a target is not finite",
                 [](auto& d) { d.targets[7] = std::numeric_limits<float>::infinity(); });
  expect_refused("missing", [](auto& d) { d.names[2] = {{0, Budget(10)}, Target::kTokens}; });
  expect_refused("expected for every query 0", [](auto& d) { d.dimension = 0; });
}

}  // namespace
}  // namespace r2router
