// Training on top of a prior.
#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "r2router/train/train.h"

#include "support/errors.h"
#include "support/heads.h"

namespace r2router::train {
namespace {

using ::testing::ElementsAre;
using testing::expect_error;
using ::testing::HasSubstr;
using testing::linear_heads;

constexpr std::size_t kDimension = 8;

/// Outcomes of the unlimited pairs of a checkpoint, whose heads predict their means.
struct Truth {
  Checkpoint heads = testing::random_checkpoint(3, 0, kDimension, 7);
  OutcomeTable table;
  std::vector<float> embeddings;

  explicit Truth(std::size_t queries, std::vector<std::uint32_t> models = {0, 1, 2}) {
    std::mt19937_64 random(queries);
    std::normal_distribution<double> normal;
    embeddings = testing::random_embeddings(queries, kDimension, 11);
    const LinearHeads& own = linear_heads(heads);
    const auto& weights = std::get<std::vector<float>>(own.weights);
    for (const std::uint32_t model : models) {
      table.pairs.push_back({static_cast<std::uint32_t>(table.models.size()), Budget()});
      table.models.push_back(heads.config.models[model]);
    }
    for (std::size_t i = 0; i < queries; ++i) {
      table.queries.push_back(
          {.id = std::to_string(i), .text = "query " + std::to_string(i), .input_tokens = 10});
      for (const std::uint32_t model : models) {
        double figures[2];
        for (std::size_t target = 0; target < 2; ++target) {
          const std::size_t head = 2 * model + target;
          figures[target] = own.intercepts[head];
          for (std::size_t k = 0; k < kDimension; ++k) {
            figures[target] += weights[head * kDimension + k] * embeddings[i * kDimension + k];
          }
        }
        table.scores.push_back(std::clamp(figures[0] + 0.2 * normal(random), 0.0, 1.0));
        table.output_tokens.push_back(std::max(1.0, figures[1] + 20 * normal(random)));
      }
    }
  }

