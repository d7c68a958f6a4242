// The r2-router program, for python -m r2_router.
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include <pybind11/stl.h>

#include "bindings.h"
#include "cli/run.h"

namespace r2router::python {
namespace {

int run_program(const std::vector<py::bytes>& given) {
  std::vector<std::string> arguments = {"r2-router"};
  arguments.insert(arguments.end(), given.begin(), given.end());
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const ReleasedGil released;
  const int code = cli::run(static_cast<int>(arguments.size()), argv.data());
  std::cout.flush();
  std::fflush(stdout);
  return code;
}

}  // namespace

void register_program(py::module_& module) {
  module.def("run_program", &run_program, py::arg("arguments"),
             "Runs r2-router and returns its exit code. SIGPIPE must be ignored.");
}

}  // namespace r2router::python
