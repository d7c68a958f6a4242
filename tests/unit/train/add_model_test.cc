#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "r2router/train/train.h"

#include "support/errors.h"
#include "support/heads.h"
#include "support/lexical.h"

namespace r2router::train {
namespace {

using testing::expect_error;
using testing::linear_heads;

constexpr std::size_t kDimension = 12;

/// Three models whose scores and lengths are linear in the embedding but for noise that they share,
/// and a fourth that is a mixture of the first two with a part of its own.
struct Family {
  OutcomeTable table;
  std::vector<float> embeddings;
  std::vector<std::vector<double>> slopes;

  explicit Family(std::size_t queries = 1500) {
    std::mt19937 random(4);
    std::normal_distribution<double> normal;
    for (int model = 0; model < 4; ++model) {
      table.models.push_back(
          {.name = "model " + std::to_string(model), .prices = {.output = 1.0 + model}});
      table.pairs.push_back({static_cast<std::uint32_t>(model), Budget()});
      slopes.emplace_back();
      for (std::size_t k = 0; k < kDimension; ++k) {
        slopes.back().push_back(model < 3 ? 0.1 * normal(random)
                                          : 0.7 * slopes[0][k] + 0.3 * slopes[1][k]);
      }
    }
    slopes[3][5] += 0.15;
    for (std::size_t i = 0; i < queries; ++i) {
      table.queries.push_back(
          {.id = std::to_string(i), .text = "query " + std::to_string(i), .input_tokens = 10});
      std::vector<double> x;
      for (std::size_t k = 0; k < kDimension; ++k) {
        x.push_back(normal(random) / 2);
        embeddings.push_back(static_cast<float>(x.back()));
      }
      const double noise = 0.1 * normal(random);
      for (const std::vector<double>& slope : slopes) {
        double quality = 0.5 + noise + 0.05 * normal(random);
        for (std::size_t k = 0; k < kDimension; ++k) quality += slope[k] * x[k];
        table.scores.push_back(std::clamp(quality, 0.0, 1.0));
        table.output_tokens.push_back(std::max(0.0, 300 + 200 * (quality - 0.5)));
      }
    }
  }

