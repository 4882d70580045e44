#pragma once

#include "sample/horvitz_thompson.hpp"
#include "weir/sample/draw.hpp"
#include "weir/sketch/config.hpp"
#include "weir/sketch/estimate.hpp"

namespace weir {

// What draws print besides their indices: values and probabilities, with 99% bounds.

/// |x|^p / |y|^p.
[[nodiscard]] double ratio_of_powers(double x, double y, double p);

/// `value` without the bias of second order that it has because it was drawn: x = (|value| / threshold)^p, where the draw
/// passed the threshold; `bar` its 99% bar.
[[nodiscard]] double without_selection_bias(double value, double x, double bar, double p);

/// An estimate of sum |y|^p that probabilities are divided by.
struct Normaliser {
  double inverse = 0;  ///< Estimate of 1 / sum |y|^p, without the bias of second order; 0 when the sum is 0.
  double bound = 0;    ///< Its 99% bound, relative.
};
/// The sum itself.
[[nodiscard]] inline Estimate mass_of(const Normaliser& normaliser) noexcept {
  if (normaliser.inverse == 0) return {};
  return {1 / normaliser.inverse, normaliser.bound / normaliser.inverse};
}
/// Of a sum over `lanes` lanes.
[[nodiscard]] Normaliser normaliser_of(const HorvitzThompsonSum& sum, double lanes);
/// F2 from lane 0 of a sketch. A row of its table has a variance of 2 (F2^2 - F4) / B, `fourth` an estimate of
/// F4 = sum y^4 that at least 0.02 F2^2 are granted besides, and the median of R of them (pi / 2R) of that.
[[nodiscard]] Normaliser normaliser_of_f2(const SketchConfig& config, double f2, double fourth);

/// (sum |y|^p)^(1/p) from a sum over `lanes` lanes.
[[nodiscard]] Estimate norm_of_moment(const HorvitzThompsonSum& sum, double lanes, double p);

/// Fills in the probability of a draw that has a value and its bound.
void set_probability(Draw& draw, double p, const Normaliser& normaliser);

}  // namespace weir
