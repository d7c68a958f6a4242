// Choices, and the dictionaries that they are shown as.
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
  set(keys_.risk, py::float_(option.risk));
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

Choice::Choice(Router router, std::shared_ptr<const Labels> labels, const py::array& embedding,
               const RouteOptions& options)
    : router_(std::move(router)), labels_(std::move(labels)), options_(options) {
  std::visit(
      [&](auto values) {
        using Value = std::remove_const_t<typename decltype(values)::element_type>;
        embedding_ = std::vector<Value>(values.begin(), values.end());
      },
      view(embedding));
  const py::gil_scoped_release released;
  const Decision decision = std::visit(
      [&](const auto& values) { return router_.route(std::span(values), options_); }, embedding_);
  chosen_ = decision.chosen;
  options_.lambda = decision.lambda;
  options_.input_tokens = decision.input_tokens;
}

Decision Choice::decision() const {
  RouteOptions options = options_;
  options.rank = true;
  return std::visit([&](const auto& values) { return router_.route(std::span(values), options); },
                    embedding_);
}

py::typing::List<Dict> Choice::rank() const {
  const Decision decision = [&] {
    const py::gil_scoped_release released;
    return this->decision();
  }();
  py::typing::List<Dict> options;
  for (const Option& option : decision.ranking) options.append(labels_->option(option));
  return options;
}

void register_decision(py::module_& module) {
  py::class_<Choice>(module, "Choice", "A choice, with what it takes to rank the alternatives.")
      .def("values", &Choice::values, "The chosen option.")
      .def("rank", &Choice::rank, "Every admitted option, best first.")
      .def_property_readonly("lambda_val", &Choice::lambda)
      .def_property_readonly("input_tokens", &Choice::input_tokens);
}

}  // namespace r2router::python
