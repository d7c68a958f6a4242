#include "r2router/checkpoint.h"

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoint/native.h"
#include "checkpoint/safetensors.h"
#include "support/errors.h"
#include "support/full_disk.h"
#include "support/heads.h"
#include "support/lexical.h"
#include "support/shared_data.h"
#include "support/temporary_folder.h"

namespace r2router {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using testing::error_of;
using testing::expect_error;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::linear_heads;
using testing::put_file;
using testing::read_file;
using testing::TemporaryFolder;
using ::testing::UnorderedElementsAre;

const Budget kUnlimited = Budget::unlimited();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

/// Written by the Python package safetensors; see tests/golden/make_native_fixtures.py.
std::string fixture() { return std::string(R2ROUTER_SOURCE_DIR) + "/tests/golden/native_v1"; }

/// Two models, dimension 3, every kind of head, an encoder with IDF.
Checkpoint small() {
  Checkpoint checkpoint;
  Config& config = checkpoint.config;
  config.format_version = 1;
  config.embedding_model = "lexical";
  config.embedding_dim = 3;
  config.policy.lambda = 0.9;
  config.token_limits = {Budget(10), Budget(20), kUnlimited};
  config.models = {{.name = "a", .prices = {.output = 0.1}}, {.name = "b"}};
  config.encoder = LexicalEncoderSpec{.dimension = 3, .has_idf = true};
  config.budget_prompt = "{budget}!";
  config.training = R"({"alpha": 1.50})";
  LinearHeads& heads = linear_heads(checkpoint);
  heads.dimension = 3;
  heads.names = {{{0, Budget(20)}, Target::kQuality}, {{0, Budget(10)}, Target::kQuality},
                 {{0, Budget(10)}, Target::kTokens},  {{0, kUnlimited}, Target::kQuality},
                 {{0, kUnlimited}, Target::kTokens},  {{1, Budget(20)}, Target::kQuality}};
  std::vector<float> weights;
  for (int i = 0; i < 18; ++i) weights.push_back(1.0F / static_cast<float>(i + 1));
  heads.weights = weights;
  heads.intercepts = {0.1, -0.2, 30, 1e-300, -0.0, 1.0 / 3};
  testing::lexical(checkpoint).idf = {1, 0.5F, 1.0F / 7};
  checkpoint.spreads = {0.1, 1.0 / 3, 25, 0, 1e300, 1e-300};
  return checkpoint;
}

/// The same with topics: the third dimension becomes two, their shares.
Checkpoint with_topics() {
  Checkpoint checkpoint = small();
  checkpoint.config.format_version = 2;
  checkpoint.config.encoder =
      LexicalEncoderSpec{.dimension = 1, .has_idf = true, .topics = {"law", "history"}};
  testing::lexical(checkpoint).idf = {0.5F};
  testing::lexical(checkpoint).topics = {{1.5F, -0.1F}, {0.25F, -0.0F}};
  return checkpoint;
}

template <typename Value>
std::string raw(const std::vector<Value>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(Value)};
}

std::string raw_weights(const Checkpoint& checkpoint) {
  return std::visit([](const auto& weights) { return raw(weights); },
                    linear_heads(checkpoint).weights);
}

void expect_same(const Checkpoint& a, const Checkpoint& b) {
  EXPECT_EQ(linear_heads(a).dimension, linear_heads(b).dimension);
  EXPECT_EQ(linear_heads(a).names, linear_heads(b).names);
  EXPECT_EQ(linear_heads(a).weights.index(), linear_heads(b).weights.index());
  EXPECT_EQ(raw_weights(a), raw_weights(b));
  EXPECT_EQ(raw(linear_heads(a).intercepts), raw(linear_heads(b).intercepts));
  EXPECT_EQ(raw(testing::lexical(a).idf), raw(testing::lexical(b).idf));
  EXPECT_EQ(raw(a.spreads), raw(b.spreads));
  EXPECT_EQ(raw(testing::lexical(a).topics.weights), raw(testing::lexical(b).topics.weights));
  EXPECT_EQ(raw(testing::lexical(a).topics.intercepts), raw(testing::lexical(b).topics.intercepts));
  EXPECT_EQ(to_json(a.config), to_json(b.config));
}

