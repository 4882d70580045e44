#include "weir/sketch/kronecker_sketch.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "matrix_view.hpp"
#include "weir/error.hpp"
#include "weir/random/source.hpp"

namespace weir {

namespace {

SketchConfig with_rows(SketchConfig config, std::uint64_t n) {
  config.dimension = n;
  return config;
}

SketchConfig factor_config(const SketchConfig& config, std::uint32_t factor, std::uint64_t n) {
  SketchConfig own = with_rows(config, n);
  own.seed = subkey(config.seed, Purpose::operand, factor, 0);
  return own;
}

}  // namespace

KroneckerSketch::KroneckerSketch(const KroneckerShape& the_shape, const SketchConfig& config, const GramConfig& gram)
    : shape(the_shape),
      common(with_rows(config, the_shape.n1)),
      a1(factor_config(config, 0, the_shape.n1), the_shape.d1, gram),
      a2(factor_config(config, 1, the_shape.n2), the_shape.d2, gram),
      x(static_cast<std::size_t>(the_shape.d1 * the_shape.d2)) {}

std::uint64_t KroneckerSketch::size(const KroneckerShape& shape, const SketchConfig& config, const GramConfig& gram) {
  return RowsSketch::size(factor_config(config, 0, shape.n1), shape.d1, gram) +
         RowsSketch::size(factor_config(config, 1, shape.n2), shape.d2, gram) + shape.d1 * shape.d2 + 1;
}

DenseMatrix KroneckerSketch::core() const {
  if (x_events > 0) return {shape.d1, shape.d2, x};
  if (shape.d1 != shape.d2) {
    throw InputError(
        fmt::format("no entry of X: expected some, as X is {} x {} and cannot be the identity", shape.d1, shape.d2));
  }
  DenseMatrix identity{shape.d1, shape.d2, std::vector<double>(x.size())};
  for (std::size_t k = 0; k < identity.values.size(); k += static_cast<std::size_t>(shape.d1) + 1) {
    identity.values[k] = 1;
  }
  return identity;
}

bool KroneckerSketch::x_is_zero() const noexcept {
  return x_events > 0 && std::all_of(x.begin(), x.end(), [](double entry) { return entry == 0; });
}

double KroneckerSketch::f2() const {
  const DenseMatrix core = this->core();
  const DenseMatrix g1 = a1.gram();
  const DenseMatrix g2 = a2.gram();
  const RowMajorMatrix through = matrix_view(core) * matrix_view(g2) * matrix_view(core).transpose();
  const double f2 = through.cwiseProduct(matrix_view(g1)).sum();
  return f2 < 0 ? 0.0 : f2;  // what overflows may be no number, and is not 0
}

void KroneckerSketch::add(const KroneckerSketch& other, double coefficient, OperandSet fixed) {
  if (const std::string difference = describe_difference(*this, other); !difference.empty()) {
    throw InputError("the sketches do not combine: " + difference);
  }
  if (!fixed.contains(Operand::A1)) a1.add(other.a1, coefficient);
  if (!fixed.contains(Operand::A2)) a2.add(other.a2, coefficient);
  if (fixed.contains(Operand::X)) return;
  for (std::size_t k = 0; k < x.size(); ++k) x[k] += coefficient * other.x[k];
  x_events += other.x_events;  // whatever the coefficient: an X that was deleted is zero, not the identity
}

void KroneckerSketch::scale(double coefficient, OperandSet fixed) {
  if (!fixed.contains(Operand::A1)) a1.scale(coefficient);
  if (!fixed.contains(Operand::A2)) a2.scale(coefficient);
  if (fixed.contains(Operand::X)) return;
  for (double& entry : x) entry *= coefficient;
}

std::uint64_t KroneckerSketch::fingerprint() const noexcept {
  return finalise(a1.fingerprint() ^ finalise(a2.fingerprint() ^ finalise(common.fingerprint())));
}

std::string describe_difference(const KroneckerSketch& a, const KroneckerSketch& b) {
  // The shared settings first: seeds of the factors are not those that a user gave.
  if (std::string difference = describe_difference(a.common, b.common); !difference.empty()) return difference;
  const auto factor = [](std::string_view name, const RowsSketch& x, const RowsSketch& y) {
    const std::string difference = describe_difference(x, y);
    return difference.empty() ? difference : fmt::format("{}: {}", name, difference);
  };
  std::string difference = factor("A1", a.a1, b.a1);
  if (difference.empty()) difference = factor("A2", a.a2, b.a2);
  return difference;
}

}  // namespace weir
