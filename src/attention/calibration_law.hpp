#pragma once

#include <Eigen/Core>

#include <cstdint>
#include <span>

#include "attention/anisotropic_map.hpp"

namespace weir {

/// The polynomials of a coordinate of the keys. Their law is that of `points` on a range that is somewhat larger, with a
/// little weight everywhere: so it has polynomials of any degree, however few points there are, and they stay small for
/// keys between the points. `deviation` is what the coordinate is expected to deviate by.
[[nodiscard]] Polynomials law_of_coordinate(std::span<const double> points, double deviation);

/// ln of the root mean square over queries of c_a / ||exp(q x)||, relative to that of c_0, for a from 1 to `degree`, where
/// c_a are the coefficients of exp(q x) under the law.
[[nodiscard]] Eigen::RowVectorXd log_sizes_of(const Polynomials& law, std::uint32_t degree,
                                              const Eigen::VectorXd& queries, const Eigen::VectorXd& weights);

}  // namespace weir
