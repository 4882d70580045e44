// Draws a chart that is described in JSON: from standard input to standard output, as SVG. For programs in other
// languages, so that one piece of code draws all charts.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <exception>
#include <iostream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plot/chart.hpp"

namespace {

using namespace weir::plot;
using Json = nlohmann::json;

constexpr std::string_view help = R"(Usage: weir_chart <CHART.json >CHART.svg

Draws the chart, or the grid of charts, that standard input describes as one JSON object. Fields that are not given have the
defaults in parentheses; a field that is not listed is an error, and so is a number that is not finite.

Chart:  title (""), x, y (axes), series (none), horizontal, vertical (none: reference lines [{at, label}]), notes (none: texts)
Axis:   label (""), scale (linear | logarithmic), unit (number | bytes | seconds | percent), least, most (from the data)
Series: name (""), x, y (lists; null is a gap), low, high (none: ends of error bars), band (false: error bars as a shaded band),
        line (solid | dashed | dotted | none), marker (automatic | none | circle | square | triangle | diamond | cross | plus |
        triangle_down), colour (by name: 0 to 7)
Grid:   an object with the field charts (list of charts), and title, columns (3), share_x, share_y (false), notes
Either: width (760; of a grid 900), chart_height (320; of a grid 190): pixels of the picture, and of the area of one chart

Exit codes: 0 done; 1 the input is no chart, with one line on standard error; 2 wrong usage.
)";

/// A value and where it stands in the input, as in series[2].x.
struct Place {
  const Json& json;
  std::string path;

  [[noreturn]] void fail(const std::string& expected) const {
    std::string what = json.dump(-1, ' ', false, Json::error_handler_t::replace);
    constexpr std::size_t longest = 60;
    if (what.size() > longest) what = fmt::format("this {}", json.type_name());
    throw std::runtime_error(fmt::format("{}: expected {}, not {}", path.empty() ? "the input" : path, expected, what));
  }
};

std::string text_of(const Place& place) {
  if (!place.json.is_string()) place.fail("a text");
  return place.json.get<std::string>();
}

double number_of(const Place& place) {
  if (!place.json.is_number()) place.fail("a number");
  return place.json.get<double>();
}

double number_or_gap(const Place& place) {
  if (place.json.is_null()) return std::numeric_limits<double>::quiet_NaN();
  if (!place.json.is_number()) place.fail("a number or null");
  return place.json.get<double>();
}

bool flag_of(const Place& place) {
  if (!place.json.is_boolean()) place.fail("true or false");
  return place.json.get<bool>();
}

std::size_t whole_of(const Place& place) {
  // Far above all uses.
  constexpr std::uint64_t most = 1000000;
  if (!place.json.is_number_unsigned() || place.json.get<std::uint64_t>() > most)
    place.fail("a whole number from 0 to 1000000");
  return place.json.get<std::size_t>();
}

template <class Read>
auto list_of(const Place& place, const Read& read) {
  if (!place.json.is_array()) place.fail("a list");
  std::vector<decltype(read(place))> out;
  out.reserve(place.json.size());
  for (std::size_t k = 0; k < place.json.size(); ++k)
    out.push_back(read(Place{place.json[k], fmt::format("{}[{}]", place.path, k)}));
  return out;
}

template <class Value>
Value choice_of(const Place& place, std::span<const std::pair<std::string_view, Value>> choices) {
  std::string names;
  for (const auto& [name, value] : choices) {
    if (place.json.is_string() && place.json.get_ref<const std::string&>() == name) return value;
    names += fmt::format("{}\"{}\"", names.empty() ? "" : " or ", name);
  }
  place.fail(names);
}

/// The fields of an object, each of which is read once. What is not read is not known.
class Object {
 public:
  explicit Object(Place place) : place_(std::move(place)) {
    if (!place_.json.is_object()) place_.fail("an object");
  }
  [[nodiscard]] bool has(const std::string& name) const { return place_.json.contains(name); }
  /// Sets `value` to what `read` makes of the field, if it is there.
  template <class Value, class Read>
  void field(const std::string& name, Value& value, const Read& read) {
    known_.push_back(name);
    const auto found = place_.json.find(name);
    if (found != place_.json.end()) value = read(Place{*found, inside(name)});
  }
  void finish() const {
    for (const auto& [name, value] : place_.json.items())
      if (std::ranges::find(known_, name) == known_.end()) {
        std::string names;
        for (const std::string& one : known_) names += (names.empty() ? "" : ", ") + one;
        throw std::runtime_error(fmt::format("{}: there is no such field; expected {}", inside(name), names));
      }
  }

 private:
  [[nodiscard]] std::string inside(const std::string& name) const {
    return place_.path.empty() ? name : place_.path + '.' + name;
  }

  Place place_;
  std::vector<std::string> known_;
};

Scale scale_of(const Place& place) {
  constexpr std::array<std::pair<std::string_view, Scale>, 2> scales{
      {{"linear", Scale::linear}, {"logarithmic", Scale::logarithmic}}};
  return choice_of<Scale>(place, scales);
}

