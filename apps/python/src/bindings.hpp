#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "weir/dense_matrix.hpp"
#include "weir/setting/setting.hpp"
#include "weir/state/lone_party.hpp"
#include "weir/state/state.hpp"

namespace weir::python {

namespace py = pybind11;

// Arrays as they lie in memory; Python converts what is given to them (weir/_arrays.py).
using Keys = py::array_t<std::uint64_t, py::array::c_style>;
using Reals = py::array_t<double, py::array::c_style>;

/// The bytes of a str (as UTF-8) or of a bytes object; none for anything else. Valid as long as the object.
[[nodiscard]] std::optional<std::string_view> text_of(PyObject* object);

/// A fixed matrix that the caller has given whole, from which draws are verified. It is the caller's array, not a copy.
class GivenMatrix {
 public:
  /// Made, copied and destroyed with the GIL. O(size): a checksum is taken.
  explicit GivenMatrix(Reals array);

  /// Hands its rows to `consume` as events of `operand`, rounded to `resolution`. Needs no GIL. Throws InputError when the
  /// numbers are no longer those that it was made with.
  void read(Operand operand, double resolution, const std::function<void(const EventBatch&)>& consume) const;
  [[nodiscard]] bool operator==(const GivenMatrix& other) const noexcept;

 private:
  Reals array_;
  std::uint64_t checksum_;
};
/// By operand. Whoever drops a last pointer takes the GIL for it.
using GivenMatrices = std::map<Operand, std::shared_ptr<const GivenMatrix>>;

/// Rows of a matrix operand, each `columns` long. Row t of `values` is number i[t], or t where `i` is empty; it comes with
/// weights[t], or once where `weights` is empty.
struct RowsGiven {
  Operand operand;
  std::uint64_t columns = 0;  ///< At least 1.
  std::span<const double> values;
  std::span<const std::uint64_t> i = {};
  std::span<const double> weights = {};
};
/// Hands them to `consume`, some thousands at a time, rounded to `resolution`.
void hand_out_rows(const RowsGiven& given, double resolution, const std::function<void(const EventBatch&)>& consume);

/// The party of a state that has fixed matrices at hand, which must outlive it.
class PartyWithMatrices : public LoneParty {
 public:
  PartyWithMatrices(const GivenMatrices& matrices, double resolution) : matrices_(matrices), resolution_(resolution) {}
  [[nodiscard]] bool can_read_again(Operand operand) const override { return matrices_.contains(operand); }
  [[nodiscard]] bool has_rows_once(Operand) const override { return true; }
  void read_again(Operand operand, const std::function<void(const EventBatch&)>& consume) override;

 private:
  const GivenMatrices& matrices_;
  double resolution_;
};

/// A state that several threads of Python may use at once: those who ask share it, those who change it do not. Locks are
/// taken without the GIL, as whoever holds one may wait for the GIL.
struct SharedState {
  explicit SharedState(State of, GivenMatrices matrices = {}) : state(std::move(of)), given(std::move(matrices)) {}

  State state;
  /// Fixed operands that are no part of the state. States that were loaded have none.
  GivenMatrices given;
  mutable std::shared_mutex mutex = {};
};
using StatePointer = std::shared_ptr<SharedState>;

/// work(state) without the GIL, while no other thread changes the state.
template <class Work>
auto asking(const SharedState& shared, const Work& work) {
  const py::gil_scoped_release released;
  const std::shared_lock lock(shared.mutex);
  return work(shared.state);
}

/// work(state) without the GIL, while no other thread uses the state.
template <class Work>
auto changing(SharedState& shared, const Work& work) {
  const py::gil_scoped_release released;
  const std::unique_lock lock(shared.mutex);
  return work(shared.state);
}

/// work(a, b) likewise, where a changes and b, which may be the same, does not.
template <class Work>
void changing(SharedState& a, const SharedState& b, const Work& work) {
  const py::gil_scoped_release released;
  if (&a == &b) {
    const std::unique_lock lock(a.mutex);
    return work(a.state, b.state);
  }
  std::unique_lock own(a.mutex, std::defer_lock);
  std::shared_lock other(b.mutex, std::defer_lock);
  std::lock(own, other);
  work(a.state, b.state);
}

template <class Number>
[[nodiscard]] std::span<const Number> span_of(const py::array_t<Number, py::array::c_style>& array) {
  return {array.data(), static_cast<std::size_t>(array.size())};
}
/// An array that owns a copy of the numbers.
template <class Number>
[[nodiscard]] py::array_t<Number> array_of(std::span<const Number> numbers) {
  return py::array_t<Number>(static_cast<py::ssize_t>(numbers.size()), numbers.data());
}
/// An array of two dimensions that owns a copy of the numbers of the matrix.
[[nodiscard]] Reals array_of(const DenseMatrix& matrix);
/// A vector becomes one column. Throws UsageError for more than two dimensions.
[[nodiscard]] DenseMatrix matrix_of(const Reals& array);

/// What a problem is to be, as far as arguments say it.
struct Specification {
  Problem problem;
  SizeRequest request;
};

/// The text of an error as users of Python need it: options of the program become arguments.
[[nodiscard]] std::string in_python(std::string_view text);

/// The question of a draw, from arguments.
[[nodiscard]] Question draw_question(const Problem& problem, const py::dict& arguments);
/// The question of anything else; `inner` is another state that must outlive it.
[[nodiscard]] Question query_question(const py::dict& arguments, const State* inner);
/// An answer as a dict of numbers and arrays, for weir/_results.py.
[[nodiscard]] py::dict answer_dict(const Answer& answer);
/// Throws UsageError where arguments say verify=True and the values of the draws are estimates.
void require_verified(const py::dict& arguments, const Answer& answer);

// The parts of the module.
void bind_problem(py::module_& module);
void bind_state(py::module_& module);
void bind_attention(py::module_& module);

}  // namespace weir::python
