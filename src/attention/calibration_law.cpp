#include "attention/calibration_law.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

namespace weir {

Polynomials law_of_coordinate(std::span<const double> points, double deviation) {
  // Calibration extremes are moved outwards by that share of their distance from the centre.
  constexpr double range_padding = 0.1;
  // Points of the weight that lies everywhere, and what they weigh together, in points of the calibration.
  constexpr std::size_t everywhere = 32;
  constexpr double weight_everywhere = 1;
  const auto [least, most] = std::minmax_element(points.begin(), points.end());
  const double margin = std::max({range_padding * (*most - *least) / 2, 0.1 * deviation, 1e-9});
  const double low = *least - margin;
  const double high = *most + margin;
  std::vector<double> all(points.begin(), points.end());
  std::vector<double> weights(points.size(), 1);
  for (const double end : {low, high}) {
    all.push_back(end);
    weights.push_back(1);
  }
  // Chebyshev's nodes crowd near the ends, where polynomials would be large otherwise.
  for (std::size_t t = 0; t < everywhere; ++t) {
    const double angle = std::numbers::pi * (static_cast<double>(t) + 0.5) / static_cast<double>(everywhere);
    all.push_back((low + high) / 2 + (high - low) / 2 * std::cos(angle));
    weights.push_back(weight_everywhere / static_cast<double>(everywhere));
  }
  double total = 0;
  for (const double weight : weights) total += weight;
  for (double& weight : weights) weight /= total;
  return orthonormal_polynomials(all, weights);
}

Eigen::RowVectorXd log_sizes_of(const Polynomials& law, std::uint32_t degree, const Eigen::VectorXd& queries,
                                const Eigen::VectorXd& weights) {
  using Eigen::Index;
  const auto nodes = static_cast<Index>(quadrature_nodes);
  const Eigen::Map<const Eigen::RowVectorXd> at(law.nodes.data(), nodes);
  const Eigen::Map<const RowMajorMatrix> values(law.node_values.data(), static_cast<Index>(largest_degree) + 1, nodes);
  // exp(q x) relative to the largest of a query.
  RowMajorMatrix powers = queries * at;
  powers.colwise() -= powers.rowwise().maxCoeff().eval();
  powers = powers.array().exp().matrix();
  RowMajorMatrix coefficients = powers * values.topRows(static_cast<Index>(degree) + 1).transpose();
  const Eigen::VectorXd squares = powers.array().square().matrix() * values.row(0).transpose();
  coefficients = squares.cwiseSqrt().cwiseInverse().asDiagonal() * coefficients;
  const Eigen::RowVectorXd means = weights.transpose() * coefficients.cwiseAbs2();
  const Eigen::RowVectorXd logs = ((means.array() + 1e-300) / (means[0] + 1e-300)).log() / 2;
  return logs.tail(static_cast<Index>(degree)).cwiseMax(-300);
}

}  // namespace weir