TEST(LoadCheckpoint, ReadsVersion1AsItWasFirstWritten) {
  const Checkpoint checkpoint = load_checkpoint(fixture());
  const Config& config = checkpoint.config;
  EXPECT_EQ(config.format_version, 1U);
  EXPECT_EQ(testing::lexical(config).seed, UINT64_MAX);
  EXPECT_EQ(config.policy.rules, DecisionRules::kCorrected);
  EXPECT_EQ(config.budget_mode, BudgetMode::kHardCap);
  ASSERT_EQ(config.models.size(), 2U);
  EXPECT_EQ(config.models[1].name, "large / ünï");
  const LinearHeads& heads = linear_heads(checkpoint);
  EXPECT_EQ(heads.dimension, 8U);
  EXPECT_THAT(heads.names, ElementsAre(HeadName{{0, Budget(20)}, Target::kQuality},
                                       HeadName{{0, kUnlimited}, Target::kQuality},
                                       HeadName{{0, kUnlimited}, Target::kTokens},
                                       HeadName{{1, kUnlimited}, Target::kQuality},
                                       HeadName{{1, Budget(20)}, Target::kQuality},
                                       HeadName{{1, Budget(20)}, Target::kTokens},
                                       HeadName{{1, kUnlimited}, Target::kTokens}));
  const auto& weights = std::get<std::vector<float>>(heads.weights);
  ASSERT_EQ(weights.size(), 56U);
  for (int i = 0; i < 56; ++i) EXPECT_EQ(weights[i], static_cast<float>(i) / 8 - 3);
  for (int i = 0; i < 7; ++i) EXPECT_EQ(heads.intercepts[i], i / 4.0 + 0.1);
  ASSERT_EQ(testing::lexical(checkpoint).idf.size(), 8U);
  for (int i = 0; i < 8; ++i)
    EXPECT_EQ(testing::lexical(checkpoint).idf[i], 1 + static_cast<float>(i) / 16);
  EXPECT_TRUE(checkpoint.spreads.empty());
}

TEST(LoadCheckpoint, SaysWhatAFolderMustHold) {
  const TemporaryFolder folder;
  const std::string holds = "expected a checkpoint folder, which holds config.json and either";
  const auto expect = [&](const std::string& path, const std::string& part) {
    expect_error(ErrorCode::kNotFound, path + ": " + part, [&] { load_checkpoint(path); });
    expect_error(ErrorCode::kNotFound, holds, [&] { load_checkpoint(path); });
  };
  expect(folder / "missing", "found nothing here");
  put_file(folder / "file", "");
  expect(folder / "file", "found a file");
  expect(folder.path(), "found a folder without config.json");
  fs::copy(fixture() + "/config.json", folder / "config.json");
  expect(folder.path(), "found a native config.json without model.safetensors");
}

TEST(LoadCheckpoint, NamesTheConfigsFile) {
  const TemporaryFolder folder;
  fs::copy(fixture() + "/model.safetensors", folder / "model.safetensors");
  put_file(folder / "config.json", "{\"\xFF\"}");
  expect_error(ErrorCode::kBadConfig,
               (folder / "config.json") + " at byte 2: ", [&] { load_checkpoint(folder.path()); });
  put_file(folder / "config.json", R"({"format_version": 6})");
  expect_error(ErrorCode::kBadConfig, (folder / "config.json") + " at /format_version: ", [&] {
    load_checkpoint(folder.path());
  });
  put_file(folder / "config.json", std::string((4 << 20) + 1, ' '));
  expect_error(ErrorCode::kBadConfig, "expected at most 4194304",
               [&] { load_checkpoint(folder.path()); });
  fs::remove(folder / "config.json");
  fs::create_directory(folder / "config.json");
  expect_error(ErrorCode::kIo, "found a folder", [&] { load_checkpoint(folder.path()); });
}

TEST(LoadCheckpoint, AConfigThatForgetsItsVersionIsToldSo) {
  const TemporaryFolder folder;
  fs::copy(fixture() + "/model.safetensors", folder / "model.safetensors");
  put_file(folder / "config.json",
           R"({"embedding_dim": 8, "models": {"m": {"input_price_per_million": 0,
               "output_price_per_million": 0, "checkpoint_dir": "m"}}})");
  expect_error(ErrorCode::kBadConfig, "at /format_version: this field is missing",
               [&] { load_checkpoint(folder.path()); });
}

