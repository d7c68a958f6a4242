#include "checkpoint/released.h"

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "r2router/error.h"

#include "support/heads.h"

namespace r2router::io {
namespace {

using r2router::testing::linear_heads;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

const fs::path kFixtures = fs::path(R2ROUTER_SOURCE_DIR) / "tests" / "golden" / "joblib";

/// A released folder of models with five coefficients a head, made of fixtures.
class Released : public ::testing::Test {
 protected:
  Released() {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::temp_directory_path() /
              ("r2router_released_" + std::to_string(getpid()) + "_" + test->name());
    fs::remove_all(folder_);
    config_.embedding_dim = 5;
  }
  ~Released() override { fs::remove_all(folder_); }

  void add_model(const std::string& name, const std::string& limited, const std::string& score,
                 const std::string& tokens) {
    config_.models.push_back({.name = name});
    config_.checkpoint_dirs.push_back(name + "_dir");
    const fs::path model = folder_ / "checkpoints" / (name + "_dir");
    fs::create_directories(model);
    const std::string* fixtures[] = {&limited, &score, &tokens};
    for (std::size_t i = 0; i < 3; ++i) {
      if (!fixtures[i]->empty()) fs::copy(kFixtures / *fixtures[i], model / kReleasedFiles[i]);
    }
  }

  Checkpoint load() {
    warnings_.clear();
    return load_released(folder_.string(), config_, [this](LogLevel level, std::string_view text) {
      EXPECT_EQ(level, LogLevel::kWarning);
      warnings_.emplace_back(text);
    });
  }

  void expect_refused(ErrorCode code, const std::string& file, const std::string& wording) {
    try {
      load();
      ADD_FAILURE() << "was read";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      EXPECT_THAT(error.where().file, HasSubstr(file));
      EXPECT_THAT(error.what(), HasSubstr(wording));
    }
  }