Unit unit_of(const Place& place) {
  constexpr std::array<std::pair<std::string_view, Unit>, 4> units{
      {{"number", Unit::number}, {"bytes", Unit::bytes}, {"seconds", Unit::seconds}, {"percent", Unit::percent}}};
  return choice_of<Unit>(place, units);
}

Line line_of(const Place& place) {
  constexpr std::array<std::pair<std::string_view, Line>, 4> lines{
      {{"solid", Line::solid}, {"dashed", Line::dashed}, {"dotted", Line::dotted}, {"none", Line::none}}};
  return choice_of<Line>(place, lines);
}

Marker marker_of(const Place& place) {
  constexpr std::array<std::pair<std::string_view, Marker>, 9> markers{{{"automatic", Marker::automatic},
                                                                        {"none", Marker::none},
                                                                        {"circle", Marker::circle},
                                                                        {"square", Marker::square},
                                                                        {"triangle", Marker::triangle},
                                                                        {"diamond", Marker::diamond},
                                                                        {"cross", Marker::cross},
                                                                        {"plus", Marker::plus},
                                                                        {"triangle_down", Marker::triangle_down}}};
  return choice_of<Marker>(place, markers);
}

Axis axis_of(const Place& place) {
  Axis axis;
  Object object(place);
  object.field("label", axis.label, text_of);
  object.field("scale", axis.scale, scale_of);
  object.field("unit", axis.unit, unit_of);
  object.field("least", axis.least, number_of);
  object.field("most", axis.most, number_of);
  object.finish();
  return axis;
}

std::vector<double> numbers_of(const Place& place) { return list_of(place, number_or_gap); }
std::vector<std::string> texts_of(const Place& place) { return list_of(place, text_of); }

Series series_of(const Place& place) {
  Series series;
  Object object(place);
  object.field("name", series.name, text_of);
  object.field("x", series.x, numbers_of);
  object.field("y", series.y, numbers_of);
  object.field("low", series.low, numbers_of);
  object.field("high", series.high, numbers_of);
  object.field("band", series.is_band, flag_of);
  object.field("line", series.line, line_of);
  object.field("marker", series.marker, marker_of);
  object.field("colour", series.colour, whole_of);
  object.finish();
  return series;
}

std::vector<Reference> references_of(const Place& place) {
  return list_of(place, [](const Place& one) {
    Reference reference;
    Object object(one);
    object.field("at", reference.at, number_of);
    object.field("label", reference.label, text_of);
    object.finish();
    return reference;
  });
}

/// All fields but those of the picture. `object` is finished by the caller.
Chart chart_of(Object& object) {
  Chart chart;
  object.field("title", chart.title, text_of);
  object.field("x", chart.x, axis_of);
  object.field("y", chart.y, axis_of);
  object.field("series", chart.series, [](const Place& place) { return list_of(place, series_of); });
  object.field("horizontal", chart.horizontal, references_of);
  object.field("vertical", chart.vertical, references_of);
  object.field("notes", chart.notes, texts_of);
  return chart;
}

Grid grid_of(Object& object) {
  Grid grid;
  object.field("title", grid.title, text_of);
  object.field("charts", grid.charts, [](const Place& place) {
    return list_of(place, [](const Place& one) {
      Object chart(one);
      Chart out = chart_of(chart);
      chart.finish();
      return out;
    });
  });
  object.field("columns", grid.columns, whole_of);
  object.field("share_x", grid.share_x, flag_of);
  object.field("share_y", grid.share_y, flag_of);
  object.field("notes", grid.notes, texts_of);
  return grid;
}

std::string drawn(const Json& json) {
  Object object(Place{json, ""});
  const bool is_grid = object.has("charts");
  PictureSize size = is_grid ? PictureSize{900, 190} : PictureSize{};
  object.field("width", size.width, number_of);
  object.field("chart_height", size.chart_height, number_of);
  if (is_grid) {
    const Grid grid = grid_of(object);
    object.finish();
    return to_svg(grid, size);
  }
  const Chart chart = chart_of(object);
  object.finish();
  return to_svg(chart, size);
}

Json parsed(const std::string& input) {
  try {
    return Json::parse(input);
  } catch (const Json::parse_error& error) {
    // The text of the library quotes bytes that may be no text.
    throw std::runtime_error(fmt::format("the input is no JSON: error at byte {} of {}", error.byte, input.size()));
  } catch (const Json::out_of_range&) {
    throw std::runtime_error("the input has a number that is out of range");
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && (std::string_view(argv[1]) == "--help" || std::string_view(argv[1]) == "-h")) {
    std::cout << help;
    return 0;
  }
  if (argc > 1) {
    std::cerr << "weir_chart: it takes no arguments but --help, and reads standard input\n";
    return 2;
  }
  try {
    const std::string input{std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
    std::cout << drawn(parsed(input)) << std::flush;
    if (!std::cout) throw std::runtime_error("standard output cannot be written");
    return 0;
  } catch (const std::exception& error) {
    // One line, whatever the names of fields are.
    std::string what = error.what();
    std::ranges::replace_if(
        what, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, '?');
    std::cerr << "weir_chart: " << what << '\n';
    return 1;
  }
}
