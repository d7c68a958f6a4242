// Budgets and what one call may set.
#include "r2router/options.h"

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <pybind11/stl.h>

#include "r2router/capability.h"
#include "r2router/query.h"
#include "r2router/settings.h"

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

using Type = Setting::Type;

/// Python's name of a setting: one word is reserved there.
std::string_view keyword_of(const Setting& setting) {
  return setting.name == "lambda" ? "lambda_val" : setting.name;
}

const Setting* find_keyword(const std::string& keyword) {
  return find_setting(keyword == "lambda_val" ? "lambda" : keyword);
}

std::string expected_of(const Setting& setting) {
  return setting.type() == Type::kFlag ? "True or False" : setting.expected();
}

std::string found(const std::string& keyword, const py::handle& value) {
  return keyword + " is " + py::repr(value).cast<std::string>() + ": expected ";
}

/// Throws py::cast_error unless it is an iterable of strings; a string is one as well, by mistake.
std::vector<std::string> to_names(const py::handle& value) {
  if (py::isinstance<py::str>(value) || !py::isinstance<py::iterable>(value)) {
    throw py::cast_error();
  }
  std::vector<std::string> names;
  for (const py::handle name : value) {
    if (!py::isinstance<py::str>(name)) throw py::cast_error();
    names.push_back(name.cast<std::string>());
  }
  return names;
}

/// Throws py::cast_error for a value of another type.
SettingValue to_value(const Setting& setting, const py::handle& value) {
  switch (setting.type()) {
    case Type::kFlag:
      return value.cast<bool>();
    case Type::kNumber:
      return value.cast<double>();
    case Type::kWholeNumber:
      return value.cast<std::int64_t>();
    case Type::kName:
      return value.cast<std::string>();
    case Type::kModels:
      return to_names(value);
  }
  throw py::cast_error();
}

/// Throws TypeError unless settings are in a dictionary of that name, as "cap.margin" is in "cap".
void check_group(const std::string& keyword, const std::string& group) {
  std::string known;
  for (const Setting& setting : settings()) {
    if (setting.name.starts_with(keyword + ".")) return;
    if (!setting.name.starts_with(group)) continue;
    known += (known.empty() ? "" : ", ") + std::string(keyword_of(setting));
  }
  throw py::type_error("there is no setting " + keyword + ": expected one of " + known);
}

/// Sets what is not None.
void set_one(const std::string& keyword, const Setting& setting, const py::handle& value,
             Policy& policy) {
  if (value.is_none()) return;
  bool in_range = false;
  try {
    in_range = assign(setting, to_value(setting, value), policy);
  } catch (const py::cast_error&) {
    std::string message = found(keyword, value) + expected_of(setting);
    if (setting.type() == Type::kModels && py::isinstance<py::str>(value)) {
      message += ", such as [" + py::repr(value).cast<std::string>() + "]";
    }
    throw py::type_error(message);
  }
  if (!in_range) {
    throw Error(ErrorCode::kInvalidArgument, found(keyword, value) + expected_of(setting));
  }
}

/// Sets what the dictionary says. `group`: the settings' common beginning, "cap." in a cap's.
void set_all(const py::dict& values, const std::string& group, Policy& policy) {
  for (const auto& [key, value] : values) {
    const std::string keyword = group + py::str(key).cast<std::string>();
    if (value.is_none()) continue;
    const Setting* setting = find_keyword(keyword);
    if (setting == nullptr) {
      check_group(keyword, group);
      if (!py::isinstance<py::dict>(value)) throw py::type_error(found(keyword, value) + "a dict");
      set_all(value.cast<py::dict>(), keyword + ".", policy);
      continue;
    }
    set_one(keyword, *setting, value, policy);
  }
}

/// `unit`: what is counted.
template <typename Count>
std::optional<Count> to_count(const char* name, const char* unit, const py::handle& value) {
  if (value.is_none()) return {};
  const std::string expected = std::string("a whole number of ") + unit + ", 0 or more";
  std::int64_t count = 0;
  try {
    count = value.cast<std::int64_t>();
  } catch (const py::cast_error&) {
    throw py::type_error(found(name, value) + expected);
  }
  if (count < 0 || !std::in_range<Count>(count)) {
    throw Error(ErrorCode::kInvalidArgument, found(name, value) + expected);
  }
  return static_cast<Count>(count);
}