  fs::path folder_;
  Config config_;
  std::vector<std::string> warnings_;
};

constexpr char kLimited[] = "numpy2_float32_protocol4.joblib";  // 20_score, 10_score, 4000_score
constexpr char kSingle[] = "numpy2_float32_one.joblib";
constexpr char kOther[] = "numpy2_solver_lsqr.joblib";

TEST_F(Released, KeepsTheDictsOrderThenUnlimitedQualityThenTokens) {
  add_model("first", kLimited, kSingle, kOther);
  add_model("second", "numpy2_one_budget.joblib", kOther, kSingle);
  const Checkpoint checkpoint = load();
  EXPECT_THAT(warnings_, ElementsAre());
  const Budget unlimited;
  EXPECT_THAT(
      linear_heads(checkpoint).names,
      ElementsAre(
          HeadName{{0, Budget(20)}, Target::kQuality}, HeadName{{0, Budget(10)}, Target::kQuality},
          HeadName{{0, Budget(4000)}, Target::kQuality}, HeadName{{0, unlimited}, Target::kQuality},
          HeadName{{0, unlimited}, Target::kTokens}, HeadName{{1, Budget(300)}, Target::kQuality},
          HeadName{{1, unlimited}, Target::kQuality}, HeadName{{1, unlimited}, Target::kTokens}));
  EXPECT_EQ(linear_heads(checkpoint).dimension, 5u);
  const auto* weights = std::get_if<std::vector<float>>(&linear_heads(checkpoint).weights);
  ASSERT_NE(weights, nullptr);
  ASSERT_EQ(weights->size(), 8u * 5);
  ASSERT_EQ(linear_heads(checkpoint).intercepts.size(), 8u);
  // Rows 3 and 7 have the same file, with another one between them.
  EXPECT_TRUE(std::equal(weights->begin() + 15, weights->begin() + 20, weights->begin() + 35));
  EXPECT_EQ(linear_heads(checkpoint).intercepts[3], linear_heads(checkpoint).intercepts[7]);
  EXPECT_FALSE(std::equal(weights->begin() + 15, weights->begin() + 20, weights->begin() + 20));
}

TEST_F(Released, OneFloat64FileMakesAllHeadsFloat64) {
  add_model("narrow", kLimited, kSingle, kOther);
  const Checkpoint narrow = load();
  add_model("wide", "numpy2_float32_zlib.joblib", kSingle, "numpy1_float64_protocol2.joblib");
  const Checkpoint wide = load();
  const auto* weights = std::get_if<std::vector<double>>(&linear_heads(wide).weights);
  ASSERT_NE(weights, nullptr);
  ASSERT_EQ(weights->size(), 10u * 5);
  const auto& floats = std::get<std::vector<float>>(linear_heads(narrow).weights);
  EXPECT_EQ(std::vector<double>(floats.begin(), floats.end()),
            std::vector<double>(weights->begin(), weights->begin() + 25));
  // The last head has digits that float32 would have lost.
  EXPECT_NE(weights->back(), static_cast<double>(static_cast<float>(weights->back())));
}

TEST_F(Released, AModelWithoutAFileIsLeftOutWithAWarning) {
  add_model("incomplete", kLimited, "", "");
  add_model("whole", kLimited, kSingle, kOther);
  add_model("absent", "", "", "");
  const Checkpoint checkpoint = load();
  ASSERT_EQ(checkpoint.config.models.size(), 1u);
  EXPECT_EQ(checkpoint.config.models[0].name, "whole");
  EXPECT_THAT(checkpoint.config.checkpoint_dirs, ElementsAre("whole_dir"));
  EXPECT_EQ(linear_heads(checkpoint).names.front().pair.model, 0u);
  ASSERT_EQ(warnings_.size(), 2u);
  EXPECT_THAT(warnings_[0], HasSubstr("model incomplete"));
  EXPECT_THAT(warnings_[0], HasSubstr("incomplete_dir/unlimited_score_predictor.joblib"));
  EXPECT_THAT(warnings_[0], HasSubstr("incomplete_dir/unlimited_token_predictor.joblib"));
  EXPECT_THAT(warnings_[0], Not(HasSubstr("limited_score_predictors.joblib")));
  EXPECT_THAT(warnings_[1], HasSubstr("model absent"));
  // Nobody listens: the same result.
  EXPECT_EQ(load_released(folder_.string(), config_, {}).config.models.size(), 1u);
}

TEST_F(Released, NoModelLeftIsAnError) {
  add_model("incomplete", kLimited, kSingle, "");
  expect_refused(ErrorCode::kNotFound, folder_.string(), "none of the config's models");
}

TEST_F(Released, FilesInEachOthersPlaceAreRefused) {
  add_model("swapped", kSingle, kLimited, kOther);
  expect_refused(ErrorCode::kBadCheckpoint, "limited_score_predictors", "expected a dict");
  add_model("other", kLimited, kLimited, kOther);
  config_.models.erase(config_.models.begin());
  config_.checkpoint_dirs.erase(config_.checkpoint_dirs.begin());
  expect_refused(ErrorCode::kBadCheckpoint, "unlimited_score_predictor", "a dict of regressors");
}

TEST_F(Released, AnotherDimensionThanTheConfigsIsRefused) {
  add_model("model", kLimited, kSingle, kOther);
  config_.embedding_dim = 6;
  expect_refused(ErrorCode::kBadCheckpoint, "limited_score_predictors",
                 "\"20_score\": it has 5 coefficients; the config's embedding_dim is 6");
}

TEST_F(Released, KeysThatNameNoBudgetAreRefused) {
  add_model("model", kLimited, kSingle, kOther);
  const fs::path file = folder_ / "checkpoints" / "model_dir" / kReleasedFiles[0];
  std::ifstream stream(file, std::ios::binary);
  const std::string original{std::istreambuf_iterator<char>(stream), {}};
  const auto write_key = [&](const std::string& key) {
    std::string bytes = original;
    bytes.replace(bytes.find("4000_score"), 10, key);
    fs::permissions(file, fs::perms::owner_all);
    std::ofstream(file, std::ios::binary) << bytes;
  };
  for (const std::string key :
       {"0000_score", "0400_score", "-400_score", "+400_score", "4e03_score", " 400_score",
        "400 _score", "4000_SCORE", "4000_quali", "____score_", "0010_score", "unlimited_",
        "\xff\xff\xff\xff_score"}) {
    write_key(key);
    expect_refused(ErrorCode::kBadCheckpoint, file.string(), "names no budget");
  }
  std::string twice = original;
  twice.replace(twice.find("20_score"), 8, "10_score");
  std::ofstream(file, std::ios::binary) << twice;
  expect_refused(ErrorCode::kBadCheckpoint, file.string(), "occurs twice");
}

TEST_F(Released, HostileFilesAreNamed) {
  add_model("model", kLimited, kSingle, kOther);
  const fs::path file = folder_ / "checkpoints" / "model_dir" / kReleasedFiles[2];
  fs::permissions(file, fs::perms::owner_all);
  std::ofstream(file, std::ios::binary) << "\x80\x04"
                                        << "cos\nsystem\n.";
  expect_refused(ErrorCode::kUnsafe, file.string(), "\"os.system\"");
  std::ofstream(file, std::ios::binary).close();
  expect_refused(ErrorCode::kBadCheckpoint, file.string(), "the file ends");
}

TEST_F(Released, AConfigThatDidNotComeFromAReleasedFolderIsRefused) {
  config_.models.push_back({.name = "model"});
  expect_refused(ErrorCode::kInvalidArgument, "", "1 models and 0 checkpoint_dirs");
}

// ---- The released checkpoint itself.

/// A head as joblib.load() of Python gives it; `sum` is taken from the first coefficient to the
/// last.
struct KnownHead {
  std::size_t row;
  double first, last, sum, intercept;
};
constexpr KnownHead kKnownHeads[] = {
    {0, 0.009906099177896976, -0.11089067161083221, -0.38892955998562684, 0.49046650528907776},
    {16, 205.71121215820312, 977.3449096679688, 1327.3110089451075, 560.0458984375},
    {79, -0.02471058815717697, 0.017190998420119286, -2.6029006006137934, 0.34486159682273865},
    {135, -2.6951816082000732, 84.33097076416016, -3414.0326188206673, 526.1439208984375},
    {184, -0.009409531950950623, -0.021480504423379898, 1.330062519205967, 0.1349901556968689},
    {185, -0.026067394763231277, -0.021774765104055405, 3.2240435287021683, 0.11404287815093994},
};
constexpr double kSumOfAllHeads = -151837.7257995537;
constexpr double kSumOfIntercepts = 22939.934688031673;

TEST(ReleasedCheckpoint, HasTheNumbersThatPythonReads) {
  const fs::path folder = fs::path(R2ROUTER_SOURCE_DIR) / ".." / "shared" / "released";
  if (!fs::exists(folder)) GTEST_SKIP() << "needs ../shared, which is not part of the project";
  std::ifstream stream(folder / "config.json");
  const std::string json{std::istreambuf_iterator<char>(stream), {}};
  std::vector<std::string> warnings;
  const Checkpoint checkpoint =
      load_released(folder.string(), parse_config(json),
                    [&](LogLevel, std::string_view text) { warnings.emplace_back(text); });
  EXPECT_THAT(warnings, ElementsAre());

  const LinearHeads& heads = linear_heads(checkpoint);
  ASSERT_EQ(checkpoint.config.models.size(), 11u);
  ASSERT_EQ(heads.names.size(), 187u);
  ASSERT_EQ(heads.dimension, 1024u);
  const std::uint32_t budgets[] = {10,  20,  30,  40,  50,   80,   100, 150,
                                   200, 300, 500, 800, 1200, 2000, 4000};
  for (std::uint32_t model = 0; model < 11; ++model) {
    for (std::size_t i = 0; i < 15; ++i) {
      EXPECT_EQ(heads.names[17 * model + i],
                (HeadName{{model, Budget(budgets[i])}, Target::kQuality}));
    }
    EXPECT_EQ(heads.names[17 * model + 15], (HeadName{{model, Budget()}, Target::kQuality}));
    EXPECT_EQ(heads.names[17 * model + 16], (HeadName{{model, Budget()}, Target::kTokens}));
  }

  const auto& weights = std::get<std::vector<float>>(heads.weights);
  ASSERT_EQ(weights.size(), 187u * 1024);
  double sum_of_heads = 0;
  double sum_of_intercepts = 0;
  std::vector<double> sums;
  for (std::size_t row = 0; row < 187; ++row) {
    double sum = 0;
    for (std::size_t i = 0; i < 1024; ++i) sum += static_cast<double>(weights[row * 1024 + i]);
    sums.push_back(sum);
    sum_of_heads += sum;
    sum_of_intercepts += heads.intercepts[row];
  }
  EXPECT_EQ(sum_of_heads, kSumOfAllHeads);
  EXPECT_EQ(sum_of_intercepts, kSumOfIntercepts);
  for (const KnownHead& known : kKnownHeads) {
    SCOPED_TRACE(known.row);
    EXPECT_EQ(static_cast<double>(weights[known.row * 1024]), known.first);
    EXPECT_EQ(static_cast<double>(weights[known.row * 1024 + 1023]), known.last);
    EXPECT_EQ(sums[known.row], known.sum);
    EXPECT_EQ(heads.intercepts[known.row], known.intercept);
  }
}

}  // namespace
}  // namespace r2router::io
