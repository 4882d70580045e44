#include "plot/chart.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <limits>
#include <stdexcept>
#include <utility>

namespace weir::plot {
namespace {

constexpr std::size_t colours = 8;
constexpr double largest_double = std::numeric_limits<double>::max();

// The palette is that of Okabe and Ito, which colour-blind readers can tell apart; its yellow is replaced, as it is too
// faint on white. All rules begin with the class of the picture, so that pictures inside of an HTML page style nothing
// else there.
constexpr std::string_view style_sheet = R"(<style>
.weir-plot{font-family:"Helvetica Neue",Helvetica,Arial,"Liberation Sans","DejaVu Sans",sans-serif;font-size:12px}
.weir-plot .ground{fill:#fff}
.weir-plot text{fill:#24292f}
.weir-plot .title{font-size:16px;font-weight:600}
.weir-plot .name{font-size:13px;font-weight:600}
.weir-plot .tick,.weir-plot .note{fill:#57606a;font-size:11px}
.weir-plot .halo{fill:#57606a;font-size:11px;stroke:#fff;stroke-width:3px;stroke-linejoin:round;paint-order:stroke}
.weir-plot .grid{stroke:#e3e6e9;fill:none}
.weir-plot .minor{stroke:#f3f4f6;fill:none}
.weir-plot .frame{stroke:#8c959f;fill:none}
.weir-plot .reference{stroke:#57606a;fill:none;stroke-dasharray:2 3}
.weir-plot .c0{stroke:#0072b2;fill:#0072b2}
.weir-plot .c1{stroke:#d55e00;fill:#d55e00}
.weir-plot .c2{stroke:#009e73;fill:#009e73}
.weir-plot .c3{stroke:#cc79a7;fill:#cc79a7}
.weir-plot .c4{stroke:#e69f00;fill:#e69f00}
.weir-plot .c5{stroke:#56b4e9;fill:#56b4e9}
.weir-plot .c6{stroke:#4d4d4d;fill:#4d4d4d}
.weir-plot .c7{stroke:#882255;fill:#882255}
.weir-plot .line{fill:none;stroke-width:2;stroke-linejoin:round}
.weir-plot .bar{fill:none;stroke-width:1.2}
.weir-plot .band{stroke:none;fill-opacity:.18}
.weir-plot .open{fill:none;stroke-width:2}
@media (prefers-color-scheme:dark){
.weir-plot .ground{fill:#0d1117}
.weir-plot text{fill:#e6edf3}
.weir-plot .tick,.weir-plot .note{fill:#9da7b1}
.weir-plot .halo{fill:#9da7b1;stroke:#0d1117}
.weir-plot .grid{stroke:#262c34}
.weir-plot .minor{stroke:#181d24}
.weir-plot .frame{stroke:#6e7681}
.weir-plot .reference{stroke:#9da7b1}
.weir-plot .c0{stroke:#3b9be3;fill:#3b9be3}
.weir-plot .c1{stroke:#ff8a4c;fill:#ff8a4c}
.weir-plot .c2{stroke:#2fc79a;fill:#2fc79a}
.weir-plot .c3{stroke:#e3a0c8;fill:#e3a0c8}
.weir-plot .c4{stroke:#f2b840;fill:#f2b840}
.weir-plot .c5{stroke:#a5dcfa;fill:#a5dcfa}
.weir-plot .c6{stroke:#c9d1d9;fill:#c9d1d9}
.weir-plot .c7{stroke:#d0709f;fill:#d0709f}
.weir-plot .line,.weir-plot .bar,.weir-plot .open{fill:none}
.weir-plot .band{stroke:none}
}
</style>
)";

/// A coordinate with one decimal, "3" for "3.0".
std::string px(double value) {
  std::string text = fmt::format("{:.1f}", value);
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text == "-0" ? "0" : text;
}

/// An upper estimate of the width of a text in pixels, as fonts differ between readers.
double width_of(std::string_view text, double font_size) {
  double width = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte & 0xC0U) == 0x80U) continue;  // a later byte of a character
    if (std::string_view(" .,:;|!'ijlft()[]").find(c) != std::string_view::npos) {
      width += 0.39;
    } else if (std::string_view("mwMW@%").find(c) != std::string_view::npos) {
      width += 0.97;
    } else {
      width += (c >= 'A' && c <= 'Z') ? 0.70 : 0.62;
    }
  }
  return width * font_size;
}

/// Lines of at most `width` pixels, broken at spaces; a word that is wider has a line of its own.
std::vector<std::string> wrapped(std::string_view text, double width, double font_size) {
  std::vector<std::string> lines;
  std::string line;
  while (!text.empty()) {
    const std::size_t space = text.find(' ');
    const std::string word(text.substr(0, space));
    text.remove_prefix(space == std::string_view::npos ? text.size() : space + 1);
    if (!line.empty() && width_of(line, font_size) + width_of(" ", font_size) + width_of(word, font_size) > width)
      lines.push_back(std::exchange(line, {}));
    if (!line.empty()) line += ' ';
    line += word;
  }
  if (!line.empty()) lines.push_back(line);
  return lines;
}

/// Escaped, and with the exponents of "10^-3" raised.
std::string rich(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t caret = text.find("10^", at);
    if (caret == std::string_view::npos) return out + escaped(text.substr(at));
    std::size_t end = caret + 3;
    while (end < text.size() && (text[end] == '-' || (text[end] >= '0' && text[end] <= '9'))) ++end;
    out += escaped(text.substr(at, caret + 2 - at));
    std::string exponent(text.substr(caret + 3, end - caret - 3));
    if (exponent.starts_with('-')) exponent.replace(0, 1, "−");
    // Whatever follows goes back to the line of the rest.
    out += fmt::format("<tspan dy=\"-4\" font-size=\"75%\">{}</tspan>", exponent);
    if (end < text.size()) {
      const std::string rest(text.substr(end));
      return out + fmt::format("<tspan dy=\"4\">{}</tspan>", rich(rest));
    }
    at = end;
  }
  return out;
}

/// Bytes of the UTF-8 character of two or more bytes that `text` begins with; 0 where it begins with none, or with one that
/// XML does not allow.
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t at) { return at < text.size() ? static_cast<unsigned char>(text[at]) : 0U; };
  const unsigned first = byte(0);
  const std::size_t length = first >= 0xF0 && first <= 0xF4 ? 4 : (first >= 0xE0 ? 3 : (first >= 0xC2 ? 2 : 0));
  if (first > 0xF4 || length == 0) return 0;
  for (std::size_t at = 1; at < length; ++at)
    if ((byte(at) & 0xC0U) != 0x80U) return 0;
  // Longer than need be, half of a pair of UTF-16, or above U+10FFFF.
  if ((first == 0xE0 && byte(1) < 0xA0) || (first == 0xED && byte(1) >= 0xA0) || (first == 0xF0 && byte(1) < 0x90) ||
      (first == 0xF4 && byte(1) >= 0x90))
    return 0;
  // U+FFFE and U+FFFF, which XML does not allow.
  if (first == 0xEF && byte(1) == 0xBF && byte(2) >= 0xBE) return 0;
  return length;
}

class Document {
 public:
  void text(double x, double y, std::string_view content, std::string_view css_class, std::string_view anchor = "start",
            std::string_view more = "") {
    if (content.empty()) return;
    body_ += fmt::format("<text class=\"{}\" x=\"{}\" y=\"{}\"{}{}>{}</text>\n", css_class, px(x), px(y),
                         anchor == "start" ? std::string() : fmt::format(" text-anchor=\"{}\"", anchor), more,
                         rich(content));
  }
  /// The same for a text of the user, in which "10^" is no power.
  void plain_text(double x, double y, std::string_view content, std::string_view css_class, std::string_view anchor) {
    body_ += fmt::format("<text class=\"{}\" x=\"{}\" y=\"{}\" text-anchor=\"{}\">{}</text>\n", css_class, px(x), px(y),
                         anchor, escaped(content));
  }
  void path(std::string_view css_class, std::string_view d, std::string_view more = "") {
    if (!d.empty()) body_ += fmt::format("<path class=\"{}\" d=\"{}\"{}/>\n", css_class, d, more);
  }
  void raw(std::string_view text) { body_ += text; }

  /// The whole document.
  [[nodiscard]] std::string svg(double width, double height, std::string_view title) const {
    return fmt::format(
               "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"weir-plot\" role=\"img\" viewBox=\"0 0 {0} {1}\" "
               "width=\"{0}\" height=\"{1}\">\n<title>{2}</title>\n",
               px(width), px(height), escaped(title)) +
           std::string(style_sheet) +
           fmt::format("<rect class=\"ground\" width=\"{}\" height=\"{}\" rx=\"6\"/>\n", px(width), px(height)) +
           body_ + "</svg>\n";
  }

 private:
  std::string body_;
};

/// A closed range of numbers that an axis shows.
struct Range {
  double least = std::numeric_limits<double>::infinity();
  double most = -std::numeric_limits<double>::infinity();

  [[nodiscard]] bool is_empty() const { return least > most; }
  void include(double value) {
    least = std::min(least, value);
    most = std::max(most, value);
  }
};

bool has_position(const Axis& axis, double value) {
  return std::isfinite(value) && (axis.scale == Scale::linear || value > 0);
}

void include(Range& range, const Axis& axis, double value) {
  if (has_position(axis, value)) range.include(value);
}

bool has_named_places(const Chart& chart) { return !chart.y.names.empty(); }

/// Ranges of the points, of error bars and of reference lines.
std::pair<Range, Range> ranges_of(const Chart& chart) {
  Range x;
  Range y;
  Range& of_bars = has_named_places(chart) ? x : y;
  const Axis& axis_of_bars = has_named_places(chart) ? chart.x : chart.y;
  for (const Series& series : chart.series)
    for (std::size_t t = 0; t < series.x.size(); ++t) {
      if (!has_position(chart.x, series.x[t]) || !has_position(chart.y, series.y[t])) continue;
      x.include(series.x[t]);
      y.include(series.y[t]);
      if (!series.low.empty()) include(of_bars, axis_of_bars, series.low[t]);
      if (!series.high.empty()) include(of_bars, axis_of_bars, series.high[t]);
    }
  for (const Reference& line : chart.horizontal) include(y, chart.y, line.at);
  for (const Reference& line : chart.vertical) include(x, chart.x, line.at);
  return {x, y};
}

/// With some space around the data, and what the axis demands.
Range widened(const Axis& axis, Range range) {
  if (!axis.names.empty()) return {-0.7, static_cast<double>(axis.names.size()) - 0.3};
  const bool is_log = axis.scale == Scale::logarithmic;
  if (range.is_empty()) range = is_log ? Range{1, 10} : Range{0, 1};
  Range out = range;
  if (is_log) {
    const double span = std::log(range.most) - std::log(range.least);
    const double pad = span > 1e-9 ? std::exp(0.04 * span) : 2;
    out = {range.least / pad, range.most * pad};
    if (!(out.least > 0)) out.least = range.least;
    if (!std::isfinite(out.most)) out.most = range.most;
  } else {
    const double span = range.most / 2 - range.least / 2;  // half of it: the whole may overflow
    const double size = std::max(std::abs(range.least), std::abs(range.most));
    const double pad = span > 1e-9 * size ? 0.08 * span : (size > 0 ? 0.1 * size : 1);
    const auto bounded = [](double value) { return std::clamp(value, -largest_double, largest_double); };
    out = {bounded(range.least - pad), bounded(range.most + pad)};
    if (range.least >= 0 && range.least <= 0.3 * range.most) out.least = 0;
  }
  if (axis.least && has_position(axis, *axis.least)) out.least = *axis.least;
  if (axis.most && has_position(axis, *axis.most)) out.most = *axis.most;
  if (!(out.least < out.most)) {
    // What the axis demands leaves nothing, or all data are on one side of it.
    const double step = is_log ? 9 * out.least : std::max(1.0, std::abs(out.least) * 0.1);
    out = out.least < largest_double - step ? Range{out.least, out.least + step} : Range{out.least / 2, out.least};
  }
  return out;
}

/// Numbers to pixels.
struct Mapping {
  bool is_log = false;
  Range range = {};
  double from = 0;  ///< Pixel of range.least.
  double to = 0;    ///< Pixel of range.most.

  [[nodiscard]] double operator()(double value) const {
    const double share =
        is_log ? (std::log(value) - std::log(range.least)) / (std::log(range.most) - std::log(range.least))
               : (value / 2 - range.least / 2) / (range.most / 2 - range.least / 2);
    // Lines to points far outside leave the area in the same direction when they end a thousand areas away.
    return from + std::clamp(share, -1000.0, 1000.0) * (to - from);
  }
  [[nodiscard]] bool shows(double value) const {
    return value >= range.least - 1e-9 * std::abs(range.least) && value <= range.most + 1e-9 * std::abs(range.most);
  }
};

/// How the series of one name look.
struct Look {
  std::string name = {};
  std::size_t colour = 0;
  Marker marker = Marker::circle;
  Line line = Line::solid;
  bool is_band = false;
  bool has_points = false;  ///< In some chart; only then it is in the legend.
};

Marker marker_number(std::size_t number) {
  constexpr std::array markers{Marker::circle, Marker::square, Marker::triangle,     Marker::diamond,
                               Marker::cross,  Marker::plus,   Marker::triangle_down};
  return markers[number % markers.size()];
}

bool has_points(const Chart& chart, const Series& series) {
  for (std::size_t t = 0; t < series.x.size(); ++t)
    if (has_position(chart.x, series.x[t]) && has_position(chart.y, series.y[t])) return true;
  return false;
}

/// The looks of all names, in the order in which they come first. Series without a name are not among them.
std::vector<Look> looks_of(const std::vector<Chart>& charts) {
  std::vector<Look> looks;
  for (const Chart& chart : charts)
    for (const Series& series : chart.series) {
      if (series.name.empty()) continue;
      auto look = std::ranges::find(looks, series.name, &Look::name);
      if (look == looks.end()) {
        const std::size_t number = series.colour.value_or(looks.size());
        look = looks.insert(look, {.name = series.name,
                                   .colour = number % colours,
                                   .marker = series.marker == Marker::automatic ? marker_number(number) : series.marker,
                                   .line = series.line,
                                   .is_band = series.is_band && !series.low.empty()});
      }
      look->has_points = look->has_points || has_points(chart, series);
    }
  return looks;
}

Look look_of(const Series& series, const std::vector<Look>& looks) {
  const auto found = std::ranges::find(looks, series.name, &Look::name);
  Look look =
      found != looks.end() ? *found : Look{.colour = series.colour.value_or(6) % colours, .marker = Marker::none};
  if (series.marker != Marker::automatic) look.marker = series.marker;
  if (series.colour) look.colour = *series.colour % colours;
  look.line = series.line;
  return look;
}

std::string_view dashes(Line line) {
  if (line == Line::dashed) return " stroke-dasharray=\"7 4\"";
  if (line == Line::dotted) return " stroke-dasharray=\"1.5 4\" stroke-linecap=\"round\"";
  return "";
}

/// A marker about (x, y); `title` is shown when a mouse rests on it.
void draw_marker(Document& document, const Look& look, double x, double y, std::string_view title = "") {
  if (look.marker == Marker::none) return;
  constexpr double r = 3.6;
  const auto corners = [&](std::initializer_list<std::pair<double, double>> points) {
    std::string d;
    for (const auto& [dx, dy] : points) d += fmt::format("{}{} {}", d.empty() ? "M" : "L", px(x + dx), px(y + dy));
    return d + "Z";
  };
  std::string d;
  bool is_open = false;
  switch (look.marker) {
    case Marker::square:
      d = corners({{-r, -r}, {r, -r}, {r, r}, {-r, r}});
      break;
    case Marker::triangle:
      d = corners({{0, -4.6}, {4.4, 3.4}, {-4.4, 3.4}});
      break;
    case Marker::triangle_down:
      d = corners({{0, 4.6}, {4.4, -3.4}, {-4.4, -3.4}});
      break;
    case Marker::diamond:
      d = corners({{0, -4.9}, {4.9, 0}, {0, 4.9}, {-4.9, 0}});
      break;
    case Marker::cross:
      d = fmt::format("M{} {}l7 7m0 -7l-7 7", px(x - 3.5), px(y - 3.5));
      is_open = true;
      break;
    case Marker::plus:
      d = fmt::format("M{} {}h9m-4.5 -4.5v9", px(x - 4.5), px(y));
      is_open = true;
      break;
    default:
      break;
  }
  const std::string css = fmt::format("{}c{}", is_open ? "open " : "", look.colour);
  const std::string shape =
      d.empty() ? fmt::format("<circle class=\"{}\" cx=\"{}\" cy=\"{}\" r=\"{}\"", css, px(x), px(y), px(r))
                : fmt::format("<path class=\"{}\" d=\"{}\"", css, d);
  const std::string_view tag = d.empty() ? "circle" : "path";
  document.raw(title.empty() ? shape + "/>\n" : fmt::format("{}><title>{}</title></{}>\n", shape, escaped(title), tag));
}

/// Where the area of a chart is, and what numbers it shows.
struct Area {
  double left = 0, top = 0, width = 0, height = 0;
  Mapping x = {}, y = {};
};

/// The name of the place that is nearest; there are names.
const std::string& name_at(const Axis& axis, double value) {
  const double last = static_cast<double>(axis.names.size()) - 1;
  return axis.names[static_cast<std::size_t>(std::clamp(std::round(value), 0.0, last))];
}

/// Lines, bands and error bars, cut at the edges of the area; then markers. Returns the number of points left out.
std::size_t draw_series(Document& document, const Chart& chart, const Area& area, const std::vector<Look>& looks) {
  std::size_t left_out = 0;
  const auto is_drawn = [&](const Series& series, std::size_t t) {
    return has_position(chart.x, series.x[t]) && has_position(chart.y, series.y[t]);
  };
  // An inner picture cuts at its edges without names, which would meet those of other pictures in one page.
  document.raw(fmt::format("<svg x=\"{0}\" y=\"{1}\" width=\"{2}\" height=\"{3}\" viewBox=\"{0} {1} {2} {3}\">\n",
                           px(area.left), px(area.top), px(area.width), px(area.height)));
  const auto clamped = [&](double value) {
    return has_position(chart.y, value) ? area.y(value) : area.top + area.height + 10;
  };
  const auto clamped_x = [&](double value) { return has_position(chart.x, value) ? area.x(value) : area.left - 10; };
  for (const Series& series : chart.series) {
    const Look look = look_of(series, looks);
    const std::string colour = fmt::format("c{}", look.colour);
    if (!series.low.empty() && !series.high.empty() && series.is_band) {
      std::string upper;
      std::string lower;
      for (std::size_t t = 0; t < series.x.size(); ++t) {
        if (!is_drawn(series, t) || std::isnan(series.low[t]) || std::isnan(series.high[t])) continue;
        upper +=
            fmt::format("{}{} {}", upper.empty() ? "M" : "L", px(area.x(series.x[t])), px(clamped(series.high[t])));
        lower.insert(0, fmt::format("L{} {}", px(area.x(series.x[t])), px(clamped(series.low[t]))));
      }
      if (!upper.empty()) document.path("band " + colour, upper + lower + "Z");
    } else if (!series.low.empty() && !series.high.empty()) {
      std::string bars;
      for (std::size_t t = 0; t < series.x.size(); ++t) {
        if (!is_drawn(series, t) || std::isnan(series.low[t]) || std::isnan(series.high[t])) continue;
        if (has_named_places(chart)) {
          bars += fmt::format("M{0} {1}v6m0 -3H{2}m0 -3v6", px(clamped_x(series.high[t])), px(area.y(series.y[t]) - 3),
                              px(clamped_x(series.low[t])));
          continue;
        }
        const std::string at = px(area.x(series.x[t]) - 3);
        bars += fmt::format("M{0} {1}h6m-3 0V{2}m-3 0h6", at, px(clamped(series.high[t])), px(clamped(series.low[t])));
      }
      document.path("bar " + colour, bars);
    }
    if (look.line == Line::none) continue;
    std::string d;
    bool is_joined = false;
    for (std::size_t t = 0; t < series.x.size(); ++t) {
      if (!is_drawn(series, t)) {
        is_joined = false;
        continue;
      }
      d += fmt::format("{}{} {}", is_joined ? "L" : "M", px(area.x(series.x[t])), px(area.y(series.y[t])));
      is_joined = true;
    }
    document.path("line " + colour, d, dashes(look.line));
  }
  document.raw("</svg>\n");
  for (const Series& series : chart.series) {
    const Look look = look_of(series, looks);
    for (std::size_t t = 0; t < series.x.size(); ++t) {
      if (std::isnan(series.x[t]) || std::isnan(series.y[t])) continue;
      if (!is_drawn(series, t) || !area.x.shows(series.x[t]) || !area.y.shows(series.y[t])) {
        ++left_out;
        continue;
      }
      const std::string x = tick_label(series.x[t], chart.x.unit);
      draw_marker(document, look, area.x(series.x[t]), area.y(series.y[t]),
                  fmt::format("{}{}{}", series.name, series.name.empty() ? "" : ": ",
                              has_named_places(chart) ? name_at(chart.y, series.y[t]) + ", " + x
                                                      : x + ", " + tick_label(series.y[t], chart.y.unit)));
    }
  }
  return left_out;
}

bool has_points(const Chart& chart) {
  return std::ranges::any_of(chart.series, [&](const Series& series) { return has_points(chart, series); });
}

/// As many ticks as have room for their labels beside each other.
std::vector<Tick> ticks_that_fit(const Axis& axis, const Mapping& mapping) {
  std::vector<Tick> out;
  for (std::size_t wanted = 9; wanted >= 2; --wanted) {
    out = ticks(axis, mapping.range.least, mapping.range.most, wanted);
    double free_from = -1e9;
    bool fits = true;
    for (const Tick& tick : out) {
      if (tick.label.empty()) continue;
      const double half = width_of(tick.label, 11) / 2;
      if (mapping(tick.at) - half < free_from) fits = false;
      free_from = mapping(tick.at) + half + 8;
    }
    if (fits) break;
  }
  return out;
}

struct Labels {
  bool x = true;
  bool y = true;
  bool names = true;  ///< Of the places of y.
};

/// Ticks of the y axis; none where places have names.
std::vector<Tick> ticks_of_y(const Chart& chart, double height, const Range& range) {
  if (has_named_places(chart)) return {};
  return ticks(chart.y, range.least, range.most, static_cast<std::size_t>(std::max(2.0, height / 36)));
}

/// Grid lines, ticks, frame and labels of the axes.
void draw_axes(Document& document, const Chart& chart, const Area& area, double left_of_label, Labels labels) {
  const double bottom = area.top + area.height;
  const double right = area.left + area.width;
  std::string grid;
  std::string minor;
  for (const Tick& tick : ticks_that_fit(chart.x, area.x)) {
    const double at = area.x(tick.at);
    (tick.label.empty() ? minor : grid) += fmt::format("M{} {}V{}", px(at), px(area.top), px(bottom));
    document.text(at, bottom + 16, tick.label, "tick", "middle");
  }
  for (std::size_t k = 0; k < chart.y.names.size(); ++k) {
    const double at = area.y(static_cast<double>(k));
    minor += fmt::format("M{} {}H{}", px(area.left), px(at), px(right));
    if (labels.names) document.plain_text(area.left - 6, at + 4, chart.y.names[k], "tick", "end");
  }
  for (const Tick& tick : ticks_of_y(chart, area.height, area.y.range)) {
    const double at = area.y(tick.at);
    (tick.label.empty() ? minor : grid) += fmt::format("M{} {}H{}", px(area.left), px(at), px(right));
    document.text(area.left - 6, at + 4, tick.label, "tick", "end");
  }
  document.path("minor", minor);
  document.path("grid", grid);
  document.path("frame", fmt::format("M{} {}V{}H{}", px(area.left), px(area.top), px(bottom), px(right)));
  if (labels.x) document.text(area.left + area.width / 2, bottom + 33, chart.x.label, "axis", "middle");
  if (labels.y) {
    const double middle = area.top + area.height / 2;
    document.text(left_of_label, middle, chart.y.label, "axis", "middle",
                  fmt::format(" transform=\"rotate(-90 {} {})\"", px(left_of_label), px(middle)));
  }
}

void draw_references(Document& document, const Chart& chart, const Area& area) {
  const double right = area.left + area.width;
  for (const Reference& line : chart.horizontal) {
    if (!has_position(chart.y, line.at) || !area.y.shows(line.at)) continue;
    const double at = area.y(line.at);
    document.path("reference", fmt::format("M{} {}H{}", px(area.left), px(at), px(right)));
    // Below the line where there is no room above it.
    document.text(right - 4, at - area.top < 16 ? at + 13 : at - 5, line.label, "halo", "end");
  }
  for (const Reference& line : chart.vertical) {
    if (!has_position(chart.x, line.at) || !area.x.shows(line.at)) continue;
    const double at = area.x(line.at);
    document.path("reference", fmt::format("M{} {}V{}", px(at), px(area.top), px(area.top + area.height)));
    const double half = width_of(line.label, 11) / 2;
    document.text(std::min(at, right - half), area.top - 4, line.label, "tick", "middle");
  }
}

/// Draws the legend from `top` on, in rows; returns its height.
double draw_legend(Document& document, const std::vector<Look>& looks, double left, double width, double top) {
  constexpr double row = 20;
  constexpr double sample = 30;
  if (std::ranges::none_of(looks, &Look::has_points)) return 0;
  double x = left;
  double y = top;
  for (const Look& look : looks) {
    if (!look.has_points) continue;
    const double text = width_of(look.name, 12);
    if (x > left && x + sample + 6 + text > left + width) {
      x = left;
      y += row;
    }
    const double middle = y + 9;
    const std::string colour = fmt::format("c{}", look.colour);
    if (look.is_band)
      document.path("band " + colour, fmt::format("M{} {}h{}v12h-{}Z", px(x), px(middle - 6), px(sample), px(sample)));
    if (look.line != Line::none)
      document.path("line " + colour, fmt::format("M{} {}h{}", px(x), px(middle), px(sample)), dashes(look.line));
    draw_marker(document, look, x + sample / 2, middle);
    document.text(x + sample + 6, middle + 4, look.name, "legend");
    x += sample + 6 + text + 18;
  }
  return y + row - top + 4;
}

void require(const Series& series) {
  const std::size_t points = series.x.size();
  if (series.y.size() != points || (!series.low.empty() && series.low.size() != points) ||
      (!series.high.empty() && series.high.size() != points))
    throw std::invalid_argument(fmt::format("series '{}': x, y, low and high have {}, {}, {} and {} numbers",
                                            series.name, points, series.y.size(), series.low.size(),
                                            series.high.size()));
}

/// Draws lines of text from `top` on; returns their height.
double draw_lines(Document& document, std::string_view text, double left, double width, double top, double font_size,
                  std::string_view css_class) {
  const double height = std::round(font_size * 1.35);
  double used = 0;
  for (const std::string& line : wrapped(text, width, font_size)) {
    used += height;
    document.text(left, top + used - 0.3 * font_size, line, css_class);
  }
  return used;
}

/// `is_single`: the chart has no title of its own above its area.
std::string draw(const Grid& grid, const PictureSize& size, bool is_single) {
  if (!(size.width >= 200) || !(size.chart_height >= 50) || size.width > 1e5 || size.chart_height > 1e5)
    throw std::invalid_argument(fmt::format("a picture of {} pixels, with charts {} high: expected 200 and 50 at least",
                                            size.width, size.chart_height));
  if (grid.columns == 0) throw std::invalid_argument("a grid has no columns: expected 1 or more");
  for (const Chart& chart : grid.charts) {
    for (const Series& series : chart.series) require(series);
    if (!chart.x.names.empty()) throw std::invalid_argument("names of places are those of a y axis, not of an x axis");
  }

  const std::size_t count = grid.charts.size();
  const std::size_t columns = std::max<std::size_t>(1, std::min(grid.columns, count));
  const auto same_label = [&](Axis Chart::*axis) {
    return std::ranges::all_of(
        grid.charts, [&](const Chart& chart) { return (chart.*axis).label == (grid.charts.front().*axis).label; });
  };
  const bool one_x = same_label(&Chart::x);
  const bool one_y = same_label(&Chart::y);

  // Ranges, and the room that the labels of y need.
  std::vector<std::pair<Range, Range>> ranges;
  std::pair<Range, Range> all;
  for (const Chart& chart : grid.charts) {
    ranges.push_back(ranges_of(chart));
    for (const auto& [mine, whole] :
         {std::pair{&ranges.back().first, &all.first}, {&ranges.back().second, &all.second}})
      if (!mine->is_empty()) {
        whole->include(mine->least);
        whole->include(mine->most);
      }
  }
  const auto height_of = [&](const Chart& chart) { return chart.height.value_or(size.chart_height); };
  const auto shows_names = [&](std::size_t c) {
    return c % columns == 0 || grid.charts[c - 1].y.names != grid.charts[c].y.names;
  };
  double tick_width = 0;
  std::vector<double> room(columns, 0);  // For ticks and names, to the left of each column.
  bool has_vertical = false;
  for (std::size_t c = 0; c < count; ++c) {
    const Chart& chart = grid.charts[c];
    ranges[c] = {widened(chart.x, grid.share_x ? all.first : ranges[c].first),
                 widened(chart.y, grid.share_y ? all.second : ranges[c].second)};
    for (const Tick& tick : ticks_of_y(chart, height_of(chart), ranges[c].second))
      tick_width = std::max(tick_width, width_of(tick.label, 11));
    if (shows_names(c))
      for (const std::string& name : chart.y.names) room[c % columns] = std::max(room[c % columns], width_of(name, 11));
    has_vertical =
        has_vertical || std::ranges::any_of(chart.vertical, [](const Reference& r) { return !r.label.empty(); });
  }

  constexpr double margin = 16;
  for (double& width : room) width = std::max(width, tick_width);
  const bool has_y_label = std::ranges::any_of(
      grid.charts, [](const Chart& chart) { return !chart.y.label.empty() || !has_named_places(chart); });
  const double label_width = has_y_label ? 20 : 0;
  const double inner = size.width - 2 * margin;
  Document document;
  double y = margin;
  y += draw_lines(document, grid.title, margin, inner, y, 16, "title");
  if (!grid.title.empty()) y += 4;
  const std::vector<Look> looks = looks_of(grid.charts);
  y += draw_legend(document, looks, margin, inner, y);

  // Where the areas of the columns begin, but for their widths.
  std::vector<double> lefts{margin + label_width + room.front() + 6};
  for (std::size_t c = 1; c < columns; ++c)
    lefts.push_back(lefts.back() + room[c] + 6 + (one_y ? 14 : label_width + 12));
  const double area_width = std::max(40.0, (size.width - margin - lefts.back()) / static_cast<double>(columns));
  for (std::size_t c = 1; c < columns; ++c) lefts[c] += static_cast<double>(c) * area_width;
  const double name_width = area_width + 10;
  std::size_t left_out = 0;
  for (std::size_t first = 0; first < count; first += columns) {
    const std::size_t end = std::min(count, first + columns);
    const bool has_names = !is_single && std::any_of(grid.charts.begin() + static_cast<std::ptrdiff_t>(first),
                                                     grid.charts.begin() + static_cast<std::ptrdiff_t>(end),
                                                     [](const Chart& chart) { return !chart.title.empty(); });
    // Names are wrapped; that of the last column ends at the edge of the picture.
    std::size_t lines_of_names = 0;
    if (has_names)
      for (std::size_t c = first; c < end; ++c)
        lines_of_names = std::max(lines_of_names, wrapped(grid.charts[c].title, name_width, 13).size());
    y += 6 + 17 * static_cast<double>(lines_of_names) + (has_vertical ? 14 : 0);
    double below = 0;
    for (std::size_t c = first; c < end; ++c) {
      const Chart& chart = grid.charts[c];
      const double left = lefts[c - first];
      const double height = height_of(chart);
      Area area{left,
                y,
                area_width,
                height,
                {chart.x.scale == Scale::logarithmic, ranges[c].first, left, left + area_width},
                {chart.y.scale == Scale::logarithmic, ranges[c].second, y + height, y}};
      // The first of the places that have names is at the top.
      if (has_named_places(chart)) area.y = {false, ranges[c].second, y, y + height};
      if (!is_single) {
        const std::vector<std::string> lines = wrapped(chart.title, name_width, 13);
        for (std::size_t line = 0; line < lines.size(); ++line)
          document.text(left, y - 7 - (has_vertical ? 14 : 0) - 17 * static_cast<double>(lines.size() - 1 - line),
                        lines[line], "name");
      }
      // A label that all charts have stands at the left and at the bottom of the whole.
      const bool is_lowest = c + columns >= count;
      const Labels labels{!one_x || is_lowest, !one_y || c == first, shows_names(c)};
      // Axes without labels and points would say nothing.
      if (has_points(chart) || !chart.x.label.empty() || !chart.y.label.empty())
        draw_axes(document, chart, area, left - room[c - first] - 6 - 9, labels);
      draw_references(document, chart, area);
      if (has_points(chart)) {
        left_out += draw_series(document, chart, area, looks);
      } else {
        const std::vector<std::string> lines = wrapped(chart.without_points, area_width - 8, 11);
        double at = y + height / 2 - 7.5 * (static_cast<double>(lines.size()) - 1);
        for (const std::string& line : lines) {
          document.text(left + area_width / 2, at, line, "note", "middle");
          at += 15;
        }
      }
      double used = height + 22 + (labels.x && !chart.x.label.empty() ? 18 : 0);
      for (const std::string& note : chart.notes)
        used +=
            draw_lines(document, note, is_single ? margin : left, is_single ? inner : area_width, y + used, 11, "note");
      below = std::max(below, used);
    }
    y += below + 4;
  }
  std::vector<std::string> notes = grid.notes;
  if (left_out > 0)
    notes.push_back(
        fmt::format("{} point{} not drawn: infinite, not positive on a logarithmic axis, or outside of the axes.",
                    left_out, left_out == 1 ? " is" : "s are"));
  if (!notes.empty()) y += 4;
  for (const std::string& note : notes) y += draw_lines(document, note, margin, inner, y, 11, "note");
  return document.svg(size.width, y + margin - 6, grid.title);
}

}  // namespace

std::string escaped(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    const auto byte = static_cast<unsigned char>(c);
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        if (byte < 0x80) {
          if (byte >= 0x20 || c == '\t' || c == '\n') out += c;
        } else if (const std::size_t length = utf8_length(text.substr(at)); length > 0) {
          out += text.substr(at, length);
          at += length - 1;
        } else {
          out += "\xEF\xBF\xBD";  // the replacement character
        }
    }
  }
  return out;
}

std::string to_svg(const Chart& chart, const PictureSize& size) {
  return draw({.title = chart.title, .charts = {chart}, .columns = 1}, size, true);
}

std::string to_svg(const Grid& grid, const PictureSize& size) { return draw(grid, size, false); }

}  // namespace weir::plot
