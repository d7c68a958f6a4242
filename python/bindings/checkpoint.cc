// Bindings of checkpoints: load, save, create from arrays, inspect.
#include "r2router/checkpoint.h"

#include <string>
#include <string_view>
#include <utility>

#include <pybind11/stl.h>

#include "bindings.h"

namespace r2router::python {
namespace {

int logging_level(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return 10;
    case LogLevel::kInfo:
      return 20;
    case LogLevel::kWarning:
      break;
  }
  return 30;
}

using HeadTuple = std::tuple<std::uint32_t, py::object, std::string>;

std::vector<HeadTuple> head_names(const Checkpoint& checkpoint) {
  std::vector<HeadTuple> names;
  for (const HeadName& name : r2router::head_names(checkpoint.predictor)) {
    names.emplace_back(name.pair.model, to_python(name.pair.budget),
                       name.target == Target::kQuality ? "quality" : "tokens");
  }
  return names;
}

HeadName to_head_name(const HeadTuple& tuple) {
  const auto& [model, budget, target] = tuple;
  if (target != "quality" && target != "tokens") {
    throw Error(ErrorCode::kInvalidArgument,
                "a head's target is \"" + target + "\": expected \"quality\" or \"tokens\"");
  }
  return {{model, to_budget(budget)}, target == "quality" ? Target::kQuality : Target::kTokens};
}

const LinearHeads& linear_heads(const Checkpoint& checkpoint) {
  if (const auto* heads = std::get_if<LinearHeads>(&checkpoint.predictor)) return *heads;
  throw Error(ErrorCode::kUnsupported,
              "the checkpoint's predictor is \"" +
                  std::string(to_string(checkpoint.config.predictor)) +
                  "\": only linear heads (\"ridge\") are regressors with coefficients");
}

// A read-only array that views the checkpoint's memory and keeps it alive.
py::array weights(const std::shared_ptr<Checkpoint>& checkpoint) {
  const LinearHeads& heads = linear_heads(*checkpoint);
  py::array array = std::visit(
      [&](const auto& values) -> py::array {
        return py::array_t<typename std::decay_t<decltype(values)>::value_type>(
            {heads.names.size(), heads.dimension}, values.data(), py::cast(checkpoint));
      },
      heads.weights);
  array.attr("flags").attr("writeable") = false;
  return array;
}

std::vector<HeadName> to_head_names(const std::vector<HeadTuple>& tuples) {
  std::vector<HeadName> names;
  for (const HeadTuple& tuple : tuples) names.push_back(to_head_name(tuple));
  return names;
}

LinearHeads to_heads(const std::vector<HeadTuple>& names, const py::array& weights,
                     std::vector<double> intercepts) {
  LinearHeads heads{.names = to_head_names(names)};
  if (weights.ndim() != 2) {
    throw Error(ErrorCode::kInvalidArgument, "expected weights of shape (heads, dimension)");
  }
  heads.dimension = static_cast<std::size_t>(weights.shape(1));
  std::visit(
      [&](auto values) {
        using Value = std::remove_const_t<typename decltype(values)::element_type>;
        heads.weights = std::vector<Value>(values.begin(), values.end());
      },
      view(weights));
  heads.intercepts = std::move(intercepts);
  return heads;
}

/// A checkpoint from the caller's predictors, with the rules of the published package. `config`:
/// the JSON of a config with the models.
std::shared_ptr<Checkpoint> from_predictors(const std::string& config,
                                            const std::vector<HeadTuple>& names,
                                            const py::array& weights,
                                            std::vector<double> intercepts) {
  auto checkpoint = std::make_shared<Checkpoint>();
  checkpoint->config = parse_config(config, "model_configs");
  checkpoint->predictor = to_heads(names, weights, std::move(intercepts));
  validate(*checkpoint);
  return checkpoint;
}

/// As in config.json. The published package's keys come first, in its order.
py::typing::Dict<py::str, Dict> model_configs(const Checkpoint& checkpoint) {
  const Config& config = checkpoint.config;
  const py::dict json = py::module_::import("json").attr("loads")(to_json(config));
  const py::dict written = json["models"];
  py::typing::Dict<py::str, Dict> models;
  for (std::size_t i = 0; i < config.models.size(); ++i) {
    const py::str name(config.models[i].name);
    Dict entry;
    entry["openrouter_id"] = config.models[i].openrouter_id;
    for (const auto& [key, value] : py::dict(written[name])) {
      const auto text = key.cast<std::string>();
      if (text == "available" && !config.checkpoint_dirs.empty()) {
        entry["checkpoint_dir"] = config.checkpoint_dirs[i];
      }
      if (text != "openrouter_id") entry[key] = value;
    }
    models[name] = entry;
  }
  return models;
}

std::shared_ptr<Checkpoint> load(const std::string& folder, const py::object& log) {
  const LogCallback callback = to_log_callback(log);
  const ReleasedGil released;
  return std::make_shared<Checkpoint>(load_checkpoint(folder, callback));
}

using Floats = py::array_t<float, py::array::c_style>;

template <typename Value>
py::array_t<Value, py::array::c_style> to_array(const std::vector<Value>& values) {
  return py::array_t<Value>(static_cast<py::ssize_t>(values.size()), values.data());
}

std::vector<float> to_vector(const Floats& values) {
  return {values.data(), values.data() + values.size()};
}

/// An array of numbers that float32 would not hold as compactly.
template <typename Value>
std::vector<Value> to_vector(const py::array& array) {
  const py::array_t<Value, py::array::c_style> values(array);
  return {values.data(), values.data() + values.size()};
}

// A pickled predictor: its numbers, depending on its kind.
using LinearState = std::tuple<py::array, std::vector<double>>;
using KnnState = std::tuple<std::uint32_t, bool, Floats, Floats>;
using MlpState = std::tuple<std::vector<std::pair<Floats, Floats>>, std::vector<double>>;

/// A pickled length curve: predicted and observed lengths.
using CurveState = std::pair<std::vector<double>, std::vector<double>>;

/// The parts of a pickled checkpoint: config.json, heads, the predictor's numbers, IDF weights,
/// spreads, weights and intercepts of topics, length curves.
/// The numbers of the encoder's tensors, in the order of its struct.
using EncoderState = std::vector<py::array>;
using State = std::tuple<std::string, std::vector<HeadTuple>, py::object, EncoderState,
                         std::vector<double>, std::vector<CurveState>>;

py::object predictor_state(const std::shared_ptr<Checkpoint>& checkpoint) {
  if (const auto* knn = std::get_if<NearestNeighbours>(&checkpoint->predictor)) {
    return py::cast(KnnState(knn->neighbours,
                             knn->weighting == NearestNeighbours::Weighting::kSimilarity,
                             to_array(knn->embeddings), to_array(knn->targets)));
  }
  if (const auto* mlp = std::get_if<MultilayerPerceptron>(&checkpoint->predictor)) {
    MlpState state;
    for (const auto& [weights, biases] : mlp->layers) {
      std::get<0>(state).emplace_back(to_array(weights), to_array(biases));
    }
    std::get<1>(state) = mlp->scales;
    return py::cast(state);
  }
  return py::cast(LinearState(weights(checkpoint), linear_heads(*checkpoint).intercepts));
}

EncoderState state_of(const LexicalEncoderTensors& tensors) {
  return {to_array(tensors.idf), to_array(tensors.topics.weights),
          to_array(tensors.topics.intercepts)};
}

EncoderState state_of(const TaskEncoderTensors& tensors) {
  const WordpieceVectors& wordpieces = tensors.wordpieces;
  return {to_array(tensors.weights), to_array(tensors.intercepts), to_array(wordpieces.vocabulary),
          to_array(wordpieces.vectors), to_array(wordpieces.scales)};
}

/// The tensors of the spec's kind. Sizes are checked by validate().
EncoderTensors to_tensors(const LexicalEncoderSpec&, const EncoderState& state) {
  return LexicalEncoderTensors{to_vector<float>(state.at(0)),
                               {to_vector<float>(state.at(1)), to_vector<float>(state.at(2))}};
}

EncoderTensors to_tensors(const TaskEncoderSpec&, const EncoderState& state) {
  return TaskEncoderTensors{to_vector<float>(state.at(0)),
                            to_vector<float>(state.at(1)),
                            {to_vector<std::uint8_t>(state.at(2)),
                             to_vector<std::int8_t>(state.at(3)), to_vector<float>(state.at(4))}};
}

State get_state(const std::shared_ptr<Checkpoint>& checkpoint) {
  std::vector<CurveState> curves;
  for (const auto& [predicted, observed] : checkpoint->length_curves) {
    curves.emplace_back(predicted, observed);
  }
  return {to_json(checkpoint->config),
          head_names(*checkpoint),
          predictor_state(checkpoint),
          std::visit([](const auto& tensors) { return state_of(tensors); }, checkpoint->encoder),
          checkpoint->spreads,
          std::move(curves)};
}

Predictor to_predictor(const Config& config, const std::vector<HeadTuple>& names,
                       const py::object& state) {
  if (config.predictor == PredictorKind::kKnn) {
    const auto [neighbours, by_similarity, embeddings, targets] = state.cast<KnnState>();
    using Weighting = NearestNeighbours::Weighting;
    return NearestNeighbours{
        .dimension = config.embedding_dim,
        .names = to_head_names(names),
        .neighbours = neighbours,
        .weighting = by_similarity ? Weighting::kSimilarity : Weighting::kUniform,
        .embeddings = to_vector(embeddings),
        .targets = to_vector(targets)};
  }
  if (config.predictor == PredictorKind::kMlp) {
    const auto [layers, scales] = state.cast<MlpState>();
    MultilayerPerceptron mlp{
        .dimension = config.embedding_dim, .names = to_head_names(names), .scales = scales};
    for (const auto& [weights, biases] : layers) {
      mlp.layers.push_back({to_vector(weights), to_vector(biases)});
    }
    return mlp;
  }
  auto [weights, intercepts] = state.cast<LinearState>();
  return to_heads(names, weights, std::move(intercepts));
}

std::shared_ptr<Checkpoint> set_state(State state) {
  auto& [config, names, predictor, encoder, spreads, curves] = state;
  auto checkpoint = std::make_shared<Checkpoint>();
  checkpoint->config = parse_config(config);
  checkpoint->predictor = to_predictor(checkpoint->config, names, predictor);
  checkpoint->encoder =
      std::visit([&tensors = encoder](const auto& spec) { return to_tensors(spec, tensors); },
                 checkpoint->config.encoder.value_or(EncoderSpec()));
  for (auto& [predicted, observed] : curves) {
    checkpoint->length_curves.push_back({std::move(predicted), std::move(observed)});
  }
  checkpoint->spreads = std::move(spreads);
  validate(*checkpoint);
  return checkpoint;
}

}  // namespace

