#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "bindings.hpp"
#include "weir/error.hpp"
#include "weir/io/state_file.hpp"
#include "weir/names.hpp"
#include "weir/random/key_hash.hpp"

namespace weir::python {
namespace {

/// Throws UsageError when the problem has no such operand, or when it cannot change.
OperandShape streamed(const Problem& problem, const std::string& name) {
  const auto operand = find_operand(name);
  const std::vector<OperandShape> shapes = shapes_of(problem, {Role::streams, Role::forgotten});
  for (const OperandShape& shape : shapes)
    if (shape.operand == operand) return shape;
  std::string known;
  for (const OperandShape& shape : shapes)
    known += (known.empty() ? "" : " or ") + std::string(to_string(shape.operand));
  const bool is_fixed = operand && problem.role(*operand) == Role::fixed;
  throw UsageError((is_fixed ? name + " is fixed and cannot change" : "no operand '" + name.substr(0, 40) + "'") +
                   ": expected " + (known.empty() ? "no events, as nothing streams" : known));
}

void require_finite(std::span<const double> values, std::uint64_t columns) {
  const auto bad = std::ranges::find_if(values, [](double value) { return !std::isfinite(value); });
  if (bad == values.end()) return;
  const auto place = static_cast<std::size_t>(bad - values.begin());
  throw InputError("row " + std::to_string(place / columns) + " of the batch: entry " +
                   std::to_string(place % columns) + " is " + std::to_string(*bad));
}

void add_rows(State& state, const OperandShape& shape, std::span<const std::uint64_t> i, std::span<const double> values,
              std::span<const double> weights) {
  const std::string name(to_string(shape.operand));
  if (!has_column(shape.operand)) throw UsageError(name + " is a vector and has no rows");
  if (i.size() != weights.size() || i.size() > values.size() || values.size() != i.size() * shape.columns)
    throw UsageError(std::to_string(values.size()) + " numbers and " + std::to_string(weights.size()) +
                     " weights for " + std::to_string(i.size()) + " rows of " + name + ", which have " +
                     std::to_string(shape.columns) + " entries each");
  for (std::size_t t = 0; t < i.size(); ++t) {
    if (i[t] >= shape.rows)
      throw InputError("row " + std::to_string(t) + " of the batch: index " + std::to_string(i[t]) + " of " + name +
                       " is not below " + std::to_string(shape.rows));
    if (std::abs(weights[t]) != 1)
      throw InputError("row " + std::to_string(t) + " of the batch: weight " + std::to_string(weights[t]) +
                       ", expected 1 for a row that comes or -1 for one that leaves");
  }
  require_finite(values, shape.columns);
  hand_out_rows({.operand = shape.operand, .columns = shape.columns, .values = values, .i = i, .weights = weights},
                state.problem().resolution, [&](const EventBatch& batch) { state.add(batch); });
  state.updates += i.size();
}

void add_entries(State& state, const OperandShape& shape, std::span<const std::uint64_t> i,
                 std::span<const std::uint64_t> j, std::span<const double> delta) {
  std::vector<double> rounded;
  if (state.problem().resolution != 0) {
    rounded.assign(delta.begin(), delta.end());
    round_to(state.problem().resolution, rounded);
    delta = rounded;
  }
  state.add_entries(shape, i, j, delta);
  state.updates += delta.size();
}

/// The names of the heaviest of those of `keys` that are hashed texts, `capacity` at most: event t, which is number `first` + t
/// of its state, has the key keys[codes[t]], or keys[t] where there are no codes, and the index i[t]. Needs the GIL.
std::vector<KeyName> names_of(const py::sequence& keys, std::span<const std::uint64_t> codes,
                              std::span<const std::uint64_t> i, std::span<const double> delta, std::size_t capacity,
                              std::uint64_t first) {
  const auto items = py::reinterpret_steal<py::object>(PySequence_Fast(keys.ptr(), "expected a sequence of keys"));
  if (!items) throw py::error_already_set();
  const std::size_t count = i.size();
  if (count == 0 || delta.size() != count || (!codes.empty() && codes.size() != count)) return {};
  const auto text_at = [&](std::size_t t) -> std::optional<std::string_view> {
    const std::uint64_t place = codes.empty() ? t : codes[t];
    if (place >= static_cast<std::uint64_t>(PySequence_Fast_GET_SIZE(items.ptr()))) return std::nullopt;
    return text_of(PySequence_Fast_GET_ITEM(items.ptr(), static_cast<Py_ssize_t>(place)));
  };
  // Room for all keys of a small batch.
  NameSink sink(std::min(capacity, count));
  const std::uint64_t source = sink.source_number(text_at(0).value_or("numbers"));
  std::vector<KeyName> wanted;
  for (std::size_t t = 0; t < count; ++t) {
    const auto priority = sink.wants(i[t], std::abs(delta[t]), source, first + t);
    if (!priority) continue;
    const auto text = text_at(t);
    if (!text || whole_number(*text)) continue;
    wanted.push_back({i[t], *priority, std::string(*text)});
    constexpr std::size_t most = 1024;
    if (wanted.size() == most) sink.add(wanted);
  }
  sink.add(wanted);
  return sink.take();
}

/// Puts an operand that is given whole into a state of no event.
void give(State& state, const std::string& name, DenseMatrix matrix) {
  const auto operand = find_operand(name);
  if (!operand) throw UsageError("unknown operand '" + name.substr(0, 40) + "'");
  const bool is_fixed = state.problem().role(*operand) == Role::fixed;
  const std::vector<OperandShape> shapes = shapes_of(state.problem(), {Role::fixed, Role::streams});
  const auto shape = std::ranges::find(shapes, *operand, &OperandShape::operand);
  if (shape == shapes.end()) throw UsageError("no operand '" + name + "' to be fixed");
  if (!has_column(*operand)) {
    round_to(state.problem().resolution, matrix.values);
    matrix.rows = matrix.values.size();
    matrix.columns = 1;
    return state.kept().set_fixed(*operand, matrix);
  }
  // Otherwise it is read when a question is answered.
  if (is_fixed && !state.kept().takes_fixed(*operand)) return require_finite(matrix.values, matrix.columns);
  if (is_fixed) state.kept().begin_fixed(*operand);
  std::vector<std::uint64_t> i(static_cast<std::size_t>(matrix.rows));
  for (std::size_t t = 0; t < i.size(); ++t) i[t] = t;
  const std::uint64_t before = state.updates;
  add_rows(state, *shape, i, matrix.values, std::vector<double>(i.size(), 1.0));
  if (is_fixed) state.updates = before;
}

StatePointer create(const Problem& problem, const std::map<std::string, Reals>& fixed) {
  std::vector<std::pair<std::string, DenseMatrix>> matrices;
  GivenMatrices given;
  for (const auto& [name, array] : fixed) {
    matrices.emplace_back(name, matrix_of(array));
    const auto operand = find_operand(name);
    if (operand && has_column(*operand) && problem.role(*operand) == Role::fixed)
      given.emplace(*operand, std::shared_ptr<const GivenMatrix>(new GivenMatrix(array), [](const GivenMatrix* matrix) {
        const py::gil_scoped_acquire acquired;
        delete matrix;
      }));
  }
  const py::gil_scoped_release released;
  State state = create_state(problem);
  // Vectors first: what streams is multiplied by them.
  std::ranges::stable_sort(matrices, {}, [](const auto& named) {
    const auto operand = find_operand(named.first);
    return operand && has_column(*operand);
  });
  std::vector<std::pair<std::string, DenseMatrix>> streaming;
  for (auto& [name, matrix] : matrices) {
    const auto operand = find_operand(name);
    if (operand && problem.role(*operand) == Role::streams) {
      streaming.emplace_back(name, std::move(matrix));
    } else {
      give(state, name, std::move(matrix));
    }
  }
  state.kept().finish_fixed();
  // An operand that was given whole and is no part of the state is read as a stream would be.
  for (auto& [name, matrix] : streaming) give(state, name, std::move(matrix));
  return std::make_shared<SharedState>(std::move(state), std::move(given));
}

py::bytes bytes_of(const SharedState& shared) {
  const std::vector<std::byte> bytes = asking(shared, [](const State& state) { return serialise(state); });
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

StatePointer of_bytes(const py::buffer& buffer, const std::string& name) {
  const py::buffer_info info = buffer.request();
  if (info.ndim != 1 || info.itemsize != 1 || (info.shape[0] > 1 && info.strides[0] != 1))
    throw UsageError("expected bytes, or another buffer of them in one piece");
  const std::span bytes(static_cast<const std::byte*>(info.ptr), static_cast<std::size_t>(info.size));
  const py::gil_scoped_release released;
  return std::make_shared<SharedState>(deserialise(bytes, name));
}

py::dict sample(const SharedState& shared, const py::dict& arguments, const SharedState* exact) {
  const Question question = draw_question(shared.state.problem(), arguments);
  const Answer answer = asking(shared, [&](const State& state) {
    const Problem& problem = state.problem();
    setting_of(problem).check_question(problem, question);
    if (exact == nullptr) {
      PartyWithMatrices party(shared.given, problem.resolution);
      return answer_with_exact(state, nullptr, question, party);
    }
    // A second lock of a state that this thread has locked already could wait for ever.
    std::shared_lock<std::shared_mutex> lock;
    if (exact != &shared) lock = std::shared_lock(exact->mutex);
    const std::vector<std::uint64_t> shape = setting_of(problem).shape_of_y(problem);
    const Problem& other = exact->state.problem();
    if (other.keeps != Keeps::exact || setting_of(other).shape_of_y(other) != shape ||
        setting_of(other).traits().draws_rows != setting_of(problem).traits().draws_rows)
      throw UsageError(
          "exact is not a state of exact values of the same model and sides: expected one with sampler='exact'");
    for (const auto& [operand, matrix] : shared.given)
      if (const auto held = exact->given.find(operand); held != exact->given.end() && *held->second != *matrix)
        throw UsageError("exact has another " + std::string(to_string(operand)));
    PartyWithMatrices party(exact->given, other.resolution);
    return answer_with_exact(state, &exact->state, question, party);
  });
  require_verified(arguments, answer);
  return answer_dict(answer);
}

py::dict query(const SharedState& shared, const py::dict& arguments, const SharedState* inner) {
  const Question question = query_question(arguments, inner == nullptr ? nullptr : &inner->state);
  const Answer answer = asking(shared, [&](const State& state) {
    std::shared_lock<std::shared_mutex> lock;
    if (inner != nullptr && inner != &shared) lock = std::shared_lock(inner->mutex);
    setting_of(state.problem()).check_question(state.problem(), question);
    PartyWithMatrices party(shared.given, state.problem().resolution);
    return state.answer(question, party);
  });
  return answer_dict(answer);
}

}  // namespace

void bind_state(py::module_& module) {
  py::class_<SharedState, StatePointer>(module, "State")
      .def(py::init(&create), py::arg("problem"), py::arg("fixed"))
      .def_property_readonly("problem", [](const SharedState& shared) { return shared.state.problem(); })
      .def_property_readonly("holds",
                             [](const SharedState& shared) { return std::string(shared.state.kept().holds()); })
      .def_property_readonly(
          "updates", [](const SharedState& shared) { return asking(shared, [](const State& s) { return s.updates; }); })
      .def_property_readonly("nbytes",
                             [](const SharedState& shared) {
                               std::uint64_t bytes = 0;
                               for (const ArrayLayout& array : shared.state.layout())
                                 bytes += array.size * (array.is_single ? sizeof(float) : sizeof(double));
                               return bytes;
                             })
      .def("has_exact_sums",
           [](const SharedState& shared) { return asking(shared, [](const State& s) { return s.has_exact_sums(); }); })
      .def("arrays",
           [](const SharedState& shared) {
             // Copies are made by this thread alone: Python allocates them.
             std::vector<std::pair<std::string, std::vector<double>>> copies;
             asking(shared, [&](const State& state) {
               for (const StateArray& array : state.arrays())
                 copies.emplace_back(array.layout->name, array.numbers.visit([](auto numbers) {
                   return std::vector<double>(numbers.begin(), numbers.end());
                 }));
             });
             py::dict out;
             for (const auto& [name, numbers] : copies) out[py::str(name)] = array_of(std::span<const double>(numbers));
             return out;
           })
      .def(
          "add_entries",
          [](SharedState& shared, const std::string& operand, const Keys& i, const std::optional<Keys>& j,
             const Reals& delta) {
            const OperandShape shape = streamed(shared.state.problem(), operand);
            const std::span<const std::uint64_t> columns = j ? span_of(*j) : std::span<const std::uint64_t>();
            changing(shared, [&, rows = span_of(i), deltas = span_of(delta)](State& state) {
              add_entries(state, shape, rows, columns, deltas);
            });
          },
          py::arg("operand"), py::arg("i").noconvert(), py::arg("j").noconvert().none(true),
          py::arg("delta").noconvert())
      .def(
          "note_names",
          [](SharedState& shared, const py::sequence& keys, const std::optional<Keys>& codes, const Keys& i,
             const Reals& delta) {
            const auto [capacity, updates] = asking(shared, [](const State& state) {
              return std::pair{state.names.capacity(), state.updates};
            });
            const std::uint64_t count = static_cast<std::uint64_t>(i.size());
            std::vector<KeyName> names =
                names_of(keys, codes ? span_of(*codes) : std::span<const std::uint64_t>(), span_of(i), span_of(delta),
                         capacity, updates - std::min(updates, count));
            if (!names.empty()) changing(shared, [&](State& state) { state.names.merge(std::move(names)); });
          },
          py::arg("keys"), py::arg("codes").noconvert().none(true), py::arg("i").noconvert(),
          py::arg("delta").noconvert())
      .def("names",
           [](const SharedState& shared) {
             const NameTable table = asking(shared, [](const State& state) { return state.names; });
             py::dict names;
             for (const KeyName& entry : table.entries()) names[py::int_(entry.index)] = py::bytes(entry.name);
             return names;
           })
      .def(
          "add_rows",
          [](SharedState& shared, const std::string& operand, const Keys& i, const Reals& values,
             const Reals& weights) {
            const OperandShape shape = streamed(shared.state.problem(), operand);
            changing(shared, [&, rows = span_of(i), numbers = span_of(values), signs = span_of(weights)](State& state) {
              add_rows(state, shape, rows, numbers, signs);
            });
          },
          py::arg("operand"), py::arg("i").noconvert(), py::arg("values").noconvert(), py::arg("weights").noconvert())
      .def(
          "combine",
          [](SharedState& shared, const SharedState& other, double coefficient) {
            changing(shared, other, [&](State& a, const State& b) { a.add(b, coefficient); });
          },
          py::arg("other"), py::arg("coefficient"))
      .def(
          "scale",
          [](SharedState& shared, double coefficient) {
            if (!std::isfinite(coefficient))
              throw UsageError("a coefficient of " + std::to_string(coefficient) + ": expected a finite number");
            changing(shared, [&](State& state) { state.scale(coefficient); });
          },
          py::arg("coefficient"))
      .def("clear", [](SharedState& shared) { changing(shared, [](State& state) { state.clear(); }); })
      .def("copy",
           [](const SharedState& shared) {
             return asking(shared,
                           [&](const State& state) { return std::make_shared<SharedState>(state, shared.given); });
           })
      .def("as_vector",
           [](const SharedState& shared) {
             return asking(shared, [](const State& state) { return std::make_shared<SharedState>(as_vector(state)); });
           })
      .def("to_bytes", &bytes_of)
      .def_static("from_bytes", &of_bytes, py::arg("bytes"), py::arg("name"))
      .def(
          "save",
          [](const SharedState& shared, const std::string& path) {
            asking(shared, [&](const State& state) { save_state(path, state); });
          },
          py::arg("path"))
      .def_static(
          "load",
          [](const std::string& path) {
            const py::gil_scoped_release released;
            return std::make_shared<SharedState>(load_state(path));
          },
          py::arg("path"))
      .def("sample", &sample, py::arg("arguments"), py::arg("exact").none(true))
      .def("query", &query, py::arg("arguments"), py::arg("inner").none(true));
}

}  // namespace weir::python
