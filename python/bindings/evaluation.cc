// Evaluation and calibration.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <pybind11/stl.h>

#include "r2router/eval/calibrate.h"
#include "r2router/eval/learning_curve.h"
#include "r2router/eval/router_evaluation.h"

#include "bindings.h"

namespace r2router::python {
namespace {

/// Routers by name.
using Rivals = std::vector<std::pair<std::string, std::shared_ptr<Checkpoint>>>;

eval::EvaluationOptions make_evaluation_options(const std::string& name, const Rivals& rivals,
                                                const std::vector<std::string>& against,
                                                bool available_only, bool by_dataset,
                                                std::uint32_t resamples, std::uint64_t seed,
                                                py::object progress, py::object log) {
  eval::EvaluationOptions options{.name = name,
                                  .against = against,
                                  .available_only = available_only,
                                  .by_dataset = by_dataset,
                                  .resampling = {.resamples = resamples, .seed = seed},
                                  .progress = to_progress_callback(std::move(progress)),
                                  .log = to_log_callback(std::move(log))};
  for (const auto& [rival, checkpoint] : rivals) {
    options.rivals.push_back({rival, Router(*checkpoint)});
  }
  return options;
}

Dict to_dict(const eval::CalibratedFigure& figure) {
  using namespace py::literals;
  return Dict("value"_a = figure.value, "low"_a = figure.low, "high"_a = figure.high);
}

/// The policy as JSON, the report as text, and the report.
std::tuple<std::string, std::string, Dict> calibrate_on(
    const std::shared_ptr<Checkpoint>& checkpoint, OutcomeData data,
    std::optional<std::uint32_t> holdout, const std::string& target, bool fraction,
    std::uint32_t resamples, std::uint64_t seed, const std::optional<Policy>& policy,
    py::object progress, py::object log) {
  using namespace py::literals;
  const LogCallback to_log = to_log_callback(std::move(log));
  const train::ProgressCallback report = to_progress_callback(std::move(progress));
  const eval::CalibrationOptions options{
      .setting = fraction ? eval::CalibratedSetting::kQualityFraction
                          : eval::CalibratedSetting::kWillingnessToPay,
      .resamples = resamples,
      .seed = seed,
      .progress = [&](std::size_t done, std::size_t total) { report("resampling", done, total); }};
  const Policy base = policy.value_or(Policy());
  eval::Calibration result;
  eval::CalibrationSample sample;
  std::string json, text;
  {
    const ReleasedGil released;
    const eval::CalibrationTarget parsed = eval::parse_target(target);
    data = eval::calibration_data(data, checkpoint->config, holdout, to_log);
    sample = eval::sample_options(Router(*checkpoint), data, base);
    result = eval::calibrate(sample.options, parsed, options, sample.realised);
    json = to_json(base, result);
    text = to_text(result, sample.incomplete);
  }
  return {json, text,
          Dict("setting"_a = to_dict(result.setting), "realised"_a = result.realised,
               "cost_usd"_a = to_dict(result.cost_usd), "quality"_a = to_dict(result.quality),
               "best_quality"_a = result.best_quality,
               "predicted_cost_usd"_a = result.predicted.cost_usd,
               "predicted_quality"_a = result.predicted.quality, "queries"_a = result.queries,
               "incomplete"_a = sample.incomplete)};
}

template <typename Function>
auto without_gil(Function function) {
  return [function](const eval::RouterEvaluation& self) {
    const ReleasedGil released;
    return std::string(function(self));
  };
}

}  // namespace

void register_evaluation(py::module_& module) {
  py::class_<eval::EvaluationOptions>(module, "EvaluationOptions", "Settings of an evaluation.")
      .def(py::init(&make_evaluation_options), py::kw_only(), py::arg("name") = "router",
           py::arg("rivals") = py::list(), py::arg("against") = std::vector<std::string>(),
           py::arg("available_only") = false, py::arg("by_dataset") = false,
           py::arg("resamples") = eval::kDefaultResamples, py::arg("seed") = 0,
           py::arg("progress") = py::none(), py::arg("log") = py::none());
  py::class_<eval::RouterEvaluation>(module, "RouterEvaluation", "The results of an evaluation.")
      .def("json", without_gil([](const eval::RouterEvaluation& self) { return to_json(self); }))
      .def("text", without_gil([](const eval::RouterEvaluation& self) { return to_text(self); }))
      .def("summary", without_gil(&eval::summary_text))
      .def("csv", without_gil(&eval::curves_csv))
      .def("html", without_gil(&eval::to_html));
  module.def(
      "evaluate",
      [](const std::shared_ptr<Checkpoint>& checkpoint, const OutcomeData& data,
         std::optional<std::uint32_t> holdout, const eval::EvaluationOptions& options) {
        const ReleasedGil released;
        return eval::evaluate_checkpoint(
            Router(*checkpoint), data,
            holdout ? *holdout : trained_holdout(checkpoint->config, options.log), options);
      },
      py::kw_only(), py::arg("checkpoint").none(false), py::arg("data"), py::arg("holdout"),
      py::arg("options"));
  module.def(
      "cross_validate",
      [](const OutcomeData& data, const train::TrainRecipe& recipe, std::uint32_t folds,
         const eval::EvaluationOptions& options) {
        const ReleasedGil released;
        return eval::cross_validate(data, recipe, folds, options);
      },
      py::kw_only(), py::arg("data"), py::arg("recipe"), py::arg("folds"), py::arg("options"));
  module.def(
      "learning_curve",
      [](const std::shared_ptr<Checkpoint>& prior, const OutcomeData& data,
         const std::optional<std::vector<std::uint32_t>>& sizes,
         std::optional<std::uint32_t> holdout, std::uint64_t seed,
         const train::TrainRecipe& recipe) {
        eval::LearningCurveOptions options{.seed = seed, .recipe = recipe};
        if (sizes) options.queries = *sizes;
        const ReleasedGil released;
        options.holdout = holdout ? *holdout : trained_holdout(prior->config, recipe.options.log);
        const eval::LearningCurve curve = eval::learning_curve(*prior, data, options);
        return std::pair(to_json(curve), to_text(curve));
      },
      py::kw_only(), py::arg("prior").none(false), py::arg("data"), py::arg("sizes"),
      py::arg("holdout"), py::arg("seed"), py::arg("recipe"),
      "Returns the curve as JSON and as text.");
  module.def(
      "measure_stability",
      [](const std::shared_ptr<Checkpoint>& checkpoint, const OutcomeData& data,
         std::optional<std::uint32_t> holdout, py::object progress) {
        const train::ProgressCallback report = to_progress_callback(std::move(progress));
        const ReleasedGil released;
        return to_json(eval::measure_stability(
            Router(*checkpoint), data.table,
            holdout ? *holdout : trained_holdout(checkpoint->config), report));
      },
      py::kw_only(), py::arg("checkpoint").none(false), py::arg("data"), py::arg("holdout"),
      py::arg("progress"));
  module.def("calibrate", &calibrate_on, py::kw_only(), py::arg("checkpoint").none(false),
             py::arg("data"), py::arg("holdout"), py::arg("target"), py::arg("fraction"),
             py::arg("resamples"), py::arg("seed"), py::arg("policy"), py::arg("progress"),
             py::arg("log"), "Returns the policy as JSON, the report as text, and the report.");
}

}  // namespace r2router::python
