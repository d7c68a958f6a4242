// Converts errors to Python exceptions, with the names of the Python package in messages.
#include <cctype>
#include <cstddef>
#include <exception>
#include <string>
#include <string_view>

#include "r2router/error.h"

#include "bindings.h"

namespace r2router::python {
namespace {

/// A class of r2_router._errors.
py::object own(const char* name) { return py::module_::import("r2_router._errors").attr(name); }

py::object exception_type(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kInvalidArgument:
      return py::reinterpret_borrow<py::object>(PyExc_ValueError);
    case ErrorCode::kNotFound:  // with a file: missing; otherwise an unknown name
      return py::reinterpret_borrow<py::object>(
          error.where().file.empty() ? PyExc_ValueError : PyExc_FileNotFoundError);
    case ErrorCode::kIo:
      return py::reinterpret_borrow<py::object>(PyExc_OSError);
    case ErrorCode::kUnsupported:
      return py::reinterpret_borrow<py::object>(PyExc_RuntimeError);
    case ErrorCode::kBadConfig:
      return own("ConfigError");
    case ErrorCode::kBadCheckpoint:
      return own("CheckpointError");
    case ErrorCode::kUnsafe:
      return own("UnsafeCheckpointError");
    case ErrorCode::kBadData:
      return own("DataError");
    default:  // a table in Python, shared with completions, maps failures of servers
      return own("server_error_type")(py::str(std::string(to_string(error.code()))));
  }
}

// File names and contents of files may hold any bytes; a message must still be text.
py::str to_text(const std::string& bytes) {
  return py::reinterpret_steal<py::str>(
      PyUnicode_DecodeUTF8(bytes.data(), static_cast<Py_ssize_t>(bytes.size()), "replace"));
}

// The option lambda has another name in Python, where that word is reserved. Files use the
// library's name.
std::string in_python(const Error& error) {
  constexpr std::string_view kName = "lambda";
  const auto is_word = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-' || c == '"';
  };
  std::string message = error.what();
  if (!error.where().file.empty()) return message;
  for (std::size_t at = 0; (at = message.find(kName, at)) != message.npos; at += kName.size()) {
    const std::size_t end = at + kName.size();
    if (at > 0 && is_word(message[at - 1])) continue;
    if (end < message.size() && is_word(message[end])) continue;
    message.insert(end, "_val");
  }
  return message;
}

void raise(const Error& error) {
  const py::object type = exception_type(error);
  const py::object exception = type(to_text(in_python(error)));
  const Error::Where& where = error.where();
  if (!where.file.empty()) exception.attr("file") = to_text(where.file);
  if (!where.pointer.empty()) exception.attr("pointer") = to_text(where.pointer);
  if (where.byte_offset) exception.attr("byte_offset") = *where.byte_offset;
  if (where.line) exception.attr("line") = *where.line;
  PyErr_SetObject(type.ptr(), exception.ptr());
}

// For wrong arguments, pybind11 lists the C++ signatures of its functions, which do not help users.
// Calls of this module's functions go through one of the following functions, which replace that
// message by one line that names the wrong argument. It costs nothing unless a call fails.

using FastCall = PyObject* (*)(PyObject*, PyObject* const*, Py_ssize_t, PyObject*);

// pybind11's original functions. Set once, while the module is imported.
PyCFunction dispatcher = nullptr;

template <typename Function>
Function dispatcher_as() {
  return reinterpret_cast<Function>(reinterpret_cast<void (*)()>(dispatcher));
}

void rewrite_message(const py::tuple& arguments, const py::dict& keywords) {
  py::error_already_set error;
  const std::string message = py::str(error.value());
  if (message.find(" arguments. The following argument types are supported:\n") == message.npos) {
    error.restore();  // raised inside the function
    return;
  }
  try {
    const py::object explain = py::module_::import("r2_router._arguments").attr("explain");
    PyErr_SetObject(PyExc_TypeError, explain(message, arguments, keywords).ptr());
  } catch (py::error_already_set& failed) {
    failed.restore();
  }
}

PyObject* fast_call(PyObject* self, PyObject* const* values, Py_ssize_t count, PyObject* names) {
  PyObject* const result = dispatcher_as<FastCall>()(self, values, count, names);
  if (result == nullptr && PyErr_ExceptionMatches(PyExc_TypeError) != 0) {
    const Py_ssize_t positional = PyVectorcall_NARGS(static_cast<std::size_t>(count));
    py::tuple arguments(positional);
    for (Py_ssize_t i = 0; i < positional; ++i) {
      arguments[static_cast<std::size_t>(i)] = py::handle(values[i]);
    }
    py::dict keywords;
    const Py_ssize_t named = names == nullptr ? 0 : PyTuple_GET_SIZE(names);
    for (Py_ssize_t i = 0; i < named; ++i) {
      keywords[py::handle(PyTuple_GET_ITEM(names, i))] = py::handle(values[positional + i]);
    }
    rewrite_message(arguments, keywords);
  }
  return result;
}

PyObject* tuple_call(PyObject* self, PyObject* arguments, PyObject* keywords) {
  PyObject* const result = dispatcher_as<PyCFunctionWithKeywords>()(self, arguments, keywords);
  if (result == nullptr && PyErr_ExceptionMatches(PyExc_TypeError) != 0) {
    rewrite_message(py::reinterpret_borrow<py::tuple>(arguments),
                    keywords == nullptr ? py::dict() : py::reinterpret_borrow<py::dict>(keywords));
  }
  return result;
}

void explain_function(py::handle object) {
  if (PyInstanceMethod_Check(object.ptr())) object = PyInstanceMethod_GET_FUNCTION(object.ptr());
  if (!PyCFunction_Check(object.ptr())) return;
  PyMethodDef* const method = reinterpret_cast<PyCFunctionObject*>(object.ptr())->m_ml;
  void (*replacement)() = nullptr;
  if (method->ml_flags == (METH_FASTCALL | METH_KEYWORDS)) {  // pybind11 3.1
    replacement = reinterpret_cast<void (*)()>(fast_call);
  } else if (method->ml_flags == (METH_VARARGS | METH_KEYWORDS)) {  // pybind11 3.0
    replacement = reinterpret_cast<void (*)()>(tuple_call);
  } else {
    return;
  }
  if (method->ml_meth == reinterpret_cast<PyCFunction>(replacement)) return;
  dispatcher = method->ml_meth;
  method->ml_meth = reinterpret_cast<PyCFunction>(replacement);
}

void explain_members(const py::handle& scope) {
  for (const auto& item : py::dict(scope.attr("__dict__"))) {
    const py::handle member = item.second;
    PyObject* const object = member.ptr();
    if (PyType_Check(object)) {
      explain_members(member);
    } else if (PyObject_TypeCheck(object, &PyStaticMethod_Type)) {
      explain_function(member.attr("__func__"));
    } else if (PyObject_TypeCheck(object, &PyProperty_Type)) {
      explain_function(member.attr("fget"));
    } else {
      explain_function(member);
    }
  }
}

}  // namespace

void explain_wrong_arguments(py::module_& module) { explain_members(module); }

void register_errors(py::module_&) {
  py::register_local_exception_translator([](std::exception_ptr thrown) {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const Error& error) {
      raise(error);
    } catch (const py::cast_error&) {  // its what() names C++ types
      PyErr_SetString(PyExc_TypeError, "an argument holds a value of the wrong type");
    }
  });
}

}  // namespace r2router::python
