#include <pybind11/stl.h>

#include "bindings.hpp"
#include "weir/attention/calibration.hpp"
#include "weir/error.hpp"
#include "weir/setting/attention.hpp"
#include "weir/state/attention_state.hpp"

namespace weir::python {
namespace {

/// The problem of attention for rows like these, and the calibration as its fixed operand.
py::tuple fit(const Reals& queries, const Reals& keys, const Reals& values, std::uint64_t tokens, double scale,
              std::uint64_t budget, std::uint64_t expected_rows, bool automatic, std::uint64_t seed) {
  DenseMatrix asked = matrix_of(queries), k = matrix_of(keys), v = matrix_of(values);
  if (asked.columns != k.columns)
    throw UsageError("queries have " + std::to_string(asked.columns) + " numbers, and keys " +
                     std::to_string(k.columns));
  if (k.rows != v.rows)
    throw UsageError(std::to_string(k.rows) + " keys and " + std::to_string(v.rows) + " values: expected as many");
  const py::gil_scoped_release released;
  for (double& number : asked.values) number *= scale;
  const AnisotropicOptions options{.d = k.columns,
                                   .dv = v.columns,
                                   .budget = budget,
                                   .automatic = automatic,
                                   .expected_rows = expected_rows,
                                   .seed = seed};
  validate(options);
  const auto calibration = AnisotropicCalibration::fit(options, asked.values, k.values, v.values);
  Problem problem = attention_problem(tokens, scale, calibration);
  const DenseMatrix operand = as_operand(calibration);
  const py::gil_scoped_acquire acquired;
  return py::make_tuple(std::move(problem), std::string(to_string(attention_calibration())), array_of(operand),
                        calibration.varied_directions());
}

py::tuple attend(const SharedState& shared, const Reals& queries, bool with_errors) {
  AttendQuestion about{.queries = matrix_of(queries), .with_errors = with_errors};
  const Question question{.attend = std::move(about)};
  const Answer answer = asking(shared, [&](const State& state) {
    setting_of(state.problem()).check_question(state.problem(), question);
    return state.answer(question);
  });
  return py::make_tuple(array_of(answer.attention->outputs),
                        array_of(std::span<const double>(answer.attention->errors)), answer.attention->fallbacks);
}

}  // namespace

void bind_attention(py::module_& module) {
  module.def("fit_attention", &fit, py::arg("queries"), py::arg("keys"), py::arg("values"), py::arg("tokens"),
             py::arg("scale"), py::arg("budget"), py::arg("expected_rows"), py::arg("automatic"), py::arg("seed"));
  module.def("attend", &attend, py::arg("state"), py::arg("queries"), py::arg("with_errors"));
  module.def("keys_and_values", [] { return std::string(to_string(keys_and_values())); });
}

}  // namespace weir::python
