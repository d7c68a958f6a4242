// Training from files of outcomes.
#include "r2router/train/train.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <pybind11/stl.h>

#include "r2router/outcomes.h"

#include "bindings.h"

namespace r2router::python {
namespace {

/// What to learn from.
struct Data {
  OutcomeTable table;
  std::vector<float> embeddings;  ///< queries × dimension; empty: the lexical encoder makes them
  std::size_t dimension = 0;
};

// Also the place where Ctrl-C is noticed.
ProgressCallback to_progress_callback(py::object progress) {
  auto shared = std::make_shared<py::object>(std::move(progress));
  return [shared](std::string_view stage, std::size_t done, std::size_t total) {
    const AcquiredGil acquired;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (!shared->is_none()) call(*shared, py::make_tuple(stage, done, total));
  };
}

Dict to_dict(const DeferralMetrics& metrics) {
  using namespace py::literals;
  return Dict("audc"_a = metrics.audc, "qnc"_a = metrics.qnc, "peak"_a = metrics.peak,
              "c95"_a = metrics.c95);
}

/// What was chosen and tried by the kind of predictor.
void add_settings(const TrainReport& report, PredictorKind kind, Dict& dict) {
  if (kind == PredictorKind::kMlp) dict["epochs"] = report.epochs;
  if (kind == PredictorKind::kKnn) {
    const auto weighting = [](const NeighboursResult& result) {
      return result.weighting == NearestNeighbours::Weighting::kUniform ? "uniform" : "similarity";
    };
    py::typing::List<Dict> counts;
    for (const NeighboursResult& result : report.neighbour_counts) {
      Dict entry = to_dict(result.metrics);
      entry["neighbours"] = result.neighbours;
      entry["weighting"] = weighting(result);
      counts.append(entry);
    }
    dict["neighbours"] = report.neighbours.neighbours;
    dict["weighting"] = weighting(report.neighbours);
    dict["neighbour_counts"] = counts;
  }
  if (kind != PredictorKind::kRidge) return;
  py::typing::List<Dict> alphas;
  for (const AlphaResult& result : report.alphas) {
    Dict entry = to_dict(result.metrics);
    entry["alpha"] = result.alpha;
    alphas.append(entry);
  }
  dict["alpha"] = report.alpha;
  dict["alphas"] = alphas;
}

Dict to_dict(const TrainReport& report, PredictorKind kind) {
  using namespace py::literals;
  Dict dict("training_queries"_a = report.training_queries,
            "held_out_queries"_a = report.held_out_queries, "heads"_a = report.heads,
            "predictor"_a = std::string(to_string(kind)), "metrics"_a = to_dict(report.metrics),
            "mean_curve"_a = to_dict(report.mean_curve), "default_lambda"_a = report.default_lambda,
            "default_score"_a = report.default_score, "default_cost"_a = report.default_cost);
  add_settings(report, kind, dict);
  return dict;
}

/// (kind, min_n, max_n, weight) of each family of features.
using FeatureTuples = std::vector<std::tuple<std::string, std::uint32_t, std::uint32_t, float>>;

LexicalEncoderSpec make_encoder(std::uint32_t dimension, const FeatureTuples& features,
                                std::uint64_t seed, bool fold_digits, bool square_root, bool idf) {
  LexicalEncoderSpec spec{.dimension = dimension,
                          .seed = seed,
                          .features = {},
                          .fold_digits = fold_digits,
                          .square_root = square_root,
                          .has_idf = idf};
  for (const auto& [kind, min_n, max_n, weight] : features) {
    if (kind != "words" && kind != "characters") {
      throw Error(ErrorCode::kInvalidArgument,
                  "the kind of features is \"" + kind + "\": expected \"words\" or \"characters\"");
    }
    using Kind = LexicalFeatures::Kind;
    spec.features.push_back(
        {kind == "words" ? Kind::kWords : Kind::kCharacters, min_n, max_n, weight});
  }
  return spec;
}

/// Keeps the queries whose dataset begins with `prefix`.
void select_dataset(Data& data, const std::string& prefix) {
  std::vector<std::uint32_t> rows;
  std::vector<float> embeddings;
  for (std::size_t i = 0; i < data.table.queries.size(); ++i) {
    if (!data.table.queries[i].dataset.starts_with(prefix)) continue;
    rows.push_back(static_cast<std::uint32_t>(i));
    if (data.embeddings.empty()) continue;
    const auto row = data.embeddings.begin() + static_cast<std::ptrdiff_t>(i * data.dimension);
    embeddings.insert(embeddings.end(), row, row + static_cast<std::ptrdiff_t>(data.dimension));
  }
  if (rows.empty()) {
    throw Error(ErrorCode::kBadData, "no query has a dataset that begins with \"" + prefix + "\"");
  }
  data.table = select_queries(data.table, rows);
  data.embeddings = std::move(embeddings);
}

std::pair<std::shared_ptr<Checkpoint>, Dict> train_from_files(
    const std::string& queries, const std::string& outcomes, const std::string& pool,
    const std::vector<std::string>& models, double least_coverage, const std::string& dataset,
    const std::vector<std::uint32_t>& token_limits, const std::string& budget_prompt,
    std::optional<LexicalEncoderSpec> encoder, bool topics,
    const std::optional<py::array_t<float, py::array::c_style>>& embeddings,
    const std::string& embedding_model, const std::string& predictor,
    const std::vector<double>& alphas, const std::vector<std::uint32_t>& neighbours,
    std::uint32_t folds, std::uint32_t holdout, std::uint64_t seed, std::uint32_t threads,
    bool ignore_unknown_models, const std::vector<std::string>& sources, py::object progress,
    py::object log) {
  Data data;
  if (embeddings) {
    data.embeddings.assign(embeddings->data(), embeddings->data() + embeddings->size());
    data.dimension = static_cast<std::size_t>(embeddings->shape(1));
  }
  TrainOptions options{.predictor = parse_predictor_kind(predictor),
                       .folds = folds,
                       .holdout = holdout,
                       .seed = seed,
                       .threads = threads,
                       .progress = to_progress_callback(std::move(progress)),
                       .log = to_log_callback(std::move(log))};
  if (!alphas.empty()) options.alphas = alphas;
  if (!neighbours.empty()) options.neighbours = neighbours;

  auto checkpoint = std::make_shared<Checkpoint>();
  TrainReport report;
  {
    const ReleasedGil released;
    const Pool models_and_prices = read_pool(pool);
    data.table =
        read_outcomes(queries, outcomes, models_and_prices,
                      {.ignore_unknown_models = ignore_unknown_models, .log = options.log});
    if (!sources.empty()) {
      data.table.sources.clear();
      for (const std::string& file : sources) data.table.sources.push_back(hash_source(file));
    }
    if (embeddings && data.embeddings.size() != data.table.queries.size() * data.dimension) {
      throw Error(ErrorCode::kBadData,
                  "there are " + std::to_string(data.table.queries.size()) +
                      " queries: expected one row of embeddings for each",
                  {.file = queries});
    }
    if (!dataset.empty()) select_dataset(data, dataset);
    data.table = choose_models(data.table, models_and_prices, models, least_coverage, options.log);
    if (!token_limits.empty()) data.table = apply_hard_cap(data.table, token_limits);
    if (encoder && topics) encoder->topics = datasets(data.table);
    *checkpoint = encoder ? train(data.table, *encoder, options, &report)
                          : train(data.table, data.embeddings, data.dimension, options, &report);
    if (!encoder) checkpoint->config.embedding_model = embedding_model;
    checkpoint->config.budget_prompt = budget_prompt;
  }
  return {checkpoint, to_dict(report, options.predictor)};
}

}  // namespace

void register_train(py::module_& module) {
  py::class_<LexicalEncoderSpec>(module, "LexicalEncoder", "Settings of the built-in encoder.")
      .def(py::init(&make_encoder), py::arg("dimension"), py::arg("features"), py::arg("seed"),
           py::arg("fold_digits"), py::arg("square_root"), py::arg("idf"));
  module.def("train", &train_from_files, py::kw_only(), py::arg("queries"), py::arg("outcomes"),
             py::arg("pool"), py::arg("models"), py::arg("coverage"), py::arg("dataset"),
             py::arg("token_limits"), py::arg("budget_prompt"), py::arg("encoder"),
             py::arg("topics"), py::arg("embeddings"), py::arg("embedding_model"),
             py::arg("predictor"), py::arg("alphas"), py::arg("neighbours"), py::arg("folds"),
             py::arg("holdout"), py::arg("seed"), py::arg("threads"),
             py::arg("ignore_unknown_models"), py::arg("sources"), py::arg("progress"),
             py::arg("log"), "Returns the checkpoint and a report.");
}

}  // namespace r2router::python
