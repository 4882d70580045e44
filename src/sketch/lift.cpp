#include "weir/sketch/lift.hpp"

#include <fmt/format.h>

#include "random/argument_checks.hpp"
#include "weir/error.hpp"

namespace weir {

namespace {

/// out[(i, j)] = v_i v_j, times `factor` where i < j.
void lift(std::span<const double> v, double factor, std::span<double> out, const Argument& argument) {
  require_equal(argument, out.size(), lifted_size(v.size()));
  double* pair = out.data();
  for (std::size_t i = 0; i < v.size(); ++i) {
    *pair++ = v[i] * v[i];
    const double scaled = factor * v[i];
    for (std::size_t j = i + 1; j < v.size(); ++j) *pair++ = scaled * v[j];
  }
}

}  // namespace

std::uint64_t lifted_size(std::uint64_t d) {
  if (d >> 32U != 0) throw UsageError(fmt::format("{} columns: expected less than 2^32 to lift", d));
  return d % 2 == 0 ? d / 2 * (d + 1) : (d + 1) / 2 * d;
}

void lift_row(std::span<const double> a, std::span<double> out) {
  lift(a, 1.0, out, {"lift_row", "out.size()", "lifted_size(a.size())"});
}

void lift_vector(std::span<const double> x, std::span<double> out) {
  lift(x, 2.0, out, {"lift_vector", "out.size()", "lifted_size(x.size())"});
}

}  // namespace weir
