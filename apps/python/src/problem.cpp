#include <pybind11/stl.h>

#include <algorithm>
#include <limits>

#include "bindings.hpp"
#include "weir/error.hpp"

namespace weir::python {
namespace {

Operand operand_called(const std::string& name) {
  if (const auto operand = find_operand(name)) return *operand;
  throw UsageError("unknown operand '" + name.substr(0, 40) + "'");
}

Keeps keeps_called(const std::string& name) {
  for (const Keeps keeps : {Keeps::sketch, Keeps::exact, Keeps::exact_shared})
    if (to_string(keeps) == name) return keeps;
  throw UsageError("keeps is '" + name.substr(0, 40) + "': expected sketch, exact or exact-shared");
}

/// The argument called `name`, where it is there and not None.
template <class Value>
void take(const py::dict& arguments, const char* name, std::optional<Value>& value) {
  if (!arguments.contains(name) || arguments[name].is_none()) return;
  try {
    value = arguments[name].cast<Value>();
  } catch (const py::cast_error&) {
    throw UsageError(std::string(name) + " is " + py::repr(arguments[name]).cast<std::string>().substr(0, 80) +
                     ": expected " +
                     (std::is_same_v<Value, bool>       ? "True or False"
                      : std::is_floating_point_v<Value> ? "a number"
                                                        : "a whole number that is not negative"));
  }
}
template <class Value>
void take(const py::dict& arguments, const char* name, Value& value) {
  std::optional<Value> given;
  take(arguments, name, given);
  value = given.value_or(value);
}

Specification specify(const std::string& model, const std::optional<std::string>& method,
                      const std::map<std::string, std::uint64_t>& sides, const std::vector<std::string>& fixed,
                      const std::string& keeps, const py::dict& arguments) {
  Specification made;
  made.problem.keeps = keeps_called(keeps);
  for (const std::string& name : fixed) made.problem.roles[operand_called(name)] = Role::fixed;
  const Setting& setting = choose_setting(model, method, made.problem);
  made.problem.setting = setting.traits().name;
  made.problem.sides.insert(sides.begin(), sides.end());
  double resolution = 0;
  take(arguments, "resolution", resolution);
  if (resolution != 0) made.problem.resolution = power_of_two_below(resolution);
  SizeRequest& request = made.request;
  take(arguments, "samples", request.samples);
  take(arguments, "failure", request.failure);
  take(arguments, "epsilon", request.epsilon);
  take(arguments, "without_replacement", request.without_replacement);
  take(arguments, "p", request.p);
  take(arguments, "threshold", request.threshold);
  take(arguments, "leverage", request.leverage);
  take(arguments, "for_answers", request.for_answers);
  take(arguments, "with_top", request.with_top);
  take(arguments, "with_moments", request.with_moments);
  take(arguments, "rows", request.rows);
  take(arguments, "buckets", request.buckets);
  take(arguments, "lanes", request.lanes);
  take(arguments, "levels", request.levels);
  take(arguments, "gram_buckets", request.gram_buckets);
  take(arguments, "exact_gram", request.exact_gram);
  take(arguments, "seed", request.seed);
  std::optional<double> precision_constant;
  take(arguments, "precision_constant", precision_constant);
  if (precision_constant) request.precision = PrecisionTarget{request.epsilon, *precision_constant};
  if (arguments.contains("randomness") && !arguments["randomness"].is_none())
    request.randomness = parse_randomness(arguments["randomness"].cast<std::string>());
  return made;
}

/// Gives the operand the sides of an array. Throws UsageError for an operand that cannot be fixed, and for sides that
/// contradict others.
void take_shape(Specification& specification, const std::string& name, std::uint64_t rows, std::uint64_t columns) {
  Problem& problem = specification.problem;
  const SettingTraits& traits = setting_of(problem).traits();
  const auto use = std::ranges::find(traits.operands, operand_called(name), &OperandUse::operand);
  if (use == traits.operands.end() || !use->may_be_fixed)
    throw UsageError("the operand '" + name + "' cannot be fixed in the model " + traits.model);
  const auto give = [&](const std::string& side, std::uint64_t length, bool may_be_less) {
    const auto [held, is_new] = problem.sides.try_emplace(side, length);
    if (is_new || held->second == length || (may_be_less && held->second > length)) return;
    throw UsageError(name + " is " + std::to_string(rows) + " x " + std::to_string(columns) + ", but " + side + " is " +
                     std::to_string(held->second));
  };
  if (use->columns.empty() && columns != 1 && rows != 1)
    throw UsageError(name + " is " + std::to_string(rows) + " x " + std::to_string(columns) + ", expected a vector");
  if (use->columns.empty()) return give(use->rows, rows * columns, false);
  give(use->rows, rows, use->may_lack_rows);
  give(use->columns, columns, false);
}

Problem complete(const Specification& specification) {
  Problem problem = specification.problem;
  const Setting& setting = setting_of(problem);
  setting.infer(problem, most_keys(specification.request));
  setting.require_sides(problem);
  setting.size(problem, specification.request);
  setting.check(problem);
  return problem;
}

/// The name, sides and operands of a setting, for constructors, repr and update().
py::dict traits_dict(const Problem& problem) {
  const Setting& setting = setting_of(problem);
  const SettingTraits& traits = setting.traits();
  py::dict out;
  out["setting"] = traits.name;
  out["model"] = traits.model;
  out["method"] = traits.method;
  out["draws_rows"] = traits.draws_rows;
  out["sides_of_y"] = traits.sides_of_y;
  py::list operands;
  for (const OperandShape& shape : shapes_of(problem, {Role::streams, Role::forgotten, Role::fixed})) {
    py::dict operand;
    operand["name"] = std::string(to_string(shape.operand));
    operand["rows"] = shape.rows;
    operand["columns"] = has_column(shape.operand) ? py::object(py::int_(shape.columns)) : py::none();
    operand["role"] = std::string(to_string(problem.role(shape.operand)));
    operands.append(std::move(operand));
  }
  out["operands"] = std::move(operands);
  return out;
}

}  // namespace

void bind_problem(py::module_& module) {
  py::class_<Problem>(module, "Problem")
      .def_property_readonly("traits", &traits_dict)
      .def_property_readonly("keeps", [](const Problem& problem) { return std::string(to_string(problem.keeps)); })
      .def_property_readonly("sides",
                             [](const Problem& problem) {
                               return std::map<std::string, std::uint64_t>(problem.sides.begin(), problem.sides.end());
                             })
      .def_property_readonly("seed", [](const Problem& problem) { return problem.sketch.seed; })
      .def_property_readonly("p", &Problem::exponent)
      .def_property_readonly("resolution", [](const Problem& problem) { return problem.resolution; })
      .def_property_readonly("shape", [](const Problem& problem) { return setting_of(problem).shape_of_y(problem); })
      .def_property_readonly("sketch",
                             [](const Problem& problem) {
                               py::dict out;
                               const SketchConfig& sketch = problem.sketch;
                               out["rows"] = sketch.rows;
                               out["buckets"] = sketch.buckets;
                               out["lanes"] = sketch.lanes;
                               out["levels"] = sketch.levels;
                               out["law"] = std::string(to_string(sketch.law));
                               out["randomness"] = std::string(to_string(sketch.randomness));
                               return out;
                             })
      .def("to_json", [](const Problem& problem) { return to_text(problem); })
      .def(
          "__eq__", [](const Problem& a, const Problem& b) { return a == b; }, py::is_operator())
      .attr("__hash__") = py::none();
  py::class_<Specification>(module, "Specification")
      .def(py::init(&specify), py::arg("model"), py::arg("method"), py::arg("sides"), py::arg("fixed"),
           py::arg("keeps"), py::arg("arguments"))
      .def("take_shape", &take_shape, py::arg("operand"), py::arg("rows"), py::arg("columns"))
      .def("complete", &complete)
      .def_property_readonly("seed", [](const Specification& made) { return made.request.seed; });
  module.def("models", [] {
    std::map<std::string, std::vector<std::string>> sides;
    for (const Setting* setting : settings())
      if (setting->traits().has_y)
        for (const SideUse& side : setting->traits().sides) {
          std::vector<std::string>& names = sides[setting->traits().model];
          if (std::ranges::find(names, side.name) == names.end()) names.push_back(side.name);
        }
    return sides;
  });
}

}  // namespace weir::python
