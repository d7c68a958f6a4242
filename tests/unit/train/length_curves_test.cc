#include "train/length_curves.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "score/length_curves.h"

namespace r2router::train {
namespace {

using ::testing::DoubleEq;
using ::testing::ElementsAre;
using ::testing::Pointwise;

TEST(LengthPoints, NeedFiftyQueriesEach) {
  EXPECT_EQ(length_points(0), 0u);
  EXPECT_EQ(length_points(99), 1u);
  EXPECT_EQ(length_points(100), 2u);
  EXPECT_EQ(length_points(1000), 20u);
  EXPECT_EQ(length_points(1000000), 20u);
}

TEST(FitLengthCurve, IsTheMeanOfEachGroup) {
  const LengthCurve curve =
      fit_length_curve({{5, 60}, {1, 10}, {2, 12}, {6, 70}, {3, 20}, {4, 24}}, 3);
  EXPECT_THAT(curve.predicted, ElementsAre(1.5, 3.5, 5.5));
  EXPECT_THAT(curve.observed, ElementsAre(11, 22, 65));
}

/// Against the max-min formula of isotonic regression, which shares nothing with pooling:
/// y(g) = max over a ≤ g of min over b ≥ g of the mean of the groups a … b.
TEST(FitLengthCurve, IsIsotonicRegressionOfTheGroups) {
  std::mt19937 random(5);
  std::normal_distribution<double> noise(0, 80);
  std::uniform_real_distribution<double> length(0, 200);
  for (const std::size_t points : {2u, 7u, 20u}) {
    std::vector<Length> lengths;
    for (int i = 0; i < 1000; ++i) {
      const double predicted = length(random);
      lengths.push_back({predicted, std::max(0.0, 60 + predicted / 2 + noise(random))});
    }
    const LengthCurve curve = fit_length_curve(lengths, points);
    std::sort(lengths.begin(), lengths.end(),
              [](const Length& a, const Length& b) { return a.predicted < b.predicted; });
    const auto mean = [&](std::size_t first, std::size_t last) {
      const std::size_t begin = first * 1000 / points, end = (last + 1) * 1000 / points;
      double sum = 0;
      for (std::size_t i = begin; i < end; ++i) sum += lengths[i].observed;
      return sum / static_cast<double>(end - begin);
    };
    std::vector<double> expected;
    for (std::size_t g = 0; g < points; ++g) {
      double highest = 0;
      for (std::size_t a = 0; a <= g; ++a) {
        double least = mean(a, g);
        for (std::size_t b = g; b < points; ++b) least = std::min(least, mean(a, b));
        highest = std::max(highest, least);
      }
      expected.push_back(highest);
    }
    EXPECT_THAT(curve.observed, Pointwise(::testing::DoubleNear(1e-9), expected));
    EXPECT_TRUE(std::is_sorted(curve.predicted.begin(), curve.predicted.end()));
  }
}

TEST(FitLengthCurve, KeepsEqualPredictionsTogether) {
  // Sums of 49.9 are rounded, so that means of it differ in their last bit.
  std::vector<Length> lengths;
  for (int i = 0; i < 1003; ++i) lengths.push_back({49.9, static_cast<double>(i * 37 % 101)});
  lengths.push_back({80, 90});
  const LengthCurve curve = fit_length_curve(lengths, 20);
  EXPECT_NEAR(curve.predicted[0], 49.9, 1e-9);
  EXPECT_EQ(curve.predicted[1], 80);
  EXPECT_NEAR(curve.observed[0], 50, 0.5);
  EXPECT_EQ(curve.observed[1], 90);
  EXPECT_EQ(curve.predicted.size(), 20u);
}

TEST(FitLengthCurve, PredictionsThatAreAllTheSameShiftToTheirMean) {
  const LengthCurve curve = fit_length_curve(std::vector<Length>(9, {10, 12}), 3);
  EXPECT_THAT(curve.predicted, ElementsAre(DoubleEq(10), DoubleEq(11), DoubleEq(12)));
  EXPECT_THAT(curve.observed, ElementsAre(DoubleEq(12), DoubleEq(13), DoubleEq(14)));
  EXPECT_DOUBLE_EQ(score::correct(curve, 9.5), 11.5);
  EXPECT_DOUBLE_EQ(score::correct(curve, 20), 22);
}

}  // namespace
}  // namespace r2router::train