LogCallback to_log_callback(py::object log) {
  if (log.is_none()) return {};
  // Shared, so that copying the callback does not touch Python reference counts.
  auto shared = std::make_shared<py::object>(std::move(log));
  return [shared](LogLevel level, std::string_view message) {
    const AcquiredGil acquired;
    call(*shared, py::make_tuple(logging_level(level), message));
  };
}

void register_checkpoint(py::module_& module) {
  using Class = py::class_<Checkpoint, std::shared_ptr<Checkpoint>>;
  Class(module, "Checkpoint", "A trained router as plain data.")
      .def(py::init(&from_predictors), py::arg("config"), py::arg("head_names"), py::arg("weights"),
           py::arg("intercepts"))
      .def_static("load", &load, py::arg("folder"), py::arg("log") = py::none())
      .def("save", &save_checkpoint, py::arg("folder"), py::call_guard<ReleasedGil>())
      .def(
          "with_lambda",
          [](const Checkpoint& self, double lambda) {
            auto result = std::make_shared<Checkpoint>(self);
            result->config.policy = merge(self.config.policy, {.lambda = lambda});
            return result;
          },
          py::arg("lambda_val"), "A copy with another default trade-off.")
      .def_property_readonly("model_configs", &model_configs)
      .def_property_readonly("head_names", &head_names,
                             "(model index, budget, target) of each head.")
      .def_property_readonly("weights", &weights, "(heads, dimension), read-only.")
      .def_property_readonly("intercepts",
                             [](const Checkpoint& self) { return linear_heads(self).intercepts; })
      .def_property_readonly("dimension",
                             [](const Checkpoint& self) { return dimension_of(self.predictor); })
      .def_property_readonly(
          "predictor",
          [](const Checkpoint& self) { return std::string(to_string(self.config.predictor)); },
          "\"ridge\", \"knn\" or \"mlp\".")
      .def_property_readonly("embedding_model",
                             [](const Checkpoint& self) { return self.config.embedding_model; })
      .def_property_readonly("default_lambda",
                             [](const Checkpoint& self) { return self.config.default_lambda(); })
      .def_property_readonly("has_encoder",
                             [](const Checkpoint& self) { return self.config.encoder.has_value(); })
      .def(py::pickle(&get_state, &set_state));
}

}  // namespace r2router::python
