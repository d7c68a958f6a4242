#include "train/ridge.h"

#include <cmath>
#include <numeric>
#include <random>

#include <Eigen/Dense>
#include <gtest/gtest.h>

#include "support/errors.h"

namespace r2router::train {
namespace {

using testing::expect_error;

/// Small data by formula, so that another program can make the same: 14 queries, 4 dimensions (one
/// of them constant), 2 heads.
struct Small {
  std::vector<float> embeddings;
  std::vector<double> targets;
  RidgeProblem problem;

  Small() {
    for (int i = 0; i < 14; ++i) {
      for (int j = 0; j < 4; ++j) {
        embeddings.push_back(static_cast<float>((i * 7 + j * 13 + i * j * 5) % 17) / 8 - 1);
      }
      targets.push_back(((i * 11 + 3) % 8) / 8.0);
      targets.push_back((i * i * 5) % 23);
    }
    problem = {embeddings, 4, targets, 2, {}};
    problem.folds.resize(3);
    for (std::uint32_t i = 0; i < 14; ++i) problem.folds[i % 3].push_back(i);
  }
};

TEST(Ridge, EqualsScikitLearn) {
  // sklearn.linear_model.Ridge 1.7.2 on the same data.
  const double expected[2][2][4] = {
      {{0.0521287757973475, -0.131058999163266, 0.0, 0.000177881911670829},
       {1.55263540978049, -1.46497805882969, 0.0, -3.35068405625257}},
      {{0.0150341506616735, -0.0230856678011259, 0.0, 0.0120276539843463},
       {0.161782654623244, -0.0647413740778139, 0.0, -0.3192476706413}}};
  const double intercepts[2][2] = {{0.46330109050907087, 13.47007642369466},
                                   {0.456325393198289, 13.234895106311784}};
  const Small data;
  const std::vector<LinearFit> fits =
      RidgeSolver(data.problem, 1).fit(std::vector<double>{0.5, 30});
  for (int alpha = 0; alpha < 2; ++alpha) {
    for (int head = 0; head < 2; ++head) {
      for (int i = 0; i < 4; ++i) {
        EXPECT_NEAR(fits[alpha].weights(i, head), expected[alpha][head][i], 1e-12);
      }
      EXPECT_NEAR(fits[alpha].intercepts[head], intercepts[alpha][head], 1e-12);
    }
  }
}

TEST(Ridge, AHeadLearnsFromTheQueriesItSawAlone) {
  Small data;
  data.targets[2 * 2 + 1] = data.targets[9 * 2 + 1] = std::nan("");
  const LinearFit fit = RidgeSolver(data.problem, 2).fit(std::vector<double>{0.5}).front();
  // scikit-learn without queries 2 and 9.
  const double expected[4] = {0.5614095930681844, -0.7013392095942232, 0.0, -5.323316421985024};
  for (int i = 0; i < 4; ++i) EXPECT_NEAR(fit.weights(i, 1), expected[i], 1e-12);
  EXPECT_NEAR(fit.intercepts[1], 12.223192890209061, 1e-12);
  // The other head saw all.
  EXPECT_NEAR(fit.weights(0, 0), 0.0521287757973475, 1e-12);
}

/// Larger than one tile and one block of rows, with heads that saw different queries.
struct Large {
  std::vector<float> embeddings;
  std::vector<double> targets;
  RidgeProblem problem;

