// Fuzzes model.safetensors: the container, then the native checkpoint in it. What is accepted
// survives being written and read again.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "r2router/checkpoint.h"

#include "base/unicode.h"
#include "checkpoint/native.h"
#include "checkpoint/safetensors.h"
#include "support/lexical.h"

namespace {

using namespace r2router;

void require(bool condition) {
  if (!condition) std::abort();
}

std::span<const std::uint8_t> bytes_of(const std::string& text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

bool same_data(std::span<const std::uint8_t> a, std::span<const std::uint8_t> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

/// The config that the seeds of a kind of predictor belong to.
Config config(PredictorKind kind, bool has_topics) {
  Config config;
  config.format_version = has_topics || kind != PredictorKind::kRidge ? 2 : 1;
  config.predictor = kind;
  config.embedding_dim = 4;
  config.models = {{.name = "a"}, {.name = "b"}};
  config.encoder = LexicalEncoderSpec{.dimension = 4, .has_idf = true};
  if (has_topics) {
    r2router::testing::lexical(config).dimension = 2;
    r2router::testing::lexical(config).topics = {"law", "history"};
    config.length_points = 2;
  }
  return config;
}

/// The numbers that a predictor consists of.
std::vector<std::vector<double>> numbers_of(const LinearHeads& heads) {
  const auto widen = [](const auto& weights) {
    return std::vector<double>(weights.begin(), weights.end());
  };
  return {std::visit(widen, heads.weights),
          heads.intercepts,
          {static_cast<double>(heads.weights.index())}};
}
std::vector<std::vector<double>> numbers_of(const NearestNeighbours& data) {
  return {{data.embeddings.begin(), data.embeddings.end()},
          {data.targets.begin(), data.targets.end()},
          {static_cast<double>(data.neighbours), static_cast<double>(data.weighting)}};
}
std::vector<std::vector<double>> numbers_of(const MultilayerPerceptron& data) {
  std::vector<std::vector<double>> numbers = {data.scales};
  for (const auto& [weights, biases] : data.layers) {
    numbers.emplace_back(weights.begin(), weights.end());
    numbers.emplace_back(biases.begin(), biases.end());
  }
  return numbers;
}

/// Whatever `read` gives; false if it throws the one Error that it may.
template <typename Result, typename Read>
bool accepts(Result& result, Read&& read) {
  try {
    result = read();
    return true;
  } catch (const Error& error) {
    require(error.code() == ErrorCode::kBadCheckpoint);
    require(is_utf8(error.what()));
    return false;
  }
}

/// What is accepted also predicts finite numbers.
void fuzz_predictor(std::span<const std::uint8_t> bytes, PredictorKind kind, bool has_topics) {
  Checkpoint checkpoint;
  if (!accepts(checkpoint, [&] {
        Checkpoint decoded = io::decode_native(config(kind, has_topics), bytes, "fuzz");
        validate(decoded, "fuzz");
        return decoded;
      })) {
    return;
  }
  const std::string encoded = io::encode_native(checkpoint);
  const Checkpoint decoded = io::decode_native(config(kind, has_topics), bytes_of(encoded), "fuzz");
  validate(decoded);
  require(head_names(decoded.predictor) == head_names(checkpoint.predictor));
  require(r2router::testing::lexical(decoded).idf == r2router::testing::lexical(checkpoint).idf);
  require(r2router::testing::lexical(decoded).topics ==
          r2router::testing::lexical(checkpoint).topics);
  require(decoded.spreads == checkpoint.spreads);
  require(decoded.length_curves.size() == checkpoint.length_curves.size());
  for (std::size_t i = 0; i < decoded.length_curves.size(); ++i) {
    require(decoded.length_curves[i].predicted == checkpoint.length_curves[i].predicted);
    require(decoded.length_curves[i].observed == checkpoint.length_curves[i].observed);
  }
  const auto numbers = [](const auto& data) { return numbers_of(data); };
  require(std::visit(numbers, decoded.predictor) == std::visit(numbers, checkpoint.predictor));
  if (kind == PredictorKind::kRidge) return;  // whose products may overflow
  const float embedding[] = {0.5F, -0.5F, 0.5F, -0.5F};
  Predictions predictions;
  make_scorer(checkpoint.predictor, checkpoint.length_curves)
      ->predict(std::span<const float>(embedding), predictions);
  for (std::size_t i = 0; i < predictions.quality.size(); ++i) {
    require(std::isfinite(predictions.quality[i]) && std::isfinite(predictions.tokens[i]));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::uint8_t> bytes(data, size);
  io::Safetensors contents;
  if (!accepts(contents, [&] { return io::parse_safetensors(bytes, "fuzz"); })) return 0;
  const std::string file = io::write_safetensors(contents);
  const io::Safetensors again = io::parse_safetensors(bytes_of(file), "fuzz");
  require(again.metadata == contents.metadata && again.tensors.size() == contents.tensors.size());
  std::size_t data_bytes = 0;
  for (std::size_t i = 0; i < again.tensors.size(); ++i) {
    data_bytes += again.tensors[i].data.size();
    require(again.tensors[i].shape == contents.tensors[i].shape);
    require(same_data(again.tensors[i].data, contents.tensors[i].data));
  }
  require(data_bytes < size);

  for (const PredictorKind kind :
       {PredictorKind::kRidge, PredictorKind::kKnn, PredictorKind::kMlp}) {
    for (const bool has_topics : {false, true}) fuzz_predictor(bytes, kind, has_topics);
  }
  return 0;
}
