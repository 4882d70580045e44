#include "weir/sketch/product_sketch.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "weir/error.hpp"
#include "weir/random/source.hpp"
#include "weir/sketch/lift.hpp"

namespace weir {

ProductSketch::ProductSketch(const SketchConfig& config, std::uint64_t d, std::uint32_t the_degree)
    : a(config, columns(d, the_degree)), x(static_cast<std::size_t>(d)), degree(the_degree) {}

std::uint64_t ProductSketch::columns(std::uint64_t d, std::uint32_t degree) {
  if (degree != 1 && degree != 2) throw UsageError(fmt::format("degree is {}: expected 1 or 2", degree));
  return degree == 1 ? d : d + lifted_size(d);
}

VectorSketch ProductSketch::y() const { return a.product(0, x); }

VectorSketch ProductSketch::squares() const {
  if (degree != 2) throw UsageError("squares of y need a product sketch of degree 2");
  std::vector<double> lifted(static_cast<std::size_t>(lifted_size(x.size())));
  lift_vector(x, lifted);
  return a.product(x.size(), lifted);
}

bool ProductSketch::x_is_zero() const noexcept {
  return std::all_of(x.begin(), x.end(), [](double entry) { return entry == 0.0; });
}

void ProductSketch::add(const ProductSketch& other, double coefficient, OperandSet fixed) {
  if (const std::string difference = describe_difference(*this, other); !difference.empty()) {
    throw InputError("the sketches do not combine: " + difference);
  }
  const bool a_is_fixed = fixed.contains(Operand::A);
  if (degree == 2 && !a_is_fixed && std::abs(coefficient) != 1) {
    throw InputError(fmt::format("rows and their squares are added or subtracted, not multiplied by {}", coefficient));
  }
  if (!a_is_fixed) a.add(other.a, coefficient);
  if (fixed.contains(Operand::x)) return;
  for (std::size_t j = 0; j < x.size(); ++j) x[j] += coefficient * other.x[j];
}

void ProductSketch::scale(double coefficient, OperandSet fixed) {
  const bool a_is_fixed = fixed.contains(Operand::A);
  if (degree == 2 && !a_is_fixed && coefficient != 1) {
    throw InputError(fmt::format("rows and their squares cannot both be multiplied by {}", coefficient));
  }
  if (!a_is_fixed) a.scale(coefficient);
  if (fixed.contains(Operand::x)) return;
  for (double& entry : x) entry *= coefficient;
}

std::uint64_t ProductSketch::fingerprint() const noexcept { return finalise(a.fingerprint() ^ finalise(degree)); }

std::string describe_difference(const ProductSketch& a, const ProductSketch& b) {
  if (a.degree != b.degree) return fmt::format("degree: {} against {}", a.degree, b.degree);
  if (a.x.size() != b.x.size()) return fmt::format("columns: {} against {}", a.x.size(), b.x.size());
  return describe_difference(a.config(), b.config());
}

}  // namespace weir
