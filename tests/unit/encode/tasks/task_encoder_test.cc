#include <cmath>
#include <fstream>
#include <limits>
#include <numeric>
#include <random>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "r2router/checkpoint.h"
#include "r2router/encoder.h"
#include "r2router/error.h"
#include "r2router/router.h"

#include "support/errors.h"
#include "support/temporary_folder.h"

namespace r2router {
namespace {

using testing::error_of;
using ::testing::HasSubstr;
using testing::TemporaryFolder;
using Kind = LexicalFeatures::Kind;

const std::vector<std::string> kTexts = {
    "Write a function that sorts a list.",
    "Who wrote Faust?",
    "a",
    "Übersetze: 你好 — 42 42 42",
    "\xFF\xFE bytes that are not UTF-8",
    std::string(5000, 'x') + " a long text " + std::string(3000, 'y'),
    "the the the the and the and the",
};

TaskEncoderSpec spec_of(std::vector<LexicalFeatures> features, std::uint32_t dimension = 65536) {
  TaskEncoderSpec spec;
  spec.features.dimension = dimension;
  spec.features.seed = 7;
  spec.features.features = std::move(features);
  spec.features.square_root = true;
  spec.tasks = {"code", "facts", "translation"};
  spec.novelty_intercept = -1.5;
  spec.novelty_coverage = 2.25;
  spec.novelty_certainty = 0.75;
  return spec;
}

/// Random weights, with rows of zeros for features that no training text has.
TaskEncoderTensors random_tensors(const TaskEncoderSpec& spec, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0, 3);
  TaskEncoderTensors tensors;
  for (std::size_t slot = 0; slot < spec.features.dimension; ++slot) {
    const bool known = random() % 3 != 0;
    for (std::size_t task = 0; task < spec.tasks.size(); ++task) {
      tensors.weights.push_back(known ? normal(random) : 0);
    }
  }
  for (std::size_t task = 0; task < spec.tasks.size(); ++task) {
    tensors.intercepts.push_back(normal(random));
  }
  return tensors;
}

/// The shares by the definition, from the dense embedding of the lexical encoder. Equal to the task
/// encoder's for one family, where no two features of different families share a slot.
std::vector<double> naive_shares(const TaskEncoderSpec& spec, const TaskEncoderTensors& tensors,
                                 const std::string& text) {
  const std::vector<float> features = make_lexical_encoder(spec.features)->embed_one(text);
  std::vector<double> shares(tensors.intercepts.begin(), tensors.intercepts.end());
  double known = 0;
  for (std::size_t slot = 0; slot < features.size(); ++slot) {
    bool occurs = false;
    for (std::size_t task = 0; task < shares.size(); ++task) {
      const float weight = tensors.weights[slot * shares.size() + task];
      shares[task] += static_cast<double>(features[slot]) * static_cast<double>(weight);
      occurs |= weight != 0;
    }
    if (occurs) known += static_cast<double>(features[slot]) * static_cast<double>(features[slot]);
  }
  double total = 0, largest = 0;
  for (double& share : shares) total += share = std::exp(share);
  for (double& share : shares) largest = std::max(largest, share /= total);
  const double none =
      1 / (1 + std::exp(-(spec.novelty_intercept + spec.novelty_coverage * (1 - known) +
                          spec.novelty_certainty * (1 - largest))));
  for (double& share : shares) share *= 1 - none;
  shares.push_back(none);
  return shares;
}

TEST(TaskEncoder, GivesTheSharesOfItsDefinition) {
  for (const LexicalFeatures& family :
       {LexicalFeatures{.kind = Kind::kWords, .min_n = 1, .max_n = 2},
        LexicalFeatures{.kind = Kind::kCharacters, .min_n = 2, .max_n = 4, .weight = 0.5}}) {
    for (const bool fold : {false, true}) {
      for (const bool root : {false, true}) {
        TaskEncoderSpec spec = spec_of({family}, 512);  // small, so that features collide
        spec.features.fold_digits = fold;
        spec.features.square_root = root;
        const TaskEncoderTensors tensors = random_tensors(spec, 11);
        const auto encoder = make_task_encoder(spec, tensors);
        for (const std::string& text : kTexts) {
          SCOPED_TRACE(text.substr(0, 40));
          const std::vector<float> shares = encoder->embed_one(text);
          const std::vector<double> expected = naive_shares(spec, tensors, text);
          ASSERT_EQ(shares.size(), expected.size());
          for (std::size_t i = 0; i < shares.size(); ++i) {
            EXPECT_NEAR(shares[i], expected[i], 1e-5) << i;
          }
          EXPECT_NEAR(std::accumulate(shares.begin(), shares.end(), 0.0), 1, 1e-6);
        }
      }
    }
  }
}

TEST(TaskEncoder, WeighsItsFamilies) {
  const LexicalFeatures words{.kind = Kind::kWords, .min_n = 1, .max_n = 1};
  const LexicalFeatures characters{.kind = Kind::kCharacters, .min_n = 3, .max_n = 3, .weight = 2};
  const TaskEncoderSpec spec = spec_of({words, characters});
  const TaskEncoderTensors tensors = random_tensors(spec, 12);
  const std::string text = "Who wrote Faust?";  // its features share no slot
  const std::vector<float> shares = make_task_encoder(spec, tensors)->embed_one(text);
  const std::vector<double> expected = naive_shares(spec, tensors, text);
  for (std::size_t i = 0; i < shares.size(); ++i) EXPECT_NEAR(shares[i], expected[i], 1e-5) << i;
}

TEST(TaskEncoder, ATextWithoutKnownFeaturesIsUnlikeAll) {
  TaskEncoderSpec spec = spec_of({{.kind = Kind::kCharacters, .min_n = 6, .max_n = 6}});
  spec.novelty_coverage = 30;
  TaskEncoderTensors tensors = random_tensors(spec, 13);
  std::ranges::fill(tensors.weights, 0.0F);
  const auto encoder = make_task_encoder(spec, tensors);
  EXPECT_GT(encoder->embed_one("a text of unknown features").back(), 0.99999F);
  EXPECT_GT(encoder->embed_one("a").back(), 0.99999F);  // no feature at all
}

TEST(TaskEncoder, ResultsDependOnNothingThatWasEncodedBeforeInAnyOfTheThreads) {
  const TaskEncoderSpec small = spec_of({{.kind = Kind::kWords, .min_n = 1, .max_n = 2}}, 64);
  const TaskEncoderSpec large = spec_of({{.kind = Kind::kWords, .min_n = 1, .max_n = 1},
                                         {.kind = Kind::kCharacters, .min_n = 2, .max_n = 4}},
                                        4096);
  const auto one = make_task_encoder(small, random_tensors(small, 1));
  const auto two = make_task_encoder(large, random_tensors(large, 2));
  std::vector<std::vector<float>> expected;
  for (const std::string& text : kTexts) {
    std::thread([&] {  // which has encoded nothing before
      expected.push_back(one->embed_one(text));
    })
        .join();
    std::thread([&] { expected.push_back(two->embed_one(text)); }).join();
  }
  const auto check = [&] {
    for (int round = 0; round < 20; ++round) {
      for (std::size_t i = kTexts.size(); i-- > 0;) {
        EXPECT_EQ(one->embed_one(kTexts[i]), expected[2 * i]);
        EXPECT_EQ(two->embed_one(kTexts[i]), expected[2 * i + 1]);
      }
    }
  };
  std::jthread other(check);
  check();
}

TEST(TaskEncoder, RejectsWhatDoesNotFit) {
  const TaskEncoderSpec good = spec_of({{.kind = Kind::kWords}}, 16);
  const TaskEncoderTensors tensors = random_tensors(good, 3);
  const auto expect_refusal = [&](auto change, const std::string& part) {
    TaskEncoderSpec spec = good;
    TaskEncoderTensors own = tensors;
    change(spec, own);
    const Error error = error_of([&] { make_task_encoder(spec, own); });
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(error.what(), HasSubstr(part));
  };
  using Spec = TaskEncoderSpec;
  using Tensors = TaskEncoderTensors;
  expect_refusal([](Spec& spec, Tensors&) { spec.tasks.resize(1); }, "1 tasks, expected 2");
  expect_refusal([](Spec& spec, Tensors&) { spec.tasks[2] = "code"; }, "the same name");
  expect_refusal([](Spec& spec, Tensors&) { spec.features.has_idf = true; }, "IDF");
  expect_refusal([](Spec& spec, Tensors&) { spec.features.topics = {"a", "b"}; }, "topics");
  expect_refusal([](Spec& spec, Tensors&) { spec.features.features.clear(); }, "0 families");
  expect_refusal([](Spec& spec, Tensors&) { spec.novelty_coverage = NAN; }, "finite");
  expect_refusal([](Spec&, Tensors& own) { own.weights.pop_back(); }, "47 weights");
  expect_refusal([](Spec&, Tensors& own) { own.intercepts.push_back(0); }, "4 intercepts");
  expect_refusal([](Spec&, Tensors& own) { own.weights[5] = INFINITY; }, "finite");
  const auto encoder = make_task_encoder(good, tensors);
  EXPECT_EQ(error_of([&] { encoder->embed_one(" \n"); }).code(), ErrorCode::kInvalidArgument);
}

/// Two models, each the better one for a task.
Checkpoint small_checkpoint() {
  Checkpoint checkpoint;
  TaskEncoderSpec spec = spec_of({{.kind = Kind::kWords}}, 16);
  spec.tasks = {"code", "facts"};
  checkpoint.encoder = random_tensors(spec, 3);
  checkpoint.config.embedding_model = "tasks";
  checkpoint.config.embedding_dim = 3;
  checkpoint.config.format_version = 4;
  checkpoint.config.token_limits = {Budget::unlimited()};
  checkpoint.config.policy.rules = DecisionRules::kCorrected;
  checkpoint.config.policy.lambda = 0.5;
  LinearHeads heads{.dimension = 3};
  for (const std::uint32_t model : {0U, 1U}) {
    checkpoint.config.models.push_back(
        {.name = "model " + std::to_string(model), .prices = {.input = 1, .output = 1}});
    heads.names.push_back({{model, Budget::unlimited()}, Target::kQuality});
    heads.names.push_back({{model, Budget::unlimited()}, Target::kTokens});
  }
  heads.weights = std::vector<double>{0.9, 0.1, 0.5, 100, 100, 100, 0.1, 0.9, 0.5, 100, 100, 100};
  heads.intercepts = {0, 0, 0, 0};
  checkpoint.predictor = std::move(heads);
  checkpoint.config.encoder = std::move(spec);
  return checkpoint;
}

TEST(TaskEncoder, IsKeptInACheckpoint) {
  const TemporaryFolder folder;
  const Checkpoint saved = small_checkpoint();
  save_checkpoint(saved, folder / "router");
  const Checkpoint loaded = load_checkpoint(folder / "router");
  EXPECT_EQ(loaded.config.encoder, saved.config.encoder);
  EXPECT_EQ(loaded.encoder, saved.encoder);
  EXPECT_EQ(to_json(loaded.config), to_json(saved.config));
  const Router one(saved), two(loaded);
  for (const std::string& text : kTexts) {
    EXPECT_EQ(one.route_text(text).chosen, two.route_text(text).chosen);
  }
  std::string config = testing::read_file(folder / "router/config.json");
  const auto expect_fault = [&](const std::string& from, const std::string& to,
                                const std::string& part) {
    std::string changed = config;
    ASSERT_NE(changed.find(from), std::string::npos) << from;
    changed.replace(changed.find(from), from.size(), to);
    const Error error = error_of([&] { parse_config(changed); });
    EXPECT_EQ(error.code(), ErrorCode::kBadConfig);
    EXPECT_THAT(error.what(), HasSubstr(part));
  };
  expect_fault("\"facts\"", "\"code\"", "occurs twice");
  expect_fault("\"facts\"", "\"facts\", \"law\"", "/encoder/tasks");
  expect_fault("\"certainty\": 0.75", "\"certainty\": \"high\"", "/encoder/novelty/certainty");
  expect_fault("\"coverage\"", "\"coverages\"", "coverage");
  expect_fault("\"tasks\": [", "\"task\": [", "tasks");
}

/// With vectors of two numbers for three pieces.
Checkpoint with_wordpieces() {
  Checkpoint checkpoint = small_checkpoint();
  auto& spec = std::get<TaskEncoderSpec>(*checkpoint.config.encoder);
  spec.wordpieces = {.pieces = 3, .dimension = 2, .bytes = 14, .weight = 0.5F};
  checkpoint.config.format_version = 5;
  TaskEncoderTensors tensors = random_tensors(spec, 3);
  tensors.weights.insert(tensors.weights.end(), {1.5F, -2, 0.25F, 3});
  const std::string vocabulary = "[UNK]\nwho\n##m\n";
  tensors.wordpieces = {.vocabulary = {vocabulary.begin(), vocabulary.end()},
                        .vectors = {0, 0, 3, -8, 100, 0},
                        .scales = {1, 0.5F, 0.02F}};
  checkpoint.encoder = std::move(tensors);
  return checkpoint;
}

TEST(TaskEncoder, AddsTheVectorToTheScores) {
  Checkpoint checkpoint = with_wordpieces();
  const auto encoder = make_encoder(*checkpoint.config.encoder, checkpoint.encoder);
  auto& spec = std::get<TaskEncoderSpec>(*checkpoint.config.encoder);
  auto& tensors = std::get<TaskEncoderTensors>(checkpoint.encoder);
  // "who", "##m" and a word that is unknown: 0.5 · (3, −8) + 0.02 · (100, 0) = (3.5, −4), made 0.5
  // long
  const double scale = 0.5 / std::hypot(3.5, 4.0);
  const std::vector<float> shares = encoder->embed_one("Whom? ");
  for (std::size_t task = 0; task < 2; ++task) {
    for (std::size_t i = 0; i < 2; ++i) {
      tensors.intercepts[task] +=
          static_cast<float>((i == 0 ? 3.5 : -4.0) * scale) * tensors.weights[(16 + i) * 2 + task];
    }
  }
  tensors.weights.resize(16 * 2);
  tensors.wordpieces = {};
  spec.wordpieces.reset();
  const std::vector<float> expected =
      make_encoder(*checkpoint.config.encoder, checkpoint.encoder)->embed_one("Whom? ");
  for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR(shares[i], expected[i], 1e-6);
}

TEST(TaskEncoder, WordpiecesAreKeptInACheckpoint) {
  const TemporaryFolder folder;
  const Checkpoint saved = with_wordpieces();
  save_checkpoint(saved, folder / "router");
  const Checkpoint loaded = load_checkpoint(folder / "router");
  EXPECT_EQ(loaded.config.format_version, 5U);
  EXPECT_EQ(loaded.config.encoder, saved.config.encoder);
  EXPECT_EQ(loaded.encoder, saved.encoder);
  EXPECT_EQ(Router(loaded).encoder()->embed_one("whom"),
            Router(saved).encoder()->embed_one("whom"));

  Checkpoint changed = saved;
  std::get<TaskEncoderSpec>(*changed.config.encoder).wordpieces->bytes = 13;
  EXPECT_THAT(error_of([&] { validate(changed); }).what(), HasSubstr("bytes of the vocabulary"));
  // A file with more vectors than config.json says.
  std::string config = testing::read_file(folder / "router/config.json");
  const std::string_view pieces = R"("pieces": 3)";
  config.replace(config.find(pieces), pieces.size(), R"("pieces": 4)");
  std::ofstream(folder / "router/config.json") << config;
  EXPECT_THAT(error_of([&] { load_checkpoint(folder / "router"); }).what(),
              HasSubstr("expected [4,2]"));
}

TEST(TaskEncoder, ADecisionNamesTheTasks) {
  const Router router(small_checkpoint());
  for (const auto& [shares, best] : {std::pair(std::vector<float>{0.75F, 0.2F, 0.05F}, 0U),
                                     std::pair(std::vector<float>{0.004F, 0.9F, 0.096F}, 1U)}) {
    const Decision decision = router.route({.embedding = shares}, {.explain = true});
    EXPECT_EQ(decision.chosen.model, best);
    ASSERT_TRUE(decision.explanation);
    const Explanation& explanation = *decision.explanation;
    EXPECT_EQ(explanation.tasks.front().task, best == 0 ? "code" : "facts");
    EXPECT_FLOAT_EQ(static_cast<float>(explanation.tasks.front().share), shares[best]);
    EXPECT_EQ(explanation.tasks.size(), best == 0 ? 2U : 1U);  // 0.4 % is not worth a mention
    EXPECT_NEAR(*explanation.familiarity, 1 - shares[2], 1e-6);
    EXPECT_THAT(to_json(decision),
                HasSubstr(best == 0 ? R"("tasks": {"code": 0.75)" : R"("tasks": {"facts": 0.89)"));
  }
  EXPECT_THAT(to_text(router.route({.embedding = std::vector<float>{0.75F, 0.2F, 0.05F}},
                                   {.explain = true})),
              HasSubstr("code 75 %, facts 20 %; 5 % unlike any"));
}

}  // namespace
}  // namespace r2router
