// The interpreter's lock. Before Python 3.14, a thread that acquires it while the interpreter shuts
// down is ended by unwinding its stack (pthread_exit). C++ turns that into std::terminate(), which
// aborts a program that had succeeded. Here such a thread waits for the end of the process instead,
// as in Python 3.14 and later.
#include <cxxabi.h>
#include <unistd.h>

#include "bindings.h"

namespace r2router::python {
namespace {

template <typename Function>
auto call_in_interpreter(Function function) {
#ifdef __GLIBCXX__
  try {
    return function();
  } catch (const abi::__forced_unwind&) {
    for (;;) ::pause();
  }
#else
  return function();
#endif
}

}  // namespace

ReleasedGil::ReleasedGil() : state_(PyEval_SaveThread()) {}

ReleasedGil::~ReleasedGil() {
  call_in_interpreter([this] { PyEval_RestoreThread(state_); });
}

AcquiredGil::AcquiredGil() : state_(call_in_interpreter([] { return PyGILState_Ensure(); })) {}

AcquiredGil::~AcquiredGil() { PyGILState_Release(state_); }

void call(const py::object& function, const py::tuple& arguments) {
  PyObject* const result =
      call_in_interpreter([&] { return PyObject_CallObject(function.ptr(), arguments.ptr()); });
  if (result == nullptr) throw py::error_already_set();
  Py_DECREF(result);
}

}  // namespace r2router::python
