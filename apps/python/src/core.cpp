// The module weir._core: states, problems, questions and answers, without MPI.

#include "bindings.hpp"
#include "weir/error.hpp"
#include "weir/random/key_hash.hpp"

namespace weir::python {

std::optional<std::string_view> text_of(PyObject* object) {
  if (PyUnicode_Check(object)) {
    Py_ssize_t size = 0;
    const char* text = PyUnicode_AsUTF8AndSize(object, &size);
    if (text == nullptr) throw py::error_already_set();
    return std::string_view(text, static_cast<std::size_t>(size));
  }
  if (PyBytes_Check(object))
    return std::string_view(PyBytes_AS_STRING(object), static_cast<std::size_t>(PyBytes_GET_SIZE(object)));
  return std::nullopt;
}

namespace {

/// The index that an object is the key of.
std::uint64_t key_of(std::uint64_t seed, PyObject* object, Py_ssize_t place) {
  if (const auto text = text_of(object)) return key_of_text(seed, *text);
  constexpr std::uint64_t limit = std::uint64_t{1} << 63;
  if (PyIndex_Check(object) != 0 && !PyBool_Check(object)) {
    const auto number = py::reinterpret_steal<py::object>(PyNumber_Index(object));
    const std::uint64_t key = number ? PyLong_AsUnsignedLongLong(number.ptr()) : limit;
    if (PyErr_Occurred() == nullptr && key < limit) return key;
    PyErr_Clear();
  }
  throw InputError("key " + std::to_string(place) + " is " +
                   py::repr(py::handle(object)).cast<std::string>().substr(0, 80) +
                   ": expected text, bytes, or a whole number from 0 to 2^63 - 1");
}

Keys keys_of(std::uint64_t seed, const py::sequence& sequence) {
  const auto items = py::reinterpret_steal<py::object>(PySequence_Fast(sequence.ptr(), "expected a sequence of keys"));
  if (!items) throw py::error_already_set();
  const Py_ssize_t count = PySequence_Fast_GET_SIZE(items.ptr());
  Keys keys(count);
  std::uint64_t* out = keys.mutable_data();
  for (Py_ssize_t t = 0; t < count; ++t) out[t] = key_of(seed, PySequence_Fast_GET_ITEM(items.ptr(), t), t);
  return keys;
}

/// Exceptions, of both modules. Their texts name arguments in place of options.
void bind_errors(py::module_& module) {
  static const py::exception<Error> error(module, "Error", PyExc_ValueError);
  static const py::exception<InputError> input_error(module, "InputError", error);
  static const py::exception<UsageError> usage_error(module, "UsageError", error);
  py::register_exception_translator([](std::exception_ptr thrown) {
    const auto raise = [](const py::object& type, const Error& what) {
      PyErr_SetString(type.ptr(), in_python(what.what()).c_str());
    };
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const UsageError& what) {
      raise(usage_error, what);
    } catch (const InputError& what) {
      raise(input_error, what);
    } catch (const Error& what) {
      raise(error, what);
    }
  });
  module.def("in_python", &in_python, py::arg("text"));
}

}  // namespace

}  // namespace weir::python

PYBIND11_MODULE(_core, module) {
  namespace py = weir::python::py;
  module.doc() = "weir without MPI; use the package weir.";
  weir::python::bind_errors(module);
  module.attr("__version__") = WEIR_VERSION;
  module.def("keys_of", &weir::python::keys_of, py::arg("seed"), py::arg("sequence"));
  weir::python::bind_problem(module);
  weir::python::bind_state(module);
  weir::python::bind_attention(module);
}
