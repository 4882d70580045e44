#pragma once

#include <cstdint>

#include "weir/sketch/vector_sketch.hpp"

namespace weir {

/// Of a normal error, the standard deviations of its 99% bar.
inline constexpr double deviations_of_bar = 2.5758;
/// What a drawn value is granted beyond its 99% bar, which is that of an entry chosen beforehand: draws are chosen
/// by what
/// includes the noise. 1.12 makes 0.004 of 0.01 where the noise is normal; the misses of a bar by draws were 0.012
/// to 0.02.
inline constexpr double widening_of_draws = 1.12;
/// The largest r^2, r = standard deviation / value, that corrections of second order in r are made for.
inline constexpr double largest_relative_square = 0.1;

/// h with 2 P[Bin(R, h/2) >= (R + 1) / 2] = 0.01, R = `rows`: the median of R cells is beyond the (1 - h) quantile
/// of |cell|
/// with that probability.
[[nodiscard]] double share_beyond_bar(std::uint32_t rows);

/// The 99% bar of the median estimate of a scaled entry in `lane`, from what its cells hold: the (1 - h) quantile
/// of |cell|
/// over the R B cells of level 0, where 2 P[Bin(R, h/2) >= (R + 1) / 2] = 0.01 (h = 0.166 for R = 5). If the cells
/// of an
/// entry hold noise with the law of all cells, the median is off by more with probability 0.01: then a majority of
/// them is
/// beyond the quantile on one side. It needs no law of the noise. Cells that hold large entries should have lost them
/// before, and `occupied` is the share of the cells that held these: what is left in them is too small, as the
/// medians have been
/// taken off, so they count as cells below the quantile. 0 where so few cells hold anything that the estimate is
/// exact with that probability. O(R B).
[[nodiscard]] double error_bar(const VectorSketch& sketch, std::uint32_t lane, double occupied = 0);

/// The relative bias, in units of r^2, of the estimated value of an entry because it is drawn when signal and noise
/// together
/// pass a threshold: rho = p x^(1 + 2/p) e^-x / gamma(1 + 2/p, x), x = (|y| / tau)^p, in scaled magnitudes. With
/// the density
/// of E of the scale E^(-1/p) the bias given that the entry is drawn is (sigma / tau)^2 p x / (e^x - 1), and a
/// correction
/// of r^2 rho, r = sigma / |scaled value|, has this mean over the draws. It falls from p + 2 for light entries to 0
/// for those
/// that are drawn anyway.
[[nodiscard]] double selection_bias(double x, double p);

/// The z-quantile of Gamma(shape) / shape, z in standard deviations of a normal variable (Wilson and Hilferty
/// 1931); 0 where
/// that is below 0.
[[nodiscard]] double gamma_quantile(double shape, double z);

}  // namespace weir
