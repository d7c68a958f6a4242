// r2_router._core: the native library for the typed facade in r2_router/. Private.
#include <string_view>

#include <pybind11/stl.h>

#include "r2router/decision.h"
#include "r2router/version.h"

#include "bindings.h"

PYBIND11_MODULE(_core, module) {
  namespace py = pybind11;
  using namespace r2router::python;

  module.doc() = "The native library behind r2_router. Private: use the package.";
  module.attr("__version__") = r2router::version();
  module.def("available_kernels", &r2router::available_kernels,
             "Compute kernels that this machine can run, slowest first.");
  module.def("default_checkpoint_path", &r2router::Router::default_checkpoint_path,
             "Folder of the default checkpoint.");
  module.def("checkpoint_folder", &r2router::checkpoint_folder, py::arg("name"),
             "Folder of a checkpoint that is named by its path or as an installed one.");
  module.def(
      "estimate_input_tokens",
      [](std::string_view text) { return r2router::estimate_input_tokens(text); }, py::arg("text"));
  register_errors(module);
  register_options(module);
  register_checkpoint(module);
  register_decision(module);
  register_columns(module);
  register_servers(module);
  register_router(module);
  register_outcomes(module);
  register_train(module);
  register_statistics(module);
  register_evaluation(module);
  register_program(module);
  explain_wrong_arguments(module);
}
