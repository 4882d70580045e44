#pragma once

#include <Eigen/Core>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "attention/anisotropic_kernels.hpp"
#include "matrix_view.hpp"
#include "weir/attention/calibration.hpp"
#include "weir/sketch/aligned.hpp"

namespace weir {

/// Nodes of the Gauss quadrature with which coefficients of exp(q x) are worked out. It is exact for polynomials of degree
/// 27, and no degree is above 12.
inline constexpr std::size_t quadrature_nodes = 14;
inline constexpr std::uint32_t largest_degree = 12;
inline constexpr std::uint32_t most_clusters = 256;
inline constexpr std::uint64_t largest_width = 4096;                     ///< Of d and dv.
inline constexpr std::uint64_t most_features = std::uint64_t{1} << 20U;  ///< Of a cluster.
inline constexpr std::uint64_t most_directions = 256;
inline constexpr double largest_number = 1e12;  ///< Of keys, values and queries, in magnitude.
inline constexpr double smallest_tilt = -80;    ///< Exponents of tilts below that are taken for it.
inline constexpr std::size_t default_sample_rows = 256;

/// Polynomials of one coordinate that are orthonormal under a law, and the Gauss quadrature of that law.
struct Polynomials {
  std::vector<double> alpha;        ///< quadrature_nodes of them.
  std::vector<double> beta;         ///< The same number; the last one only ends the recurrence.
  std::vector<double> nodes;        ///< Rising.
  std::vector<double> node_values;  ///< [a][node], a <= largest_degree: the weight of the node times P_a there.
                                    ///< The first row are the weights, which add up to 1.
  double low = 0;                   ///< Range of the law.
  double high = 0;
};

/// The polynomials of the law that gives each of `points` its weight; weights add up to 1. Stieltjes' procedure (Gautschi
/// 2004, 2.2.3.1). There must be more than quadrature_nodes different points. O(points nodes).
[[nodiscard]] Polynomials orthonormal_polynomials(std::span<const double> points, std::span<const double> weights);
/// Works out nodes and weights from alpha and beta: eigenvalues of the Jacobi matrix (Golub and Welsch 1969).
void complete(Polynomials& polynomials);
/// P_0(x) to P_degree(x).
void evaluate(const Polynomials& polynomials, double x, std::span<double> out);

/// A product of polynomials: its parent times P_degree of one coordinate.
struct Feature {
  std::uint32_t parent = 0;
  std::uint32_t direction = 0;
  std::uint32_t degree = 0;  ///< 0 for the first feature, which is 1.

  bool operator==(const Feature&) const = default;
};

/// The `count` first multi-indices by the sum over directions of log_sizes[direction][a - 1], largest first, with at most
/// `degree` in all: a downward closed set, parents before children. log_sizes are made to fall with a first. Fewer where
/// there are no more. O(count directions log(count)), and room for 4 count of them.
[[nodiscard]] std::vector<Feature> best_features(const RowMajorMatrix& log_sizes, std::uint32_t degree,
                                                 std::uint64_t count);

/// What a calibration consists of, before anything is worked out from it.
struct CalibrationContent {
  std::uint64_t d = 0;
  std::uint64_t dv = 0;
  std::uint32_t clusters = 1;
  std::uint32_t directions = 1;
  std::uint64_t features = 1;
  std::uint64_t exact_rows = 0;
  std::uint32_t degree = 1;
  std::uint32_t varied_directions = 0;
  std::uint64_t seed = 0;
  double expected_error = 0;
  double least_captured = 0.9;  ///< 0 to 1: queries whose features hold less of the kernel are shrunk.
  double error_floor = 0;       ///< Added to estimates of errors, as squares.
  std::uint64_t sample_rows = default_sample_rows;
  Eigen::VectorXd spread;         ///< R: s.
  std::vector<Polynomials> laws;  ///< R.
  RowMajorMatrix log_sizes;       ///< R x degree.
  RowMajorMatrix to_keys;         ///< R x d: k' = to_keys (k - k_c).
  RowMajorMatrix to_queries;      ///< R x d: q' = to_queries (q - q_c).
  RowMajorMatrix centres;         ///< C x d.
  RowMajorMatrix query_centres;   ///< C x d.
  Eigen::VectorXd references;     ///< C: subtracted from the exponents of the tilts.
};

/// Numbers that a calibration of that shape consists of.
[[nodiscard]] std::uint64_t calibration_numbers(std::uint64_t d, std::uint64_t clusters, std::uint64_t directions,
                                                std::uint64_t degree);
/// Numbers that an exact row takes: key, value and token.
[[nodiscard]] constexpr std::uint64_t exact_row_numbers(std::uint64_t d, std::uint64_t dv) { return d + dv + 2; }

struct AnisotropicMap {
  CalibrationContent content;
  std::vector<double> numbers;
  std::vector<Feature> features;
  std::vector<kernels::LaneProduct> products;  ///< The features as lanes: factors are numbered from first_factor.
  std::vector<std::uint32_t> largest_degrees;  ///< R: of the features in each direction.
  std::vector<std::uint32_t> first_factor;     ///< R + 1.
  std::vector<std::uint32_t> linear_feature;   ///< R: the feature that is P_1 of the coordinate, 0 if there is none.
  std::size_t width = 0;                       ///< R, rounded up to a multiple of 4.
  AlignedVector<double> key_map;               ///< d x width: to_keys, transposed.
  AlignedVector<double> query_map;             ///< d x width.
  std::vector<double> steps;                   ///< R x 3 largest_degree: recurrences as kernels::Recurrence has them.
  RowMajorMatrix centre_coordinates;           ///< C x R: to_keys k_c.
  std::vector<double> spread_roots;            ///< R: of s.
  std::vector<double> scaled_centres;          ///< C x R: centre_coordinates times the roots.
  RowMajorMatrix query_centre_coordinates;     ///< C x R: to_queries q_c.
  std::vector<double> tilt_offsets;            ///< C: q_c.k_c plus the reference.
  std::vector<double> low;                     ///< R: coordinates of keys are clamped to [low, high].
  std::vector<double> high;
  double largest_tilt = 0;  ///< Exponents of tilts above that are taken for it.
};

/// Works out the rest. `features` is lowered to the number that there are. The numbers are those of the content.
[[nodiscard]] AnisotropicMap make_map(CalibrationContent content);

}  // namespace weir
