#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "bindings.hpp"
#include "weir/error.hpp"

namespace weir::python {
namespace {

constexpr double unknown = std::numeric_limits<double>::quiet_NaN();

template <class Value>
Value value_of(const py::dict& arguments, const char* name, Value otherwise) {
  if (!arguments.contains(name) || arguments[name].is_none()) return otherwise;
  try {
    return arguments[name].cast<Value>();
  } catch (const py::cast_error&) {
    throw UsageError(std::string(name) + " is " + py::repr(arguments[name]).cast<std::string>().substr(0, 80) +
                     ": expected a number in range");
  }
}

std::vector<EntryIndex> entries_of(const py::dict& arguments) {
  std::vector<EntryIndex> entries;
  if (!arguments.contains("points")) return entries;
  const auto rows = arguments["points"].cast<Keys>();
  const bool is_matrix = arguments.contains("columns") && !arguments["columns"].is_none();
  const Keys columns = is_matrix ? arguments["columns"].cast<Keys>() : Keys();
  for (py::ssize_t t = 0; t < rows.size(); ++t) {
    entries.push_back({.index = rows.data()[t]});
    if (is_matrix) entries.back().column = columns.data()[t];
  }
  return entries;
}

/// What `of` makes of each item.
template <class Number, class Items, class Of>
py::array_t<Number> column(const Items& items, const Of& of) {
  py::array_t<Number> out(static_cast<py::ssize_t>(items.size()));
  std::transform(items.begin(), items.end(), out.mutable_data(), of);
  return out;
}

py::dict estimate_dict(const Estimate& estimate) {
  py::dict out;
  out["value"] = estimate.value;
  out["bound"] = estimate.bound;
  return out;
}

void add_places(py::dict& out, const auto& items) {
  out["index"] = column<std::uint64_t>(items, [](const auto& item) { return item.index; });
  const bool is_matrix = std::ranges::any_of(items, [](const auto& item) { return item.column.has_value(); });
  if (is_matrix) out["column"] = column<std::uint64_t>(items, [](const auto& item) { return item.column.value_or(0); });
}

py::dict coordinates_dict(const std::vector<HeavyCoordinate>& coordinates) {
  py::dict out;
  add_places(out, coordinates);
  out["value"] = column<double>(coordinates, [](const HeavyCoordinate& item) { return item.estimate.value + 0.0; });
  out["bound"] = column<double>(coordinates, [](const HeavyCoordinate& item) { return item.estimate.bound; });
  return out;
}

py::dict draws_dict(const Answer& answer) {
  const SampleResult& result = answer.draws;
  const std::vector<Draw>& draws = result.draws;
  py::dict out;
  out["lane"] = column<std::uint32_t>(draws, [](const Draw& draw) { return draw.lane; });
  add_places(out, draws);
  // Adding 0 makes 0 of a negative zero.
  out["value"] = column<double>(draws, [](const Draw& draw) { return draw.value + 0.0; });
  out["value_bound"] = column<double>(draws, [](const Draw& draw) { return draw.value_bound.value_or(unknown); });
  out["probability"] = column<double>(draws, [](const Draw& draw) { return draw.probability; });
  out["probability_bound"] =
      column<double>(draws, [](const Draw& draw) { return draw.probability_bound.value_or(unknown); });
  if (std::ranges::any_of(draws, [](const Draw& draw) { return draw.inclusion.has_value(); }))
    out["inclusion"] = column<double>(draws, [](const Draw& draw) { return draw.inclusion.value_or(unknown); });
  if (!answer.exact.empty()) {
    const auto exact = [&](const Draw& draw) -> const ExactEntry* {
      const auto found = answer.exact.find(entry_of(draw));
      return found == answer.exact.end() ? nullptr : &found->second;
    };
    out["exact_value"] = column<double>(draws, [&](const Draw& draw) {
      const ExactEntry* entry = exact(draw);
      return entry == nullptr ? unknown : entry->value;
    });
    out["exact_probability"] = column<double>(draws, [&](const Draw& draw) {
      const ExactEntry* entry = exact(draw);
      return entry == nullptr ? unknown : entry->probability.value_or(unknown);
    });
  }
  if (!draws.empty() && !draws.front().row.empty()) {
    DenseMatrix rows{.rows = draws.size(), .columns = draws.front().row.size(), .values = {}};
    for (const Draw& draw : draws) rows.values.insert(rows.values.end(), draw.row.begin(), draw.row.end());
    out["rows"] = array_of(rows);
  }
  py::dict about;
  about["norm"] = result.norm;
  // Exact draws come with an exact norm.
  about["norm_bound"] = answer.draws_norm_bound.value_or(answer.verified ? 0 : unknown);
  if (result.norm_p) about["norm_p"] = estimate_dict(*result.norm_p);
  if (answer.tensor_norm) about["norm_tensor"] = estimate_dict(*answer.tensor_norm);
  if (answer.exact_norm) about["exact_norm"] = *answer.exact_norm;
  about["zero_vector"] = result.zero_vector;
  about["verified"] = answer.verified;
  py::list failed;
  for (const FailedLane& lane : result.failed)
    failed.append(py::make_tuple(lane.lane, std::string(to_string(lane.reason))));
  about["failed"] = std::move(failed);
  out["about"] = std::move(about);
  return out;
}

}  // namespace

Question draw_question(const Problem& problem, const py::dict& arguments) {
  DrawQuestion draw;
  draw.samples = value_of(arguments, "samples", draw.samples);
  draw.threshold = value_of(arguments, "threshold", draw.threshold);
  if (!(draw.threshold >= 0) || !std::isfinite(draw.threshold))
    throw UsageError("threshold is " + std::to_string(draw.threshold) + ": expected a number from 0 on");
  draw.without_replacement = value_of(arguments, "without_replacement", false);
  draw.verify = value_of(arguments, "verify", true);  // where it can be
  draw.show_exact = value_of(arguments, "show_exact", false);
  const double scale = value_of(arguments, "scale", 1.0);
  const bool per_row = value_of(arguments, "per_row", false);
  if (problem.keeps == Keeps::exact_shared) {
    draw.softmax = SoftmaxChoice{.scale = scale, .per_row = per_row};
  } else if (scale != 1 || per_row) {
    throw UsageError("scale and per_row belong to sampler='softmax'");
  }
  if (arguments.contains("metric") && !arguments["metric"].is_none()) {
    const py::object metric = arguments["metric"];
    if (py::isinstance<py::str>(metric)) {
      const auto name = metric.cast<std::string>();
      if (name != "norm" && name != "leverage")
        throw UsageError("metric is '" + name.substr(0, 40) +
                         "': expected norm, leverage or an array of d x d numbers");
      draw.metric.leverage = name == "leverage";
    } else {
      DenseMatrix matrix = matrix_of(metric.cast<Reals>());
      const auto d = problem.sides.find("d");
      if (d != problem.sides.end() && (matrix.rows != d->second || matrix.columns != d->second))
        throw UsageError("metric is " + std::to_string(matrix.rows) + " x " + std::to_string(matrix.columns) +
                         ", expected d x d numbers, and d is " + std::to_string(d->second));
      draw.metric.given = Metric::of(std::move(matrix), "metric");
    }
  }
  Question question;
  question.draw = std::move(draw);
  return question;
}

Question query_question(const py::dict& arguments, const State* inner) {
  Question question;
  question.norm = value_of(arguments, "norm", false);
  question.top = value_of(arguments, "top", std::size_t{0});
  question.points = entries_of(arguments);
  if (arguments.contains("moments")) question.moments = arguments["moments"].cast<std::vector<double>>();
  for (const double moment : question.moments)
    if (!(moment > 0 && moment <= 16))
      throw UsageError("moment " + std::to_string(moment) + ": expected a number above 0 and up to 16");
  question.inner = inner;
  return question;
}

void require_verified(const py::dict& arguments, const Answer& answer) {
  if (value_of(arguments, "show_exact", false) && !answer.exact_norm)
    throw UsageError("exact values are not kept beside the sketch: expected a Session with exact=True");
  if (value_of(arguments, "verify", false) && !answer.has_exact_values)
    throw UsageError(
        "verify=True, but nothing that is kept tells exact values: expected verify=None, which verifies where that can "
        "be, or exact values from elsewhere: exact= of State.sample, second_pass= of Session.sample");
}

py::dict answer_dict(const Answer& answer) {
  py::dict out;
  out["draws"] = draws_dict(answer);
  if (answer.norm) out["norm"] = estimate_dict(*answer.norm);
  if (answer.top) out["top"] = coordinates_dict(*answer.top);
  if (!answer.points.empty()) out["points"] = coordinates_dict(answer.points);
  if (!answer.moments.empty()) {
    py::dict moments;
    moments["p"] = column<double>(answer.moments, [](const MomentAnswer& moment) { return moment.exponent; });
    moments["value"] = column<double>(answer.moments, [](const MomentAnswer& moment) { return moment.estimate.value; });
    moments["bound"] = column<double>(answer.moments, [](const MomentAnswer& moment) { return moment.estimate.bound; });
    out["moments"] = std::move(moments);
  }
  if (answer.inner) out["inner"] = estimate_dict(*answer.inner);
  return out;
}

}  // namespace weir::python
