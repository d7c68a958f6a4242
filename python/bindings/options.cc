// Budgets and what one call may set.
#include "r2router/options.h"

#include <optional>
#include <utility>

#include <pybind11/stl.h>

#include "bindings.h"

namespace r2router::python {

std::int64_t to_number(Budget budget) {
  return budget.is_unlimited() ? kUnlimited : budget.tokens();
}

py::object to_python(Budget budget) {
  if (budget.is_unlimited()) return py::str("unlimited");
  return py::int_(budget.tokens());
}

Budget to_budget(const py::handle& value) {
  if (py::isinstance<py::str>(value) && value.cast<std::string>() == "unlimited") return {};
  if (py::isinstance<py::int_>(value) && !py::isinstance<py::bool_>(value)) {
    int overflow = 0;
    const long long tokens = PyLong_AsLongLongAndOverflow(value.ptr(), &overflow);
    if (overflow == 0 && tokens > 0 && tokens < UINT32_MAX) {
      return Budget(static_cast<std::uint32_t>(tokens));
    }
  }
  throw Error(ErrorCode::kInvalidArgument, "the budget is " + py::repr(value).cast<std::string>() +
                                               ": expected a positive int, or \"unlimited\"");
}

void register_options(py::module_& module) {
  module.attr("UNLIMITED") = kUnlimited;
  py::class_<RouteOptions>(module, "RouteOptions",
                           "What one call may set; None: as the checkpoint says.")
      .def(py::init([](std::optional<double> lambda_val, std::optional<std::int64_t> input_tokens,
                       std::vector<std::string> allow, std::vector<std::string> deny,
                       std::optional<bool> available_only, std::optional<double> token_floor,
                       std::optional<double> max_cost_usd,
                       std::optional<std::int64_t> max_input_tokens) {
             return RouteOptions{.lambda = lambda_val,
                                 .input_tokens = input_tokens,
                                 .allow = std::move(allow),
                                 .deny = std::move(deny),
                                 .available_only = available_only,
                                 .token_floor = token_floor,
                                 .max_cost_usd = max_cost_usd,
                                 .max_input_tokens = max_input_tokens};
           }),
           py::arg("lambda_val") = py::none(), py::arg("input_tokens") = py::none(),
           py::arg("allow") = std::vector<std::string>{},
           py::arg("deny") = std::vector<std::string>{}, py::arg("available_only") = py::none(),
           py::arg("token_floor") = py::none(), py::arg("max_cost_usd") = py::none(),
           py::arg("max_input_tokens") = py::none());
}

}  // namespace r2router::python