  Large() {
    constexpr std::size_t kQueries = 700, kDimension = 150, kHeads = 5;
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    for (std::size_t i = 0; i < kQueries * kDimension; ++i) embeddings.push_back(normal(random));
    for (std::size_t i = 0; i < kQueries * kHeads; ++i) {
      const bool missing = (i % kHeads == 3 && i % 7 == 0) || (i % kHeads == 4 && i % 3 != 0);
      targets.push_back(missing ? std::nan("") : normal(random));
    }
    problem = {embeddings, kDimension, targets, kHeads, {}};
    problem.folds.resize(4);
    // The last 20 queries are in no fold.
    for (std::uint32_t i = 0; i < kQueries - 20; ++i) problem.folds[(i * i) % 4].push_back(i);
    problem.folds[3].assign(problem.folds[0].end() - 90, problem.folds[0].end());
    problem.folds[0].resize(problem.folds[0].size() - 90);
  }
};

/// The textbook way: one head at a time, all of its rows at once.
Eigen::VectorXd naive_fit(const RidgeProblem& problem, std::size_t head, double alpha,
                          std::size_t left_out, double& intercept) {
  std::vector<std::uint32_t> rows;
  for (std::size_t fold = 0; fold < problem.folds.size(); ++fold) {
    if (fold == left_out) continue;
    for (const std::uint32_t row : problem.folds[fold]) {
      if (!std::isnan(problem.targets[row * problem.heads + head])) rows.push_back(row);
    }
  }
  const auto dimension = static_cast<Eigen::Index>(problem.dimension);
  Eigen::MatrixXd x(rows.size(), dimension);
  Eigen::VectorXd y(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (Eigen::Index j = 0; j < dimension; ++j) {
      x(static_cast<Eigen::Index>(i), j) =
          problem.embeddings[rows[i] * problem.dimension + static_cast<std::size_t>(j)];
    }
    y[static_cast<Eigen::Index>(i)] = problem.targets[rows[i] * problem.heads + head];
  }
  const Eigen::RowVectorXd mean = x.colwise().mean();
  const Eigen::MatrixXd centred = x.rowwise() - mean;
  const Eigen::MatrixXd gram =
      centred.transpose() * centred + alpha * Eigen::MatrixXd::Identity(dimension, dimension);
  const Eigen::VectorXd weights =
      gram.fullPivLu().solve(centred.transpose() * (y.array() - y.mean()).matrix());
  intercept = y.mean() - mean * weights;
  return weights;
}

TEST(Ridge, LeavingAFoldOutEqualsFittingTheOthersHeadByHead) {
  const Large data;
  const RidgeSolver solver(data.problem, 2);
  const std::vector<double> alphas = {0.3, 40};
  for (const std::size_t left_out : {0u, 2u, 3u}) {
    const std::vector<LinearFit> fits = solver.fit(alphas, left_out);
    for (std::size_t i = 0; i < alphas.size(); ++i) {
      for (std::size_t head = 0; head < data.problem.heads; ++head) {
        double intercept = 0;
        const Eigen::VectorXd expected =
            naive_fit(data.problem, head, alphas[i], left_out, intercept);
        const auto column = static_cast<Eigen::Index>(head);
        EXPECT_LT((fits[i].weights.col(column) - expected).norm(), 1e-10 * (1 + expected.norm()))
            << "head " << head << ", fold " << left_out;
        EXPECT_NEAR(fits[i].intercepts[column], intercept, 1e-10);
      }
    }
  }
}

TEST(Ridge, IsTheSameBitForBitOnAnyNumberOfThreads) {
  const Large data;
  const std::vector<double> alphas = {1, 10, 100};
  const std::vector<LinearFit> one = RidgeSolver(data.problem, 1).fit(alphas, 1);
  for (const std::size_t threads : {2u, 5u}) {
    const std::vector<LinearFit> many = RidgeSolver(data.problem, threads).fit(alphas, 1);
    for (std::size_t i = 0; i < alphas.size(); ++i) {
      EXPECT_TRUE(one[i].weights == many[i].weights);
      EXPECT_TRUE(one[i].intercepts == many[i].intercepts);
    }
    EXPECT_TRUE(predict_heads(data.problem.embeddings, one[0], data.problem.folds[1], 1) ==
                predict_heads(data.problem.embeddings, one[0], data.problem.folds[1], threads));
  }
}

TEST(Ridge, PredictsTheQueriesAskedFor) {
  const Large data;
  const LinearFit fit = RidgeSolver(data.problem, 1).fit(std::vector<double>{5}).front();
  const std::vector<std::uint32_t> queries = {699, 3};
  const Predicted predicted = predict_heads(data.problem.embeddings, fit, queries, 1);
  for (Eigen::Index i = 0; i < 2; ++i) {
    for (Eigen::Index head = 0; head < 5; ++head) {
      double expected = fit.intercepts[head];
      for (Eigen::Index j = 0; j < 150; ++j) {
        expected +=
            fit.weights(j, head) * data.embeddings[queries[static_cast<std::size_t>(i)] * 150 +
                                                   static_cast<std::size_t>(j)];
      }
      EXPECT_NEAR(predicted(i, head), expected, 1e-5);
    }
  }
}

TEST(Ridge, AHeadWithoutOutcomesOrAMatrixThatIsSingularIsAnError) {
  Small data;
  for (std::size_t i = 0; i < 14; ++i) data.targets[i * 2 + 1] = std::nan("");
  expect_error(ErrorCode::kBadData, "head 1",
               [&] { RidgeSolver(data.problem, 1).fit(std::vector<double>{1}); });
  const Small good;  // its constant dimension makes the centred Gram matrix singular
  expect_error(ErrorCode::kInvalidArgument, "too small",
               [&] { RidgeSolver(good.problem, 2).fit(std::vector<double>{-1e-3}); });
}

}  // namespace
}  // namespace r2router::train
