// Budgets and what one call may set.
#include "r2router/options.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <pybind11/stl.h>

#include "r2router/policy.h"

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
  if (PyIndex_Check(value.ptr()) && !py::isinstance<py::bool_>(value)) {  // NumPy's integers too
    const auto number = py::reinterpret_steal<py::object>(PyNumber_Index(value.ptr()));
    if (!number) throw py::error_already_set();
    int overflow = 0;
    const long long tokens = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
    if (overflow == 0 && tokens > 0 && tokens < UINT32_MAX) {
      return Budget(static_cast<std::uint32_t>(tokens));
    }
  }
  throw Error(ErrorCode::kInvalidArgument, "the budget is " + py::repr(value).cast<std::string>() +
                                               ": expected a positive int, or \"unlimited\"");
}

namespace {

std::optional<Objective> to_objective(const std::optional<std::string>& name) {
  if (!name) return {};
  if (*name == "risk") return Objective::kRisk;
  if (*name == "usd") return Objective::kUsd;
  if (*name == "cheapest") return Objective::kCheapest;
  if (*name == "best") return Objective::kBest;
  throw Error(ErrorCode::kInvalidArgument,
              "objective is \"" + *name + "\": expected risk, usd, cheapest or best");
}

/// Takes what is given and keeps what stands there otherwise.
template <typename Field, typename Value>
void set(Field& field, std::optional<Value> value) {
  if (value) field = std::move(*value);
}

using Names = std::optional<std::vector<std::string>>;

RouteOptions make_options(
    std::optional<double> lambda_val, std::optional<std::int64_t> input_tokens,
    const std::optional<RouteOptions>& policy, std::optional<double> default_lambda, Names allow,
    Names deny, std::optional<bool> available_only, std::optional<double> token_floor,
    const std::optional<std::string>& objective, std::optional<double> willingness_to_pay,
    std::optional<double> min_quality, std::optional<double> quality_fraction,
    std::optional<double> risk_aversion, std::optional<double> max_cost_usd,
    std::optional<std::uint32_t> max_output_tokens, std::optional<double> max_latency_ms,
    std::optional<bool> continuous, std::optional<bool> monotone,
    std::optional<std::int64_t> max_input_tokens) {
  RouteOptions options = policy.value_or(RouteOptions{});
  set(options.lambda, lambda_val);
  set(options.input_tokens, input_tokens);
  set(options.allow, std::move(allow));
  set(options.deny, std::move(deny));
  set(options.available_only, available_only);
  set(options.token_floor, token_floor);
  set(options.objective, to_objective(objective));
  set(options.willingness_to_pay, willingness_to_pay);
  set(options.min_quality, min_quality);
  set(options.quality_fraction, quality_fraction);
  set(options.risk_aversion, risk_aversion);
  set(options.max_cost_usd, max_cost_usd);
  set(options.max_output_tokens, max_output_tokens);
  set(options.max_latency_ms, max_latency_ms);
  set(options.continuous, continuous);
  set(options.monotone, monotone);
  set(options.max_input_tokens, max_input_tokens);
  // The router's own trade-off, where nothing that the call sets decides otherwise.
  const bool weighs_otherwise = options.lambda || options.willingness_to_pay ||
                                options.min_quality || options.quality_fraction;
  if (options.objective ? *options.objective == Objective::kRisk && !options.lambda
                        : !weighs_otherwise) {
    options.lambda = default_lambda;
  }
  return options;
}

}  // namespace

void register_options(py::module_& module) {
  module.attr("UNLIMITED") = kUnlimited;
  const auto none = py::none();
  py::class_<RouteOptions>(module, "RouteOptions",
                           "What one call may set; None: as the policy or the checkpoint says.")
      .def(py::init(&make_options), py::arg("lambda_val") = none, py::arg("input_tokens") = none,
           py::arg("policy") = none, py::arg("default_lambda") = none, py::arg("allow") = none,
           py::arg("deny") = none, py::arg("available_only") = none, py::arg("token_floor") = none,
           py::arg("objective") = none, py::arg("willingness_to_pay") = none,
           py::arg("min_quality") = none, py::arg("quality_fraction") = none,
           py::arg("risk_aversion") = none, py::arg("max_cost_usd") = none,
           py::arg("max_output_tokens") = none, py::arg("max_latency_ms") = none,
           py::arg("continuous") = none, py::arg("monotone") = none,
           py::arg("max_input_tokens") = none);
  module.def(
      "load_policy",
      [](const std::string& policy, const std::string& checkpoint_folder) {
        return load_policy(find_policy(policy, checkpoint_folder));
      },
      py::arg("policy"), py::arg("checkpoint_folder"),
      "policy: a file, or a name in the folder; an empty folder: there is none.");
}

}  // namespace r2router::python
