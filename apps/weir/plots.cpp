#include "plots.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "plot/chart.hpp"
#include "weir/io/file.hpp"
#include "weir/setting/setting.hpp"

namespace weir::app {
namespace {

using plot::Axis;
using plot::Chart;
using plot::Grid;
using plot::Line;
using plot::Marker;
using plot::Scale;
using plot::Series;
using plot::Unit;

constexpr double none = std::numeric_limits<double>::quiet_NaN();
constexpr std::size_t longest_name = 30;

const std::string bound_note = "A bar reaches as far as the bound, which is exceeded with probability 0.01.";

/// "label", "17", or "(label of i1, label of i2)".
std::string name_of(const EntryIndex& entry, const LabelMaps& labels) {
  const auto part = [](std::uint64_t index, const std::map<std::uint64_t, std::string>& map, std::size_t most) {
    const std::string* label = find_label(index, map);
    return label == nullptr || label->empty() ? fmt::to_string(index) : shortened(*label, most);
  };
  if (!entry.column) return part(entry.index, labels.rows, longest_name);
  constexpr std::size_t most = longest_name / 2 + 1;
  return fmt::format("({}, {})", part(entry.index, labels.rows, most), part(*entry.column, labels.columns, most));
}

/// Points at places that have names.
class NamedSeries {
 public:
  /// `shift`: how far below its place a point stands, from -0.4 to 0.4, so that equal numbers do not hide each other.
  NamedSeries(std::string name, std::size_t colour, Marker marker, double shift = 0) : shift_(shift) {
    series_.name = std::move(name);
    series_.colour = colour;
    series_.marker = marker;
    series_.line = Line::none;
  }
  /// A bound that is 0, infinite or not known has no bar. What is drawn lies between `least` and `most`.
  void add(std::size_t place, const Estimate& estimate, double least = -HUGE_VAL, double most = HUGE_VAL) {
    const bool has_bar = std::isfinite(estimate.bound) && estimate.bound > 0;
    series_.x.push_back(estimate.value);
    series_.y.push_back(static_cast<double>(place) + shift_);
    series_.low.push_back(has_bar ? std::max(least, estimate.value - estimate.bound) : none);
    series_.high.push_back(has_bar ? std::min(most, estimate.value + estimate.bound) : none);
    has_bars_ = has_bars_ || has_bar;
  }
  [[nodiscard]] bool has_bars() const noexcept { return has_bars_; }
  /// To the chart, if there are points.
  void move_to(Chart& chart) {
    if (!has_bars_) series_.low = series_.high = {};
    if (!series_.x.empty()) chart.series.push_back(std::move(series_));
  }

