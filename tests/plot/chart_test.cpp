#include "plot/chart.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace weir::plot {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
const double gap = std::nan("");

std::size_t count(std::string_view text, std::string_view part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

/// The labels of ticks, without those of minor ones.
std::vector<std::string> labels_of(const Axis& axis, double least, double most, std::size_t wanted = 5) {
  std::vector<std::string> out;
  for (const Tick& tick : ticks(axis, least, most, wanted))
    if (!tick.label.empty()) out.push_back(tick.label);
  return out;
}

/// Every element is closed, and no attribute or text holds a bare < or &: enough of XML for what we write.
void expect_well_formed(const std::string& svg) {
  std::vector<std::string> open;
  for (std::size_t at = 0; at < svg.size(); ++at) {
    if (svg[at] == '&') {
      const std::size_t end = svg.find(';', at);
      ASSERT_LE(end - at, 5U) << svg.substr(at, 20);
    }
    if (svg[at] != '<') continue;
    const std::size_t end = svg.find('>', at);
    ASSERT_NE(end, std::string::npos);
    std::string tag = svg.substr(at + 1, end - at - 1);
    ASSERT_EQ(count(tag, "\"") % 2, 0U) << tag;
    ASSERT_FALSE(has(tag, "<")) << tag;
    if (tag.starts_with('/')) {
      ASSERT_FALSE(open.empty());
      ASSERT_EQ(tag.substr(1), open.back());
      open.pop_back();
    } else if (!tag.ends_with('/')) {
      open.push_back(tag.substr(0, tag.find(' ')));
    }
    at = end;
  }
  EXPECT_TRUE(open.empty());
}

/// Digits of the longest number.
std::size_t longest_number(std::string_view svg) {
  std::size_t longest = 0;
  std::size_t digits = 0;
  for (const char c : svg) {
    digits = c >= '0' && c <= '9' ? digits + 1 : 0;
    longest = std::max(longest, digits);
  }
  return longest;
}

Chart chart_of(std::vector<double> x, std::vector<double> y, Scale scale = Scale::linear) {
  return {.title = "title",
          .x = {.label = "x"},
          .y = {.label = "y", .scale = scale},
          .series = {{.name = "data", .x = std::move(x), .y = std::move(y)}}};
}

TEST(Ticks, OfLinearAxesAreRound) {
  using Labels = std::vector<std::string>;
  EXPECT_EQ(labels_of({}, 0, 10), (Labels{"0", "2", "4", "6", "8", "10"}));
  EXPECT_EQ(labels_of({}, -1, 1, 4), (Labels{"-1", "-0.5", "0", "0.5", "1"}));
  EXPECT_EQ(labels_of({}, 0.03, 0.31, 3), (Labels{"0.1", "0.2", "0.3"}));
  EXPECT_EQ(labels_of({.unit = Unit::percent}, 0, 1, 2), (Labels{"0%", "50%", "100%"}));
  EXPECT_EQ(labels_of({.unit = Unit::bytes}, 33 << 20, 43 << 20, 5),
            (Labels{"34 MiB", "36 MiB", "38 MiB", "40 MiB", "42 MiB"}));
  for (const Tick& tick : ticks({}, -1e-7, 3e5, 6)) EXPECT_TRUE(tick.at >= -1e-7 && tick.at <= 3e5 * (1 + 1e-9));
}

TEST(Ticks, OfLogarithmicAxesArePowers) {
  using Labels = std::vector<std::string>;
  const Axis decimal{.scale = Scale::logarithmic};
  EXPECT_EQ(labels_of(decimal, 0.5, 2000, 8), (Labels{"1", "10", "100", "1000"}));
  EXPECT_EQ(labels_of(decimal, 1e-9, 1e-3, 7), (Labels{"10^-9", "10^-8", "10^-7", "10^-6", "10^-5", "10^-4", "0.001"}));
  EXPECT_EQ(labels_of(decimal, 1e-9, 1e-3, 3), (Labels{"10^-8", "10^-6", "10^-4"}));  // every second one
  EXPECT_EQ(labels_of(decimal, 1.5, 12, 3), (Labels{"2", "5", "10"}));                // few decades
  EXPECT_EQ(labels_of(decimal, 1.01, 1.07, 3), (Labels{"1.02", "1.04", "1.06"}));     // none at all
  const Axis bytes{.scale = Scale::logarithmic, .unit = Unit::bytes};
  EXPECT_EQ(labels_of(bytes, 512, 2048, 5), (Labels{"512 B", "1 KiB", "2 KiB"}));
  EXPECT_EQ(labels_of(bytes, 8192, 1 << 20, 4), (Labels{"8 KiB", "32 KiB", "128 KiB", "512 KiB"}));
  double before = 0;
  for (const Tick& tick : ticks(decimal, 3e-5, 4e7, 4)) {
    EXPECT_GT(tick.at, before);
    before = tick.at;
  }
}

TEST(Ticks, LabelsAreWhatPeopleWrite) {
  EXPECT_EQ(tick_label(0, Unit::number), "0");
  EXPECT_EQ(tick_label(-0.0, Unit::number), "0");
  EXPECT_EQ(tick_label(1000, Unit::number), "1000");
  EXPECT_EQ(tick_label(100000, Unit::number), "10^5");
  EXPECT_EQ(tick_label(-1e5, Unit::number), "-10^5");
  EXPECT_EQ(tick_label(25000, Unit::number), "2.5·10^4");
  EXPECT_EQ(tick_label(99999.9, Unit::number), "10^5");
  EXPECT_EQ(tick_label(1e-5, Unit::number), "10^-5");
  EXPECT_EQ(tick_label(1e-300, Unit::number), "10^-300");
  EXPECT_EQ(tick_label(65536, Unit::bytes), "64 KiB");
  EXPECT_EQ(tick_label(1.5 * 1048576, Unit::bytes), "1.5 MiB");
  EXPECT_EQ(tick_label(2e-3, Unit::seconds), "2 ms");
  EXPECT_EQ(tick_label(1e-6, Unit::seconds), "1 µs");
  EXPECT_EQ(tick_label(3600, Unit::seconds), "3600 s");
  EXPECT_EQ(tick_label(0.125, Unit::percent), "12.5%");
  EXPECT_EQ(tick_label(1e-7, Unit::percent), "10^-5%");
}

TEST(Escaped, IsSafeInXml) {
  EXPECT_EQ(escaped("a < b & \"c\" > 'd'"), "a &lt; b &amp; &quot;c&quot; &gt; &#39;d&#39;");
  EXPECT_EQ(escaped(std::string("a\0b\x1b"
                                "c\n",
                                6)),
            "abc\n");
  EXPECT_EQ(escaped("ε ≤ 10 \xF0\x9F\x93\x88"), "ε ≤ 10 \xF0\x9F\x93\x88");
  const std::string replacement = "\xEF\xBF\xBD";
  for (const char* bad : {"\x80", "\xFF", "\xC3", "\xC0", "\xE2"}) EXPECT_EQ(escaped(bad), replacement);
  // Half of a pair of UTF-16, and characters that are longer than need be (three bytes: U+007F, four: U+FFFF).
  for (const char* bad : {"\xED\xA0\x80", "\xE0\x81\xBF"})
    EXPECT_EQ(escaped(bad), replacement + replacement + replacement);
  EXPECT_EQ(escaped("\xF0\x8F\xBF\xBF"), replacement + replacement + replacement + replacement);
  EXPECT_EQ(escaped("\xF4\x90\x80\x80"), replacement + replacement + replacement + replacement);
}

TEST(Escaped, KeepsAllOfUtf8AndNothingElse) {
  const std::string mark = "\uFFFD";
  // The well-formed sequences are those of table 3-7 of the Unicode standard; U+FFFE and U+FFFF are no characters of XML.
  for (const std::string_view bytes : {"\xFF", "\x80", "\xC0", "\xC1", "\xF5", "\xC3", "\xE2\x82", "\xF0\x9F\x98"})
    EXPECT_TRUE(escaped(bytes).starts_with(mark)) << bytes.size();
  for (const std::string_view bytes : {"\xC0\x80", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xEF\xBF\xBF", "\xEF\xBF\xBE",
                                       "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80"})
    EXPECT_TRUE(escaped(bytes).starts_with(mark)) << bytes.size();
  for (const std::string_view bytes : {"\xC2\x80", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEF\xBF\xBD", "\xF4\x8F\xBF\xBF"})
    EXPECT_EQ(escaped(bytes), bytes);
  EXPECT_EQ(escaped("a\xC3<b"), "a" + mark + "&lt;b");
}

TEST(ToSvg, EscapesAllTexts) {
  const std::string nasty = "<script>&'\"10^-3 a";
  Chart chart = chart_of({1, 2}, {3, 4});
  chart.title = chart.x.label = chart.y.label = chart.series[0].name = nasty;
  chart.horizontal = {{3.5, nasty}};
  chart.vertical = {{1.5, nasty}};
  chart.notes = {nasty};
  const std::string svg = to_svg(chart);
  expect_well_formed(svg);
  EXPECT_FALSE(has(svg, "<script"));
  EXPECT_TRUE(has(svg, "&lt;script&gt;"));
}

TEST(ToSvg, IsTheSameForTheSameChart) {
  const Chart chart = chart_of({1, 2, 3}, {0.1, 0.7, 0.2});
  EXPECT_EQ(to_svg(chart), to_svg(Chart(chart)));
  EXPECT_TRUE(to_svg(chart).starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""));
  EXPECT_FALSE(has(to_svg(chart), " id="));  // names would meet those of other pictures in one page
}

TEST(ToSvg, PlacesPointsByTheirNumbers) {
  // Axes from 0 to 10 and 1 to 100: the middle of either is in the middle of the area, and y grows upwards.
  Chart chart = chart_of({0, 5, 10}, {1, 10, 100}, Scale::logarithmic);
  chart.x.least = 0;
  chart.x.most = 10;
  chart.y.least = 1;
  chart.y.most = 100;
  const std::string svg = to_svg(chart);
  std::vector<double> cx;
  std::vector<double> cy;
  for (std::size_t at = svg.find("<circle"); at != std::string::npos; at = svg.find("<circle", at + 1)) {
    cx.push_back(std::stod(svg.substr(svg.find("cx=\"", at) + 4)));
    cy.push_back(std::stod(svg.substr(svg.find("cy=\"", at) + 4)));
  }
  ASSERT_EQ(cx.size(), 4U);  // the first one is that of the legend
  EXPECT_LT(cx[1], cx[3]);
  EXPECT_GT(cy[1], cy[3]);
  EXPECT_NEAR(cx[2], (cx[1] + cx[3]) / 2, 0.11);  // coordinates have one decimal
  EXPECT_NEAR(cy[2], (cy[1] + cy[3]) / 2, 0.11);
}

TEST(ToSvg, WithoutDataSaysSo) {
  for (const Chart& chart : {Chart{}, chart_of({}, {}), chart_of({gap}, {1}), chart_of({1}, {infinity})}) {
    const std::string svg = to_svg(chart);
    expect_well_formed(svg);
    EXPECT_TRUE(has(svg, "no data"));
  }
  expect_well_formed(to_svg(Grid{}));
}

TEST(ToSvg, LeavesOutWhatHasNoPosition) {
  const std::string svg = to_svg(chart_of({1, 2, 3, 4, 5}, {1, infinity, 2, gap, 3}));
  expect_well_formed(svg);
  EXPECT_EQ(count(svg, "<circle"), 1U + 3U);
  EXPECT_EQ(count(svg, "M"), count(to_svg(chart_of({1, 3, 5}, {1, 2, 3})), "M") + 2);  // two gaps in the line
  EXPECT_TRUE(has(svg, "1 point is not drawn"));                                       // a NaN is a gap
  for (const std::string_view word : {"nan", "inf\"", "inf "}) EXPECT_FALSE(has(svg, word));
}

TEST(ToSvg, LogarithmicAxesLeaveOutZeros) {
  Chart chart = chart_of({1, 2, 3, 4}, {0.01, 0, -1, 100}, Scale::logarithmic);
  chart.series[0].low = {0, 0, 0, 50};  // an error bar down to zero ends at the axis
  chart.series[0].high = {0.02, 0, 0, 200};
  for (const bool is_band : {false, true}) {
    chart.series[0].is_band = is_band;
    const std::string svg = to_svg(chart);
    expect_well_formed(svg);
    EXPECT_EQ(count(svg, "<circle"), 1U + 2U);
    EXPECT_TRUE(has(svg, "2 points are not drawn"));
    for (const std::string_view word : {"nan", "inf\"", "inf "}) EXPECT_FALSE(has(svg, word));
  }
}

TEST(ToSvg, TakesNumbersOfAnySize) {
  for (const auto& [low, high] : {std::pair{-1.7e308, 1.7e308},
                                  {1e-300, 1e300},
                                  {5.0, 5.0},
                                  {0.0, 0.0},
                                  {-3.0, -3.0},
                                  {1e300, std::nextafter(1e300, infinity)}})
    for (const Scale scale : {Scale::linear, Scale::logarithmic}) {
      const std::string svg = to_svg(chart_of({low, high}, {low, high}, scale));
      expect_well_formed(svg);
      EXPECT_FALSE(has(svg, "nan"));
      EXPECT_FALSE(has(svg, "\"inf"));
    }
}

TEST(ToSvg, AxesMayDemandAnything) {
  for (const double least : {-infinity, gap, -1e308, 0.0, 3.0, 1e308, infinity})
    for (const double most : {-infinity, gap, -1e308, 0.0, 3.0, 1e308, infinity})
      for (const Scale scale : {Scale::linear, Scale::logarithmic}) {
        Chart chart = chart_of({1, 1e300}, {1e-5, 1e300}, scale);
        chart.x.least = chart.y.least = least;
        chart.x.most = chart.y.most = most;
        const std::string svg = to_svg(chart);
        expect_well_formed(svg);
        for (const std::string_view word : {"nan", "\"inf", "inf\"", "inf "})
          EXPECT_FALSE(has(svg, word)) << least << ' ' << most;
        EXPECT_LT(longest_number(svg), 12U);
      }
}

TEST(ToSvg, LinesAreCutAtTheEdgesOfTheArea) {
  Chart chart = chart_of({0, 1, 2}, {0, 1000, 0});
  chart.y.least = 0;
  chart.y.most = 1;
  const std::string svg = to_svg(chart);
  EXPECT_EQ(count(svg, "<circle"), 1U + 2U);  // the marker of the point outside is left out
  EXPECT_TRUE(has(svg, "1 point is not drawn"));
  const std::size_t inner = svg.find("<svg x=");
  ASSERT_NE(inner, std::string::npos);
  EXPECT_LT(inner, svg.find("<path class=\"line c0\"", inner));
  EXPECT_LT(svg.find("<path class=\"line c0\"", inner), svg.find("</svg>", inner));
}

TEST(ToSvg, ALegendHasEachNameOnce) {
  Grid grid{.charts = {chart_of({1, 2}, {1, 2}), chart_of({1, 2}, {2, 1})}};
  grid.charts[1].series.push_back({.name = "other", .x = {1}, .y = {1}});
  grid.charts[1].series.push_back({.name = "", .x = {1}, .y = {1}});
  const std::string svg = to_svg(grid);
  EXPECT_EQ(count(svg, ">data</text>"), 1U);
  EXPECT_EQ(count(svg, ">other</text>"), 1U);
  EXPECT_EQ(count(svg, "<text class=\"legend\""), 2U);
  // A name without points keeps its colour, and has no entry.
  grid.charts[0].series.insert(grid.charts[0].series.begin(), {.name = "empty", .x = {1}, .y = {gap}});
  EXPECT_EQ(count(to_svg(grid), "<text class=\"legend\""), 2U);
  EXPECT_EQ(count(to_svg(grid), "<path class=\"line c1\""), 3U);
  // A name has its colour in all charts.
  EXPECT_EQ(count(svg, "<path class=\"line c0\""), 3U);
}

TEST(ToSvg, ChartsOfAGridShareTheirRanges) {
  const std::vector<Chart> charts{chart_of({1, 2}, {0, 1}), chart_of({1, 2}, {0, 1000})};
  EXPECT_EQ(count(to_svg(Grid{.charts = charts, .share_y = true}), ">1000</text>"), 2U);
  EXPECT_EQ(count(to_svg(Grid{.charts = charts}), ">1000</text>"), 1U);
}

/// The numbers of an attribute of all elements of a name, in their order.
std::vector<double> numbers_of(const std::string& svg, const std::string& element, const std::string& attribute) {
  std::vector<double> out;
  for (std::size_t at = svg.find(element); at != std::string::npos; at = svg.find(element, at + 1))
    out.push_back(std::stod(svg.substr(svg.find(attribute + "=\"", at) + attribute.size() + 2)));
  return out;
}

/// Places "first", "second" and "third", without a legend, at x = 1, 2, 3.
Chart chart_of_places() {
  Chart chart;
  chart.y.names = {"first", "second", "third"};
  chart.series = {{.x = {1, 2, 3}, .y = {0, 1, 2}, .line = Line::none, .marker = Marker::circle}};
  return chart;
}

TEST(ToSvg, PlacesWithNamesGoDownFromTheTop) {
  const std::string svg = to_svg(chart_of_places());
  expect_well_formed(svg);
  const std::vector<double> cx = numbers_of(svg, "<circle", "cx"), cy = numbers_of(svg, "<circle", "cy");
  ASSERT_EQ(cx.size(), 3U);
  EXPECT_TRUE(cx[0] < cx[1] && cx[1] < cx[2]);
  EXPECT_TRUE(cy[0] < cy[1] && cy[1] < cy[2]);
  EXPECT_NEAR(cy[1] - cy[0], cy[2] - cy[1], 0.21);
  // Each name stands beside its place, and what a mouse shows has it.
  for (const std::string_view name : {"first", "second", "third"}) {
    EXPECT_EQ(count(svg, ">" + std::string(name) + "</text>"), 1U);
    EXPECT_EQ(count(svg, "<title>" + std::string(name) + ", "), 1U);
  }
  const std::size_t text = svg.find(">first</text>");
  EXPECT_NEAR(std::stod(svg.substr(svg.rfind("y=\"", text) + 3)), cy[0] + 4, 0.21);
}

TEST(ToSvg, ErrorBarsOfPlacesLieAlongX) {
  Chart chart = chart_of_places();
  chart.series[0].low = {0.5, gap, 2};
  chart.series[0].high = {1.5, gap, 40};
  for (const Scale scale : {Scale::linear, Scale::logarithmic}) {
    chart.x.scale = scale;
    if (scale == Scale::logarithmic) chart.series[0].low[0] = 0;  // ends at the edge
    const std::string svg = to_svg(chart);
    expect_well_formed(svg);
    const std::size_t bars = svg.find("<path class=\"bar");
    ASSERT_NE(bars, std::string::npos);
    EXPECT_EQ(count(svg.substr(bars, svg.find("/>", bars) - bars), "M"), 2U);
    EXPECT_EQ(count(svg, "<circle"), 3U);
    EXPECT_FALSE(has(svg, "nan"));
    EXPECT_TRUE(has(svg, scale == Scale::linear ? ">40</text>" : ">10</text>"));  // the range has them
  }
}

TEST(ToSvg, NamesAreNotRepeatedBesideEachOther) {
  Chart other = chart_of_places();
  Grid grid{.charts = {chart_of_places(), other}, .columns = 2};
  EXPECT_EQ(count(to_svg(grid), ">second</text>"), 1U);
  grid.charts[1].y.names[0] = "x10^y";  // no power
  EXPECT_EQ(count(to_svg(grid), ">second</text>"), 2U);
  EXPECT_EQ(count(to_svg(grid), ">x10^y</text>"), 1U);
  grid.columns = 1;  // below each other they are
  EXPECT_EQ(count(to_svg(grid), ">second</text>"), 2U);
  // Their width is not taken from the area without end.
  grid.charts[0].y.names[0] = std::string(500, 'M');
  expect_well_formed(to_svg(grid));
  EXPECT_FALSE(has(to_svg(grid), "width=\"-"));
}

TEST(ToSvg, AChartMayHaveAHeightOfItsOwn) {
  Chart chart = chart_of_places();
  const auto height = [](const std::string& svg) { return numbers_of(svg, "<svg", "height").front(); };
  const double usual = height(to_svg(chart, {760, 320}));
  chart.height = 100;
  EXPECT_EQ(height(to_svg(chart, {760, 320})), usual - 220);
}

TEST(ToSvg, WithoutPointsSaysWhatItIsTold) {
  Chart chart;
  chart.without_points = "y is zero & nothing was drawn";
  const std::string svg = to_svg(chart);
  expect_well_formed(svg);
  EXPECT_TRUE(has(svg, "y is zero &amp; nothing was drawn</text>"));
  EXPECT_FALSE(has(svg, "class=\"tick\""));
  chart.x.label = "index";
  EXPECT_TRUE(has(to_svg(chart), "class=\"tick\""));
}

TEST(ToSvg, RefusesWhatCannotBe) {
  EXPECT_THROW((void)to_svg(chart_of({1, 2}, {1})), std::invalid_argument);
  Chart chart = chart_of({1}, {1});
  chart.series[0].low = {1, 2};
  EXPECT_THROW((void)to_svg(chart), std::invalid_argument);
  EXPECT_THROW((void)to_svg(Chart{}, {10, 10}), std::invalid_argument);
  EXPECT_THROW((void)to_svg(Chart{}, {infinity, 100}), std::invalid_argument);
  EXPECT_THROW((void)to_svg(Grid{.columns = 0}), std::invalid_argument);
  chart = chart_of({1}, {1});
  chart.x.names = {"a"};
  EXPECT_THROW((void)to_svg(chart), std::invalid_argument);
}

}  // namespace
}  // namespace weir::plot
