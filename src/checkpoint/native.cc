#include "checkpoint/native.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <map>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include "base/excerpt.h"
#include "base/json.h"
#include "checkpoint/format_version.h"
#include "checkpoint/safetensors.h"
#include "encode/encoder_kind.h"
#include "score/check_predictor.h"

namespace r2router::io {
namespace {

constexpr const char* kFormat = "r2router";
constexpr const char* kLengthCurves = "length_curves";

// Names in the header's metadata.
constexpr const char* kSpreads = "spreads";
constexpr const char* kNeighbours = "neighbours";
constexpr const char* kWeighting = "weighting";
constexpr std::pair<std::string_view, NearestNeighbours::Weighting> kWeightings[] = {
    {"uniform", NearestNeighbours::Weighting::kUniform},
    {"similarity", NearestNeighbours::Weighting::kSimilarity}};

/// Throws an error about a member of the header.
[[noreturn]] void fail(const std::string& message, const std::string& file,
                       const std::string& pointer) {
  throw Error(ErrorCode::kBadCheckpoint, message, {.file = file, .pointer = pointer});
}

const std::string& metadata_of(const Safetensors& contents, const std::string& key,
                               const std::string& file) {
  const auto found = contents.metadata.find(key);
  if (found == contents.metadata.end()) {
    fail("this field is missing; write the checkpoint again, or see checkpoints/FORMAT.md", file,
         "/__metadata__/" + key);
  }
  return found->second;
}

void expect_metadata(const Safetensors& contents, const std::string& key,
                     const std::string& expected, const std::string& file) {
  const std::string& found = metadata_of(contents, key, file);
  if (found != expected) {
    fail("found " + excerpt(found) + ", expected " + excerpt(expected) +
             " as in config.json; the two files belong to different checkpoints or formats, fetch "
             "both again",
         file, "/__metadata__/" + key);
  }
}

std::vector<HeadName> read_head_names(const std::string& text, const Pool& pool,
                                      const std::string& file) {
  // A map, so that a long list of heads over a large pool is not searched in quadratic time.
  std::map<std::string_view, std::uint32_t> index_of;
  for (const ModelSpec& model : pool) {
    index_of.emplace(model.name, static_cast<std::uint32_t>(index_of.size()));
  }
  const JsonDocument document(text, file, ErrorCode::kBadCheckpoint, "/__metadata__/heads");
  std::vector<HeadName> names;
  for (const JsonView& head : document.root().elements("an array of heads")) {
    constexpr std::string_view kHead = "[model name, budget, \"quality\" or \"tokens\"]";
    const auto parts = head.elements(kHead);
    if (parts.size() != 3) head.fail(kHead);
    const auto model = index_of.find(parts[0].string("a model's name"));
    if (model == index_of.end()) {
      parts[0].fail("the name of a model in config.json");
    }
    const std::string& target = parts[2].string(R"("quality" or "tokens")");
    if (target != "quality" && target != "tokens") parts[2].fail(R"("quality" or "tokens")");
    names.push_back({{model->second, parts[1].budget()},
                     target == "quality" ? Target::kQuality : Target::kTokens});
  }
  return names;
}

/// Metadata rather than a tensor: older readers may ignore them, since they do not affect
/// predictions.
std::vector<double> read_spreads(const std::string& text, const std::string& file) {
  const JsonDocument document(text, file, ErrorCode::kBadCheckpoint, "/__metadata__/spreads");
  std::vector<double> spreads;
  for (const JsonView& spread : document.root().elements("an array of numbers")) {
    spreads.push_back(
        spread.number(0, std::numeric_limits<double>::max(), "a finite number, 0 or more"));
  }
  return spreads;
}

Json head_to_json(const HeadName& name, const Pool& pool) {
  return {pool[name.pair.model].name, budget_to_json(name.pair.budget),
          name.target == Target::kQuality ? "quality" : "tokens"};
}

std::string shape_text(const std::vector<std::uint64_t>& shape) { return Json(shape).dump(); }

const TensorView* find_tensor(const Safetensors& contents, const std::string& name) {
  const auto found = std::ranges::find(contents.tensors, name, &TensorView::name);
  return found == contents.tensors.end() ? nullptr : &*found;
}

/// The dimension that a shape leaves open.
constexpr std::uint64_t kAnyExtent = UINT64_MAX;

/// The tensor of this name, which must exist and have this shape.
const TensorView& find_tensor(const Safetensors& contents, const std::string& name,
                              const std::vector<std::uint64_t>& shape, const std::string& file) {
  const TensorView* tensor = find_tensor(contents, name);
  if (tensor == nullptr) {
    fail(
        "this tensor is missing; fetch the checkpoint again, or write it as specified in FORMAT.md",
        file, "/" + name);
  }
  const bool fits = std::ranges::equal(tensor->shape, shape, [](auto found, auto expected) {
    return found == expected || expected == kAnyExtent;
  });
  if (!fits) {
    std::string expected = shape_text(shape);
    if (const auto open = expected.find(std::to_string(kAnyExtent)); open != std::string::npos) {
      expected.replace(open, std::to_string(kAnyExtent).size(), "any number");
    }
    fail("found the shape " + shape_text(tensor->shape) + ", expected " + expected +
             " by config.json and the list of heads; fetch the checkpoint again",
         file, "/" + name + "/shape");
  }
  return *tensor;
}

/// Elements of a tensor that must be of this type.
template <typename Value>
std::vector<Value> copy_typed(const TensorView& tensor, const std::string& file) {
  if (tensor.type != kTypeOf<Value>) {
    const auto quoted = [](TensorType type) { return '"' + std::string(name_of(type)) + '"'; };
    fail("found " + quoted(tensor.type) + ", expected " + quoted(kTypeOf<Value>) +
             "; convert the tensor",
         file, "/" + tensor.name + "/dtype");
  }
  return copy_elements<Value>(tensor);
}

std::vector<float> copy_floats(const TensorView& tensor, const std::string& file) {
  return copy_typed<float>(tensor, file);
}

/// float32 or float64 elements, as float64.
std::vector<double> copy_as_double(const TensorView& tensor, const std::string& file) {
  if (tensor.type != TensorType::kFloat32) return copy_typed<double>(tensor, file);
  const std::vector<float> values = copy_elements<float>(tensor);
  return {values.begin(), values.end()};
}

template <typename Value>
std::span<const std::uint8_t> bytes_of(const std::vector<Value>& values) {
  return {reinterpret_cast<const std::uint8_t*>(values.data()), values.size() * sizeof(Value)};
}

/// The name of a layer's tensor, spelt as PyTorch does.
std::string layer_name(std::size_t layer, const char* part) {
  return "layers." + std::to_string(layer) + "." + part;
}

/// The number of layers that a reader looks for. More are unknown tensors.
std::size_t count_layers(const Safetensors& contents) {
  std::size_t count = 0;
  while (count < kMostLayers && find_tensor(contents, layer_name(count, "weight")) != nullptr) {
    ++count;
  }
  return count;
}

/// Names of the predictor's tensors.
std::vector<std::string> tensor_names(PredictorKind kind, const Safetensors& contents) {
  if (kind == PredictorKind::kRidge) return {"weights", "intercepts"};
  if (kind == PredictorKind::kKnn) return {"embeddings", "targets"};
  std::vector<std::string> names = {"scales", layer_name(0, "weight"), layer_name(0, "bias")};
  const std::size_t layers = count_layers(contents);
  for (std::size_t i = 1; i < layers; ++i) {
    names.push_back(layer_name(i, "weight"));
    names.push_back(layer_name(i, "bias"));
  }
  return names;
}

std::size_t count_length_heads(const std::vector<HeadName>& names) {
  return static_cast<std::size_t>(std::ranges::count(names, Target::kTokens, &HeadName::target));
}

// Each shape is compared before its data are copied, and data are never larger than the file.

LinearHeads read_linear(const Safetensors& contents, std::vector<HeadName> names,
                        std::size_t dimension, const std::string& file) {
  LinearHeads heads{.dimension = dimension, .names = std::move(names)};
  const TensorView& weights =
      find_tensor(contents, "weights", {heads.names.size(), dimension}, file);
  if (weights.type == TensorType::kFloat32) {
    heads.weights = copy_elements<float>(weights);
  } else {
    heads.weights = copy_typed<double>(weights, file);
  }
  heads.intercepts =
      copy_as_double(find_tensor(contents, "intercepts", {heads.names.size()}, file), file);
  return heads;
}

NearestNeighbours read_neighbours(const Safetensors& contents, std::vector<HeadName> names,
                                  std::size_t dimension, const std::string& file) {
  NearestNeighbours result{.dimension = dimension, .names = std::move(names)};
  const std::string& count = metadata_of(contents, kNeighbours, file);
  const auto [end, error] =
      std::from_chars(count.data(), count.data() + count.size(), result.neighbours);
  if (error != std::errc{} || end != count.data() + count.size()) {
    fail("found " + excerpt(count) + ", expected a whole number of neighbours", file,
         std::string("/__metadata__/") + kNeighbours);
  }
  const std::string& weighting = metadata_of(contents, kWeighting, file);
  const auto* const known =
      std::ranges::find(kWeightings, weighting, [](const auto& w) { return w.first; });
  if (known == std::end(kWeightings)) {
    fail("found " + excerpt(weighting) + ", expected \"uniform\" or \"similarity\"", file,
         std::string("/__metadata__/") + kWeighting);
  }
  result.weighting = known->second;
  const TensorView& embeddings = find_tensor(contents, "embeddings", {kAnyExtent, dimension}, file);
  const TensorView& targets =
      find_tensor(contents, "targets", {embeddings.shape[0], result.names.size()}, file);
  result.embeddings = copy_floats(embeddings, file);
  result.targets = copy_floats(targets, file);
  return result;
}

MultilayerPerceptron read_perceptron(const Safetensors& contents, std::vector<HeadName> names,
                                     std::size_t dimension, const std::string& file) {
  MultilayerPerceptron result{.dimension = dimension, .names = std::move(names)};
  std::uint64_t inputs = dimension;
  const std::size_t layers = std::max<std::size_t>(1, count_layers(contents));
  for (std::size_t i = 0; i < layers; ++i) {
    const std::uint64_t outputs = i + 1 == layers ? result.names.size() : kAnyExtent;
    const TensorView& weights =
        find_tensor(contents, layer_name(i, "weight"), {outputs, inputs}, file);
    inputs = weights.shape[0];
    const TensorView& biases = find_tensor(contents, layer_name(i, "bias"), {inputs}, file);
    result.layers.push_back({copy_floats(weights, file), copy_floats(biases, file)});
  }
  result.scales =
      copy_as_double(find_tensor(contents, "scales", {result.names.size()}, file), file);
  return result;
}

std::vector<LengthCurve> read_length_curves(const Safetensors& contents,
                                            const std::vector<HeadName>& names, std::size_t points,
                                            const std::string& file) {
  const std::size_t count = count_length_heads(names);
  const std::vector<double> numbers =
      copy_as_double(find_tensor(contents, kLengthCurves, {count, 2, points}, file), file);
  std::vector<LengthCurve> curves(count);
  auto next = numbers.begin();
  const auto take = [&] {
    const auto begin = next;
    next += static_cast<std::ptrdiff_t>(points);
    return std::vector<double>(begin, next);
  };
  for (LengthCurve& curve : curves) {
    curve.predicted = take();
    curve.observed = take();
  }
  return curves;
}

void write_predictor(const LinearHeads& heads, Safetensors& contents) {
  contents.tensors.push_back(
      {"intercepts", TensorType::kFloat64, {heads.names.size()}, bytes_of(heads.intercepts)});
  const std::vector<std::uint64_t> shape = {heads.names.size(), heads.dimension};
  if (const auto* floats = std::get_if<std::vector<float>>(&heads.weights)) {
    contents.tensors.push_back({"weights", TensorType::kFloat32, shape, bytes_of(*floats)});
  } else {
    const auto& doubles = std::get<std::vector<double>>(heads.weights);
    contents.tensors.push_back({"weights", TensorType::kFloat64, shape, bytes_of(doubles)});
  }
}

void write_predictor(const NearestNeighbours& data, Safetensors& contents) {
  contents.metadata[kNeighbours] = std::to_string(data.neighbours);
  contents.metadata[kWeighting] =
      std::ranges::find(kWeightings, data.weighting, [](const auto& w) { return w.second; })->first;
  const std::uint64_t queries = data.embeddings.size() / data.dimension;
  contents.tensors.push_back(
      {"embeddings", TensorType::kFloat32, {queries, data.dimension}, bytes_of(data.embeddings)});
  contents.tensors.push_back(
      {"targets", TensorType::kFloat32, {queries, data.names.size()}, bytes_of(data.targets)});
}

void write_predictor(const MultilayerPerceptron& data, Safetensors& contents) {
  contents.tensors.push_back(
      {"scales", TensorType::kFloat64, {data.names.size()}, bytes_of(data.scales)});
  for (std::size_t i = 0; i < data.layers.size(); ++i) {
    const auto& [weights, biases] = data.layers[i];
    contents.tensors.push_back({layer_name(i, "weight"),
                                TensorType::kFloat32,
                                {biases.size(), weights.size() / biases.size()},
                                bytes_of(weights)});
    contents.tensors.push_back(
        {layer_name(i, "bias"), TensorType::kFloat32, {biases.size()}, bytes_of(biases)});
  }
}

}  // namespace

Checkpoint decode_native(Config config, std::span<const std::uint8_t> bytes,
                         const std::string& file) {
  const Safetensors contents = parse_safetensors(bytes, file);
  expect_metadata(contents, "format", kFormat, file);
  expect_metadata(contents, "format_version", std::to_string(config.format_version), file);

  Checkpoint checkpoint{.config = std::move(config)};
  const PredictorKind kind = checkpoint.config.predictor;
  const std::size_t dimension = checkpoint.config.embedding_dim;
  std::vector<HeadName> names =
      read_head_names(metadata_of(contents, "heads", file), checkpoint.config.models, file);

  // Unlike unknown fields of the config, unknown tensors are errors: ignored heads would change
  // decisions.
  const EncoderSpec encoder = checkpoint.config.encoder.value_or(EncoderSpec());
  checkpoint.encoder = internal::empty_tensors(encoder);
  const std::vector<internal::EncoderTensor> encoder_tensors =
      internal::tensors_of(encoder, checkpoint.encoder);
  const std::size_t points = checkpoint.config.length_points;
  const std::vector<std::string> known = tensor_names(kind, contents);
  for (const TensorView& tensor : contents.tensors) {
    const auto of_encoder =
        std::ranges::find(encoder_tensors, tensor.name, &internal::EncoderTensor::name);
    const bool curves = tensor.name == kLengthCurves;
    if (curves && points > 0) continue;
    if (std::ranges::find(known, tensor.name) != known.end()) continue;
    if (of_encoder != encoder_tensors.end()) {
      if (!of_encoder->shape.empty()) continue;
      fail("found a tensor of " + std::string(of_encoder->contents) + ", expected none: /encoder/" +
               std::string(of_encoder->setting) +
               " of config.json does not announce it; set it, or write the checkpoint again",
           file, "/" + tensor.name);
    }
    if (curves) {
      fail(
          "found a tensor of length curves, expected none: config.json has no /length_points; set "
          "it, or write the checkpoint again",
          file, "/" + tensor.name);
    }
    std::string expected;
    for (const std::string& name : known) expected += '"' + name + "\", ";
    for (const internal::EncoderTensor& other : encoder_tensors) {
      expected += '"' + std::string(other.name) + "\", ";
    }
    fail("this tensor is unknown, expected " + expected +
             "and \"length_curves\"; write the checkpoint again without it",
         file, "/" + tensor.name);
  }
  if (kind == PredictorKind::kKnn) {
    checkpoint.predictor = read_neighbours(contents, std::move(names), dimension, file);
  } else if (kind == PredictorKind::kMlp) {
    checkpoint.predictor = read_perceptron(contents, std::move(names), dimension, file);
  } else {
    checkpoint.predictor = read_linear(contents, std::move(names), dimension, file);
  }
  if (const auto spreads = contents.metadata.find(kSpreads); spreads != contents.metadata.end()) {
    checkpoint.spreads = read_spreads(spreads->second, file);
  }
  if (points > 0) {
    checkpoint.length_curves =
        read_length_curves(contents, head_names(checkpoint.predictor), points, file);
  }
  for (const internal::EncoderTensor& tensor : encoder_tensors) {
    if (tensor.shape.empty()) continue;
    const TensorView& found = find_tensor(contents, std::string(tensor.name), tensor.shape, file);
    std::visit([&]<typename Value>(
                   std::vector<Value>* values) { *values = copy_typed<Value>(found, file); },
               tensor.values);
  }
  return checkpoint;
}

std::string encode_native(const Checkpoint& checkpoint) {
  Json names = Json::array();
  for (const HeadName& name : head_names(checkpoint.predictor)) {
    names.push_back(head_to_json(name, checkpoint.config.models));
  }
  Safetensors contents;
  contents.metadata = {
      {"format", kFormat},
      {"format_version", std::to_string(internal::format_version_for(checkpoint.config))},
      {"heads", names.dump()}};
  if (!checkpoint.spreads.empty()) contents.metadata[kSpreads] = Json(checkpoint.spreads).dump();
  std::vector<double> curve_numbers;
  for (const auto& [predicted, observed] : checkpoint.length_curves) {
    curve_numbers.insert(curve_numbers.end(), predicted.begin(), predicted.end());
    curve_numbers.insert(curve_numbers.end(), observed.begin(), observed.end());
  }
  // float64 before float32 before bytes, so that every tensor is aligned.
  if (checkpoint.config.length_points > 0) {
    contents.tensors.push_back(
        {kLengthCurves,
         TensorType::kFloat64,
         {checkpoint.length_curves.size(), 2, checkpoint.config.length_points},
         bytes_of(curve_numbers)});
  }
  std::visit([&](const auto& data) { write_predictor(data, contents); }, checkpoint.predictor);
  if (checkpoint.config.encoder) {
    for (const internal::EncoderTensor& tensor :
         internal::tensors_of(*checkpoint.config.encoder, checkpoint.encoder)) {
      if (tensor.shape.empty()) continue;
      std::visit(
          [&]<typename Value>(const std::vector<Value>* values) {
            contents.tensors.push_back(
                {std::string(tensor.name), kTypeOf<Value>, tensor.shape, bytes_of(*values)});
          },
          tensor.values);
    }
    std::ranges::stable_sort(contents.tensors, std::ranges::greater(),
                             [](const TensorView& tensor) { return size_of(tensor.type); });
  }
  return write_safetensors(contents);
}

}  // namespace r2router::io
