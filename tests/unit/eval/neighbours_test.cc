#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

#include "r2router/eval/contenders.h"

#include "support/errors.h"
#include "support/outcomes.h"

namespace r2router::eval {
namespace {

using testing::expect_error;

constexpr std::size_t kDimension = 37;

std::vector<float> random_embeddings(std::size_t rows, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> embeddings(rows * kDimension);
  for (float& value : embeddings) value = normal(random);
  return embeddings;
}

double cosine(const float* a, const float* b) {
  double product = 0, aa = 0, bb = 0;
  for (std::size_t i = 0; i < kDimension; ++i) {
    product += static_cast<double>(a[i]) * b[i];
    aa += static_cast<double>(a[i]) * a[i];
    bb += static_cast<double>(b[i]) * b[i];
  }
  return aa > 0 && bb > 0 ? product / std::sqrt(aa * bb) : 0;
}

TEST(PredictNeighbours, AveragesTheNearestAsAPlainLoopDoes) {
  const OutcomeTable table = testing::random_table(2, 70, 1);
  OutcomeTable training = testing::random_table(2, 130, 2);
  for (std::size_t i = 0; i < training.queries.size(); ++i) training.queries[i].text += " known";
  training.queries[4].text = table.queries[9].text;  // may not be its own neighbour
  training.scores[training.cell(7, 1)] = training.output_tokens[training.cell(7, 1)] = std::nan("");
  const std::vector<float> embeddings = random_embeddings(70, 3);
  std::vector<float> known = random_embeddings(130, 4);
  std::copy_n(&embeddings[9 * kDimension], kDimension, &known[4 * kDimension]);
  // Two that are equal in direction and not in length: the first is nearer.
  for (std::size_t i = 0; i < kDimension; ++i) {
    known[21 * kDimension + i] = 2 * known[20 * kDimension + i];
  }
  for (const std::size_t k : {std::size_t{1}, std::size_t{5}, std::size_t{80}}) {
    const PredictionTable predictions =
        predict_neighbours(table, embeddings, training, known, kDimension, k);
    for (std::size_t query = 0; query < table.queries.size(); ++query) {
      std::vector<std::size_t> order(training.queries.size());
      std::iota(order.begin(), order.end(), std::size_t{0});
      std::erase(order, std::size_t{7});
      if (query == 9) std::erase(order, std::size_t{4});
      std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        return cosine(&embeddings[query * kDimension], &known[a * kDimension]) >
               cosine(&embeddings[query * kDimension], &known[b * kDimension]) + 1e-12;
      });
      for (std::size_t pair = 0; pair < table.pairs.size(); ++pair) {
        double score = 0, tokens = 0;
        for (std::size_t i = 0; i < k; ++i) {
          score += training.scores[training.cell(order[i], pair)] / static_cast<double>(k);
          tokens += training.output_tokens[training.cell(order[i], pair)] / static_cast<double>(k);
        }
        ASSERT_NEAR(predictions.quality[table.cell(query, pair)], score, 1e-12) << query;
        ASSERT_NEAR(predictions.output_tokens[table.cell(query, pair)], tokens, 1e-9);
      }
    }
  }
}

TEST(PredictNeighbours, RefusesWhatItCannotSearch) {
  const OutcomeTable table = testing::random_table(2, 3, 1);
  OutcomeTable training = testing::random_table(2, 4, 2);
  for (QueryRecord& query : training.queries) query.text += " known";
  const std::vector<float> embeddings = random_embeddings(3, 3), known = random_embeddings(4, 4);
  const auto predict_with = [&](std::size_t dimension, std::size_t k) {
    return
        [&, dimension, k] { predict_neighbours(table, embeddings, training, known, dimension, k); };
  };
  expect_error(ErrorCode::kInvalidArgument, "k is 0", predict_with(kDimension, 0));
  expect_error(ErrorCode::kBadData, "fewer than 5 other", predict_with(kDimension, 5));
  expect_error(ErrorCode::kInvalidArgument, "expected one embedding of 36", predict_with(36, 1));
  training.pairs.pop_back();
  expect_error(ErrorCode::kInvalidArgument, "same (model, budget) pairs",
               predict_with(kDimension, 1));
}

}  // namespace
}  // namespace r2router::eval
