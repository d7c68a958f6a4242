// The library's one exception type as the exceptions that a Python user expects.
#include <exception>

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
    case ErrorCode::kNotFound:  // with a file, that is missing; else a name that means nothing
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
    default:  // what servers do has a table in Python, which completions use too
      return own("server_error_type")(py::str(std::string(to_string(error.code()))));
  }
}

// File names and contents of files may hold any bytes; a message must still be text.
py::str to_text(const std::string& bytes) {
  return py::reinterpret_steal<py::str>(
      PyUnicode_DecodeUTF8(bytes.data(), static_cast<Py_ssize_t>(bytes.size()), "replace"));
}

void raise(const Error& error) {
  const py::object type = exception_type(error);
  const py::object exception = type(to_text(error.what()));
  const Error::Where& where = error.where();
  if (!where.file.empty()) exception.attr("file") = to_text(where.file);
  if (!where.pointer.empty()) exception.attr("pointer") = to_text(where.pointer);
  if (where.byte_offset) exception.attr("byte_offset") = *where.byte_offset;
  if (where.line) exception.attr("line") = *where.line;
  PyErr_SetObject(type.ptr(), exception.ptr());
}

}  // namespace

void register_errors(py::module_&) {
  py::register_local_exception_translator([](std::exception_ptr thrown) {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const Error& error) {
      raise(error);
    }
  });
}

}  // namespace r2router::python