  /// Its predictions are off: by 0.3 for the first model, and along one dimension for all.
  Checkpoint wrong() const {
    Checkpoint prior = heads;
    LinearHeads& own = linear_heads(prior);
    auto& weights = std::get<std::vector<float>>(own.weights);
    for (std::size_t head = 0; head < own.names.size(); head += 2) {
      weights[head * kDimension] += 0.5F;
    }
    own.intercepts[0] -= 0.3;
    return prior;
  }
};

TrainOptions quick() {
  TrainOptions options;
  options.holdout = 0;
  options.threads = 1;
  return options;
}

std::vector<float> weights_of(const Checkpoint& checkpoint) {
  return std::get<std::vector<float>>(linear_heads(checkpoint).weights);
}

double distance(const Checkpoint& a, const Checkpoint& b) {
  double sum = 0;
  const std::vector<float> first = weights_of(a), second = weights_of(b);
  for (std::size_t i = 0; i < first.size(); ++i) {
    if (i / kDimension % 2 == 0) sum += std::pow(first[i] - second[i], 2);  // quality heads
  }
  return std::sqrt(sum);
}

TEST(Prior, IsTheResultOfTooFewOutcomes) {
  const Truth truth(kFewestOutcomes - 1);
  std::vector<std::string> warnings;
  TrainOptions options = quick();
  options.log = [&](LogLevel, std::string_view text) { warnings.emplace_back(text); };
  const Checkpoint result = train(truth.wrong(), truth.table, truth.embeddings, options);
  EXPECT_EQ(weights_of(result), weights_of(truth.wrong()));
  EXPECT_EQ(linear_heads(result).intercepts, linear_heads(truth.wrong()).intercepts);
  EXPECT_THAT(warnings, ElementsAre(HasSubstr("too few to move the prior")));
}

TEST(Prior, StaysIfTheOutcomesAgreeWithIt) {
  const Truth truth(60);
  TrainReport report;
  const Checkpoint result = train(truth.heads, truth.table, truth.embeddings, quick(), &report);
  EXPECT_GE(report.alpha, 1e4);
  EXPECT_LT(distance(result, truth.heads), 1e-3);
}

TEST(Prior, GivesWayToManyOutcomes) {
  const Truth truth(3000);
  TrainReport report;
  const Checkpoint result = train(truth.wrong(), truth.table, truth.embeddings, quick(), &report);
  EXPECT_LE(report.alpha, 10);
  EXPECT_LT(distance(result, truth.heads), 0.3 * distance(truth.wrong(), truth.heads));
  EXPECT_NEAR(linear_heads(result).intercepts[0], linear_heads(truth.heads).intercepts[0], 0.05);
  // As well as without the prior.
  TrainReport plain;
  train(truth.table, truth.embeddings, kDimension, quick(), &plain);
  EXPECT_NEAR(report.metrics.audc, plain.metrics.audc, 0.01);
}

TEST(Prior, MinimisesThePenalisedSquares) {
  const Truth truth(80);
  const Checkpoint prior = truth.wrong();
  TrainOptions options = quick();
  options.prior_alphas = {5};
  const Checkpoint result = train(prior, truth.table, truth.embeddings, options);
  Eigen::MatrixXd x(80, kDimension + 1);
  for (Eigen::Index i = 0; i < x.rows(); ++i) {
    for (Eigen::Index k = 0; k < static_cast<Eigen::Index>(kDimension); ++k) {
      x(i, k) =
          truth.embeddings[static_cast<std::size_t>(i) * kDimension + static_cast<std::size_t>(k)];
    }
    x(i, kDimension) = 1;
  }
  const auto head_of = [](const Checkpoint& checkpoint, std::size_t head) {
    Eigen::VectorXd all(kDimension + 1);
    const std::vector<float> weights = weights_of(checkpoint);
    for (std::size_t k = 0; k < kDimension; ++k) {
      all[static_cast<Eigen::Index>(k)] = weights[head * kDimension + k];
    }
    all[kDimension] = linear_heads(checkpoint).intercepts[head];
    return all;
  };
  for (std::size_t head = 0; head < 6; ++head) {
    Eigen::VectorXd y(80);
    for (std::size_t i = 0; i < 80; ++i) {
      const std::size_t cell = truth.table.cell(i, head / 2);
      y[static_cast<Eigen::Index>(i)] =
          head % 2 == 0 ? truth.table.scores[cell] : truth.table.output_tokens[cell];
    }
    const Eigen::VectorXd before = head_of(prior, head);
    Eigen::MatrixXd normal = x.transpose() * x;
    normal.diagonal().array() += 5;
    const Eigen::VectorXd expected = before + normal.ldlt().solve(x.transpose() * (y - x * before));
    const Eigen::VectorXd found = head_of(result, head);
    for (Eigen::Index k = 0; k < found.size(); ++k) {
      EXPECT_NEAR(found[k], expected[k], 1e-5 * (1 + std::abs(expected[k]))) << head << " " << k;
    }
  }
}

TEST(Prior, KeepsWhatHasNoOutcomes) {
  const Truth truth(400, {2, 1});
  Checkpoint prior = truth.wrong();
  prior.spreads = {0.9, 99, 0.9, 99, 0.9, 99};
  prior.config.policy.lambda = 0.123;
  prior.config.policy.token_floor = 3;
  const Checkpoint result = train(prior, truth.table, truth.embeddings, quick());
  EXPECT_NO_THROW(validate(result));
  EXPECT_EQ(result.config.models, prior.config.models);
  EXPECT_EQ(result.config.policy, prior.config.policy);
  const std::vector<float> before = weights_of(prior), after = weights_of(result);
  EXPECT_TRUE(std::equal(before.begin(), before.begin() + 2 * kDimension, after.begin()));
  EXPECT_NE(before[2 * kDimension], after[2 * kDimension]);
  EXPECT_EQ(result.spreads[0], 0.9);
  EXPECT_EQ(result.spreads[1], 99);
  // Each moved head has the spread of its own model: errors of 0.2 and of 20 tokens.
  for (const std::size_t quality : {2U, 4U}) {
    EXPECT_NEAR(result.spreads[quality], 0.19, 0.04);
    EXPECT_NEAR(result.spreads[quality + 1], 20, 4);
  }
}

TEST(Prior, IsTheSameForAnyNumberOfThreads) {
  const Truth truth(200);
  TrainOptions three = quick();
  three.threads = 3;
  const Checkpoint a = train(truth.wrong(), truth.table, truth.embeddings, quick());
  const Checkpoint b = train(truth.wrong(), truth.table, truth.embeddings, three);
  EXPECT_EQ(weights_of(a), weights_of(b));
}

TEST(Prior, LeavesOutEmbeddingsAndOutcomesThatDoNotFit) {
  const Truth truth(40);
  Truth other(40);
  other.table.models[1].name = "stranger";
  expect_error(ErrorCode::kBadData, "\"stranger\", which the prior does not have",
               [&] { train(truth.heads, other.table, other.embeddings, quick()); });
  const OutcomeTable capped = apply_hard_cap(truth.table, std::vector<std::uint32_t>{70});
  expect_error(ErrorCode::kBadData, "at budget 70",
               [&] { train(truth.heads, capped, truth.embeddings, quick()); });
  expect_error(ErrorCode::kInvalidArgument, "embeddings of dimension 8", [&] {
    train(truth.heads, truth.table, std::span(truth.embeddings).first(9), quick());
  });
  TrainOptions descending = quick();
  descending.prior_alphas = {3, 1};
  expect_error(ErrorCode::kInvalidArgument, "prior_alphas",
               [&] { train(truth.heads, truth.table, truth.embeddings, descending); });
  TrainOptions knn = quick();
  knn.predictor = PredictorKind::kKnn;
  knn.neighbours = {3};
  const Checkpoint neighbours = train(truth.table, truth.embeddings, kDimension, knn);
  expect_error(ErrorCode::kUnsupported, "linear",
               [&] { train(neighbours, truth.table, truth.embeddings, quick()); });
}

}  // namespace
}  // namespace r2router::train