 private:
  double shift_;
  Series series_;
  bool has_bars_ = false;
};

double height_of_places(std::size_t count) { return std::max(70.0, 19.0 * static_cast<double>(count) + 8); }

/// A logarithmic axis where all numbers are positive and the largest is `ratio` times the smallest. Bars do not widen it
/// downwards: they may end near 0.
void choose_scale(Chart& chart, double ratio = 100) {
  double least = HUGE_VAL, most = 0;
  for (const Series& series : chart.series)
    for (const double x : series.x) {
      if (!std::isfinite(x)) continue;
      least = std::min(least, x);
      most = std::max(most, x);
    }
  if (!(least > 0) || most < ratio * least) return;
  chart.x.scale = Scale::logarithmic;
  chart.x.least = least / std::max(1.5, std::pow(most / least, 0.05));
}

/// A chart of places that have names.
Chart named_chart(std::string label, Unit unit, std::vector<std::string> names, std::string label_of_names) {
  Chart chart;
  chart.x.label = std::move(label);
  chart.x.unit = unit;
  chart.height = height_of_places(names.size());
  chart.y.label = std::move(label_of_names);
  chart.y.names = std::move(names);
  return chart;
}

bool is_matrix(const Problem& problem) { return setting_of(problem).shape_of_y(problem).size() == 2; }

/// What a place of a chart stands for, and what its value is.
std::string entry_label(const Problem& problem) {
  return setting_of(problem).traits().draws_rows ? "row i of A" : is_matrix(problem) ? "entry (i1, i2)" : "entry i";
}
std::string value_label(const Problem& problem) {
  return setting_of(problem).traits().draws_rows ? "root of a_i^T M a_i"
         : is_matrix(problem)                    ? "value y(i1,i2)"
                                                 : "value y_i";
}

/// The lines of a text, for notes.
void add_lines(std::vector<std::string>& notes, std::string_view text) {
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    notes.emplace_back(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
}

/// An index that was drawn, and how often.
struct Distinct {
  const Draw* draw = nullptr;
  std::uint64_t times = 0;
};

/// The most probable first.
std::vector<Distinct> distinct_draws(const std::vector<Draw>& draws) {
  std::map<EntryIndex, Distinct> found;
  for (const Draw& draw : draws) {
    Distinct& distinct = found[entry_of(draw)];
    if (distinct.draw == nullptr) distinct.draw = &draw;
    ++distinct.times;
  }
  std::vector<Distinct> out;
  for (const auto& [entry, distinct] : found) out.push_back(distinct);
  std::ranges::stable_sort(out, [](const Distinct& a, const Distinct& b) {
    return std::pair(a.draw->probability, a.times) > std::pair(b.draw->probability, b.times);
  });
  return out;
}

/// A picture that says why there is nothing to show.
std::string empty_picture(Grid grid, std::string reason) {
  Chart chart;
  chart.without_points = std::move(reason);
  grid.charts = {std::move(chart)};
  return plot::to_svg(grid, {760, 120});
}

/// Values of entries with their bounds.
Chart coordinates_chart(const std::vector<HeavyCoordinate>& coordinates, const QueryReport& report, bool& has_bars) {
  if (coordinates.empty()) {
    Chart chart;
    chart.height = height_of_places(0);
    chart.without_points = "no entry: y is the zero vector, or none stands out";
    return chart;
  }
  const std::size_t shown = std::min(coordinates.size(), most_plotted);
  std::vector<std::string> names;
  NamedSeries estimates("estimate", 0, Marker::circle);
  for (std::size_t k = 0; k < shown; ++k) {
    names.push_back(name_of(entry_of(coordinates[k]), report.labels));
    estimates.add(k, coordinates[k].estimate);
  }
  Chart chart = named_chart(value_label(report.problem), Unit::number, std::move(names), entry_label(report.problem));
  has_bars = has_bars || estimates.has_bars();
  estimates.move_to(chart);
  choose_scale(chart);
  if (shown < coordinates.size())
    chart.notes.push_back(fmt::format("The first {} of {} entries are shown.", shown, grouped(coordinates.size())));
  return chart;
}

/// Queries that a chart shows at most.
constexpr std::size_t most_queries = 240;

/// Places 0 .. count - 1, or `most_queries` of them at equal distances, the first and the last among them.
std::vector<std::size_t> spread(std::size_t count) {
  std::vector<std::size_t> places(std::min(count, most_queries));
  for (std::size_t k = 0; k < places.size(); ++k)
    places[k] = places.size() < 2 ? 0 : k * (count - 1) / (places.size() - 1);
  return places;
}

/// The errors of the queries, `estimated` and `truth`, either of which may be empty.
Chart queries_chart(const AttendReport& report, std::span<const double> estimated, std::span<const double> truth) {
  const std::span<const double> first = estimated.empty() ? truth : estimated;
  std::vector<std::size_t> order(first.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  // In causal attention errors depend on how many tokens a query sees.
  const bool by_number = report.window.has_value();
  if (!by_number) std::ranges::stable_sort(order, {}, [&](std::size_t query) { return first[query]; });

  Chart chart;
  chart.x.label = by_number           ? "number of the query, which sees the tokens up to it"
                  : estimated.empty() ? "queries in the order of their errors"
                                      : "queries in the order of their estimated errors";
  chart.y = {.label = "relative l2 error of the output", .scale = Scale::logarithmic};
  const std::vector<std::size_t> places = spread(order.size());
  const auto series = [&](std::string name, std::span<const double> errors, double factor) {
    Series out;
    out.name = std::move(name);
    for (const std::size_t place : places) {
      out.x.push_back(static_cast<double>(by_number ? order[place] : place + 1));
      out.y.push_back(factor * errors[order[place]]);
    }
    return out;
  };
  if (!estimated.empty()) {
    Series line = series("estimated error", estimated, 1);
    line.colour = 0;
    line.marker = by_number ? Marker::circle : Marker::none;
    line.line = by_number ? Line::none : Line::solid;
    chart.series.push_back(std::move(line));
    if (!by_number) {
      Series bound = series("3 times the estimate, which covers 99% of queries", estimated, 3);
      bound.colour = 0;
      bound.marker = Marker::none;
      bound.line = Line::dashed;
      chart.series.push_back(std::move(bound));
    }
  }
  if (!truth.empty()) {
    Series points = series("true error", truth, 1);
    points.colour = 1;
    points.marker = Marker::cross;
    points.line = Line::none;
    chart.series.push_back(std::move(points));
  }
  // Zeros have no place on a logarithmic axis, and errors of rounding would take most of it.
  constexpr double rounding = 1e-9;
  double least = HUGE_VAL;
  bool has_rounding = false;
  for (const std::span<const double> errors : {estimated, truth})
    for (const double error : errors) {
      has_rounding = has_rounding || error < rounding;
      if (error >= rounding) least = std::min(least, error);
    }
  if (!std::isfinite(least)) {
    chart.y.scale = Scale::linear;
  } else if (has_rounding) {
    chart.y.least = least / 1.5;
    chart.notes.emplace_back("Errors below 10^-9, which are those of rounding, are not shown.");
  }
  if (places.size() < order.size())
    chart.notes.push_back(
        fmt::format("{} of {} queries are shown, at equal distances.", places.size(), grouped(order.size())));
  return chart;
}

/// The errors of the state and of what else could be kept at the same bytes.
Chart peers_chart(const AttendReport& report, const Comparison& comparison) {
  const auto name = [](const std::string& method, std::uint64_t bytes) {
    return fmt::format("{}, {}", method, plot::tick_label(static_cast<double>(bytes), Unit::bytes));
  };
  std::vector<std::string> names{report.state_bytes > 0 ? name(report.mode, report.state_bytes) : report.mode};
  std::vector<const OutputErrors*> errors{&comparison.errors};
  for (const auto& [method, peer] : comparison.peers) {
    names.push_back(name(method, peer.bytes));
    errors.push_back(&peer.errors);
  }
  Chart chart = named_chart("relative error", Unit::number, std::move(names), "what is kept, and its bytes");
  chart.height = std::max(70.0, 32 * static_cast<double>(errors.size()));
  const auto add = [&](const std::string& label, std::size_t colour, Marker marker, double OutputErrors::*error) {
    NamedSeries series(label, colour, marker);
    for (std::size_t k = 0; k < errors.size(); ++k) series.add(k, {errors[k]->*error, 0});
    series.move_to(chart);
  };
  add("median of the queries", 2, Marker::triangle, &OutputErrors::median);
  add("all outputs (Frobenius)", 6, Marker::square, &OutputErrors::frobenius);
  add("99% of the queries", 3, Marker::diamond, &OutputErrors::percentile_99);
  add("largest", 4, Marker::triangle_down, &OutputErrors::largest);
  choose_scale(chart, 5);
  return chart;
}

}  // namespace

std::string shortened(std::string_view text, std::size_t most) {
  std::vector<std::size_t> starts;  // of characters
  for (std::size_t at = 0; at < text.size(); ++at)
    if ((static_cast<unsigned char>(text[at]) & 0xC0U) != 0x80U) starts.push_back(at);
  if (starts.size() <= most) return std::string(text);
  const std::size_t head = most / 2, tail = most - 1 - head;
  return fmt::format("{}…{}", text.substr(0, starts[head]), text.substr(starts[starts.size() - tail]));
}

std::string to_svg(const SampleReport& report) {
  const Answer& answer = report.answer;
  const std::vector<Draw>& draws = answer.draws.draws;
  Grid grid;
  grid.columns = 2;
  grid.title =
      fmt::format("{} with probability in proportion to {}",
                  counted(draws.size(), report.without_replacement ? "distinct draw" : "draw"), law_text(report));
  add_lines(grid.notes, measured_text(report.problem, report.run));
  if (draws.empty()) {
    grid.title = "No draw";
    add_lines(grid.notes, failures_text(answer.draws.failed));
    return empty_picture(std::move(grid),
                         answer.draws.zero_vector ? std::string(zero_text(report.problem)) : "nothing could be drawn");
  }

  const std::vector<Distinct> distinct = distinct_draws(draws);
  const std::size_t shown = std::min(distinct.size(), most_plotted);
  std::vector<std::string> names;
  const double shift = answer.exact.empty() ? 0 : 0.16;
  const auto series = [&](bool is_exact, double below) {
    return is_exact ? NamedSeries("exact", 1, Marker::cross, below) : NamedSeries("estimate", 0, Marker::circle, below);
  };
  NamedSeries probabilities = series(answer.verified, -shift), true_probabilities = series(true, shift);
  NamedSeries values = series(answer.verified || answer.has_exact_values, -shift), true_values = series(true, shift);
  NamedSeries shares("share of the draws", 2, Marker::triangle);
  NamedSeries inclusions("probability of being among the draws", 3, Marker::diamond);
  for (std::size_t k = 0; k < shown; ++k) {
    const Draw& draw = *distinct[k].draw;
    names.push_back(name_of(entry_of(draw), report.labels));
    probabilities.add(k, {draw.probability, draw.probability_bound.value_or(0)}, 0, 1);
    values.add(k, {draw.value, draw.value_bound.value_or(0)});
    if (const auto truth = answer.exact.find(entry_of(draw)); truth != answer.exact.end()) {
      true_values.add(k, {truth->second.value, 0});
      if (truth->second.probability) true_probabilities.add(k, {*truth->second.probability, 0});
    }
    if (!report.without_replacement)
      shares.add(k, {static_cast<double>(distinct[k].times) / static_cast<double>(draws.size()), 0});
    if (draw.inclusion) inclusions.add(k, {*draw.inclusion, 0});
  }
  if (probabilities.has_bars() || values.has_bars()) grid.notes.push_back(bound_note);

  Chart left = named_chart("probability", Unit::percent, names, entry_label(report.problem));
  Chart right = named_chart(value_label(report.problem), Unit::number, std::move(names), left.y.label);
  shares.move_to(left);
  inclusions.move_to(left);
  probabilities.move_to(left);
  true_probabilities.move_to(left);
  values.move_to(right);
  true_values.move_to(right);
  choose_scale(left);
  choose_scale(right);
  if (left.x.scale == Scale::linear) left.x.least = 0;
  grid.charts = {std::move(left), std::move(right)};

  if (shown < distinct.size())
    grid.notes.push_back(
        fmt::format("The {} most probable of {} distinct indices are shown.", shown, grouped(distinct.size())));
  add_lines(grid.notes, shortfall(report));
  add_lines(grid.notes, failures_text(answer.draws.failed));
  return plot::to_svg(grid, {900, 190});
}

std::string to_svg(const QueryReport& report) {
  const Answer& answer = report.answer;
  const bool is_rows = setting_of(report.problem).traits().draws_rows;
  Grid grid;
  grid.columns = 2;
  grid.title = is_rows ? "Estimates of A" : "Estimates of y";
  add_lines(grid.notes, measured_text(report.problem, report.run));
  bool has_bars = false;
  const auto add = [&](Chart chart, std::string title) {
    chart.title = std::move(title);
    grid.charts.push_back(std::move(chart));
  };
  /// Named estimates, of which there are few.
  const auto add_estimates = [&](const std::vector<std::pair<std::string, Estimate>>& estimates, std::string title,
                                 std::string label) {
    std::vector<std::string> names;
    NamedSeries series("estimate", 0, Marker::circle);
    for (const auto& [name, estimate] : estimates) {
      if (names.size() == most_plotted) break;
      series.add(names.size(), estimate);
      names.push_back(shortened(name, longest_name));
    }
    Chart chart = named_chart(std::move(label), Unit::number, std::move(names), "");
    if (estimates.size() > most_plotted)
      chart.notes.push_back(fmt::format("The first {} of {} are shown.", most_plotted, grouped(estimates.size())));
    has_bars = has_bars || series.has_bars();
    series.move_to(chart);
    choose_scale(chart);
    add(std::move(chart), std::move(title));
  };
  if (answer.top) add(coordinates_chart(*answer.top, report, has_bars), "Largest entries");
  if (!answer.points.empty()) add(coordinates_chart(answer.points, report, has_bars), "Entries asked for");
  if (!answer.moments.empty()) {
    std::vector<std::pair<std::string, Estimate>> moments;
    bool lacks_bound = false;
    for (const MomentAnswer& moment : answer.moments) {
      moments.emplace_back(fmt::format("P = {:g}", moment.exponent), moment.estimate);
      lacks_bound = lacks_bound || !std::isfinite(moment.estimate.bound);
    }
    add_estimates(moments, "Moments", "sum |y_i|^P");
    if (lacks_bound)
      grid.charts.back().notes.emplace_back(
          "A moment without a bar has no bound: P is too far from that of the draws.");
  }
  if (answer.norm) {
    const std::string norm = is_rows ? "||A||_F" : "||y||_2";
    add_estimates({{norm, *answer.norm}}, "Norm", norm);
  }
  if (!report.inner.empty()) {
    std::vector<std::pair<std::string, Estimate>> products;
    for (const InnerProductReport& inner : report.inner) products.emplace_back(inner.other, inner.estimate);
    add_estimates(products, "Inner products", "<y, y'> with the y' of a state");
  }
  if (has_bars) grid.notes.push_back(bound_note);
  return plot::to_svg(grid, {900, 190});
}

std::string to_svg(const AttendReport& report) {
  Grid grid;
  grid.columns = 2;
  grid.title =
      fmt::format("Errors of softmax attention: {} to {}",
                  report.queries == 1 ? "1 query" : grouped(report.queries) + " queries", counted(report.n, "token"));
  grid.notes.push_back(fmt::format("Mode {}, keys of {} and values of {} numbers.", report.mode, report.d, report.dv));
  const auto errors = [](const auto& of) { return of ? std::span<const double>(of->each) : std::span<const double>(); };
  const std::span<const double> truth =
      report.comparison ? std::span<const double>(report.comparison->errors.each) : std::span<const double>();
  grid.charts.push_back(queries_chart(report, errors(report.estimated), truth));
  grid.charts.back().title = "Errors of the queries";
  if (report.comparison && !report.comparison->peers.empty()) {
    grid.charts.push_back(peers_chart(report, *report.comparison));
    grid.charts.back().title = "What else could be kept at the same bytes";
    grid.notes.push_back(
        fmt::format("Answering every query by the mean output: {:.3g} (Frobenius).", report.comparison->mean_only));
  }
  return plot::to_svg(grid, {grid.charts.size() == 1 ? 760.0 : 1000.0, 240});
}

void write_plot(const std::string& path, const std::string& svg) {
  OutputFile file(path);
  file.write(svg);
  file.commit();
}

}  // namespace weir::app