Capabilities to_capabilities(const py::handle& value) {
  if (value.is_none()) return {};
  std::string expected = "a list of capabilities:";
  for (std::size_t i = 0; i < kCapabilities; ++i) {
    expected += (i == 0 ? " " : i + 1 == kCapabilities ? " or " : ", ");
    expected += to_string(static_cast<Capability>(i));
  }
  std::vector<std::string> names;
  try {
    names = to_names(value);
  } catch (const py::cast_error&) {
    throw py::type_error(found("requires", value) + expected);
  }
  Capabilities capabilities;
  for (const std::string& name : names) {
    const std::optional<Capability> capability = find_capability(name);
    if (!capability) throw Error(ErrorCode::kInvalidArgument, found("requires", value) + expected);
    capabilities.add(*capability);
  }
  return capabilities;
}

QuerySize make_size(const py::handle& input_tokens, const py::handle& images,
                    const py::handle& requirements) {
  return {.input_tokens = to_count<std::int64_t>("input_tokens", "tokens", input_tokens),
          .images = to_count<std::uint32_t>("images", "images", images).value_or(0),
          .requirements = to_capabilities(requirements)};
}

RouteOptions make_options(const Dict& settings, const std::optional<Policy>& policy,
                          const py::handle& default_lambda) {
  Policy given;
  set_all(settings, "", given);
  RouteOptions options{.policy = policy ? merge(*policy, given) : std::move(given)};
  // The router's own trade-off, as decide() takes the checkpoint's.
  Policy& own = options.policy;
  const bool decides =
      own.lambda || own.willingness_to_pay || own.min_quality || own.quality_fraction;
  if (own.objective ? *own.objective == Objective::kUtility && !own.lambda : !decides) {
    set_one("lambda_val", *find_setting("lambda"), default_lambda, own);
  }
  return options;
}

/// The table of settings, for python/make_stubs.py.
py::typing::List<Dict> settings_table() {
  static constexpr const char* kTypes[] = {"float", "int", "bool", "name", "models"};
  py::typing::List<Dict> table;
  for (const Setting& setting : settings()) {
    Dict row;
    row["name"] = keyword_of(setting);
    row["type"] = kTypes[static_cast<std::size_t>(setting.type())];
    row["names"] = setting.names();
    row["unit"] = setting.unit;
    row["range"] = setting.range();
    row["help"] = setting.help;
    table.append(row);
  }
  return table;
}

}  // namespace

void register_options(py::module_& module) {
  module.attr("UNLIMITED") = kUnlimited;
  const auto none = py::none();
  py::class_<Policy>(module, "Policy", "Settings of a choice.");
  py::class_<RouteOptions>(module, "RouteOptions", "What one call may set.")
      .def(py::init(&make_options), py::arg("settings"), py::arg("policy") = none,
           py::arg("default_lambda") = none,
           "settings: by keyword, over those of policy. default_lambda: used if neither sets a "
           "trade-off.");
  py::class_<QuerySize>(module, "QuerySize", "How long a query is, and what is sent with it.")
      .def(py::init(&make_size), py::arg("input_tokens") = none, py::arg("images") = none,
           py::arg("requires") = none,
           "input_tokens: None if it is estimated. requires: names of capabilities.");
  module.def("settings", &settings_table,
             "Every setting of a policy, as the native library has it.");
  module.def("named_policy_path", &named_policy_path, py::arg("name"), py::arg("checkpoint_folder"),
             "Where the folder keeps the policy of a name.");
  module.def(
      "load_policy",
      [](const std::string& policy, const std::string& checkpoint_folder) {
        return load_policy(find_policy(policy, checkpoint_folder));
      },
      py::arg("policy"), py::arg("checkpoint_folder"),
      "policy: a file, or a name in the folder; an empty folder: there is none.");
}

}  // namespace r2router::python
