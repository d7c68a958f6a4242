#include "r2router/train/train.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "r2router/eval/perturb.h"

#include "support/errors.h"
#include "support/heads.h"
#include "support/lexical.h"

namespace r2router::train {
namespace {

using ::testing::ElementsAre;
using testing::expect_error;
using testing::linear_heads;

constexpr std::size_t kDimension = 3;

#if !defined(NDEBUG) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define R2ROUTER_TEST_SLOW_BUILD true
#elif defined(__has_feature)
#define R2ROUTER_TEST_SLOW_BUILD \
  (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define R2ROUTER_TEST_SLOW_BUILD false
#endif

/// A cheap and a dear model. The dear one is right for every query whose first feature is above 0
/// and for half of the others, the cheap one for every query whose second feature is; lengths
/// follow the third. So the learnable part is known.
struct Synthetic {
  OutcomeTable table;
  std::vector<float> embeddings;

  explicit Synthetic(std::size_t queries = 400) {
    std::mt19937 random(3);
    table.models = {{.name = "cheap", .prices = {.output = 1}},
                    {.name = "dear", .prices = {.output = 20}}};
    table.pairs = {{0, Budget()}, {1, Budget()}};
    for (std::size_t i = 0; i < queries; ++i) {
      table.queries.push_back(
          {.id = std::to_string(i), .text = "query " + std::to_string(i), .input_tokens = 10});
      float features[kDimension];
      for (float& feature : features) {
        feature = static_cast<float>(random() % 1000) / 500 - 1;
        embeddings.push_back(feature);
      }
      table.scores.push_back(features[1] > 0);
      table.scores.push_back(features[0] > 0 || random() % 2);
      table.output_tokens.push_back(std::round(100 + 50 * features[2]));
      table.output_tokens.push_back(std::round(200 + 100 * features[2]));
    }
  }
};

TrainOptions quick() {
  TrainOptions options;
  options.alphas = {0.1, 1, 10};
  options.threads = 2;
  return options;
}

TEST(Train, LearnsWhatCanBeLearned) {
  const Synthetic data;
  TrainReport report;
  const Checkpoint checkpoint = train(data.table, data.embeddings, kDimension, quick(), &report);
  EXPECT_NO_THROW(validate(checkpoint));
  EXPECT_EQ(checkpoint.config.policy.rules, DecisionRules::kCorrected);
  EXPECT_EQ(checkpoint.config.models, data.table.models);
  EXPECT_EQ(checkpoint.config.embedding_dim, kDimension);
  EXPECT_THAT(checkpoint.config.token_limits, ElementsAre(Budget()));
  EXPECT_EQ(report.heads, 4u);
  EXPECT_EQ(report.training_queries + report.held_out_queries, 400u);

  const auto& weights = std::get<std::vector<float>>(linear_heads(checkpoint).weights);
  const auto weight = [&](std::size_t head, std::size_t feature) {
    return weights[head * kDimension + feature];
  };
  // Heads: cheap quality, cheap length, dear quality, dear length.
  EXPECT_GT(weight(0, 1), 0.5);
  EXPECT_LT(std::abs(weight(0, 0)), 0.1);
  EXPECT_NEAR(weight(1, 2), 50, 2);
  EXPECT_GT(weight(2, 0), 0.2);
  EXPECT_NEAR(weight(3, 2), 100, 2);
  EXPECT_NEAR(linear_heads(checkpoint).intercepts[3], 200, 2);
  // A right answer for half of the values is 0.25 off a line through them in the root of the mean
  // square, and 0.375 where half of those are thrown in at random; lengths are rounded.
  ASSERT_EQ(checkpoint.spreads.size(), 4U);
  EXPECT_NEAR(checkpoint.spreads[0], 0.25, 0.03);
  EXPECT_NEAR(checkpoint.spreads[2], 0.375, 0.03);
  EXPECT_LT(checkpoint.spreads[1], 1.5);
  // Knowing which model is right is worth more than knowing nothing.
  EXPECT_GT(report.metrics.audc, report.mean_curve.audc + 0.05);
}

TEST(Train, IsTheSameBitForBitOnAnyNumberOfThreads) {
  const Synthetic data;
  TrainOptions options = quick();
  const Checkpoint two = train(data.table, data.embeddings, kDimension, options);
  options.threads = 1;
  const Checkpoint one = train(data.table, data.embeddings, kDimension, options);
  EXPECT_EQ(linear_heads(one).weights, linear_heads(two).weights);
  EXPECT_EQ(linear_heads(one).intercepts, linear_heads(two).intercepts);
  EXPECT_EQ(one.spreads, two.spreads);
  EXPECT_EQ(to_json(one.config), to_json(two.config));
}

TEST(Train, NothingIsLearnedFromWhatIsHeldOut) {
  Synthetic data;
  const Checkpoint before = train(data.table, data.embeddings, kDimension, quick());
  std::size_t held_out = 0;
  for (std::size_t query = 0; query < data.table.queries.size(); ++query) {
    if (!is_held_out(data.table.queries[query].text, 5)) continue;
    ++held_out;
    for (std::size_t pair = 0; pair < 2; ++pair) {
      data.table.scores[data.table.cell(query, pair)] = 0;
      data.table.output_tokens[data.table.cell(query, pair)] = 9999;
    }
    data.embeddings[query * kDimension] = 1e6f;
  }
  ASSERT_GT(held_out, 40u);
  const Checkpoint after = train(data.table, data.embeddings, kDimension, quick());
  EXPECT_EQ(linear_heads(after).weights, linear_heads(before).weights);
  EXPECT_EQ(linear_heads(after).intercepts, linear_heads(before).intercepts);
  EXPECT_EQ(to_json(after.config), to_json(before.config));

  TrainOptions everything = quick();
  everything.holdout = 0;
  TrainReport report;
  const Checkpoint all = train(data.table, data.embeddings, kDimension, everything, &report);
  EXPECT_EQ(report.held_out_queries, 0u);
  EXPECT_NE(linear_heads(all).weights, linear_heads(before).weights);
}

TEST(Train, LengthHeadsPredictWhatTheBudgetWillReallyUse) {
  const Synthetic data;
  const OutcomeTable capped = apply_hard_cap(data.table, std::vector<std::uint32_t>{150});
  TrainOptions options = quick();
  options.holdout = 0;
  const Checkpoint checkpoint = train(capped, data.embeddings, kDimension, options);
  EXPECT_EQ(checkpoint.config.budget_mode, BudgetMode::kHardCap);
  // At zero-mean features the head's intercept is about the mean of min(tokens, 150).
  double mean = 0;
  for (std::size_t query = 0; query < 400; ++query) {
    mean += std::min(150.0, data.table.output_tokens[data.table.cell(query, 1)]) / 400;
  }
  const auto head =
      std::find(linear_heads(checkpoint).names.begin(), linear_heads(checkpoint).names.end(),
                HeadName{{1, Budget(150)}, Target::kTokens});
  ASSERT_NE(head, linear_heads(checkpoint).names.end());
  const double intercept =
      linear_heads(checkpoint)
          .intercepts[static_cast<std::size_t>(head - linear_heads(checkpoint).names.begin())];
  EXPECT_NEAR(intercept, mean, 2);
  EXPECT_LT(mean, 149);
}

TEST(Train, TakesTheLargestOfEquallyGoodAlphas) {
  const Synthetic data;
  TrainOptions options = quick();
  options.alphas = {1e-6, 2e-6, 1e-7,
                    1e6};  // three that hardly shrink, one that shrinks to the means
  TrainReport report;
  train(data.table, data.embeddings, kDimension, options, &report);
  EXPECT_EQ(report.alpha, 2e-6);
  ASSERT_EQ(report.alphas.size(), 4u);
  EXPECT_EQ(report.alphas[2].alpha, 1e-7);
  EXPECT_LT(report.alphas[3].metrics.audc, report.alphas[0].metrics.audc);
}

/// Heads that are shrunk too far predict short answers too long and long ones too short.
TEST(Train, CorrectsLengthsThatShrinkageKeepsFromVarying) {
  const Synthetic data(1600);
  TrainOptions options = quick();
  options.alphas = {1000};
  const Checkpoint checkpoint = train(data.table, data.embeddings, kDimension, options);
  EXPECT_EQ(checkpoint.config.length_points, 20u);
  EXPECT_EQ(checkpoint.config.format_version, 2u);
  ASSERT_EQ(checkpoint.length_curves.size(), 2u);
  const auto plain = make_scorer(checkpoint.predictor);
  const auto corrected = make_scorer(checkpoint.predictor, checkpoint.length_curves);
  double error = 0, plain_error = 0, held_out = 0;
  for (std::size_t query = 0; query < data.table.queries.size(); ++query) {
    if (!is_held_out(data.table.queries[query].text, options.holdout)) continue;
    const auto x = std::span(data.embeddings).subspan(query * kDimension, kDimension);
    Predictions before, after;
    plain->predict(x, before);
    corrected->predict(x, after);
    const double truth = data.table.output_tokens[data.table.cell(query, 1)];
    plain_error += std::abs(before.tokens[1] - truth);
    error += std::abs(after.tokens[1] - truth);
    ++held_out;
  }
  EXPECT_GT(plain_error / held_out, 20);
  EXPECT_LT(error / held_out, 10);
  // The spread is that of the corrected lengths.
  EXPECT_LT(checkpoint.spreads[3], 10);

  const Synthetic few(120);
  EXPECT_EQ(train(few.table, few.embeddings, kDimension, options).config.length_points, 0u);
}

TEST(Train, TheDefaultLambdaBuysNearlyTheBestScoreForLittle) {
  const Synthetic data;
  TrainReport report;
  const Checkpoint checkpoint = train(data.table, data.embeddings, kDimension, quick(), &report);
  EXPECT_EQ(checkpoint.config.default_lambda(), report.default_lambda);
  EXPECT_GT(report.default_lambda, 0);
  EXPECT_LT(report.default_lambda, 1);
  EXPECT_NEAR(report.default_cost, report.metrics.c95.value(), 1e-12);  // every model is available
}

TEST(Train, TheDefaultLambdaCountsOnAvailableModelsAlone) {
  // A third model is as good as the dear one at a twentieth of its price, but cannot be called.
  Synthetic data;
  OutcomeTable table = data.table;
  table.models.push_back({.name = "gone", .prices = {.output = 1}, .available = false});
  table.pairs.push_back({2, Budget()});
  table.scores.clear();
  table.output_tokens.clear();
  for (std::size_t query = 0; query < table.queries.size(); ++query) {
    for (const std::size_t pair : {0u, 1u, 1u}) {
      table.scores.push_back(data.table.scores[data.table.cell(query, pair)]);
      table.output_tokens.push_back(data.table.output_tokens[data.table.cell(query, pair)]);
    }
  }
  TrainReport report;
  train(table, data.embeddings, kDimension, quick(), &report);
  EXPECT_GT(report.default_cost, 0.1);  // with it, 0.03
}

TEST(Train, LearnsWhereTheBestModelIsFree) {
  Synthetic data;
  data.table.models[1].prices.output = 0;
  TrainReport report;
  const Checkpoint checkpoint = train(data.table, data.embeddings, kDimension, quick(), &report);
  EXPECT_TRUE(report.best_available.is_free());
  EXPECT_EQ(report.best_available.unit_model, 0u);
  // The free model is the better one too: there is no reason to pay.
  EXPECT_NEAR(report.default_score, report.best_available.score, 0.05);
  EXPECT_NEAR(report.default_cost, 0, 1e-9);
  EXPECT_GT(report.metrics.audc, 0.7);
  EXPECT_EQ(report.metrics.c95, 0);
  EXPECT_TRUE(std::isfinite(checkpoint.config.default_lambda()));
}

TEST(Train, LearnsWhereAllModelsAreFree) {
  Synthetic data;
  for (ModelSpec& model : data.table.models) model.prices.output = 0;
  TrainReport report;
  train(data.table, data.embeddings, kDimension, quick(), &report);
  EXPECT_TRUE(report.best_available.all_free);
  EXPECT_EQ(report.default_lambda, 0);
  EXPECT_EQ(report.default_cost, 0);
  EXPECT_DOUBLE_EQ(report.metrics.audc, report.metrics.peak);
  EXPECT_GT(report.metrics.audc, report.mean_curve.audc);

  data.table.cost_measure = CostMeasure::kLength;
  TrainReport by_length;
  const Checkpoint checkpoint = train(data.table, data.embeddings, kDimension, quick(), &by_length);
  EXPECT_LT(by_length.metrics.audc, by_length.metrics.peak);  // lengths cost something
  EXPECT_EQ(by_length.default_lambda, 0);                     // λ weighs money
  EXPECT_THAT(checkpoint.config.training, ::testing::HasSubstr("\"cost\": \"length\""));
}

TEST(Train, TheDefaultLambdaIsChosenByMoneyWhateverCurvesMeasure) {
  Synthetic data;
  TrainReport by_price, by_length;
  train(data.table, data.embeddings, kDimension, quick(), &by_price);
  data.table.cost_measure = CostMeasure::kLength;
  TrainOptions options = quick();
  options.alphas = {by_price.alpha};
  train(data.table, data.embeddings, kDimension, options, &by_length);
  EXPECT_EQ(by_length.default_lambda, by_price.default_lambda);
  EXPECT_NE(by_length.metrics.audc, by_price.metrics.audc);
}

TEST(Train, TheTokenFloorIsALowQuantileOfRealLengths) {
  Synthetic data;
  TrainOptions options = quick();
  options.holdout = 0;
  data.table.output_tokens[0] = 0;  // one in 800
  const Checkpoint checkpoint = train(data.table, data.embeddings, kDimension, options);
  std::vector<double> lengths = data.table.output_tokens;
  std::sort(lengths.begin(), lengths.end());
  EXPECT_EQ(checkpoint.config.policy.token_floor, lengths[8]);
}

TEST(Train, ProvenanceTellsHowToMakeItAgain) {
  Synthetic data;
  data.table.sources = {{"a \"b\".jsonl", "00ff"}};
  TrainOptions options = quick();
  options.seed = 11;
  TrainReport report;
  const Checkpoint checkpoint = train(data.table, data.embeddings, kDimension, options, &report);
  const auto training = nlohmann::json::parse(checkpoint.config.training);
  EXPECT_EQ(training["data"][0]["file"], "a \"b\".jsonl");
  EXPECT_EQ(training["data"][0]["sha256"], "00ff");
  EXPECT_EQ(training["alpha"], report.alpha);
  EXPECT_EQ(training["folds"], 5);
  EXPECT_EQ(training["holdout"], 5);
  EXPECT_EQ(training["seed"], 11);
  EXPECT_EQ(training["training_queries"], report.training_queries);
  EXPECT_EQ(training["cross_validated"]["router"]["audc"].get<double>(), report.metrics.audc);
  EXPECT_EQ(training["cross_validated"]["alphas"].size(), 3u);
  EXPECT_EQ(parse_config(to_json(checkpoint.config)).training, checkpoint.config.training);
}

TEST(Train, ModelsMayHaveSeenDifferentQueries) {
  Synthetic data;
  for (std::size_t query = 0; query < 100; ++query) {
    data.table.scores[data.table.cell(query, 1)] = std::nan("");
    data.table.output_tokens[data.table.cell(query, 1)] = std::nan("");
  }
  TrainReport report;
  const Checkpoint checkpoint = train(data.table, data.embeddings, kDimension, quick(), &report);
  const auto& weights = std::get<std::vector<float>>(linear_heads(checkpoint).weights);
  EXPECT_GT(weights[0 * kDimension + 1], 0.5);
  EXPECT_NEAR(weights[3 * kDimension + 2], 100, 3);
  EXPECT_GT(report.training_queries, 300u);  // the cheap model learns from all
}

TEST(Train, SaysWhichQueriesItCannotUseOrMeasure) {
  Synthetic data;
  const auto forget = [&](std::size_t query, std::size_t pair) {
    data.table.scores[data.table.cell(query, pair)] = std::nan("");
    data.table.output_tokens[data.table.cell(query, pair)] = std::nan("");
  };
  const auto warnings = [&] {
    std::vector<std::string> result;
    TrainOptions options = quick();
    options.holdout = 0;
    options.log = [&](LogLevel, std::string_view text) { result.emplace_back(text); };
    train(data.table, data.embeddings, kDimension, options);
    return result;
  };
  EXPECT_THAT(warnings(), ElementsAre());
  for (std::size_t query = 0; query < 7; ++query) forget(query, 0);
  for (std::size_t query = 4; query < 10; ++query) forget(query, 1);
  EXPECT_THAT(warnings(), ElementsAre(::testing::StartsWith(
                              "of 400 queries, 3 have no outcome and 7 lack an outcome of "
                              "\"cheap\" (4), \"dear\" (3); ")));
}

TEST(Train, BringsItsOwnLexicalEncoder) {
  Synthetic data(200);
  for (std::size_t query = 0; query < 200; ++query) {
    const bool hard = data.table.scores[data.table.cell(query, 0)] == 0;
    data.table.queries[query].text = (hard ? "prove that " : "what is ") + std::to_string(query);
  }
  for (const bool has_idf : {false, true}) {
    LexicalEncoderSpec encoder;
    encoder.dimension = 64;
    encoder.has_idf = has_idf;
    const Checkpoint checkpoint = train(data.table, encoder, quick());
    EXPECT_NO_THROW(validate(checkpoint));
    EXPECT_EQ(testing::lexical(checkpoint.config), encoder);
    EXPECT_EQ(checkpoint.config.embedding_model, "lexical");
    ASSERT_EQ(testing::lexical(checkpoint).idf.size(), has_idf ? 64u : 0u);
    // "prove" says that the cheap model will fail; its quality head is the first.
    const auto made = make_lexical_encoder(encoder, testing::lexical(checkpoint).idf);
    const auto scorer = make_linear_scorer(linear_heads(checkpoint));
    Predictions hard, easy;
    scorer->predict(std::span<const float>(made->embed_one("prove that 7777")), hard);
    scorer->predict(std::span<const float>(made->embed_one("what is 7777")), easy);
    EXPECT_GT(easy.quality[0], hard.quality[0] + 0.4);
  }
}

TEST(Train, IdfWeighsRareFeaturesMore) {
  Synthetic data(100);
  for (std::size_t query = 0; query < 100; ++query) {
    data.table.queries[query].text =
        "always" + std::string(query % 10 == 0 ? " seldom" : "") + std::string(query + 1, '.');
  }
  LexicalEncoderSpec encoder;
  encoder.dimension = 256;
  encoder.has_idf = true;
  TrainOptions options = quick();
  options.holdout = 0;
  const Checkpoint checkpoint = train(data.table, encoder, options);
  LexicalEncoderSpec plain = encoder;
  plain.has_idf = false;
  const auto slot = [&](const char* word) {
    const std::vector<float> embedding = make_lexical_encoder(plain)->embed_one(word);
    return static_cast<std::size_t>(
        std::find_if(embedding.begin(), embedding.end(), [](float x) { return x != 0; }) -
        embedding.begin());
  };
  EXPECT_FLOAT_EQ(testing::lexical(checkpoint).idf[slot("always")], 1);
  EXPECT_NEAR(testing::lexical(checkpoint).idf[slot("seldom")], 1 + std::log(101.0 / 11), 1e-6);
}

/// Queries of three datasets, each with its own words; the cheap model fails only at law.
OutcomeTable three_datasets() {
  Synthetic data(300);
  const std::pair<const char*, const char*> datasets[] = {
      {"law", "plaintiff court statute "}, {"physics", "mass velocity force "}, {"", "other "}};
  for (std::size_t query = 0; query < 300; ++query) {
    const auto& [dataset, words] = datasets[query % 3];
    data.table.queries[query].dataset = dataset;
    data.table.queries[query].text = words + std::to_string(query);
    data.table.scores[data.table.cell(query, 0)] = query % 3 != 0;
  }
  return data.table;
}

TEST(Train, TeachesItsEncoderTopics) {
  const OutcomeTable table = three_datasets();
  LexicalEncoderSpec encoder;
  encoder.dimension = 64;
  encoder.topics = {"physics", "law"};  // queries of no dataset take no part
  const Checkpoint checkpoint = train(table, encoder, quick());
  EXPECT_NO_THROW(validate(checkpoint));
  EXPECT_EQ(testing::lexical(checkpoint.config), encoder);
  EXPECT_EQ(checkpoint.config.embedding_dim, 66u);
  EXPECT_EQ(checkpoint.config.format_version, 2u);
  EXPECT_EQ(parse_config(to_json(checkpoint.config)).format_version, 2u);
  const auto made = make_encoder(encoder, checkpoint.encoder);
  EXPECT_GT(made->embed_one("court plaintiff 99")[65], 0.6);
  EXPECT_GT(made->embed_one("force of a mass 99")[64], 0.6);
}

TEST(Train, TopicsAreLearnedByRidgeRegressionOfTheirIndicators) {
  OutcomeTable table = three_datasets();
  LexicalEncoderSpec encoder;
  encoder.dimension = 16;
  encoder.topics = {"law", "physics"};
  TrainOptions options = quick();
  options.holdout = 0;
  const Checkpoint checkpoint = train(table, encoder, options);
  // At the least squared error with the penalty, its gradient is zero.
  LexicalEncoderSpec plain = encoder;
  plain.topics.clear();
  const auto made = make_lexical_encoder(plain);
  for (std::size_t topic = 0; topic < 2; ++topic) {
    const float* weights = testing::lexical(checkpoint).topics.weights.data() + topic * 16;
    std::vector<double> gradient(17);
    for (const QueryRecord& query : table.queries) {
      if (query.dataset.empty()) continue;
      const std::vector<float> x = made->embed_one(query.text);
      double error = testing::lexical(checkpoint).topics.intercepts[topic] -
                     (query.dataset == encoder.topics[topic]);
      for (std::size_t i = 0; i < 16; ++i) error += double{weights[i]} * x[i];
      for (std::size_t i = 0; i < 16; ++i) gradient[i] += error * x[i];
      gradient[16] += error;
    }
    for (std::size_t i = 0; i < 16; ++i) EXPECT_NEAR(gradient[i] + 1.0 * weights[i], 0, 1e-4);
    EXPECT_NEAR(gradient[16], 0, 1e-4);
  }
}

TEST(Train, HeadsMeetTopicsThatWereNotLearnedFromTheirOwnQuery) {
  // Datasets drawn by lot, and no word twice: scores know each query that they learned from, and
  // nothing of others. Heads that met the former would rely on the shares.
  Synthetic data(60);
  std::mt19937 random(5);
  for (std::size_t query = 0; query < 60; ++query) {
    const bool law = random() % 2;
    data.table.queries[query].dataset = law ? "law" : "physics";
    data.table.queries[query].text = "word" + std::to_string(query * 7919);
    for (std::size_t pair = 0; pair < 2; ++pair) {
      data.table.scores[data.table.cell(query, pair)] = law;
    }
  }
  LexicalEncoderSpec encoder;
  encoder.dimension = 256;
  encoder.topics = {"law", "physics"};
  TrainOptions options = quick();
  options.holdout = 0;
  options.alphas = {0.1};
  const Checkpoint checkpoint = train(data.table, encoder, options);
  const auto& weights = std::get<std::vector<float>>(linear_heads(checkpoint).weights);
  EXPECT_LT(weights[256] - weights[257], 0.2);
}

TEST(Train, TopicsThatCannotBeLearnedAreRefused) {
  const OutcomeTable table = three_datasets();
  LexicalEncoderSpec encoder;
  encoder.topics = {"law", "biology"};
  expect_error(ErrorCode::kBadData, "no query that is trained on is of the dataset \"biology\"",
               [&] { train(table, encoder, quick()); });
  OutcomeTable few = table;
  for (std::size_t query = 0; query < 300; ++query) {
    QueryRecord& changed = few.queries[query];
    changed.dataset = query < 2 ? (query == 0 ? "law" : "biology") : "";
    changed.text = query < 2 ? "the same text" : changed.text;
  }
  TrainOptions options = quick();
  options.holdout = 0;
  expect_error(ErrorCode::kBadData, "all queries of the encoder's topics are in one fold",
               [&] { train(few, encoder, options); });
}

TEST(Train, EditedCopiesShareTheirOriginalsSplit) {
  // Outcomes drawn by lot, and each query a word of its own: what a fold's copies gave away, cross-
  // validation would take for knowledge.
  Synthetic data(200);
  std::mt19937 random(11);
  for (std::size_t query = 0; query < 200; ++query) {
    data.table.queries[query].text = "word" + std::to_string(query * 7919);
    for (std::size_t pair = 0; pair < 2; ++pair) {
      data.table.scores[data.table.cell(query, pair)] = static_cast<double>(random() % 2);
    }
  }
  LexicalEncoderSpec encoder;
  encoder.dimension = 128;
  TrainOptions options = quick();
  options.alphas = {1};
  TrainReport plain, augmented;
  train(data.table, encoder, options, &plain);
  const Checkpoint before =
      train(eval::add_perturbed_copies(data.table), encoder, options, &augmented);
  EXPECT_EQ(augmented.training_queries, plain.training_queries);
  EXPECT_EQ(augmented.held_out_queries, plain.held_out_queries);
  EXPECT_LT(augmented.metrics.audc, plain.mean_curve.audc + 0.1);  // 0.2 if they gave it away

  for (std::size_t query = 0; query < 200; ++query) {
    if (!is_held_out(data.table.queries[query].text, 5)) continue;
    data.table.scores[data.table.cell(query, 0)] = 0;
  }
  const Checkpoint after = train(eval::add_perturbed_copies(data.table), encoder, options);
  EXPECT_EQ(linear_heads(after).weights, linear_heads(before).weights);
}

TEST(Train, NearestNeighboursAreChosenByValidation) {
  const Synthetic data;
  TrainOptions options = quick();
  options.predictor = PredictorKind::kKnn;
  options.neighbours = {1, 15, 100'000};  // the last is more than there are: passed over
  TrainReport report;
  const Checkpoint checkpoint = train(data.table, data.embeddings, kDimension, options, &report);
  EXPECT_NO_THROW(validate(checkpoint));
  const auto& knn = std::get<NearestNeighbours>(checkpoint.predictor);
  EXPECT_EQ(knn.neighbours, 15u);
  ASSERT_EQ(checkpoint.spreads.size(), 4U);
  EXPECT_NEAR(checkpoint.spreads[0], 0.25, 0.1);
  EXPECT_NEAR(checkpoint.spreads[1], 15, 10);
  EXPECT_EQ(report.neighbours.neighbours, 15u);
  EXPECT_EQ(report.neighbours.weighting, knn.weighting);
  ASSERT_EQ(report.neighbour_counts.size(), 4u);
  EXPECT_EQ(report.neighbour_counts[2].metrics.audc >= report.neighbour_counts[0].metrics.audc,
            true);
  EXPECT_EQ(knn.embeddings.size(), report.training_queries * kDimension);
  EXPECT_GT(report.metrics.audc, report.mean_curve.audc + 0.05);
  const auto training = nlohmann::json::parse(checkpoint.config.training);
  EXPECT_EQ(training["neighbours"], 15);
  EXPECT_EQ(training["cross_validated"]["settings"].size(), 4u);

  options.threads = 1;
  const Checkpoint one = train(data.table, data.embeddings, kDimension, options);
  EXPECT_EQ(std::get<NearestNeighbours>(one.predictor).targets, knn.targets);
  EXPECT_EQ(to_json(one.config), to_json(checkpoint.config));

  options.neighbours = {100'000};
  expect_error(ErrorCode::kBadData, "no number of neighbours",
               [&] { train(data.table, data.embeddings, kDimension, options); });
}

TEST(Train, NearestNeighboursAreQueriesWithEveryOutcome) {
  Synthetic data;
  data.table.scores[0] = data.table.output_tokens[0] = std::nan("");
  TrainOptions options = quick();
  options.predictor = PredictorKind::kKnn;
  options.neighbours = {5};
  options.holdout = 0;
  const Checkpoint checkpoint = train(data.table, data.embeddings, kDimension, options);
  const auto& knn = std::get<NearestNeighbours>(checkpoint.predictor);
  EXPECT_EQ(knn.embeddings.size(), 399 * kDimension);
  EXPECT_EQ(knn.embeddings[0], data.embeddings[kDimension]);
}

TEST(Train, APerceptronLearnsWhatCanBeLearned) {
  const Synthetic data(800);
  TrainOptions options = quick();
  options.predictor = PredictorKind::kMlp;
  options.mlp = {.hidden = {16},
                 .learning_rate = 0.01,
                 .dropout = 0,
                 .batch = 32,
                 .most_epochs = 60,
                 .patience = 10};
  TrainReport report;
  const Checkpoint checkpoint = train(data.table, data.embeddings, kDimension, options, &report);
  EXPECT_NO_THROW(validate(checkpoint));
  EXPECT_GT(report.epochs, 0u);
  ASSERT_EQ(checkpoint.spreads.size(), 4U);
  EXPECT_LT(checkpoint.spreads[0], 0.25);  // which no line comes below
  EXPECT_LT(checkpoint.spreads[1], 15);
  EXPECT_GT(report.metrics.audc, report.mean_curve.audc + 0.05);
  EXPECT_EQ(nlohmann::json::parse(checkpoint.config.training)["epochs"], report.epochs);
  // The second feature says that the cheap model is right, the third how long answers are.
  const auto scorer = make_scorer(checkpoint.predictor);
  Predictions right, wrong;
  scorer->predict(std::span<const float>(std::vector<float>{0, 0.8F, 0.5F}), right);
  scorer->predict(std::span<const float>(std::vector<float>{0, -0.8F, -0.5F}), wrong);
  EXPECT_GT(right.quality[0], wrong.quality[0] + 0.5);
  EXPECT_NEAR(right.tokens[1], 250, 30);
  EXPECT_NEAR(wrong.tokens[1], 150, 30);

  options.threads = 1;
  const Checkpoint one = train(data.table, data.embeddings, kDimension, options);
  const auto first_weights = [](const Checkpoint& c) {
    return std::get<MultilayerPerceptron>(c.predictor).layers[0].weights;
  };
  EXPECT_EQ(first_weights(one), first_weights(checkpoint));
}

TEST(Train, ReportsProgressInOrder) {
  const Synthetic data;
  TrainOptions options = quick();
  std::vector<std::string> stages;
  options.progress = [&](std::string_view stage, std::size_t done, std::size_t total) {
    EXPECT_LE(done, total);
    if (stages.empty() || stages.back() != stage) stages.emplace_back(stage);
  };
  train(data.table, data.embeddings, kDimension, options);
  EXPECT_THAT(stages, ElementsAre("reading embeddings", "cross-validating", "fitting"));
}

TEST(Train, BadOptionsAreRefused) {
  const Synthetic data;
  const auto expect_fault = [&](const std::string& part, auto change) {
    TrainOptions options = quick();
    change(options);
    expect_error(ErrorCode::kInvalidArgument, part,
                 [&] { train(data.table, data.embeddings, kDimension, options); });
  };
  expect_fault("no α", [](TrainOptions& options) { options.alphas.clear(); });
  expect_fault("α is 0.0", [](TrainOptions& options) { options.alphas = {0}; });
  expect_fault("α is", [](TrainOptions& options) { options.alphas = {std::nan("")}; });
  expect_fault("no number of neighbours", [](TrainOptions& o) { o.neighbours.clear(); });
  expect_fault("neighbours is 0", [](TrainOptions& o) { o.neighbours = {5, 0}; });
  expect_fault("learning_rate is 0", [](TrainOptions& o) { o.mlp.learning_rate = 0; });
  expect_fault("dropout is 1.0", [](TrainOptions& o) { o.mlp.dropout = 1; });
  expect_fault("the size of a hidden layer is 0", [](TrainOptions& o) { o.mlp.hidden = {4, 0}; });
  expect_fault("folds is 1", [](TrainOptions& options) { options.folds = 1; });
  expect_fault("folds is 2: a perceptron needs 3", [](TrainOptions& options) {
    options.predictor = PredictorKind::kMlp;
    options.folds = 2;
  });
  expect_fault("holdout is 1", [](TrainOptions& options) { options.holdout = 1; });
  expect_error(ErrorCode::kInvalidArgument, "one embedding for each query",
               [&] { train(data.table, data.embeddings, 4, quick()); });
  std::vector<float> embeddings = data.embeddings;
  embeddings[2 * kDimension + 1] = NAN;
  expect_error(ErrorCode::kInvalidArgument, "query \"2\"",
               [&] { train(data.table, embeddings, kDimension, quick()); });
}

TEST(Train, ATableThatCannotBeLearnedFromIsRefused) {
  const auto expect_fault = [](const std::string& part, const Synthetic& data) {
    expect_error(ErrorCode::kBadData, part,
                 [&] { train(data.table, data.embeddings, kDimension, quick()); });
  };
  expect_fault("too few to fill 5 folds", Synthetic(0));
  expect_fault("too few to fill 5 folds", Synthetic(1));
  expect_fault("too few to fill 5 folds", Synthetic(4));
  Synthetic out_of_range;
  out_of_range.table.scores[0] = 2;
  expect_fault("score 2.0", out_of_range);

  Synthetic silent;
  for (std::size_t query = 0; query < 400; ++query) {
    silent.table.scores[silent.table.cell(query, 1)] = std::nan("");
    silent.table.output_tokens[silent.table.cell(query, 1)] = std::nan("");
  }
  expect_fault("dear at budget unlimited has too few outcomes", silent);

  Synthetic disjoint;
  for (std::size_t query = 0; query < 400; ++query) {
    disjoint.table.scores[disjoint.table.cell(query, query % 2)] = std::nan("");
    disjoint.table.output_tokens[disjoint.table.cell(query, query % 2)] = std::nan("");
  }
  expect_fault("no query that is trained on has an outcome of every", disjoint);
}

/// The figures published for this data in plain Python, on another split of the queries.
TEST(TrainShared, ReproducesTheReferenceFigures) {
  const std::string data = R2ROUTER_SOURCE_DIR "/../shared/data/";
  if (!std::filesystem::exists(data))
    GTEST_SKIP() << "needs ../shared, which is not part of the project";
  if (R2ROUTER_TEST_SLOW_BUILD)
    GTEST_SKIP() << "takes minutes without optimisation or under a sanitizer";
  OutcomeTable table = read_outcomes(data + "queries.jsonl.gz", data + "outcomes.jsonl.gz",
                                     read_pool(data + "models.json"));
  const std::vector<std::string> models = {
      "Meta-Llama-3_1-8B-Instruct", "Meta-Llama-3_1-70B-Instruct",
      "gemini-1.5-flash-002",       "gemini-1.5-pro-002",
      "Mixtral-8x7B-Instruct-v0.1", "Mistral-7B-Instruct-v0.2",
      "Phi-3-mini-4k-instruct",     "mathstral-7B"};
  table = select_models(table, models);
  std::vector<std::uint32_t> rows;
  for (std::uint32_t i = 0; i < table.queries.size(); ++i) {
    if (table.queries[i].dataset.starts_with("mmlu_pro")) rows.push_back(i);
  }
  table = select_queries(table, rows);
  EXPECT_EQ(complete_queries(table).size(), 9579u);
  table = apply_hard_cap(table, std::vector<std::uint32_t>{10, 20, 30, 40, 50, 80, 100, 150, 200,
                                                           300, 500, 800, 1200, 2000, 4000});
  TrainOptions options;
  options.alphas = {30};
  options.holdout = 0;
  TrainReport report;
  train(table, LexicalEncoderSpec{}, options, &report);
  EXPECT_NEAR(report.mean_curve.audc, 0.645, 0.01);
  EXPECT_NEAR(report.metrics.audc, 0.672, 0.01);
  EXPECT_NEAR(report.metrics.peak, 0.708, 0.01);

  const eval::Evaluation evaluation = eval::evaluate(
      table, eval::standard_contenders(table, eval::predict_means(table, table), table));
  const auto audc = [&](const std::string& name) {
    for (const eval::ContenderResult& policy : evaluation.policies) {
      if (policy.name == name) return policy.metrics.audc;
    }
    return 0.0;
  };
  EXPECT_NEAR(audc("unlimited mean curve"), 0.638, 0.01);
  EXPECT_NEAR(audc("oracle"), 0.870, 0.01);
}

}  // namespace
}  // namespace r2router::train