TEST(SaveCheckpoint, LoadingGivesTheSameBits) {
  const TemporaryFolder folder;
  const Checkpoint floats = small();
  save_checkpoint(floats, folder / "floats");
  expect_same(load_checkpoint(folder / "floats"), floats);
  EXPECT_EQ(load_checkpoint(folder / "floats").config.training, floats.config.training);

  Checkpoint doubles = small();
  std::vector<double> weights;
  for (int i = 0; i < 18; ++i) weights.push_back(1.0 / (i + 1));
  linear_heads(doubles).weights = weights;
  doubles.config.encoder.reset();
  testing::lexical(doubles).idf.clear();
  save_checkpoint(doubles, folder / "doubles");
  expect_same(load_checkpoint(folder / "doubles"), doubles);
  EXPECT_THAT(folder.names(), UnorderedElementsAre("floats", "doubles"));
}

TEST(SaveCheckpoint, KeepsTopicsAndNeedsVersion2ForThem) {
  const TemporaryFolder folder;
  save_checkpoint(with_topics(), folder / "c");
  expect_same(load_checkpoint(folder / "c"), with_topics());
  EXPECT_EQ(load_checkpoint(folder / "c").config.format_version, 2U);
}

TEST(SaveCheckpoint, WritesTheTwoFilesOfTheNativeFormat) {
  const TemporaryFolder folder;
  Checkpoint checkpoint = small();
  checkpoint.config.format_version = 0;  // as loaded from a released folder
  checkpoint.config.checkpoint_dirs = {"a_ridge", "b_ridge"};
  save_checkpoint(checkpoint, folder / "c");
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder / "c")) {
    names.push_back(entry.path().filename().string());
  }
  EXPECT_THAT(names, UnorderedElementsAre("config.json", "model.safetensors"));
  EXPECT_EQ(load_checkpoint(folder / "c").config.format_version, 1U);
}

TEST(SaveCheckpoint, RefusesABadCheckpointBeforeWriting) {
  const TemporaryFolder folder;
  Checkpoint checkpoint = small();
  testing::lexical(checkpoint).idf[1] = kNaN;
  expect_error(ErrorCode::kBadCheckpoint, "not finite",
               [&] { save_checkpoint(checkpoint, folder / "c"); });
  checkpoint = small();
  checkpoint.config.policy.lambda = 2;
  expect_error(ErrorCode::kInvalidArgument, "lambda is 2: expected a number from 0 to 1",
               [&] { save_checkpoint(checkpoint, folder / "c"); });
  EXPECT_THAT(folder.names(), IsEmpty());
}

