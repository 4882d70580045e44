#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace weir::plot {

// A chart is a value, and to_svg() draws it. The same value gives the same bytes. The SVG needs no other file and no
// script. Its colours follow the reader's light or dark theme (prefers-color-scheme).

/// How positions follow from numbers. With `logarithmic`, numbers that are 0 or less have no position.
enum class Scale : std::uint8_t { linear, logarithmic };
/// How numbers are written at ticks: 1000; 4 KiB; 2 ms; 5%.
enum class Unit : std::uint8_t { number, bytes, seconds, percent };

struct Axis {
  std::string label = {};
  Scale scale = Scale::linear;
  Unit unit = Unit::number;
  std::optional<double> least = {};  ///< Where the axis begins; from the data where empty.
  std::optional<double> most = {};   ///< Where it ends.
  /// Of a y axis: the names of the places 0, 1, 2, ..., which go down from the top and take the place of ticks. Error bars
  /// then lie along x, and there are no bands.
  std::vector<std::string> names = {};
};

enum class Line : std::uint8_t { solid, dashed, dotted, none };
/// `automatic`: another one for each name, as readers may not see colours.
enum class Marker : std::uint8_t { automatic, none, circle, square, triangle, diamond, cross, plus, triangle_down };

/// Points that are joined in their order. Where x or y is not a finite number there is a gap.
struct Series {
  std::string name = {};  ///< In the legend, if there are points. Series of one name share a colour and one entry.
  std::vector<double> x = {};
  std::vector<double> y = {};     ///< As many as x; so are `low` and `high`, unless they are empty.
  std::vector<double> low = {};   ///< Lower ends of the error bars, or of the band.
  std::vector<double> high = {};  ///< Upper ends.
  bool is_band = false;           ///< A shaded band from low to high, in place of error bars.
  Line line = Line::solid;
  Marker marker = Marker::automatic;
  /// Number of a colour: 0 to 7, then again from 0. By default names get them in the order in which they first come.
  std::optional<std::size_t> colour = {};
};

/// A dashed line across the whole chart, with a text beside it.
struct Reference {
  double at = 0;
  std::string label = {};
};

struct Chart {
  std::string title = {};
  Axis x = {};
  Axis y = {};
  std::vector<Series> series = {};
  std::vector<Reference> horizontal = {};  ///< At values of y.
  std::vector<Reference> vertical = {};    ///< At values of x.
  std::vector<std::string> notes = {};     ///< Below the chart, each on lines of its own.
  std::optional<double> height = {};       ///< Of its area in pixels; that of the picture where empty.
  std::string without_points = "no data";  ///< What the chart says where it has no points.
};

/// Several charts in one picture, with one legend: small multiples. A name has one colour in all of them. A chart whose
/// places have the names of the chart to the left of it does not repeat them.
struct Grid {
  std::string title = {};
  std::vector<Chart> charts = {};
  std::size_t columns = 3;              ///< 1 or more.
  bool share_x = false;                 ///< All charts have the same range of x.
  bool share_y = false;                 ///< The same range of y.
  std::vector<std::string> notes = {};  ///< Below all charts.
};

/// Size of a picture in pixels. The height follows from the parts of the chart.
struct PictureSize {
  double width = 760;         ///< 200 or more.
  double chart_height = 320;  ///< Of the area of one chart, 50 or more.
};

/// The chart as an SVG document, 760 pixels wide by default. The legend is above the area of the chart. Points that
/// cannot be drawn (infinite, or not positive on a logarithmic axis) are left out, and a note says how many; NaN stands
/// for a gap and is not counted. A chart without points says that there are none. Throws std::invalid_argument for
/// lists of a series that differ in length, for names of an x axis, and for sizes out of range.
[[nodiscard]] std::string to_svg(const Chart& chart, const PictureSize& size = {});
[[nodiscard]] std::string to_svg(const Grid& grid, const PictureSize& size = {900, 190});

// Parts, for tests and for tables beside charts.

struct Tick {
  double at = 0;
  std::string label = {};  ///< Plain text; "10^-3" has its exponent raised when it is drawn. Empty for a minor tick.

  bool operator==(const Tick&) const = default;
};
/// Ticks of an axis from `least` to `most` (least < most; positive where logarithmic), ascending; about `wanted` of them
/// have labels. On logarithmic axes bytes are powers of 2 and other numbers powers of 10, or 1, 2, 5 of each where there
/// are few.
[[nodiscard]] std::vector<Tick> ticks(const Axis& axis, double least, double most, std::size_t wanted);
/// A number as it is written at a tick: 4096 bytes are "4 KiB", 0.00001 is "10^-5", 0.002 seconds are "2 ms".
[[nodiscard]] std::string tick_label(double value, Unit unit);
/// `text` with & < > " ' escaped, without the control characters that XML does not allow, and with U+FFFD in place of
/// bytes that are not UTF-8 and of U+FFFE and U+FFFF.
[[nodiscard]] std::string escaped(std::string_view text);

}  // namespace weir::plot
