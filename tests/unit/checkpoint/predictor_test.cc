// Checkpoints of nearest neighbours and of perceptrons; linear ones are in checkpoint_test.cc.
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "r2router/checkpoint.h"

#include "checkpoint/native.h"
#include "checkpoint/safetensors.h"
#include "support/errors.h"
#include "support/lexical.h"
#include "support/temporary_folder.h"

namespace r2router {
namespace {

using testing::expect_error;
using testing::TemporaryFolder;
using Weighting = NearestNeighbours::Weighting;

std::string fixture(const std::string& kind) {
  return std::string(R2ROUTER_SOURCE_DIR) + "/tests/golden/native_v2_" + kind;
}

Predictions predict(const Checkpoint& checkpoint) {
  const double x[] = {0.5, -0.25, 0.125, 1, -0.75, 0.375, 0.25, -0.5};
  Predictions predictions;
  make_scorer(checkpoint.predictor)->predict(std::span<const double>(x), predictions);
  return predictions;
}

/// Predictions of the fixtures' heads by NumPy: pairs in order, each quality then length; the
/// budget where it has no length head.
void expect_predictions(const Predictions& found, const std::vector<double>& expected) {
  ASSERT_EQ(2 * found.quality.size(), expected.size());
  for (std::size_t p = 0; p < found.quality.size(); ++p) {
    EXPECT_NEAR(found.quality[p], expected[2 * p], 1e-12);
    EXPECT_NEAR(found.tokens[p], expected[2 * p + 1], 1e-12);
  }
}

TEST(NativePredictor, ReadsNearestNeighboursOfVersion2) {
  const Checkpoint checkpoint = load_checkpoint(fixture("knn"));
  EXPECT_EQ(checkpoint.config.format_version, 2U);
  const auto& data = std::get<NearestNeighbours>(checkpoint.predictor);
  EXPECT_EQ(data.neighbours, 3U);
  EXPECT_EQ(data.weighting, Weighting::kSimilarity);
  EXPECT_EQ(data.embeddings.size(), 40U);
  EXPECT_EQ(testing::lexical(checkpoint).idf.size(), 8U);
  expect_predictions(
      predict(checkpoint),
      {-0.27507294721888426, 20, 0.16242705278111574, 0.5999270527811157, 0.17520668378683868,
       0.050206683786838686, 0.037427052781115744, 0.47492705278111574});
}

TEST(NativePredictor, ReadsAPerceptronOfVersion2) {
  const Checkpoint checkpoint = load_checkpoint(fixture("mlp"));
  const auto& data = std::get<MultilayerPerceptron>(checkpoint.predictor);
  ASSERT_EQ(data.layers.size(), 2U);
  EXPECT_EQ(data.layers[0].weights.size(), 32U);
  EXPECT_EQ(data.scales[6], 10.5);
  expect_predictions(predict(checkpoint),
                     {0.8946497193969382, 20, 2.258766140624232, 1.7248274196320315,
                      4.400138259828885, 9.529362199810652, 5.572361764002708, 6.203750551069014});
}

TEST(NativePredictor, SavingAndLoadingGivesTheSameBits) {
  const TemporaryFolder folder;
  for (const std::string kind : {"knn", "mlp"}) {
    Checkpoint before = load_checkpoint(fixture(kind));
    testing::lexical(before.config).dimension = 6;
    testing::lexical(before.config).topics = {"law", "history"};
    testing::lexical(before).idf.resize(6);
    testing::lexical(before).topics = {{1, 2, 3, 4, 5, 6, -1, -2, -3, -4, -5, -6}, {0.5F, -0.25F}};
    before.spreads.assign(head_names(before.predictor).size(), 1.0 / 3);
    before.config.length_points = 3;
    before.length_curves = {{.predicted = {1, 2.5, 1e6}, .observed = {0, 1.0 / 3, 1e100}},
                            {.predicted = {-1, 0, 1e-300}, .observed = {7, 7, 7}},
                            {.predicted = {4, 5, 6}, .observed = {8, 9, 10}}};
    save_checkpoint(before, folder / kind);
    const Checkpoint after = load_checkpoint(folder / kind);
    EXPECT_EQ(to_json(after.config), to_json(before.config));
    EXPECT_EQ(head_names(after.predictor), head_names(before.predictor));
    EXPECT_EQ(testing::lexical(after).idf, testing::lexical(before).idf);
    EXPECT_EQ(testing::lexical(after).topics, testing::lexical(before).topics);
    EXPECT_EQ(after.spreads, before.spreads);
    ASSERT_EQ(after.length_curves.size(), 3U);
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(after.length_curves[i].predicted, before.length_curves[i].predicted);
      EXPECT_EQ(after.length_curves[i].observed, before.length_curves[i].observed);
    }
    if (kind == "knn") {
      const auto& a = std::get<NearestNeighbours>(after.predictor);
      const auto& b = std::get<NearestNeighbours>(before.predictor);
      EXPECT_EQ(a.embeddings, b.embeddings);
      EXPECT_EQ(a.targets, b.targets);
      EXPECT_EQ(a.neighbours, b.neighbours);
      EXPECT_EQ(a.weighting, b.weighting);
    } else {
      const auto& a = std::get<MultilayerPerceptron>(after.predictor);
      const auto& b = std::get<MultilayerPerceptron>(before.predictor);
      ASSERT_EQ(a.layers.size(), b.layers.size());
      for (std::size_t i = 0; i < a.layers.size(); ++i) {
        EXPECT_EQ(a.layers[i].weights, b.layers[i].weights);
        EXPECT_EQ(a.layers[i].biases, b.layers[i].biases);
      }
      EXPECT_EQ(a.scales, b.scales);
    }
  }
}

/// Tensors of zeros and metadata, for tests to spoil.
struct Parts {
  PredictorKind kind;
  std::map<std::string, std::string> metadata = {
      {"format", "r2router"},
      {"format_version", "2"},
      {"heads", R"([["a", "unlimited", "quality"], ["a", "unlimited", "tokens"]])"}};
  std::map<std::string, std::vector<std::uint64_t>> shapes;
  std::string wide = {};  ///< the tensor that is float64
  std::uint32_t length_points = 0;

