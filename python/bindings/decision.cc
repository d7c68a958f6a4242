// Choices, and the dictionaries that they are shown as.
#include <cmath>
#include <utility>

#include <pybind11/stl.h>

#include "bindings.h"

namespace r2router::python {

py::str Labels::intern(const char* text) {
  return py::reinterpret_steal<py::str>(PyUnicode_InternFromString(text));
}

Labels::Labels(const Pool& pool) {
  for (const ModelSpec& model : pool) models_.push_back({model.name, model.openrouter_id});
}

Dict Labels::option(const Option& option) const {
  const Model& model = models_[option.model];
  Dict values;
  const auto set = [&](const py::str& key, const py::object& value) {
    if (PyDict_SetItem(values.ptr(), key.ptr(), value.ptr()) != 0) throw py::error_already_set();
  };
  set(keys_.model, model.name);
  set(keys_.openrouter_id, model.openrouter_id);
  const bool unlimited = option.budget.is_unlimited();
  const py::object budget =
      unlimited ? py::object(unlimited_) : py::object(py::int_(option.budget.tokens()));
  set(keys_.budget, budget);
  set(keys_.quality, py::float_(option.quality));
  // An answer that is expected to use its whole budget has the budget's type too, as in the
  // published package.
  const bool whole_budget = !unlimited && option.output_tokens == option.budget.tokens();
  set(keys_.output_tokens, whole_budget ? budget : py::object(py::float_(option.output_tokens)));
  set(keys_.cost_usd, py::float_(option.cost_usd));
  set(keys_.risk, py::float_(option.utility));
  return values;
}

EmbeddingView view(const py::array& values) {
  const int needed =
      py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
  const auto size = static_cast<std::size_t>(values.size());
  if ((values.flags() & needed) == needed) {
    if (py::isinstance<py::array_t<float>>(values)) {
      return std::span(static_cast<const float*>(values.data()), size);
    }
    if (py::isinstance<py::array_t<double>>(values)) {
      return std::span(static_cast<const double*>(values.data()), size);
    }
  }
  throw Error(ErrorCode::kInvalidArgument,
              "expected a C-contiguous array of float32 or float64 numbers");
}

Choice::Choice(Router router, std::shared_ptr<const Labels> labels, Query query,
               const RouteOptions& options, const Decision& decision)
    : router_(std::move(router)),
      labels_(std::move(labels)),
      query_(std::move(query)),
      options_(options),
      chosen_(decision.chosen),
      reason_(decision.reason),
      lambda_(decision.lambda),
      input_tokens_(decision.input_tokens) {}

Decision Choice::decide(bool rank, bool explain) const {
  RouteOptions options = options_;
  options.rank = rank;
  options.explain = explain;
  return router_.route(query_, options);
}

py::typing::List<Dict> Choice::rank() const {
  const Decision decision = [&] {
    const ReleasedGil released;
    return this->decision();
  }();
  py::typing::List<Dict> options;
  for (const Option& option : decision.ranking) options.append(labels_->option(option));
  return options;
}

Dict Choice::details() const {
  Dict values;
  values["max_tokens"] = chosen_.max_tokens;
  values["worst_case_cost_usd"] = std::isfinite(chosen_.worst_case_cost_usd)
                                      ? py::object(py::float_(chosen_.worst_case_cost_usd))
                                      : py::none();
  values["quality_spread"] =
      chosen_.quality_spread > 0 ? py::object(py::float_(chosen_.quality_spread)) : py::none();
  values["reason"] = to_string(reason_);
  values["constraint_met"] = reason_ != Reason::kQualityMissed;
  return values;
}

Dict Choice::explain() const {
  const Explanation explanation = [&] {
    const ReleasedGil released;
    return *decide(false, true).explanation;
  }();
  Dict left_out;
  for (std::size_t i = 0; i < kConstraints; ++i) {
    left_out[py::str(std::string(to_string(static_cast<Constraint>(i))))] = explanation.left_out[i];
  }
  Dict values;
  values["reason"] = to_string(reason_);
  values["runner_up"] = py::none();
  if (explanation.runner_up) values["runner_up"] = labels_->option(*explanation.runner_up);
  values["margin"] = explanation.margin;
  values["win_probability"] = explanation.win_probability;
  values["confident"] = explanation.confident();
  values["left_out"] = left_out;
  Dict tasks;
  for (const auto& [task, share] : explanation.tasks) tasks[py::str(task)] = share;
  values["tasks"] = tasks;
  values["familiarity"] = explanation.familiarity;
  return values;
}

void register_decision(py::module_& module) {
  py::class_<Choice>(module, "Choice", "A choice, with what it takes to rank the alternatives.")
      .def("values", &Choice::values, "The chosen option.")
      .def("rank", &Choice::rank, "Every admitted option, best first.")
      .def("details", &Choice::details, "Its cap, worst-case cost, quality spread and reason.")
      .def("explain", &Choice::explain, "The runner-up, and what each constraint left out.")
      .def_property_readonly("lambda_val", &Choice::lambda)
      .def_property_readonly("input_tokens", &Choice::input_tokens);
}

}  // namespace r2router::python