TEST(SaveCheckpoint, AFullDiskLeavesNothing) {
  const TemporaryFolder folder;
  const Checkpoint checkpoint = testing::random_checkpoint(2, 3, 4096, 1);
  for (const char* file : {"config.json", "model.safetensors"}) {
    const testing::FileSizeLimit limit(file == std::string("config.json") ? 100 : 100'000);
    expect_error(ErrorCode::kIo, std::string("c/") + file + ": cannot write: File too large",
                 [&] { save_checkpoint(checkpoint, folder / "c"); });
    EXPECT_THAT(folder.names(), IsEmpty());
  }
  fs::create_directory(folder / "disk");
  const auto result = testing::on_small_disk(folder / "disk", 64 << 10, [&] {
    try {
      save_checkpoint(checkpoint, folder / "disk/c");  // config.json fits, the heads do not
    } catch (const Error& error) {
      return error.code() == ErrorCode::kIo && fs::is_empty(folder / "disk") &&
             std::strstr(error.what(), "c/model.safetensors: cannot write: No space left");
    }
    return false;
  });
  if (result == testing::SmallDisk::kNotPermitted) {
    GTEST_SKIP() << "mounting a small file system is not permitted here";
  }
  EXPECT_EQ(result, testing::SmallDisk::kPassed);
}

TEST(SaveCheckpoint, NeverWritesOverAnything) {
  const TemporaryFolder folder;
  save_checkpoint(small(), folder / "c");
  const std::string before = read_file(folder / "c/model.safetensors");
  Checkpoint other = small();
  linear_heads(other).intercepts[0] = 7;
  expect_error(ErrorCode::kIo, "found a folder that is not empty",
               [&] { save_checkpoint(other, folder / "c"); });
  EXPECT_EQ(read_file(folder / "c/model.safetensors"), before);
}

TEST(CheckpointChecksum, IsThatOfTheHeads) {
  // sha256sum tests/golden/native_v1/model.safetensors
  EXPECT_EQ(checkpoint_checksum(fixture()),
            "7d4c39a146edac785bcc45cf95f8f7c6c3926bc6b55c44ec42df8f518a4570c5");
  expect_error(ErrorCode::kNotFound, "found nothing here", [] { checkpoint_checksum("missing"); });
}

TEST(CheckpointChecksum, OfAReleasedFolderCoversItsFilesInPoolOrder) {
  const std::string released = testing::shared_path("released");
  R2ROUTER_SKIP_WITHOUT(released);
  // python3 -c 'import json; [print(f"checkpoints/{m["checkpoint_dir"]}/{f}.joblib") for m in
  // json.load(open("config.json"))["models"].values() for f in ("limited_score_predictors",
  // "unlimited_score_predictor", "unlimited_token_predictor")]' | xargs cat | sha256sum
  EXPECT_EQ(checkpoint_checksum(released),
            "4d8144697fca3c2f34600dc4fcb05574771b960dfce5b1ea3f9c5f7c29cdcc5d");
}

TEST(Checkpoint, AReleasedFolderConvertsWithoutLoss) {
  const std::string released = testing::shared_path("released");
  R2ROUTER_SKIP_WITHOUT(released);
  const TemporaryFolder folder;
  const Checkpoint before = load_checkpoint(released);
  EXPECT_EQ(linear_heads(before).names.size(), 187U);
  save_checkpoint(before, folder / "native");
  const Checkpoint after = load_checkpoint(folder / "native");
  expect_same(after, before);
  EXPECT_EQ(after.config.models, before.config.models);
  EXPECT_EQ(after.config.policy.rules, DecisionRules::kReference);

  // So it was made.
  const std::string ours = std::string(R2ROUTER_SOURCE_DIR) + "/checkpoints/r2-router";
  for (const char* file : {"/config.json", "/model.safetensors"}) {
    EXPECT_EQ(read_file(ours + file), read_file(folder / "native" + file)) << file;
  }
}

TEST(CheckpointFolder, IsThatOfAnInstalledCheckpoint) {
  const std::string installed = std::string(R2ROUTER_SOURCE_DIR) + "/checkpoints/";
  EXPECT_EQ(fs::canonical(checkpoint_folder("r2-router")), fs::canonical(installed + "r2-router"));
  EXPECT_EQ(fs::canonical(checkpoint_folder("default")), fs::canonical(installed + "default"));
  EXPECT_EQ(load_checkpoint("r2-router").config.models.size(), 11U);
  EXPECT_EQ(checkpoint_checksum("r2-router"), checkpoint_checksum(installed + "r2-router"));
  EXPECT_EQ(checkpoint_json("r2-router"), checkpoint_json(checkpoint_folder("r2-router")));
}

TEST(CheckpointFolder, IsAFolderOfTheSameNameIfThereIsOne) {
  const TemporaryFolder folder;
  const fs::path before = fs::current_path();
  fs::current_path(folder.path());
  put_file("r2-router", "a file does not count, such as the program");
  EXPECT_NE(checkpoint_folder("r2-router"), "r2-router");
  fs::remove("r2-router");
  fs::copy(fixture(), "r2-router");
  EXPECT_EQ(checkpoint_folder("r2-router"), "r2-router");
  EXPECT_EQ(load_checkpoint("r2-router").config.models.size(), 2U);
  fs::current_path(before);
}

TEST(CheckpointFolder, OfAnUnknownNameIsAnErrorWithTheKnownOnes) {
  expect_error(ErrorCode::kNotFound, "name of an installed checkpoint: default, r2-router",
               [] { load_checkpoint("r2_router_"); });
  // Only names are looked up, not paths below the installed checkpoints.
  expect_error(ErrorCode::kNotFound, "found nothing here",
               [] { checkpoint_folder("default/../default"); });
}

TEST(CheckpointFolder, OfTheDefaultCheckpointIsTheVariablesPathOrName) {
  const char* set = std::getenv("R2ROUTER_CHECKPOINT");
  const std::string before = set == nullptr ? "" : set;
  ::setenv("R2ROUTER_CHECKPOINT", "r2-router", 1);
  EXPECT_EQ(checkpoint_folder(""), checkpoint_folder("r2-router"));
  ::setenv("R2ROUTER_CHECKPOINT", fixture().c_str(), 1);
  EXPECT_EQ(checkpoint_folder(""), fixture());
  EXPECT_NE(checkpoint_folder("default"), fixture());
  ::unsetenv("R2ROUTER_CHECKPOINT");
  EXPECT_EQ(checkpoint_folder(""), checkpoint_folder("default"));
  if (set != nullptr) ::setenv("R2ROUTER_CHECKPOINT", before.c_str(), 1);
}

/// The contents of a model.safetensors, for tests to corrupt.
struct Parts {
  std::map<std::string, std::string> metadata = {
      {"format", "r2router"},
      {"format_version", "1"},
      {"heads", R"([["a", "unlimited", "quality"], ["a", "unlimited", "tokens"],
                    ["b", 10, "quality"], ["b", 20, "quality"]])"}};
  std::vector<float> weights = std::vector<float>(12, 0.5F);
  std::vector<std::uint64_t> weights_shape = {4, 3};
  std::vector<float> intercepts = {1, 2, 3, 4};
  std::vector<float> idf = {1, 2, 3};
  bool has_idf = true;
  std::string extra = {};  // name of a tensor without elements

  Checkpoint decode() const {
    io::Safetensors contents{metadata, {}};
    const auto add = [&](const std::string& name, const std::vector<std::uint64_t>& shape,
                         const std::vector<float>& values) {
      contents.tensors.push_back(
          {name,
           io::TensorType::kFloat32,
           shape,
           {reinterpret_cast<const std::uint8_t*>(values.data()), values.size() * 4}});
    };
    add("weights", weights_shape, weights);
    add("intercepts", {intercepts.size()}, intercepts);
    if (has_idf) add("idf", {idf.size()}, idf);
    if (!extra.empty()) add(extra, {0}, {});
    const std::string file = io::write_safetensors(contents);
    Config config = small().config;
    testing::lexical(config).has_idf = config_has_idf;
    return io::decode_native(
        config, {reinterpret_cast<const std::uint8_t*>(file.data()), file.size()}, "m.safetensors");
  }
  bool config_has_idf = true;
};

/// The contents of the model.safetensors of with_topics(), with one tensor replaced by another.
Checkpoint decode_with_topics(const io::TensorView& other) {
  const Checkpoint checkpoint = with_topics();
  const std::string whole = io::encode_native(checkpoint);
  io::Safetensors contents = io::parse_safetensors(
      {reinterpret_cast<const std::uint8_t*>(whole.data()), whole.size()}, "");
  std::erase_if(contents.tensors, [&](const auto& tensor) { return tensor.name == other.name; });
  if (!other.shape.empty()) contents.tensors.push_back(other);
  const std::string file = io::write_safetensors(contents);
  return io::decode_native(checkpoint.config,
                           {reinterpret_cast<const std::uint8_t*>(file.data()), file.size()},
                           "m.safetensors");
}

TEST(NativeModel, ChecksTheTensorsOfTopics) {
  const std::vector<std::uint8_t> zeros(32);
  const auto expect = [&](const std::string& part, const std::string& name, io::TensorType type,
                          const std::vector<std::uint64_t>& shape, std::size_t bytes) {
    expect_error(ErrorCode::kBadCheckpoint, "m.safetensors at /" + name + part, [&] {
      decode_with_topics({name, type, shape, std::span(zeros).first(bytes)});
    });
  };
  using enum io::TensorType;
  expect(": this tensor is missing", "topic_weights", kFloat32, {}, 0);
  expect(": this tensor is missing", "topic_intercepts", kFloat32, {}, 0);
  expect("/shape: found the shape [2], expected [2,1]", "topic_weights", kFloat32, {2}, 8);
  expect("/shape: found the shape [3,1], expected [2,1]", "topic_weights", kFloat32, {3, 1}, 12);
  expect("/shape: found the shape [1], expected [2]", "topic_intercepts", kFloat32, {1}, 4);
  expect("/dtype: found \"F64\", expected \"F32\"", "topic_weights", kFloat64, {2, 1}, 16);
  expect("/dtype: found \"F64\", expected \"F32\"", "topic_intercepts", kFloat64, {2}, 16);
  Parts none;
  none.extra = "topic_weights";
  expect_error(ErrorCode::kBadCheckpoint,
               "m.safetensors at /topic_weights: found a tensor of topics' weights, expected none",
               [&] { none.decode(); });
}

void expect_bad_parts(const std::string& part, const std::function<void(Parts&)>& spoil) {
  Parts parts;
  spoil(parts);
  expect_error(ErrorCode::kBadCheckpoint, "m.safetensors at " + part, [&] { parts.decode(); });
}

TEST(NativeModel, ReadsFloat32Intercepts) {
  const Checkpoint checkpoint = Parts().decode();
  EXPECT_NO_THROW(validate(checkpoint));
  EXPECT_THAT(linear_heads(checkpoint).intercepts, ElementsAre(1, 2, 3, 4));
  EXPECT_EQ(linear_heads(checkpoint).names[3], (HeadName{{1, Budget(20)}, Target::kQuality}));
  EXPECT_THAT(testing::lexical(checkpoint).idf, ElementsAre(1, 2, 3));
}

TEST(NativeModel, ReadsSpreads) {
  const auto with_spreads = [](const std::string& json) {
    return [=](Parts& parts) { parts.metadata["spreads"] = json; };
  };
  Parts parts;
  with_spreads("[0.25, 0, 1e2, 3]")(parts);
  EXPECT_THAT(parts.decode().spreads, ElementsAre(0.25, 0, 100, 3));
  with_spreads("[0.25,")(parts);
  expect_error(ErrorCode::kBadCheckpoint, "not valid JSON", [&] { parts.decode(); });
  expect_bad_parts("/__metadata__/spreads/1: ", with_spreads("[1, -0.1, 2, 3]"));
  expect_bad_parts("/__metadata__/spreads/0: ", with_spreads("[null, 0, 0, 0]"));
}

TEST(NativeModel, ChecksTheMetadata) {
  for (const char* key : {"format", "format_version", "heads"}) {
    expect_bad_parts("/__metadata__/" + std::string(key) + ": this field is missing",
                     [&](Parts& parts) { parts.metadata.erase(key); });
  }
  expect_bad_parts("/__metadata__/format: found \"pt\", expected \"r2router\"",
                   [](Parts& parts) { parts.metadata["format"] = "pt"; });
  expect_bad_parts("/__metadata__/format_version: found \"2\", expected \"1\"",
                   [](Parts& parts) { parts.metadata["format_version"] = "2"; });
  Parts more;
  more.metadata["later"] = "field";
  EXPECT_NO_THROW(more.decode());
}

TEST(NativeModel, ChecksTheListOfHeads) {
  const auto expect = [](const std::string& part, const std::string& heads) {
    expect_bad_parts("/__metadata__/heads" + part,
                     [&](Parts& parts) { parts.metadata["heads"] = heads; });
  };
  expect(": found an object, expected an array of heads", "{}");
  expect("/0: found the string \"a\", expected [model name", R"(["a"])");
  expect("/0: found an array of 2", R"([["a", 10]])");
  expect("/0/0: found the number 1, expected a model's name", R"([[1, 10, "quality"]])");
  expect("/0/0: found the string \"c\", expected the name of a model in config.json",
         R"([["c", 10, "quality"]])");
  expect("/0/1: found the number 0", R"([["a", 0, "quality"]])");
  expect("/0/1: found the string \"no\"", R"([["a", "no", "quality"]])");
  expect("/0/2: found the string \"cost\", expected \"quality\" or \"tokens\"",
         R"([["a", 10, "cost"]])");
  expect_error(ErrorCode::kBadCheckpoint, "not valid JSON", [] {
    Parts parts;
    parts.metadata["heads"] = "[";
    parts.decode();
  });
}

TEST(NativeModel, ChecksTheTensors) {
  expect_bad_parts("/weights/shape: found the shape [3,4], expected [4,3]", [](Parts& parts) {
    parts.weights_shape = {3, 4};
  });
  expect_bad_parts("/weights/shape: found the shape [12], expected [4,3]",
                   [](Parts& parts) { parts.weights_shape = {12}; });
  expect_bad_parts("/intercepts/shape: found the shape [3], expected [4]",
                   [](Parts& parts) { parts.intercepts.pop_back(); });
  expect_bad_parts("/idf/shape: found the shape [2], expected [3]",
                   [](Parts& parts) { parts.idf.pop_back(); });
  expect_bad_parts("/idf: this tensor is missing", [](Parts& parts) { parts.has_idf = false; });
  expect_bad_parts("/idf: found a tensor of IDF weights, expected none",
                   [](Parts& parts) { parts.config_has_idf = false; });
  expect_bad_parts("/extra: this tensor is unknown", [](Parts& parts) { parts.extra = "extra"; });
  expect_bad_parts("/__metadata__/heads/4/2: ", [](Parts& parts) {
    std::string& heads = parts.metadata["heads"];
    heads.insert(heads.rfind(']'), R"(, ["b", "unlimited", null])");
  });
  expect_bad_parts("/weights/shape: found the shape [4,3], expected [5,3]", [](Parts& parts) {
    std::string& heads = parts.metadata["heads"];
    heads.insert(heads.rfind(']'), R"(, ["b", "unlimited", "quality"])");
  });
}

void expect_invalid(const std::string& part, const std::function<void(Checkpoint&)>& spoil) {
  Checkpoint checkpoint = small();
  spoil(checkpoint);
  expect_error(ErrorCode::kBadCheckpoint, "some file: " + part,
               [&] { validate(checkpoint, "some file"); });
}

TEST(Validate, AcceptsAWholeCheckpoint) { EXPECT_NO_THROW(validate(small())); }

TEST(Validate, ChecksSizes) {
  expect_invalid("found no heads", [](Checkpoint& c) { linear_heads(c) = {}; });
  expect_invalid("the heads' dimension is 3, expected 4, the config's embedding_dim",
                 [](Checkpoint& c) { c.config.embedding_dim = 4; });
  expect_invalid("the number of weights is 17, expected 18",
                 [](Checkpoint& c) { std::get<0>(linear_heads(c).weights).pop_back(); });
  expect_invalid("the number of intercepts is 7, expected 6",
                 [](Checkpoint& c) { linear_heads(c).intercepts.push_back(0); });
  expect_invalid("the number of spreads is 5, expected 6",
                 [](Checkpoint& c) { c.spreads.pop_back(); });
  expect_invalid("the number of IDF weights is 2, expected 3",
                 [](Checkpoint& c) { testing::lexical(c).idf.pop_back(); });
  expect_invalid("the number of IDF weights is 3, expected 0",
                 [](Checkpoint& c) { testing::lexical(c.config).has_idf = false; });
  expect_invalid("the number of IDF weights is 3, expected 0",
                 [](Checkpoint& c) { c.config.encoder.reset(); });
  expect_invalid("the encoder's dimension is 5, expected 3",
                 [](Checkpoint& c) { testing::lexical(c.config).dimension = 5; });
}

TEST(Validate, ChecksTopics) {
  EXPECT_NO_THROW(validate(with_topics()));
  const auto expect = [](const std::string& part, auto spoil) {
    Checkpoint checkpoint = with_topics();
    spoil(checkpoint);
    expect_error(ErrorCode::kBadCheckpoint, part, [&] { validate(checkpoint, "some file"); });
  };
  expect("the encoder's dimension is 4, expected 3",
         [](Checkpoint& c) { testing::lexical(c.config).dimension = 2; });
  expect("the number of topics' weights is 1, expected 2",
         [](Checkpoint& c) { testing::lexical(c).topics.weights.pop_back(); });
  expect("the number of topics' intercepts is 3, expected 2",
         [](Checkpoint& c) { testing::lexical(c).topics.intercepts.push_back(0); });
  expect("the number of IDF weights is 3, expected 1",
         [](Checkpoint& c) { testing::lexical(c).idf.resize(3); });
  expect("the topics' weights have one that is not finite",
         [](Checkpoint& c) { testing::lexical(c).topics.weights[1] = kNaN; });
  expect("the topics' intercepts have one that is not finite",
         [](Checkpoint& c) { testing::lexical(c).topics.intercepts[0] = kNaN; });
}

TEST(Validate, ChecksThatEachPairHasItsHeads) {
  const auto rename = [](std::size_t head, HeadName name) {
    return [=](Checkpoint& c) { linear_heads(c).names[head] = name; };
  };
  expect_invalid(R"(the head ["a", 20, "quality"] occurs twice)",
                 rename(1, {{0, Budget(20)}, Target::kQuality}));
  expect_invalid(R"(the head ["a", "unlimited", "tokens"] is missing)",
                 rename(4, {{0, Budget(20)}, Target::kTokens}));
  expect_invalid(R"(the head ["a", 10, "quality"] is missing)",
                 rename(1, {{0, Budget(20)}, Target::kTokens}));
  expect_invalid("found a head of model number 2, expected less than 2",
                 rename(5, {{2, Budget(20)}, Target::kQuality}));
  expect_invalid(R"(the head ["a", "unlimited", "quality"] is after a head of "b")",
                 rename(2, {{1, Budget(10)}, Target::kQuality}));
  expect_invalid(R"(found the head ["b", 30, "quality"], expected a budget among /token_limits)",
                 rename(5, {{1, Budget(30)}, Target::kQuality}));
  expect_invalid(R"(the config's model "c" has no heads)",
                 [](Checkpoint& c) { c.config.models.push_back({.name = "c"}); });
  // A config that lists no budgets leaves them to the heads.
  Checkpoint unlisted = small();
  unlisted.config.token_limits.clear();
  EXPECT_NO_THROW(validate(unlisted));
}

TEST(Validate, ChecksThatNumbersAreFinite) {
  const double infinity = std::numeric_limits<double>::infinity();
  for (const std::size_t at : {0, 8, 17}) {
    for (const float bad : {kNaN, static_cast<float>(infinity), static_cast<float>(-infinity)}) {
      const char* heads[] = {R"(["a", 20, "quality"])", R"(["a", 10, "tokens"])",
                             R"(["b", 20, "quality"])"};
      expect_invalid(std::string("the head ") + heads[at / 8] + " has a weight or intercept",
                     [=](Checkpoint& c) { std::get<0>(linear_heads(c).weights)[at] = bad; });
    }
  }
  expect_invalid(R"(the head ["a", "unlimited", "tokens"] has a weight or intercept)",
                 [=](Checkpoint& c) { linear_heads(c).intercepts[4] = infinity; });
  expect_invalid(R"(the head ["b", 20, "quality"] has a weight or intercept)", [=](Checkpoint& c) {
    linear_heads(c).weights = std::vector<double>(18, 1e308);
    std::get<1>(linear_heads(c).weights)[16] = -infinity;
  });
  for (const float bad : {kNaN, static_cast<float>(infinity), -0.5F}) {
    expect_invalid("the IDF weights have one that is negative or not finite",
                   [=](Checkpoint& c) { testing::lexical(c).idf[2] = bad; });
  }
  for (const double bad : {std::nan(""), infinity, -0.5}) {
    expect_invalid("the spreads have one that is negative or not finite",
                   [=](Checkpoint& c) { c.spreads[5] = bad; });
  }
  Checkpoint extreme = small();
  std::get<0>(linear_heads(extreme).weights).assign(18, std::numeric_limits<float>::max());
  std::get<0>(linear_heads(extreme).weights)[1] = std::numeric_limits<float>::denorm_min();
  EXPECT_NO_THROW(validate(extreme));
}

}  // namespace
}  // namespace r2router
