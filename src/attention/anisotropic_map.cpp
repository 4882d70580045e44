#include "attention/anisotropic_map.hpp"

#include <fmt/format.h>

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <string>
#include <utility>

#include "weir/error.hpp"

namespace weir {

namespace {

/// Numbers before those of the directions.
constexpr std::size_t header_numbers = 15;
constexpr double format_number = 1;
/// Coordinates of later keys are clamped to the range of the calibration keys, widened on both sides by this many times
/// its length, or by less where features would be larger than this.
constexpr double clamp_widening = 2;
constexpr double largest_feature = 1e15;
/// Products of tilts and features stay below this. With values of 1e12 sums of a million rows fit fp32 (3e38).
constexpr double largest_product = 1e20;

std::size_t as_size(Eigen::Index i) { return static_cast<std::size_t>(i); }
Eigen::Index as_index(std::uint64_t i) { return static_cast<Eigen::Index>(i); }

}  // namespace

std::uint64_t calibration_numbers(std::uint64_t d, std::uint64_t clusters, std::uint64_t directions,
                                  std::uint64_t degree) {
  return header_numbers + directions * (3 + 2 * quadrature_nodes + degree + 2 * d) + clusters * (2 * d + 1);
}

Polynomials orthonormal_polynomials(std::span<const double> points, std::span<const double> weights) {
  using Eigen::ArrayXd;
  const Eigen::Map<const ArrayXd> x(points.data(), as_index(points.size()));
  const Eigen::Map<const ArrayXd> w(weights.data(), as_index(weights.size()));
  Polynomials law;
  law.low = x.minCoeff();
  law.high = x.maxCoeff();
  ArrayXd before = ArrayXd::Zero(x.size());
  ArrayXd current = ArrayXd::Ones(x.size());
  double below = 0;
  for (std::size_t a = 0; a < quadrature_nodes; ++a) {
    const double alpha = (w * x * current * current).sum();
    ArrayXd next = (x - alpha) * current - below * before;
    below = std::sqrt((w * next * next).sum());
    law.alpha.push_back(alpha);
    law.beta.push_back(below);
    before = current;
    current = next / below;
  }
  complete(law);
  return law;
}

void complete(Polynomials& law) {
  constexpr auto count = static_cast<Eigen::Index>(quadrature_nodes);
  const Eigen::Map<const Eigen::VectorXd> alpha(law.alpha.data(), count);
  const Eigen::Map<const Eigen::VectorXd> beta(law.beta.data(), count - 1);
  Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver;
  solver.computeFromTridiagonal(alpha, beta);
  if (solver.info() != Eigen::Success) throw InputError("calibration: a Jacobi matrix has no eigenvalues");
  law.nodes.resize(quadrature_nodes);
  law.node_values.assign((largest_degree + 1) * quadrature_nodes, 0);
  std::vector<double> values(largest_degree + 1);
  for (std::size_t n = 0; n < quadrature_nodes; ++n) {
    law.nodes[n] = solver.eigenvalues()[as_index(n)];
    const double first = solver.eigenvectors()(0, as_index(n));
    evaluate(law, law.nodes[n], values);
    for (std::size_t a = 0; a <= largest_degree; ++a) {
      law.node_values[a * quadrature_nodes + n] = first * first * values[a];
    }
  }
}

void evaluate(const Polynomials& law, double x, std::span<double> out) {
  double before = 0;
  double current = 1;
  for (std::size_t a = 0; a < out.size(); ++a) {
    out[a] = current;
    const double below = a == 0 ? 0 : law.beta[a - 1];
    const double next = ((x - law.alpha[a]) * current - below * before) / law.beta[a];
    before = std::exchange(current, next);
  }
}

std::vector<Feature> best_features(const RowMajorMatrix& log_sizes, std::uint32_t degree, std::uint64_t count) {
  const std::size_t directions = as_size(log_sizes.rows());
  const std::size_t degrees = std::min<std::size_t>(degree, as_size(log_sizes.cols()));
  // What is of a lower degree is at least as large, so that a feature never comes before its parent.
  RowMajorMatrix sizes(log_sizes.rows(), log_sizes.cols() + 1);
  sizes.col(0).setZero();
  sizes.rightCols(log_sizes.cols()) = log_sizes.cwiseMin(0);
  for (Eigen::Index a = sizes.cols() - 2; a >= 0; --a) sizes.col(a) = sizes.col(a).cwiseMax(sizes.col(a + 1));

  // A candidate is a chosen feature and what makes it larger: one more degree in its last direction, or a first degree in
  // a later one. So each multi-index is met once.
  struct Candidate {
    double size;
    std::uint32_t origin;
    std::uint32_t direction;
    std::uint32_t degree;
    std::uint32_t total;
  };
  const auto is_later = [](const Candidate& a, const Candidate& b) {
    if (a.size != b.size) return a.size < b.size;
    if (a.total != b.total) return a.total > b.total;
    if (a.origin != b.origin) return a.origin > b.origin;
    return a.direction > b.direction;
  };
  std::vector<Candidate> candidates;  // a heap: the best first
  std::vector<Feature> features;
  // Candidates that are worse than `count` others are never chosen. Without this limit a calibration of 10 KB could ask
  // for gigabytes.
  const std::size_t most_candidates = 4 * static_cast<std::size_t>(count) + 1024;
  std::optional<Candidate> limit;
  const auto offer = [&](std::uint32_t origin, double base, std::uint32_t direction, std::uint32_t at,
                         std::uint32_t total) {
    const Candidate candidate{base + sizes(direction, at), origin, direction, at, total};
    if (limit && is_later(candidate, *limit)) return;
    candidates.push_back(candidate);
    std::push_heap(candidates.begin(), candidates.end(), is_later);
    if (candidates.size() < most_candidates) return;
    const auto last = candidates.begin() + static_cast<std::ptrdiff_t>(count);
    std::nth_element(candidates.begin(), last, candidates.end(),
                     [&](const Candidate& a, const Candidate& b) { return is_later(b, a); });
    limit = *last;
    candidates.erase(last, candidates.end());
    std::make_heap(candidates.begin(), candidates.end(), is_later);
  };
  const auto extend = [&](std::uint32_t chosen, double size, std::uint32_t first, std::uint32_t total) {
    if (total >= degrees) return;
    for (std::uint32_t i = first; i < directions; ++i) offer(chosen, size, i, 1, total + 1);
  };
  features.push_back({});
  extend(0, 0, 0, 0);
  while (features.size() < count && !candidates.empty()) {
    std::pop_heap(candidates.begin(), candidates.end(), is_later);
    const Candidate best = candidates.back();
    candidates.pop_back();
    const auto chosen = static_cast<std::uint32_t>(features.size());
    features.push_back({best.origin, best.direction, best.degree});
    extend(chosen, best.size, best.direction + 1, best.total);
    if (best.total < degrees) {
      offer(best.origin, best.size - sizes(best.direction, best.degree), best.direction, best.degree + 1,
            best.total + 1);
    }
  }
  return features;
}

namespace {

void write(std::vector<double>& numbers, const CalibrationContent& content) {
  const auto put = [&](double number) { numbers.push_back(number); };
  const auto put_all = [&](std::span<const double> values) {
    numbers.insert(numbers.end(), values.begin(), values.end());
  };
  const auto put_matrix = [&](const RowMajorMatrix& matrix) { put_all({matrix.data(), as_size(matrix.size())}); };
  put(format_number);
  put(static_cast<double>(content.d));
  put(static_cast<double>(content.dv));
  put(content.clusters);
  put(content.directions);
  put(static_cast<double>(content.features));
  put(static_cast<double>(content.exact_rows));
  put(content.degree);
  put(content.varied_directions);
  put(static_cast<double>(content.seed >> 32U));
  put(static_cast<double>(content.seed & 0xFFFFFFFFU));
  put(std::isfinite(content.expected_error) ? content.expected_error : -1);
  put(content.least_captured);
  put(content.error_floor);
  put(static_cast<double>(content.sample_rows));
  for (std::size_t i = 0; i < content.directions; ++i) {
    const Polynomials& law = content.laws[i];
    put(content.spread[as_index(i)]);
    put(law.low);
    put(law.high);
    put_all(law.alpha);
    put_all(law.beta);
    put_all({content.log_sizes.row(as_index(i)).data(), content.degree});
  }
  put_matrix(content.to_keys);
  put_matrix(content.to_queries);
  put_matrix(content.centres);
  put_matrix(content.query_centres);
  put_all({content.references.data(), as_size(content.references.size())});
}

/// ln of the largest magnitude that a feature can have for clamped coordinates.
double log_of_largest_feature(const AnisotropicMap& map) {
  const CalibrationContent& content = map.content;
  std::vector<double> of_factors(content.directions * (largest_degree + 1), 0);
  std::vector<double> values(content.degree + 1);
  for (std::size_t i = 0; i < content.directions; ++i) {
    for (const double x : {map.low[i], map.high[i]}) {
      // Outside of the range of the law polynomials grow, and inside they are smaller.
      evaluate(content.laws[i], x, values);
      for (std::size_t a = 0; a < values.size(); ++a) {
        double& largest = of_factors[i * (largest_degree + 1) + a];
        largest = std::max(largest, std::log(std::max(std::abs(values[a]), 1.0)));
      }
    }
  }
  std::vector<double> of_features(map.features.size(), 0);
  for (std::size_t t = 1; t < map.features.size(); ++t) {
    const Feature& feature = map.features[t];
    of_features[t] =
        of_features[feature.parent] + of_factors[feature.direction * (largest_degree + 1) + feature.degree];
  }
  return *std::max_element(of_features.begin(), of_features.end());
}

}  // namespace

AnisotropicMap make_map(CalibrationContent content) {
  AnisotropicMap map;
  map.features = best_features(content.log_sizes, content.degree, content.features);
  content.features = map.features.size();
  map.content = std::move(content);
  const CalibrationContent& shape = map.content;
  map.numbers.reserve(calibration_numbers(shape.d, shape.clusters, shape.directions, shape.degree));
  write(map.numbers, shape);

  map.largest_degrees.assign(shape.directions, 0);
  map.linear_feature.assign(shape.directions, 0);
  for (std::size_t t = 1; t < map.features.size(); ++t) {
    const Feature& feature = map.features[t];
    std::uint32_t& largest = map.largest_degrees[feature.direction];
    largest = std::max(largest, feature.degree);
    if (feature.parent == 0 && feature.degree == 1) {
      map.linear_feature[feature.direction] = static_cast<std::uint32_t>(t);
    }
  }
  map.first_factor.assign(1, 0);
  for (const std::uint32_t largest : map.largest_degrees) map.first_factor.push_back(map.first_factor.back() + largest);
  for (const Feature& feature : map.features) {
    const std::uint32_t factor = feature.degree == 0 ? 0 : map.first_factor[feature.direction] + feature.degree - 1;
    map.products.push_back({feature.parent, factor});
  }

  map.width = (shape.directions + 3) / 4 * 4;
  const auto transposed = [&](const RowMajorMatrix& matrix) {
    AlignedVector<double> out(shape.d * map.width, 0);
    for (Eigen::Index i = 0; i < matrix.rows(); ++i) {
      for (Eigen::Index e = 0; e < matrix.cols(); ++e) out[as_size(e) * map.width + as_size(i)] = matrix(i, e);
    }
    return out;
  };
  map.key_map = transposed(shape.to_keys);
  map.query_map = transposed(shape.to_queries);
  map.centre_coordinates = shape.centres * shape.to_keys.transpose();
  map.query_centre_coordinates = shape.query_centres * shape.to_queries.transpose();
  for (Eigen::Index i = 0; i < as_index(shape.directions); ++i) {
    map.spread_roots.push_back(std::sqrt(shape.spread[i]));
  }
  for (Eigen::Index c = 0; c < as_index(shape.clusters); ++c) {
    for (Eigen::Index i = 0; i < as_index(shape.directions); ++i) {
      map.scaled_centres.push_back(map.centre_coordinates(c, i) * map.spread_roots[as_size(i)]);
    }
  }
  for (const Polynomials& law : shape.laws) {
    for (std::size_t a = 0; a < largest_degree; ++a) {
      const double scale = 1 / law.beta[a];
      map.steps.insert(map.steps.end(), {scale, -law.alpha[a] * scale, a == 0 ? 0 : law.beta[a - 1] * scale});
    }
  }
  for (Eigen::Index c = 0; c < static_cast<Eigen::Index>(shape.clusters); ++c) {
    map.tilt_offsets.push_back(shape.query_centres.row(c).dot(shape.centres.row(c)) + shape.references[c]);
  }
  double log_largest = 0;
  for (double widening = clamp_widening; widening > 0.01; widening /= 2) {
    map.low.clear();
    map.high.clear();
    for (const Polynomials& law : shape.laws) {
      const double margin = widening * (law.high - law.low);
      map.low.push_back(law.low - margin);
      map.high.push_back(law.high + margin);
    }
    log_largest = log_of_largest_feature(map);
    if (log_largest <= std::log(largest_feature)) break;
  }
  map.largest_tilt = std::clamp(std::log(largest_product) - log_largest, 1.0, 60.0);
  return map;
}

std::span<const double> AnisotropicCalibration::numbers() const noexcept { return map_->numbers; }

AnisotropicCalibration AnisotropicCalibration::from_numbers(std::span<const double> numbers) {
  const auto refuse = [](const std::string& what) -> void { throw InputError("calibration of attention: " + what); };
  if (numbers.size() < header_numbers) {
    refuse(fmt::format("{} numbers, expected {} or more", numbers.size(), header_numbers));
  }
  for (std::size_t t = 0; t < numbers.size(); ++t) {
    if (!(std::abs(numbers[t]) <= 1e100)) {
      refuse(fmt::format("number {} is {}, expected at most 1e100 in magnitude", t, numbers[t]));
    }
  }
  std::size_t next = 0;
  const auto take = [&] { return numbers[next++]; };
  const auto take_whole = [&](const char* name, double least, double most) {
    const double number = take();
    if (!(number >= least && number <= most && number == std::floor(number))) {
      refuse(fmt::format("{} is {}, expected a whole number from {} to {}", name, number, least, most));
    }
    return static_cast<std::uint64_t>(number);
  };
  static_cast<void>(take_whole("the version of the calibration", format_number, format_number));
  CalibrationContent content;
  content.d = take_whole("d", 1, static_cast<double>(largest_width));
  content.dv = take_whole("dv", 1, static_cast<double>(largest_width));
  content.clusters = static_cast<std::uint32_t>(take_whole("the number of clusters", 1, most_clusters));
  content.directions = static_cast<std::uint32_t>(
      take_whole("the number of directions", 1, static_cast<double>(std::min(content.d, most_directions))));
  content.features = take_whole("the number of features", 1, static_cast<double>(most_features));
  content.exact_rows = take_whole("the number of exact rows", 0, 0x1p32);
  content.degree = static_cast<std::uint32_t>(take_whole("the degree", 1, largest_degree));
  content.varied_directions =
      static_cast<std::uint32_t>(take_whole("the number of varied directions", 0, static_cast<double>(content.d)));
  content.seed = take_whole("the seed", 0, 0x1p32 - 1) << 32U;
  content.seed |= take_whole("the seed", 0, 0x1p32 - 1);
  content.expected_error = take();
  if (content.expected_error < 0) content.expected_error = std::numeric_limits<double>::quiet_NaN();
  content.least_captured = take();
  if (!(content.least_captured >= 0 && content.least_captured <= 1)) {
    refuse(fmt::format("the least share of the kernel is {}, expected 0 to 1", content.least_captured));
  }
  content.error_floor = take();
  if (content.error_floor < 0)
    refuse(fmt::format("the floor of errors is {}, expected 0 or more", content.error_floor));
  content.sample_rows = take_whole("the number of sampled rows", 1, 0x1p20);
  const std::uint64_t expected = calibration_numbers(content.d, content.clusters, content.directions, content.degree);
  if (numbers.size() != expected) {
    refuse(fmt::format("{} numbers, expected {} for its shape", numbers.size(), expected));
  }
  if (content.clusters * content.features * (content.dv + 1) > std::uint64_t{1} << 32U) {
    refuse(fmt::format("{} clusters of {} features of {} values are more than 2^32 numbers", content.clusters,
                       content.features, content.dv));
  }
  const auto take_vector = [&](std::size_t count) {
    const auto part = numbers.subspan(next, count);
    next += count;
    return std::vector<double>(part.begin(), part.end());
  };
  const auto take_matrix = [&](std::size_t rows, std::size_t columns) {
    RowMajorMatrix matrix = matrix_view(numbers.subspan(next, rows * columns), rows, columns);
    next += rows * columns;
    return matrix;
  };
  content.spread.resize(as_index(content.directions));
  content.log_sizes.resize(as_index(content.directions), as_index(content.degree));
  for (std::size_t i = 0; i < content.directions; ++i) {
    content.spread[as_index(i)] = take();
    if (content.spread[as_index(i)] < 0) refuse(fmt::format("the spread of direction {} is negative", i));
    Polynomials law;
    law.low = take();
    law.high = take();
    law.alpha = take_vector(quadrature_nodes);
    law.beta = take_vector(quadrature_nodes);
    const auto is_within = [&](double x) { return x >= law.low && x <= law.high; };
    if (!(law.low < law.high)) refuse(fmt::format("direction {} has no range", i));
    // The recurrence of a law on [low, high]: means lie in the range, and steps are at most half of it.
    if (!std::all_of(law.alpha.begin(), law.alpha.end(), is_within) ||
        !std::all_of(law.beta.begin(), law.beta.end(),
                     [&](double beta) { return beta >= 1e-6 * (law.high - law.low) && beta <= law.high - law.low; })) {
      refuse(fmt::format("the polynomials of direction {} do not belong to a law on its range", i));
    }
    complete(law);
    content.laws.push_back(std::move(law));
    const std::vector<double> sizes = take_vector(content.degree);
    content.log_sizes.row(as_index(i)) = Eigen::Map<const Eigen::RowVectorXd>(sizes.data(), as_index(sizes.size()));
  }
  content.to_keys = take_matrix(content.directions, content.d);
  content.to_queries = take_matrix(content.directions, content.d);
  content.centres = take_matrix(content.clusters, content.d);
  content.query_centres = take_matrix(content.clusters, content.d);
  const std::vector<double> references = take_vector(content.clusters);
  content.references = Eigen::Map<const Eigen::VectorXd>(references.data(), as_index(references.size()));
  const std::uint64_t wanted = content.features;
  auto map = std::make_shared<AnisotropicMap>(make_map(std::move(content)));
  if (map->content.features != wanted) {
    refuse(
        fmt::format("{} features, expected at most {} for its directions and degree", wanted, map->content.features));
  }
  return AnisotropicCalibration(std::move(map));
}

std::uint64_t AnisotropicCalibration::d() const noexcept { return map_->content.d; }
std::uint64_t AnisotropicCalibration::dv() const noexcept { return map_->content.dv; }
std::uint32_t AnisotropicCalibration::clusters() const noexcept { return map_->content.clusters; }
std::uint32_t AnisotropicCalibration::directions() const noexcept { return map_->content.directions; }
std::uint64_t AnisotropicCalibration::features() const noexcept { return map_->content.features; }
std::uint64_t AnisotropicCalibration::exact_rows() const noexcept { return map_->content.exact_rows; }
std::uint32_t AnisotropicCalibration::degree() const noexcept { return map_->content.degree; }
std::uint64_t AnisotropicCalibration::seed() const noexcept { return map_->content.seed; }
std::uint32_t AnisotropicCalibration::varied_directions() const noexcept { return map_->content.varied_directions; }
std::uint64_t AnisotropicCalibration::bytes() const noexcept { return 4 * map_->numbers.size(); }
double AnisotropicCalibration::expected_error() const noexcept { return map_->content.expected_error; }

bool operator==(const AnisotropicCalibration& a, const AnisotropicCalibration& b) noexcept {
  return a.map_->numbers == b.map_->numbers;
}

}  // namespace weir
