#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "plot/chart.hpp"

namespace weir::plot {
namespace {

/// At most four digits, without zeros at the end.
std::string short_number(double value) {
  std::string text = fmt::format("{:.4g}", value + 0.0);
  return text == "-0" ? "0" : text;
}

/// 10^e exactly where doubles hold it.
double power_of_ten(int exponent) { return exponent < 0 ? 1 / std::pow(10.0, -exponent) : std::pow(10.0, exponent); }

std::string plain_number(double value) {
  const double size = std::abs(value);
  if (size == 0 || (size >= 0.001 && size < 10000)) return short_number(value);
  int exponent = static_cast<int>(std::floor(std::log10(size)));
  double mantissa = value / power_of_ten(exponent);
  // The logarithm of a power of ten may be rounded to either side, and 9.9999 is written as 10.
  if (std::abs(mantissa) >= 9.9995) {
    ++exponent;
    mantissa = value / power_of_ten(exponent);
  } else if (std::abs(mantissa) < 0.99995) {
    --exponent;
    mantissa = value / power_of_ten(exponent);
  }
  const std::string digits = fmt::format("{:.3g}", mantissa);
  if (digits == "1") return fmt::format("10^{}", exponent);
  if (digits == "-1") return fmt::format("-10^{}", exponent);
  return fmt::format("{}·10^{}", digits, exponent);
}

template <std::size_t count>
std::string with_unit(double value, const std::array<std::pair<double, const char*>, count>& units) {
  const auto* unit = units.begin();
  for (const auto& candidate : units)
    if (std::abs(value) >= candidate.first * 0.99999) unit = &candidate;
  return fmt::format("{} {}", short_number(value / unit->first), unit->second);
}

/// Multiples of 1, 2 or 5 times a power of ten; of a power of 2 where they are bytes.
std::vector<Tick> linear_ticks(Unit unit, double least, double most, std::size_t wanted) {
  // Halves, as the whole range may be larger than doubles are.
  const double rough = (most / 2 - least / 2) / (static_cast<double>(std::max<std::size_t>(wanted, 2)) / 2);
  const double ten =
      unit == Unit::bytes ? std::exp2(std::floor(std::log2(rough))) : std::pow(10.0, std::floor(std::log10(rough)));
  double step = unit == Unit::bytes ? 2 * ten : 10 * ten;
  if (unit == Unit::bytes) {
    if (ten >= rough * 0.8) step = ten;
  } else {
    for (const double factor : {5.0, 2.0, 1.0})
      if (factor * ten >= rough * 0.8) step = factor * ten;
  }
  std::vector<Tick> out;
  const double first = std::ceil(least / step - 1e-9);
  const double last = std::floor(most / step + 1e-9);
  for (double t = first; t <= last; ++t) out.push_back({t * step, tick_label(t * step, unit)});
  return out;
}

/// Powers of 2, every second, third, ... of them.
std::vector<Tick> binary_ticks(Unit unit, double least, double most, std::size_t wanted) {
  const int first = static_cast<int>(std::ceil(std::log2(least) - 1e-9));
  const int last = static_cast<int>(std::floor(std::log2(most) + 1e-9));
  const int step = std::max(1, static_cast<int>(std::ceil((last - first + 1) / static_cast<double>(wanted))));
  std::vector<Tick> out;
  for (int e = first; e <= last; ++e) {
    const double at = std::ldexp(1.0, e);
    const bool has_label = (e - first) % step == 0;
    out.push_back({at, has_label ? tick_label(at, unit) : std::string()});
  }
  return out;
}

/// Powers of 10, or 1, 2, 5 times them where there are few.
std::vector<Tick> decimal_ticks(Unit unit, double least, double most, std::size_t wanted) {
  const double decades = std::log10(most) - std::log10(least);
  const int first = static_cast<int>(std::floor(std::log10(least) - 1e-9));
  const int last = static_cast<int>(std::ceil(std::log10(most) + 1e-9));
  const int step =
      std::max(1, static_cast<int>(std::ceil(decades / static_cast<double>(std::max<std::size_t>(wanted, 1)))));
  // Powers alone would be one label or none.
  const bool has_few = std::floor(std::log10(most) + 1e-9) - std::ceil(std::log10(least) - 1e-9) < 1;
  std::vector<Tick> out;
  for (int e = first; e <= last; ++e)
    for (const double factor : {1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0}) {
      const double at = factor * power_of_ten(e);
      if (!std::isfinite(at) || at < least * (1 - 1e-9) || at > most * (1 + 1e-9)) continue;
      const bool is_power = factor == 1;
      // Minor ticks crowd where there are many decades.
      if (!is_power && decades > 4) continue;
      const bool has_label =
          is_power ? ((e % step) + step) % step == 0 : (has_few || decades < 1.6) && (factor == 2 || factor == 5);
      out.push_back({at, has_label ? tick_label(at, unit) : std::string()});
    }
  return out;
}

}  // namespace

std::string tick_label(double value, Unit unit) {
  if (!std::isfinite(value)) return fmt::format("{}", value);
  switch (unit) {
    case Unit::number:
      return plain_number(value);
    case Unit::bytes: {
      constexpr std::array<std::pair<double, const char*>, 5> units{
          {{1, "B"}, {1024, "KiB"}, {1048576, "MiB"}, {1073741824, "GiB"}, {1099511627776, "TiB"}}};
      return value == 0 ? "0" : with_unit(value, units);
    }
    case Unit::seconds: {
      constexpr std::array<std::pair<double, const char*>, 4> units{
          {{1e-9, "ns"}, {1e-6, "µs"}, {1e-3, "ms"}, {1, "s"}}};
      return value == 0 ? "0" : with_unit(value, units);
    }
    case Unit::percent:
      return plain_number(100 * value) + "%";
  }
  return {};
}

std::vector<Tick> ticks(const Axis& axis, double least, double most, std::size_t wanted) {
  if (axis.scale == Scale::linear) return linear_ticks(axis.unit, least, most, wanted);
  std::vector<Tick> out = axis.unit == Unit::bytes ? binary_ticks(axis.unit, least, most, wanted)
                                                   : decimal_ticks(axis.unit, least, most, wanted);
  const auto labels = std::ranges::count_if(out, [](const Tick& tick) { return !tick.label.empty(); });
  // Within less than a factor of two there may be no round number.
  return labels >= 2 ? out : linear_ticks(axis.unit, least, most, wanted);
}

}  // namespace weir::plot
