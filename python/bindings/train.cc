// Training, and adding a model.
#include "r2router/train/train.h"

#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <pybind11/stl.h>

#include "r2router/eval/router_evaluation.h"
#include "r2router/outcomes.h"
#include "r2router/train/task_table.h"

#include "bindings.h"

namespace r2router::python {
namespace {

Dict to_dict(const eval::DeferralMetrics& metrics) {
  using namespace py::literals;
  return Dict("audc"_a = metrics.audc, "qnc"_a = metrics.qnc, "peak"_a = metrics.peak,
              "c95"_a = metrics.c95);
}

/// What was chosen and tried by the kind of predictor.
void add_settings(const train::TrainReport& report, PredictorKind kind, Dict& dict) {
  if (kind == PredictorKind::kMlp) dict["epochs"] = report.epochs;
  if (kind == PredictorKind::kKnn) {
    const auto weighting = [](const train::NeighboursResult& result) {
      return result.weighting == NearestNeighbours::Weighting::kUniform ? "uniform" : "similarity";
    };
    py::typing::List<Dict> counts;
    for (const train::NeighboursResult& result : report.neighbour_counts) {
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
  for (const train::AlphaResult& result : report.alphas) {
    Dict entry = to_dict(result.metrics);
    entry["alpha"] = result.alpha;
    alphas.append(entry);
  }
  dict["alpha"] = report.alpha;
  dict["alphas"] = alphas;
}

}  // namespace

Dict training_to_dict(const train::TrainReport& report, PredictorKind kind) {
  using namespace py::literals;
  Dict dict("training_queries"_a = report.training_queries,
            "held_out_queries"_a = report.held_out_queries, "heads"_a = report.heads,
            "predictor"_a = std::string(to_string(kind)), "metrics"_a = to_dict(report.metrics),
            "mean_curve"_a = to_dict(report.mean_curve), "default_lambda"_a = report.default_lambda,
            "default_score"_a = report.default_score, "default_cost"_a = report.default_cost);
  add_settings(report, kind, dict);
  return dict;
}

namespace {

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

train::TrainRecipe make_recipe(std::optional<LexicalEncoderSpec> encoder, bool topics, bool augment,
                               const std::string& predictor, const std::vector<double>& alphas,
                               const std::vector<std::uint32_t>& neighbours, std::uint32_t folds,
                               std::uint32_t holdout, std::uint64_t seed, std::uint32_t threads,
                               const std::string& budget_prompt, const std::string& embedding_model,
                               std::optional<std::shared_ptr<Checkpoint>> prior,
                               py::object progress, py::object log) {
  // Member by member: if an initialiser of an aggregate throws, GCC 12 also destroys members that
  // do not exist yet.
  train::TrainRecipe recipe;
  recipe.topics = topics;
  recipe.augment = augment;
  recipe.budget_prompt = budget_prompt;
  recipe.embedding_model = embedding_model;
  recipe.options.predictor = parse_predictor_kind(predictor);
  recipe.options.folds = folds;
  recipe.options.holdout = holdout;
  recipe.options.seed = seed;
  recipe.options.threads = threads;
  recipe.options.progress = to_progress_callback(std::move(progress));
  recipe.options.log = to_log_callback(std::move(log));
  if (encoder) recipe.encoder = *std::move(encoder);
  recipe.prior = std::move(prior).value_or(nullptr);
  if (!alphas.empty())
    (recipe.prior ? recipe.options.prior_alphas : recipe.options.alphas) = alphas;
  if (!neighbours.empty()) recipe.options.neighbours = neighbours;
  return recipe;
}

std::tuple<std::shared_ptr<Checkpoint>, Dict, std::string> train_on(
    const OutcomeData& data, const train::TrainRecipe& recipe) {
  auto checkpoint = std::make_shared<Checkpoint>();
  train::TrainReport report;
  std::string text;
  {
    const ReleasedGil released;
    *checkpoint = train::train(data, recipe, &report);
    text = to_text(report, *checkpoint);
  }
  return {checkpoint, training_to_dict(report, recipe.options.predictor), text};
}

std::tuple<std::shared_ptr<Checkpoint>, std::string, std::string> train_on_tasks(
    const std::string& results, const std::string& prompts, const std::string& pool,
    const std::string& vectors, const std::vector<std::uint32_t>& token_limits,
    const std::string& data_date, std::uint64_t seed, std::uint32_t threads, py::object progress,
    py::object log) {
  train::TaskTrainOptions options;
  options.data_date = data_date;
  if (!token_limits.empty()) options.token_limits = token_limits;
  options.seed = seed;
  options.threads = threads;
  options.progress = to_progress_callback(std::move(progress));
  options.log = to_log_callback(std::move(log));
  const ReleasedGil released;
  if (!vectors.empty()) options.wordpieces = train::read_wordpiece_vectors(vectors);
  const train::TaskTable table = train::read_task_table(results, read_pool(pool), options.log);
  train::TaskTrainReport report;
  auto checkpoint = std::make_shared<Checkpoint>(
      train::train(table, train::read_task_prompts(prompts), options, &report));
  return {checkpoint, to_json(report, *checkpoint), to_text(report, *checkpoint)};
}

Dict to_dict(const train::AddedHeads& heads, const Pool& pool) {
  using namespace py::literals;
  Dict shares;
  for (std::size_t i = 0; i < heads.shares.size(); ++i) {
    shares[py::str(pool[i].name)] = heads.shares[i];
  }
  return Dict("alpha"_a = heads.alpha, "share_penalty"_a = heads.share_penalty,
              "error"_a = heads.error, "mean_error"_a = heads.mean_error, "shares"_a = shares);
}

std::tuple<std::shared_ptr<Checkpoint>, Dict, std::string> add_model_to(
    const Checkpoint& checkpoint, const OutcomeData& data, const std::string& model,
    std::uint32_t probes, std::optional<std::uint32_t> holdout, std::uint64_t seed,
    std::uint32_t threads, py::object progress, py::object log) {
  using namespace py::literals;
  train::AddModelOptions options{.probes = probes,
                                 .seed = seed,
                                 .threads = threads,
                                 .progress = to_progress_callback(std::move(progress)),
                                 .log = to_log_callback(std::move(log))};
  auto added = std::make_shared<Checkpoint>();
  train::AddModelReport report;
  std::optional<eval::AddedModelComparison> comparison;
  std::string text;
  {
    const ReleasedGil released;
    options.holdout = holdout ? *holdout : trained_holdout(checkpoint.config, options.log);
    *added = train::add_model(checkpoint, data.table, eval::embed(Router(checkpoint), data), model,
                              options, &report);
    text = to_text(report, model);
    comparison = eval::compare_added_model(*added, report, data, options.holdout, options.log);
  }
  const Pool& pool = added->config.models;
  Dict dict("model"_a = model, "probes"_a = report.probes,
            "quality"_a = to_dict(report.quality, pool), "tokens"_a = to_dict(report.tokens, pool));
  if (report.full) {
    const train::FullTraining& full = *report.full;
    Dict training(
        "training_queries"_a = full.training_queries, "held_out_queries"_a = full.held_out_queries,
        "quality_error"_a = full.quality_error, "added_quality_error"_a = full.added_quality_error,
        "tokens_error"_a = full.tokens_error, "added_tokens_error"_a = full.added_tokens_error);
    if (comparison) {
      dict["audc"] = comparison->added.audc;
      training["audc"] = comparison->full.audc;
    }
    dict["full_training"] = training;
  }
  return {added, dict, text};
}

std::tuple<std::shared_ptr<Checkpoint>, std::string, std::string> add_model_from_tasks(
    const Checkpoint& checkpoint, const std::string& results, const std::string& model,
    const std::string& pool, py::object log) {
  const LogCallback to_log = to_log_callback(std::move(log));
  const ReleasedGil released;
  const Pool known = train::extend_pool(checkpoint.config, read_pool(pool), model, pool);
  const train::TaskTable table = train::read_task_table(results, known, to_log);
  train::AddedFromTasks report;
  auto added =
      std::make_shared<Checkpoint>(train::add_model(checkpoint, table, model, to_log, &report));
  return {added, to_json(report), to_text(report)};
}

}  // namespace

void register_train(py::module_& module) {
  py::class_<LexicalEncoderSpec>(module, "LexicalEncoder", "Settings of the built-in encoder.")
      .def(py::init(&make_encoder), py::arg("dimension"), py::arg("features"), py::arg("seed"),
           py::arg("fold_digits"), py::arg("square_root"), py::arg("idf"));
  py::class_<train::TrainRecipe>(module, "Recipe", "How a router is trained.")
      .def(py::init(&make_recipe), py::kw_only(), py::arg("encoder") = py::none(),
           py::arg("topics") = false, py::arg("augment") = false, py::arg("predictor") = "ridge",
           py::arg("alphas") = std::vector<double>(),
           py::arg("neighbours") = std::vector<std::uint32_t>(),
           py::arg("folds") = train::TrainOptions{}.folds,
           py::arg("holdout") = train::TrainOptions{}.holdout, py::arg("seed") = 0,
           py::arg("threads") = 0, py::arg("budget_prompt") = "", py::arg("embedding_model") = "",
           py::arg("prior") = py::none(), py::arg("progress") = py::none(),
           py::arg("log") = py::none());
  module.def("train", &train_on, py::kw_only(), py::arg("data"), py::arg("recipe"),
             "Returns the checkpoint, a report, and the report as text.");
  module.def("train_on_tasks", &train_on_tasks, py::kw_only(), py::arg("results"),
             py::arg("prompts"), py::arg("pool"), py::arg("vectors"), py::arg("token_limits"),
             py::arg("data_date"), py::arg("seed"), py::arg("threads"), py::arg("progress"),
             py::arg("log"), "Returns the checkpoint, a report as JSON, and the report as text.");
  module.def("add_model_from_tasks", &add_model_from_tasks, py::kw_only(), py::arg("checkpoint"),
             py::arg("results"), py::arg("model"), py::arg("pool"), py::arg("log"),
             "Returns the checkpoint, a report as JSON, and the report as text.");
  module.def("add_model", &add_model_to, py::kw_only(), py::arg("checkpoint"), py::arg("data"),
             py::arg("model"), py::arg("probes"), py::arg("holdout"), py::arg("seed"),
             py::arg("threads"), py::arg("progress"), py::arg("log"),
             "Returns the checkpoint, a report, and the report as text.");
}

}  // namespace r2router::python