  static Parts knn() {
    Parts parts{.kind = PredictorKind::kKnn,
                .shapes = {{"embeddings", {4, 3}}, {"targets", {4, 2}}}};
    parts.metadata["neighbours"] = "2";
    parts.metadata["weighting"] = "uniform";
    return parts;
  }
  static Parts mlp() {
    return {.kind = PredictorKind::kMlp,
            .shapes = {{"layers.0.weight", {5, 3}},
                       {"layers.0.bias", {5}},
                       {"layers.1.weight", {2, 5}},
                       {"layers.1.bias", {2}},
                       {"scales", {2}}}};
  }

  Checkpoint decode() const {
    io::Safetensors contents{metadata, {}};
    const std::vector<std::uint8_t> zeros(1024);
    for (const auto& [name, shape] : shapes) {
      const auto type = name == wide ? io::TensorType::kFloat64 : io::TensorType::kFloat32;
      std::size_t size = io::size_of(type);
      for (const std::uint64_t extent : shape) size *= extent;
      contents.tensors.push_back({name, type, shape, std::span(zeros).first(size)});
    }
    const std::string file = io::write_safetensors(contents);
    Config config;
    config.format_version = 2;
    config.predictor = kind;
    config.embedding_dim = 3;
    config.length_points = length_points;
    config.models = {{.name = "a"}};
    return io::decode_native(
        config, {reinterpret_cast<const std::uint8_t*>(file.data()), file.size()}, "m.safetensors");
  }
};

void expect_bad_parts(Parts parts, const std::string& part,
                      const std::function<void(Parts&)>& spoil) {
  spoil(parts);
  expect_error(ErrorCode::kBadCheckpoint, "m.safetensors at " + part, [&] { parts.decode(); });
}

TEST(NativePredictor, ChecksNearestNeighbours) {
  EXPECT_NO_THROW(validate(Parts::knn().decode()));
  const auto expect = [](const std::string& part, const std::function<void(Parts&)>& spoil) {
    expect_bad_parts(Parts::knn(), part, spoil);
  };
  expect("/embeddings: this tensor is missing", [](Parts& p) { p.shapes.erase("embeddings"); });
  expect("/targets: this tensor is missing", [](Parts& p) { p.shapes.erase("targets"); });
  expect("/embeddings/shape: found the shape [4,2], expected [any number,3]", [](Parts& p) {
    p.shapes["embeddings"] = {4, 2};
  });
  expect("/embeddings/shape: found the shape [12]",
         [](Parts& p) { p.shapes["embeddings"] = {12}; });
  expect("/targets/shape: found the shape [5,2], expected [4,2]", [](Parts& p) {
    p.shapes["targets"] = {5, 2};
  });
  expect("/targets/dtype: found \"F64\"", [](Parts& p) { p.wide = "targets"; });
  expect("/weights: this tensor is unknown, expected \"embeddings\", \"targets\", \"idf\"",
         [](Parts& p) { p.shapes["weights"] = {1}; });
  expect("/__metadata__/neighbours: this field is missing",
         [](Parts& p) { p.metadata.erase("neighbours"); });
  for (const char* count : {"", "-1", "2.5", "2 ", "99999999999"}) {
    expect("/__metadata__/neighbours: found", [&](Parts& p) { p.metadata["neighbours"] = count; });
  }
  expect("/__metadata__/weighting: found \"distance\", expected \"uniform\" or \"similarity\"",
         [](Parts& p) { p.metadata["weighting"] = "distance"; });
  expect("/__metadata__/format_version: found \"1\"",
         [](Parts& p) { p.metadata["format_version"] = "1"; });
  Parts many = Parts::knn();
  many.metadata["neighbours"] = "5";
  expect_error(ErrorCode::kBadCheckpoint, "found 5 neighbours, expected 1 to 4",
               [&] { validate(many.decode()); });
}

TEST(NativePredictor, ChecksAPerceptron) {
  Checkpoint whole = Parts::mlp().decode();
  expect_error(ErrorCode::kBadCheckpoint, "scales", [&] { validate(whole); });  // of 0
  std::get<MultilayerPerceptron>(whole.predictor).scales = {1, 300};
  EXPECT_NO_THROW(validate(whole));
  const auto expect = [](const std::string& part, const std::function<void(Parts&)>& spoil) {
    expect_bad_parts(Parts::mlp(), part, spoil);
  };
  expect("/layers.0.weight: this tensor is missing", [](Parts& p) {
    p.shapes = {{"scales", {2}}};
  });
  expect("/layers.1.bias: this tensor is missing",
         [](Parts& p) { p.shapes.erase("layers.1.bias"); });
  expect("/scales: this tensor is missing", [](Parts& p) { p.shapes.erase("scales"); });
  expect("/layers.0.weight/shape: found the shape [5,4], expected [any number,3]", [](Parts& p) {
    p.shapes["layers.0.weight"] = {5, 4};
  });
  expect("/layers.1.weight/shape: found the shape [3,5], expected [2,5]", [](Parts& p) {
    p.shapes["layers.1.weight"] = {3, 5};
  });
  expect("/layers.1.weight/shape: found the shape [2,4], expected [2,5]", [](Parts& p) {
    p.shapes["layers.1.weight"] = {2, 4};
  });
  expect("/layers.0.bias/shape: found the shape [4], expected [5]",
         [](Parts& p) { p.shapes["layers.0.bias"] = {4}; });
  expect("/layers.3.weight: this tensor is unknown", [](Parts& p) {
    p.shapes["layers.3.weight"] = {2, 2};
  });
  expect("/layers.1.weight/dtype: found \"F64\"", [](Parts& p) { p.wide = "layers.1.weight"; });
  expect("/scales/shape: found the shape [3]", [](Parts& p) { p.shapes["scales"] = {3}; });
}

TEST(NativePredictor, ChecksLengthCurves) {
  const auto spoil = [](std::uint32_t points, const std::vector<std::uint64_t>& shape) {
    return [=](Parts& parts) {
      parts.length_points = points;
      if (!shape.empty()) parts.shapes["length_curves"] = shape;
    };
  };
  expect_bad_parts(Parts::mlp(), "/length_curves: found a tensor of length curves, expected none",
                   spoil(0, {1, 2, 3}));
  expect_bad_parts(Parts::mlp(), "/length_curves: this tensor is missing", spoil(3, {}));
  expect_bad_parts(Parts::mlp(), "/length_curves/shape: found the shape [1,2,4], expected [1,2,3]",
                   spoil(3, {1, 2, 4}));
  Parts parts = Parts::knn();
  spoil(3, {1, 2, 3})(parts);
  Checkpoint checkpoint = parts.decode();
  expect_error(ErrorCode::kBadCheckpoint, "a length curve descends",
               [&] { validate(checkpoint); });  // it is all zeros
  checkpoint.length_curves = {{.predicted = {1, 2, 3}, .observed = {0, 0, 0}}};
  EXPECT_NO_THROW(validate(checkpoint));
  checkpoint.length_curves.push_back(checkpoint.length_curves[0]);
  expect_error(ErrorCode::kBadCheckpoint, "the number of length curves is 2, expected 1",
               [&] { validate(checkpoint); });
  checkpoint.length_curves = {{.predicted = {1, 2}, .observed = {0, 0}}};
  expect_error(ErrorCode::kBadCheckpoint, "the number of a length curve's points is 2, expected 3",
               [&] { validate(checkpoint); });
  checkpoint.config.length_points = 0;
  expect_error(ErrorCode::kBadCheckpoint, "since the config has no length_points",
               [&] { validate(checkpoint); });
}

TEST(NativePredictor, WritesLengthCurvesOfNoLengthHeads) {
  const TemporaryFolder folder;
  Checkpoint checkpoint = Parts::knn().decode();
  auto& data = std::get<NearestNeighbours>(checkpoint.predictor);
  data.names = {{{0, Budget(10)}, Target::kQuality}, {{0, Budget(20)}, Target::kQuality}};
  checkpoint.config.length_points = 2;
  save_checkpoint(checkpoint, folder / "none");
  EXPECT_TRUE(load_checkpoint(folder / "none").length_curves.empty());
}

TEST(NativePredictor, LimitsTheNumberOfLayers) {
  Parts parts = Parts::mlp();
  parts.shapes = {{"scales", {2}}};
  for (int i = 0; i < 65; ++i) {
    const std::string name = "layers." + std::to_string(i);
    const std::uint64_t outputs = i == 64 ? 2 : 3;
    parts.shapes[name + ".weight"] = {outputs, 3};
    parts.shapes[name + ".bias"] = {outputs};
  }
  expect_error(ErrorCode::kBadCheckpoint, "/layers.64.", [&] { parts.decode(); });
  MultilayerPerceptron deep{
      .dimension = 1,
      .names = {{{0, Budget()}, Target::kQuality}, {{0, Budget()}, Target::kTokens}}};
  deep.layers.assign(65, {.weights = {1}, .biases = {0}});
  deep.layers.back() = {.weights = {1, 1}, .biases = {0, 0}};
  deep.scales = {1, 1};
  expect_error(ErrorCode::kBadCheckpoint, "found 65 layers", [&] { make_mlp_scorer(deep); });
}

TEST(NativePredictor, ConfigAndDataMustAgree) {
  Checkpoint checkpoint = load_checkpoint(fixture("mlp"));
  checkpoint.config.predictor = PredictorKind::kRidge;
  expect_error(ErrorCode::kBadCheckpoint, "the config's predictor is \"ridge\"",
               [&] { validate(checkpoint); });
  checkpoint = load_checkpoint(fixture("knn"));
  std::get<NearestNeighbours>(checkpoint.predictor).targets[3] =
      std::numeric_limits<float>::quiet_NaN();
  expect_error(ErrorCode::kBadCheckpoint, "some file: a target is not finite",
               [&] { validate(checkpoint, "some file"); });
}

}  // namespace
}  // namespace r2router