  Checkpoint base() const {
    TrainOptions options;
    options.alphas = {0.1};
    options.threads = 1;
    const std::vector<std::string> three = {"model 0", "model 1", "model 2"};
    return train(select_models(table, three), embeddings, kDimension, options);
  }
};

AddModelOptions quick() {
  AddModelOptions options;
  options.probes = 100;
  options.alphas = {0.1, 1, 10, 100};
  options.threads = 1;
  return options;
}

TEST(AddModel, ComesNearFullTrainingFromAFewProbes) {
  const Family family;
  const Checkpoint base = family.base();
  AddModelReport report;
  const Checkpoint added =
      add_model(base, family.table, family.embeddings, "model 3", quick(), &report);
  EXPECT_NO_THROW(validate(added));
  EXPECT_EQ(report.probes, 100u);
  ASSERT_TRUE(report.full);
  EXPECT_LT(report.full->added_quality_error, 1.1 * report.full->quality_error);
  EXPECT_LT(report.full->added_tokens_error, 1.1 * report.full->tokens_error);
  EXPECT_LT(report.quality.error, report.quality.mean_error);
  // Of the mixture that it is, the new model's own part apart.
  ASSERT_EQ(report.quality.shares.size(), 3u);
  EXPECT_GT(report.quality.shares[0], report.quality.shares[2]);
  const LinearHeads& heads = linear_heads(added);
  ASSERT_EQ(heads.names.size(), 8u);
  EXPECT_EQ(heads.names[6], (HeadName{{3, Budget()}, Target::kQuality}));
  const auto& weights = std::get<std::vector<float>>(heads.weights);
  EXPECT_GT(weights[6 * kDimension + 5], family.slopes[3][5] - 0.1);
  EXPECT_NO_THROW(validate(report.full->checkpoint));
}

TEST(AddModel, LeavesTheOthersAsTheyAre) {
  const Family family;
  const Checkpoint base = family.base();
  const Checkpoint added = add_model(base, family.table, family.embeddings, "model 3", quick());
  const auto& before = std::get<std::vector<float>>(linear_heads(base).weights);
  const auto& after = std::get<std::vector<float>>(linear_heads(added).weights);
  EXPECT_TRUE(std::equal(before.begin(), before.end(), after.begin()));
  EXPECT_EQ(added.config.models.size(), 4u);
  EXPECT_EQ(added.config.models[3], family.table.models[3]);
  EXPECT_EQ(added.config.default_lambda(), base.config.default_lambda());
  const auto training = nlohmann::json::parse(added.config.training);
  EXPECT_EQ(training["added_model"], "model 3");
  EXPECT_EQ(training["probes"], 100);
  EXPECT_EQ(training["before"], nlohmann::json::parse(base.config.training));
  EXPECT_EQ(parse_config(to_json(added.config)).training, added.config.training);
}

TEST(AddModel, SpreadsAreOfErrorsOnOtherQueries) {
  const Family family;
  Checkpoint base = family.base();
  AddModelReport report;
  const Checkpoint added =
      add_model(base, family.table, family.embeddings, "model 3", quick(), &report);
  const auto expect = [&](const std::vector<double>& spreads, double quality, double tokens) {
    ASSERT_EQ(spreads.size(), 8u);
    EXPECT_TRUE(std::equal(base.spreads.begin(), base.spreads.end(), spreads.begin()));
    EXPECT_NEAR(spreads[6], quality, 0.02);
    EXPECT_NEAR(spreads[7], tokens, 4);
  };
  expect(added.spreads, report.full->added_quality_error, report.full->added_tokens_error);
  expect(report.full->checkpoint.spreads, report.full->quality_error, report.full->tokens_error);
  // One pair, and lengths are not clipped.
  EXPECT_NEAR(added.spreads[7], report.tokens.error, 1e-9);
  EXPECT_LE(added.spreads[6], report.quality.error + 1e-12);

  base.spreads.clear();
  EXPECT_TRUE(add_model(base, family.table, family.embeddings, "model 3", quick()).spreads.empty());
}

TEST(AddModel, KeepsTheEncodersTopics) {
  const Family family(300);
  Checkpoint base = family.base();
  base.config.format_version = 2;
  base.config.encoder = LexicalEncoderSpec{.dimension = 10, .topics = {"law", "history"}};
  testing::lexical(base).topics = {std::vector<float>(20, 0.5F), {1, 2}};
  const Checkpoint added = add_model(base, family.table, family.embeddings, "model 3", quick());
  EXPECT_NO_THROW(validate(added));
  EXPECT_EQ(added.config.format_version, 2u);
  EXPECT_EQ(testing::lexical(added).topics, testing::lexical(base).topics);
  EXPECT_EQ(parse_config(to_json(added.config)).encoder, base.config.encoder);
}

TEST(AddModel, EditedCopiesTakeNoPart) {
  Family family(300);
  const Checkpoint base = family.base();
  AddModelReport plain, with_copies;
  const Checkpoint before =
      add_model(base, family.table, family.embeddings, "model 3", quick(), &plain);
  const std::vector<float> embeddings = family.embeddings;
  family.embeddings.insert(family.embeddings.end(), embeddings.begin(), embeddings.end());
  for (std::size_t i = 0; i < 300; ++i) {
    QueryRecord copy = family.table.queries[i];
    copy.original = copy.text;
    copy.id += " copy", copy.text += "!";
    family.table.queries.push_back(copy);
    for (int model = 0; model < 4; ++model) {
      family.table.scores.push_back(0);
      family.table.output_tokens.push_back(0);
    }
  }
  const Checkpoint after =
      add_model(base, family.table, family.embeddings, "model 3", quick(), &with_copies);
  EXPECT_EQ(linear_heads(after).weights, linear_heads(before).weights);
  EXPECT_EQ(with_copies.full->training_queries, plain.full->training_queries);
  EXPECT_EQ(with_copies.full->held_out_queries, plain.full->held_out_queries);
}

TEST(AddModel, IsPlainRidgeRegressionWithoutLikeHeads) {
  // The checkpoint has only another budget, so there is nothing to mix.
  const Family family(300);
  Checkpoint base = family.base();
  LinearHeads& heads = linear_heads(base);
  for (HeadName& name : heads.names) name.pair.budget = Budget(50);
  base.config.token_limits = {Budget(50), Budget()};
  AddModelOptions options = quick();
  options.alphas = {2};
  options.holdout = 0;
  options.probes = 300;
  AddModelReport report;
  const Checkpoint added =
      add_model(base, family.table, family.embeddings, "model 3", options, &report);
  EXPECT_FALSE(report.full);
  // The normal equations, solved by gradient descent on the centred data.
  std::vector<double> w(kDimension), mean(kDimension);
  double target_mean = 0;
  for (std::size_t i = 0; i < 300; ++i) {
    target_mean += family.table.scores[4 * i + 3] / 300;
    for (std::size_t k = 0; k < kDimension; ++k) {
      mean[k] += family.embeddings[i * kDimension + k] / 300;
    }
  }
  for (int step = 0; step < 3000; ++step) {
    std::vector<double> gradient(kDimension);
    for (std::size_t k = 0; k < kDimension; ++k) gradient[k] = 2 * w[k];
    for (std::size_t i = 0; i < 300; ++i) {
      double error = target_mean - family.table.scores[4 * i + 3];
      for (std::size_t k = 0; k < kDimension; ++k) {
        error += w[k] * (family.embeddings[i * kDimension + k] - mean[k]);
      }
      for (std::size_t k = 0; k < kDimension; ++k) {
        gradient[k] += error * (family.embeddings[i * kDimension + k] - mean[k]);
      }
    }
    for (std::size_t k = 0; k < kDimension; ++k) w[k] -= 0.005 * gradient[k];
  }
  const auto& weights = std::get<std::vector<float>>(linear_heads(added).weights);
  for (std::size_t k = 0; k < kDimension; ++k) {
    EXPECT_NEAR(weights[6 * kDimension + k], w[k], 1e-6);
  }
}

TEST(AddModel, NeedsProbesInMoreThanOneFold) {
  Family family(200);
  const Checkpoint base = family.base();
  for (QueryRecord& query : family.table.queries) query.text = "the same text";
  AddModelOptions options = quick();
  options.holdout = 0;
  options.probes = 200;
  expect_error(ErrorCode::kBadData, "too few texts",
               [&] { add_model(base, family.table, family.embeddings, "model 3", options); });
  // Two folds of five are enough.
  for (std::size_t i = 0; i < 100; ++i) family.table.queries[i].text = "another text 3";
  ASSERT_NE(fold_of("the same text", 5, 0), fold_of("another text 3", 5, 0));
  AddModelReport report;
  const Checkpoint added =
      add_model(base, family.table, family.embeddings, "model 3", options, &report);
  EXPECT_NO_THROW(validate(added));
  EXPECT_LT(report.quality.error, report.quality.mean_error);
}

TEST(AddModel, OtherModelsOutcomesTellThatProbesAreHard) {
  // The probes are made hard for all models alike; the heads must not believe it.
  const Family family;
  const Checkpoint base = family.base();
  AddModelReport plain;
  const Checkpoint before =
      add_model(base, family.table, family.embeddings, "model 3", quick(), &plain);
  Family hard = family;
  for (std::size_t i = 0; i < hard.table.scores.size(); ++i) {
    hard.table.scores[i] = std::max(0.0, hard.table.scores[i] - 0.2);
  }
  const Checkpoint after = add_model(base, hard.table, family.embeddings, "model 3", quick());
  const auto intercept = [](const Checkpoint& c) { return linear_heads(c).intercepts[6]; };
  EXPECT_NEAR(intercept(after), intercept(before), 0.05);
  const std::vector<std::string> alone = {"model 3"};
  const Checkpoint misled =
      add_model(base, select_models(hard.table, alone), family.embeddings, "model 3", quick());
  EXPECT_LT(intercept(misled), intercept(before) - 0.15);
}

TEST(AddModel, IsTheSameBitForBitOnAnyNumberOfThreads) {
  const Family family(600);
  const Checkpoint base = family.base();
  AddModelOptions options = quick();
  const Checkpoint one = add_model(base, family.table, family.embeddings, "model 3", options);
  options.threads = 3;
  const Checkpoint three = add_model(base, family.table, family.embeddings, "model 3", options);
  EXPECT_EQ(linear_heads(one).weights, linear_heads(three).weights);
  EXPECT_EQ(linear_heads(one).intercepts, linear_heads(three).intercepts);
  EXPECT_EQ(one.spreads, three.spreads);
  EXPECT_EQ(to_json(one.config), to_json(three.config));
}

TEST(AddModel, BadRequestsAreRefused) {
  const Family family(400);
  const Checkpoint base = family.base();
  const auto expect_fault = [&](ErrorCode code, const std::string& part, auto change) {
    Checkpoint checkpoint = base;
    OutcomeTable table = family.table;
    AddModelOptions options = quick();
    std::string name = "model 3";
    change(checkpoint, table, name, options);
    expect_error(code, part,
                 [&] { add_model(checkpoint, table, family.embeddings, name, options); });
  };
  using C = Checkpoint&;
  using T = OutcomeTable&;
  using N = std::string&;
  using O = AddModelOptions&;
  const ErrorCode argument = ErrorCode::kInvalidArgument;
  expect_fault(argument, "no outcomes of a model \"new\"", [](C, T, N n, O) { n = "new"; });
  expect_fault(argument, "has a model \"model 1\" already", [](C, T, N n, O) { n = "model 1"; });
  expect_fault(argument, "probes is 19", [](C, T, N, O o) { o.probes = 19; });
  expect_fault(argument, "probes is 2001", [](C, T, N, O o) { o.probes = 2001; });
  expect_fault(argument, "alphas is empty", [](C, T, N, O o) { o.alphas.clear(); });
  expect_fault(argument, "alphas has 1.0", [](C, T, N, O o) { o.alphas = {2, 1}; });
  expect_fault(argument, "share_penalties has 0", [](C, T, N, O o) { o.share_penalties = {0}; });
  expect_fault(argument, "folds is 1", [](C, T, N, O o) { o.folds = 1; });
  expect_fault(argument, "holdout is 1", [](C, T, N, O o) { o.holdout = 1; });
  expect_fault(ErrorCode::kBadData, "on 19 queries", [](C, T t, N, O o) {
    o.holdout = 0;
    for (std::size_t i = 19; i < 400; ++i) {
      t.scores[4 * i + 3] = t.output_tokens[4 * i + 3] = std::nan("");
    }
  });
  expect_fault(ErrorCode::kBadData, "not among the checkpoint's", [](C c, T, N, O) {
    c.config.token_limits = {Budget(50)};
    for (HeadName& name : linear_heads(c).names) name.pair.budget = Budget(50);
  });
  expect_fault(ErrorCode::kUnsupported, "\"knn\": a model can only be added to linear heads",
               [](C c, T, N, O) {
                 c.config.predictor = PredictorKind::kKnn;
                 c.predictor = NearestNeighbours();
               });
}

}  // namespace
}  // namespace r2router::train
