#include "weir/attention/calibration.hpp"

#include <fmt/format.h>

#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <Eigen/Eigenvalues>
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>
#include <optional>
#include <string>
#include <utility>

#include "attention/anisotropic_map.hpp"
#include "attention/calibration_law.hpp"
#include "random/argument_checks.hpp"
#include "weir/attention/anisotropic.hpp"
#include "weir/error.hpp"
#include "weir/random/source.hpp"

namespace weir {

namespace {

using Eigen::Index;
using Eigen::MatrixXd;
using Eigen::VectorXd;

constexpr std::uint32_t default_degree = 10;
constexpr std::uint32_t default_degree_of_clusters = 6;
constexpr double default_exact_share = 0.1;
constexpr std::uint32_t directions_of_clusters = 6;
/// More rows than that are not looked at: the map does not get better.
constexpr std::uint64_t most_calibration_rows = 4096;
/// Directions of a spread above that count as varied.
constexpr double varied_spread = 0.1;

/// What a calibration is to have.
struct Shape {
  std::uint32_t clusters = 1;
  std::uint32_t directions = 1;
  std::uint32_t degree = default_degree;
  std::uint64_t exact_rows = 0;
  std::uint64_t features = 1;
  double least_captured = 0.9;
};

std::uint32_t degree_for(const AnisotropicOptions& options, std::uint32_t clusters) {
  return options.degree.value_or(clusters > 1 ? default_degree_of_clusters : default_degree);
}

/// Binomial(directions + degree, degree), or `most` if it is above: products of at most `degree` factors.
std::uint64_t products_up_to(std::uint64_t directions, std::uint64_t degree, std::uint64_t most) {
  std::uint64_t count = 1;
  for (std::uint64_t a = 1; a <= degree; ++a) {
    count = count * (directions + a) / a;
    if (count >= most) return most;
  }
  return count;
}

/// The shape that spends the budget: `exact_share` of it on exact rows, unless their number is given. None where not one
/// feature of each cluster is left.
std::optional<Shape> shape_within(const AnisotropicOptions& options, std::uint32_t clusters, std::uint32_t directions,
                                  double exact_share) {
  const std::uint64_t budget = options.budget / 4;
  Shape shape{.clusters = clusters,
              .directions = directions,
              .degree = degree_for(options, clusters),
              .exact_rows = 0,
              .features = 0};
  const std::uint64_t row = exact_row_numbers(options.d, options.dv);
  const std::uint64_t fixed = calibration_numbers(options.d, clusters, directions, shape.degree) + 2 * options.dv;
  const std::uint64_t feature = clusters * (options.dv + 1);
  if (fixed + feature > budget) return std::nullopt;
  if (options.exact_rows) {
    if (*options.exact_rows > (budget - fixed - feature) / row) return std::nullopt;
    shape.exact_rows = *options.exact_rows;
  } else {
    shape.exact_rows =
        std::min(static_cast<std::uint64_t>(exact_share * static_cast<double>(budget)), budget - fixed - feature) / row;
  }
  shape.features = (budget - fixed - shape.exact_rows * row) / feature;
  const std::uint64_t most = products_up_to(directions, shape.degree, most_features);
  if (shape.features > most) {
    shape.features = most;
    if (!options.exact_rows) shape.exact_rows = (budget - fixed - most * feature) / row;
  }
  return shape;
}

std::uint32_t default_directions(const AnisotropicOptions& options, std::uint32_t clusters) {
  const auto within = [&](std::uint64_t wanted) {
    return static_cast<std::uint32_t>(std::min({wanted, options.d, most_directions}));
  };
  std::uint32_t directions = 0;
  if (clusters > 1) {
    directions = within(directions_of_clusters);
  } else if (options.d <= 16) {
    directions = within(options.d);
  } else {
    directions = within(options.budget <= (16U << 10U) ? 8 : options.budget <= (64U << 10U) ? 16 : 24);
  }
  // The map is to leave half of the budget.
  while (directions > 1 &&
         calibration_numbers(options.d, clusters, directions, degree_for(options, clusters)) > options.budget / 8) {
    --directions;
  }
  return directions;
}

void require_in(const char* name, std::uint64_t value, std::uint64_t least, std::uint64_t most) {
  if (value < least || value > most) {
    throw UsageError(fmt::format("attention: {} is {}, expected {} to {}", name, value, least, most));
  }
}

// ------------------------------------------------------------------------------------------------ fitting

/// Rows to fit to or to judge by.
struct Rows {
  MatrixXd queries;
  MatrixXd keys;
  MatrixXd values;
};

MatrixXd covariance_of(const MatrixXd& centred) {
  return centred.transpose() * centred / static_cast<double>(std::max<Index>(centred.rows(), 1));
}

/// Adds so much to the diagonal that the matrix can be inverted.
void regularise(MatrixXd& covariance, double share) {
  const double mean = covariance.trace() / static_cast<double>(covariance.rows());
  covariance.diagonal().array() += share * mean + 1e-12;
}

/// Centres of keys, frozen, and the queries that look at each.
struct Clustering {
  MatrixXd centres;               ///< C x d.
  MatrixXd query_centres;         ///< C x d.
  MatrixXd masses;                ///< queries x C: the shares of the attention of each query.
  std::vector<Index> cluster_of;  ///< Of each key.
};

Index nearest(const MatrixXd& centres, const Eigen::RowVectorXd& point) {
  Index best = 0;
  (centres.rowwise() - point).rowwise().squaredNorm().minCoeff(&best);
  return best;
}

/// Lloyd's iterations from the farthest points: deterministic. Clusters that become empty are left out.
std::vector<Index> cluster_points(const MatrixXd& points, std::uint32_t clusters) {
  constexpr int iterations = 12;
  std::vector<Index> chosen;
  MatrixXd centres(clusters, points.cols());
  VectorXd distances = (points.rowwise() - points.colwise().mean()).rowwise().squaredNorm();
  Index count = 0;
  for (; count < static_cast<Index>(clusters); ++count) {
    Index farthest = 0;
    if (count == 0) {
      distances.minCoeff(&farthest);
      distances.setConstant(std::numeric_limits<double>::infinity());
    } else if (distances.maxCoeff(&farthest) <= 0) {
      break;
    }
    centres.row(count) = points.row(farthest);
    distances = distances.cwiseMin((points.rowwise() - points.row(farthest)).rowwise().squaredNorm());
  }
  centres.conservativeResize(count, Eigen::NoChange);
  std::vector<Index> cluster_of(static_cast<std::size_t>(points.rows()), 0);
  for (int iteration = 0; iteration < iterations; ++iteration) {
    // Nearest by |c|^2 / 2 - c.x, for all points as one product.
    const MatrixXd products = points * centres.transpose();
    const Eigen::RowVectorXd halves = centres.rowwise().squaredNorm().transpose() / 2;
    MatrixXd sums = MatrixXd::Zero(centres.rows(), centres.cols());
    VectorXd sizes = VectorXd::Zero(centres.rows());
    for (Index j = 0; j < points.rows(); ++j) {
      Index best = 0;
      (halves - products.row(j)).minCoeff(&best);
      cluster_of[static_cast<std::size_t>(j)] = best;
      sums.row(best) += points.row(j);
      sizes[best] += 1;
    }
    Index left = 0;
    std::vector<Index> renamed(static_cast<std::size_t>(centres.rows()), 0);
    for (Index c = 0; c < centres.rows(); ++c) {
      if (sizes[c] == 0) continue;
      centres.row(left) = sums.row(c) / sizes[c];
      renamed[static_cast<std::size_t>(c)] = left++;
    }
    centres.conservativeResize(left, Eigen::NoChange);
    for (Index& cluster : cluster_of) cluster = renamed[static_cast<std::size_t>(cluster)];
  }
  return cluster_of;
}

Clustering cluster_rows(const Rows& rows, const MatrixXd& query_covariance, std::uint32_t clusters) {
  Clustering result;
  result.cluster_of.assign(static_cast<std::size_t>(rows.keys.rows()), 0);
  if (clusters > 1) {
    const MatrixXd lower = query_covariance.llt().matrixL();
    result.cluster_of = cluster_points(rows.keys * lower, clusters);
  }
  const Index count = *std::max_element(result.cluster_of.begin(), result.cluster_of.end()) + 1;
  MatrixXd members = MatrixXd::Zero(rows.keys.rows(), count);
  for (Index j = 0; j < rows.keys.rows(); ++j) members(j, result.cluster_of[static_cast<std::size_t>(j)]) = 1;
  const VectorXd sizes = members.colwise().sum();
  result.centres = sizes.cwiseInverse().asDiagonal() * (members.transpose() * rows.keys);
  if (count == 1) {
    result.masses = MatrixXd::Ones(rows.queries.rows(), 1);
  } else {
    MatrixXd scores = rows.queries * rows.keys.transpose();
    scores.colwise() -= scores.rowwise().maxCoeff().eval();
    const MatrixXd powers = scores.array().exp().matrix();
    result.masses = powers.rowwise().sum().cwiseInverse().asDiagonal() * (powers * members);
  }
  // A cluster that few queries look at has the mean of all for its queries.
  const double prior = count == 1 ? 0 : 0.1;
  const Eigen::RowVectorXd mean_query = rows.queries.colwise().mean();
  const VectorXd masses = result.masses.colwise().sum();
  result.query_centres = result.masses.transpose() * rows.queries;
  for (Index c = 0; c < count; ++c) {
    result.query_centres.row(c) = (result.query_centres.row(c) + prior * mean_query) / (masses[c] + prior);
  }
  return result;
}

/// Maps of keys and queries to coordinates with covariance diag(s), s falling, all d of them.
struct Canonical {
  MatrixXd to_keys;
  MatrixXd to_queries;
  VectorXd spread;
};

Canonical canonical(const MatrixXd& query_covariance, const MatrixXd& key_covariance) {
  const Eigen::LLT<MatrixXd> factor(query_covariance);
  const MatrixXd lower = factor.matrixL();
  const Eigen::SelfAdjointEigenSolver<MatrixXd> solver(lower.transpose() * key_covariance * lower);
  const MatrixXd vectors = solver.eigenvectors().rowwise().reverse();
  Canonical result;
  result.spread = solver.eigenvalues().reverse().cwiseMax(1e-14).cwiseSqrt();
  const VectorXd root = result.spread.cwiseSqrt();
  // Signs of eigenvectors are arbitrary; these make the first number of the largest magnitude positive.
  MatrixXd rotation = vectors.transpose();
  for (Index i = 0; i < rotation.rows(); ++i) {
    Index largest = 0;
    rotation.row(i).cwiseAbs().maxCoeff(&largest);
    if (rotation(i, largest) < 0) rotation.row(i) *= -1;
  }
  result.to_keys = root.cwiseInverse().asDiagonal() * rotation * lower.transpose();
  result.to_queries =
      root.asDiagonal() * lower.transpose().triangularView<Eigen::Upper>().solve(rotation.transpose()).transpose();
  return result;
}

/// Weighted queries as a cluster sees them.
struct QueryPairs {
  MatrixXd coordinates;  ///< pairs x R.
  VectorXd weights;
};

QueryPairs query_pairs(const MatrixXd& queries, const Clustering& clustering, const MatrixXd& to_queries) {
  constexpr double least_mass = 0.01;
  std::vector<std::pair<Index, Index>> chosen;
  for (Index i = 0; i < queries.rows(); ++i) {
    for (Index c = 0; c < clustering.masses.cols(); ++c) {
      if (clustering.masses(i, c) >= least_mass) chosen.emplace_back(i, c);
    }
  }
  QueryPairs pairs{MatrixXd(static_cast<Index>(chosen.size()), queries.cols()), VectorXd(chosen.size())};
  for (std::size_t t = 0; t < chosen.size(); ++t) {
    const auto [i, c] = chosen[t];
    pairs.coordinates.row(static_cast<Index>(t)) = queries.row(i) - clustering.query_centres.row(c);
    pairs.weights[static_cast<Index>(t)] = clustering.masses(i, c);
  }
  pairs.coordinates = (pairs.coordinates * to_queries.transpose()).eval();
  return pairs;
}

CalibrationContent fit_shape(const AnisotropicOptions& options, const Rows& rows, const Shape& shape) {
  const Index n = rows.keys.rows();
  CalibrationContent content;
  content.d = options.d;
  content.dv = options.dv;
  content.directions = shape.directions;
  content.features = shape.features;
  content.exact_rows = shape.exact_rows;
  content.degree = shape.degree;
  content.seed = options.seed;
  content.least_captured = shape.least_captured;
  content.expected_error = std::numeric_limits<double>::quiet_NaN();

  // Few rows leave directions without any spread, in which later rows may have some.
  const auto ridge = [&](Index count) { return count >= 4 * static_cast<Index>(options.d) ? 1e-6 : 1e-3; };
  const Eigen::RowVectorXd mean_query = rows.queries.colwise().mean();
  MatrixXd query_covariance = covariance_of(rows.queries.rowwise() - mean_query);
  if (rows.queries.rows() == 1) {
    query_covariance.diagonal().array() += mean_query.squaredNorm() / static_cast<double>(options.d);
  }
  regularise(query_covariance, ridge(rows.queries.rows()));
  const Clustering clustering = cluster_rows(rows, query_covariance, shape.clusters);
  const Index clusters = clustering.centres.rows();
  content.clusters = static_cast<std::uint32_t>(clusters);
  content.centres = clustering.centres;
  content.query_centres = clustering.query_centres;

  if (clusters > 1) {
    // sum over queries and clusters of the mass times the outer product of q - q_c.
    const VectorXd masses = clustering.masses.colwise().sum();
    const MatrixXd sums = clustering.masses.transpose() * rows.queries;  // C x d
    MatrixXd second = rows.queries.transpose() * rows.queries;
    second -= sums.transpose() * content.query_centres;
    second -= content.query_centres.transpose() * sums;
    second += content.query_centres.transpose() * masses.asDiagonal() * content.query_centres;
    query_covariance = second / static_cast<double>(rows.queries.rows());
    regularise(query_covariance, ridge(rows.queries.rows()));
  }
  MatrixXd about_centres(n, static_cast<Index>(options.d));
  for (Index j = 0; j < n; ++j) {
    about_centres.row(j) = rows.keys.row(j) - content.centres.row(clustering.cluster_of[static_cast<std::size_t>(j)]);
  }
  MatrixXd key_covariance = covariance_of(about_centres);
  regularise(key_covariance, ridge(n));
  const Canonical all = canonical(query_covariance, key_covariance);
  content.varied_directions = static_cast<std::uint32_t>((all.spread.array() > varied_spread).count());
  const auto directions = static_cast<Index>(shape.directions);
  content.to_keys = all.to_keys.topRows(directions);
  content.to_queries = all.to_queries.topRows(directions);
  content.spread = all.spread.head(directions);

  // Keys go to the nearest centre in the directions that are kept, as they will in the stream.
  const MatrixXd projections = rows.keys * content.to_keys.transpose();
  const MatrixXd centre_projections = content.centres * content.to_keys.transpose();
  const Eigen::RowVectorXd scale = content.spread.cwiseSqrt().transpose();
  const MatrixXd scaled_centres = centre_projections * scale.asDiagonal();
  MatrixXd coordinates(n, directions);
  VectorXd radii(n);
  content.references = VectorXd::Constant(clusters, -std::numeric_limits<double>::infinity());
  for (Index j = 0; j < n; ++j) {
    const Index c = clusters == 1 ? 0 : nearest(scaled_centres, projections.row(j) * scale.asDiagonal());
    coordinates.row(j) = projections.row(j) - centre_projections.row(c);
    radii[j] = coordinates.row(j).array().square().matrix().dot(content.spread);
    const double exponent = content.query_centres.row(c).dot(rows.keys.row(j) - content.centres.row(c));
    content.references[c] = std::max(content.references[c], exponent);
  }
  content.references = content.references.unaryExpr([](double x) { return std::isfinite(x) ? x : 0.0; });

  // The laws are those of the keys that are not kept exactly.
  const double share = std::min(
      static_cast<double>(shape.exact_rows) / static_cast<double>(std::max<std::uint64_t>(options.expected_rows, 1)),
      0.5);
  std::vector<double> sorted(radii.data(), radii.data() + n);
  std::sort(sorted.begin(), sorted.end());
  const auto last = static_cast<std::size_t>((1 - share) * static_cast<double>(n - 1));
  const double largest_radius = sorted[last];
  const QueryPairs pairs = query_pairs(rows.queries, clustering, content.to_queries);
  content.log_sizes.resize(directions, static_cast<Index>(shape.degree));
  std::vector<double> points;
  for (Index i = 0; i < directions; ++i) {
    points.clear();
    for (Index j = 0; j < n; ++j) {
      if (radii[j] <= largest_radius) points.push_back(coordinates(j, i));
    }
    content.laws.push_back(law_of_coordinate(points, std::sqrt(content.spread[i])));
    content.log_sizes.row(i) = log_sizes_of(content.laws.back(), shape.degree, pairs.coordinates.col(i), pairs.weights);
  }
  return content;
}

// ------------------------------------------------------------------------------------------------ choosing

MatrixXd exact_averages(const Rows& rows) {
  MatrixXd scores = rows.queries * rows.keys.transpose();
  scores.colwise() -= scores.rowwise().maxCoeff().eval();
  const MatrixXd powers = scores.array().exp().matrix();
  return powers.rowwise().sum().cwiseInverse().asDiagonal() * (powers * rows.values);
}

std::vector<double> row_major(const MatrixXd& matrix) {
  std::vector<double> numbers(static_cast<std::size_t>(matrix.size()));
  Eigen::Map<RowMajorMatrix>(numbers.data(), matrix.rows(), matrix.cols()) = matrix;
  return numbers;
}

/// What a choice did on rows that it was not fitted to.
struct Verdict {
  double error = std::numeric_limits<double>::infinity();  ///< Relative, Frobenius.
  double error_floor = 0;  ///< What estimates of errors must be raised by, as squares, to cover the errors.
};

/// The least f for which three times sqrt(estimate^2 + f^2) reaches the error of most queries.
double floor_of_errors(const std::vector<double>& errors, const std::vector<double>& estimates) {
  constexpr double covered = 0.999;
  constexpr double margin = 1.5;
  std::vector<double> floors(errors.size());
  for (std::size_t i = 0; i < errors.size(); ++i) {
    const double wanted = errors[i] / 3;
    floors[i] = wanted > estimates[i] ? std::sqrt(wanted * wanted - estimates[i] * estimates[i]) : 0;
  }
  std::sort(floors.begin(), floors.end());
  return margin * floors[static_cast<std::size_t>(std::lround(covered * static_cast<double>(floors.size() - 1)))];
}

/// Choices that are judged by their errors on keys that they were not fitted to.
class Trials {
 public:
  Trials(const AnisotropicOptions& options, Rows fitted, const Rows& judged)
      : options_(options),
        fitted_(std::move(fitted)),
        exact_(exact_averages(judged)),
        queries_(row_major(judged.queries)),
        keys_(row_major(judged.keys)),
        values_(row_major(judged.values)),
        tokens_(static_cast<std::size_t>(judged.keys.rows())) {
    options_.dv = static_cast<std::uint64_t>(judged.values.cols());
    std::iota(tokens_.begin(), tokens_.end(), 0U);
  }

  [[nodiscard]] Verdict judge(const Shape& shape, bool with_errors) const {
    CalibrationContent content = fit_shape(options_, fitted_, shape);
    // As large a share of the rows is kept exactly, and is sampled, as will be in the stream.
    const double share =
        std::min(static_cast<double>(tokens_.size()) / static_cast<double>(options_.expected_rows), 1.0);
    const auto part = [&](std::uint64_t count) {
      return static_cast<std::uint64_t>(static_cast<double>(count) * share);
    };
    content.exact_rows = part(content.exact_rows);
    content.sample_rows = std::max<std::uint64_t>(part(content.sample_rows), 16);
    const AnisotropicMap map = make_map(std::move(content));
    AnisotropicState state(AnisotropicCalibration::from_numbers(map.numbers));
    state.add({keys_, values_, tokens_});
    const AnisotropicAnswers answers = AnisotropicReader(state).answer(queries_, with_errors);
    const MatrixXd difference = matrix_view(answers.outputs) - exact_;
    Verdict verdict;
    verdict.error = difference.norm() / std::max(exact_.norm(), 1e-300);
    if (!std::isfinite(verdict.error)) verdict.error = std::numeric_limits<double>::max();
    if (with_errors) {
      std::vector<double> errors;
      for (Index i = 0; i < difference.rows(); ++i) {
        errors.push_back(difference.row(i).norm() / std::max(exact_.row(i).norm(), 1e-300));
      }
      verdict.error_floor = floor_of_errors(errors, answers.errors);
    }
    return verdict;
  }

 private:
  AnisotropicOptions options_;
  Rows fitted_;
  MatrixXd exact_;
  std::vector<double> queries_;
  std::vector<double> keys_;
  std::vector<double> values_;
  std::vector<std::uint64_t> tokens_;
};

struct Choice {
  Shape shape;
  double error = std::numeric_limits<double>::infinity();
};

/// A search by steps from the best of a few starts: clusters, directions and the share of exact rows, one at a time.
Choice choose(const AnisotropicOptions& options, const Trials& trials) {
  constexpr int most_trials = 32;
  constexpr std::uint32_t most_coordinates = 512;
  constexpr std::array shares{0.0, 0.03, 0.1, 0.2, 0.35, 0.5};
  constexpr std::array cluster_counts{1U, 2U, 4U, 8U, 16U, 32U};
  struct Point {
    std::uint32_t clusters;
    std::uint32_t directions;
    std::size_t share;
    bool operator==(const Point&) const = default;
  };
  const auto most_within = static_cast<std::uint32_t>(std::min(options.d, most_directions));
  std::vector<Point> tried;
  Choice best;
  Point at{1, 1, 2};
  const auto attempt = [&](const Point& point) {
    if (static_cast<int>(tried.size()) >= most_trials) return;
    if (std::find(tried.begin(), tried.end(), point) != tried.end()) return;
    tried.push_back(point);
    // Answers cost about as much as the coordinates of a query about all centres.
    if (!options.clusters && point.clusters > 1 && point.clusters * point.directions > most_coordinates) return;
    const auto shape = shape_within(options, point.clusters, point.directions, shares[point.share]);
    if (!shape) return;
    const Verdict verdict = trials.judge(*shape, false);
    if (verdict.error < best.error) {
      best = {*shape, verdict.error};
      at = point;
    }
  };
  const auto start_at = [&](std::uint32_t clusters) {
    attempt({clusters, options.directions.value_or(default_directions(options, clusters)), 2});
  };
  if (options.clusters) {
    start_at(*options.clusters);
  } else {
    for (const std::uint32_t clusters : {1U, 4U, 16U}) start_at(clusters);
  }
  for (bool moved = true; moved && static_cast<int>(tried.size()) < most_trials;) {
    const Point before = at;
    if (!options.directions) {
      const Point from = at;
      for (const std::uint32_t wanted : {from.directions * 3 / 2, from.directions * 2 / 3, from.directions * 2}) {
        attempt({from.clusters, std::clamp(wanted, 1U, most_within), from.share});
      }
    }
    if (!options.exact_rows) {
      const Point from = at;
      if (from.share > 0) attempt({from.clusters, from.directions, from.share - 1});
      if (from.share + 1 < shares.size()) attempt({from.clusters, from.directions, from.share + 1});
    }
    if (!options.clusters) {
      const Point from = at;
      const auto place = std::find(cluster_counts.begin(), cluster_counts.end(), from.clusters);
      if (place != cluster_counts.begin()) {
        attempt({*(place - 1), from.directions, from.share});
        if (!options.directions) {
          attempt({*(place - 1), std::clamp(from.directions * 3 / 2, 1U, most_within), from.share});
        }
      }
      if (place + 1 != cluster_counts.end()) attempt({*(place + 1), from.directions, from.share});
    }
    moved = !(at == before);
  }
  const Shape found = best.shape;
  for (const double least_captured : {0.7, 0.97}) {
    Shape shape = found;
    shape.least_captured = least_captured;
    const Verdict verdict = trials.judge(shape, false);
    if (verdict.error < best.error) best = {shape, verdict.error};
  }
  return best;
}

/// Rows whose queries are isotropic, with scores of variance 1.
MatrixXd isotropic_queries(const MatrixXd& keys) {
  constexpr Index count = 512;
  const MatrixXd centred = keys.rowwise() - keys.colwise().mean();
  const double variance = centred.squaredNorm() / static_cast<double>(keys.rows());
  const double deviation = variance > 0 ? 1 / std::sqrt(variance) : 1;
  MatrixXd queries(count, keys.cols());
  // Box and Muller's normal numbers, of words that are a function of the place.
  std::uint64_t counter = 0;
  const auto uniform = [&] {
    return (static_cast<double>(finalise(++counter * 0x9E3779B97F4A7C15U) >> 11U) + 0.5) * 0x1p-53;
  };
  for (Index i = 0; i < queries.rows(); ++i) {
    for (Index e = 0; e < queries.cols(); ++e) {
      const double length = std::sqrt(-2 * std::log(uniform()));
      queries(i, e) = deviation * length * std::cos(2 * std::numbers::pi * uniform());
    }
  }
  return queries;
}

MatrixXd checked_rows(std::span<const double> numbers, std::uint64_t columns, const char* name) {
  if (numbers.size() % columns != 0) {
    throw UsageError(
        fmt::format("calibration: {} numbers of {} are no whole rows of {}", numbers.size(), name, columns));
  }
  for (std::size_t t = 0; t < numbers.size(); ++t) {
    if (!(std::abs(numbers[t]) <= largest_number)) {
      throw InputError(fmt::format("calibration: row {} of {}: number {} is {}, expected at most {} in magnitude",
                                   t / columns, name, t % columns, numbers[t], largest_number));
    }
  }
  // Keys and queries are rounded to fp32 when they come in the stream, so they are here.
  return matrix_view(numbers, numbers.size() / columns, columns).cast<float>().cast<double>();
}

}  // namespace

void validate(const AnisotropicOptions& options) {
  require_in("d", options.d, 1, largest_width);
  require_in("dv", options.dv, 1, largest_width);
  require_in("the budget in bytes", options.budget, 4, std::uint64_t{1} << 36U);
  require_in("calibration_rows", options.calibration_rows, 1, std::uint64_t{1} << 40U);
  require_in("expected_rows", options.expected_rows, 1, std::uint64_t{1} << 60U);
  if (options.clusters) require_in("clusters", *options.clusters, 1, most_clusters);
  if (options.directions) require_in("directions", *options.directions, 1, std::min(options.d, most_directions));
  if (options.degree) require_in("degree", *options.degree, 1, largest_degree);
  if (options.exact_rows) require_in("exact_rows", *options.exact_rows, 0, std::uint64_t{1} << 32U);
  const std::uint32_t clusters = options.clusters.value_or(1);
  const std::uint32_t directions = options.directions.value_or(default_directions(options, clusters));
  if (shape_within(options, clusters, directions, 0)) return;
  const std::uint64_t least =
      4 * (calibration_numbers(options.d, clusters, directions, degree_for(options, clusters)) + 2 * options.dv +
           clusters * (options.dv + 1) + options.exact_rows.value_or(0) * exact_row_numbers(options.d, options.dv));
  throw UsageError(
      fmt::format("attention: a budget of {} bytes is too small: the map of {} directions and {} clusters for d = {}, "
                  "one feature of each "
                  "cluster and {} exact rows take {} bytes",
                  options.budget, directions, clusters, options.d, options.exact_rows.value_or(0), least));
}

AnisotropicSizes anisotropic_sizes(const AnisotropicOptions& options) {
  validate(options);
  const std::uint64_t budget = options.budget / 4;
  const std::uint64_t row = options.d + options.dv;
  AnisotropicSizes sizes;
  sizes.calibration_numbers = budget;
  sizes.feature_numbers = budget;
  const std::uint64_t exact = options.exact_rows.value_or(budget / exact_row_numbers(options.d, options.dv));
  sizes.bounded_bytes =
      96 + 8 * options.dv + 8 * options.clusters.value_or(32) + (exact + default_sample_rows) * (24 + 4 * row);
  // What rounding took, two packed copies and one plain one of the features; lanes of a block of keys and of one of
  // queries; rows of a block; the exact rows and the sample, which the reader copies, and which wait as doubles where
  // they drop out together.
  const std::uint64_t features = budget / (options.dv + 1);
  const std::uint64_t coordinates = std::min(options.d, most_directions) + 8;
  sizes.working_bytes = 4 * (2 * budget + 2 * features * kernels::panels_of(options.dv + 1) * kernels::panel_width) +
                        std::max<std::uint64_t>(std::uint64_t{1} << 20U, 4 * 32 * features) + 4 * 64 * features +
                        1024 * (4 * (3 * row + options.d) + 3 * 8 * coordinates) + 5 * sizes.bounded_bytes;
  return sizes;
}

AnisotropicCalibration AnisotropicCalibration::fit(const AnisotropicOptions& options, std::span<const double> queries,
                                                   std::span<const double> keys, std::span<const double> values) {
  validate(options);
  Rows all{checked_rows(queries, options.d, "queries"), checked_rows(keys, options.d, "keys"),
           checked_rows(values, options.dv, "values")};
  if (all.keys.rows() == 0) throw UsageError("calibration: no keys, expected at least one row");
  const bool has_values = all.values.rows() > 0;
  if (has_values && all.values.rows() != all.keys.rows()) {
    throw UsageError(fmt::format("calibration: {} rows of values, expected {}, one for each key", all.values.rows(),
                                 all.keys.rows()));
  }
  const bool has_queries = all.queries.rows() > 0;
  // The average of the keys stands in for that of the values.
  if (!has_values) all.values = all.keys.rowwise() - all.keys.colwise().mean();

  const auto wanted = static_cast<Index>(std::min(options.calibration_rows, most_calibration_rows));
  const auto part = [&](Index first, Index count) {
    const auto rows_of = [&](const MatrixXd& matrix) {
      const Index begin = std::min(first, matrix.rows());
      return MatrixXd(matrix.middleRows(begin, std::min(count, matrix.rows() - begin)));
    };
    Rows rows{rows_of(all.queries), rows_of(all.keys), rows_of(all.values)};
    if (!has_queries) rows.queries = isotropic_queries(rows.keys);
    return rows;
  };
  const Rows fitted = part(0, wanted);

  const std::uint32_t clusters = options.clusters.value_or(1);
  const std::uint32_t directions = options.directions.value_or(default_directions(options, clusters));
  Choice choice{shape_within(options, clusters, directions, default_exact_share).value(),
                std::numeric_limits<double>::quiet_NaN()};
  // Keys that are judged by were not fitted to. Queries are few enough in number to be judged by all: rare ones count.
  const auto trials = [&]() -> std::optional<Trials> {
    constexpr Index least_rows = 32;
    const Index paired = has_queries ? std::min(all.queries.rows(), all.keys.rows()) : all.keys.rows();
    const Index spare = std::min(paired - wanted, std::max<Index>(wanted, 512));
    const auto judged = [&](Index first, Index count) {
      Rows rows = part(first, count);
      if (has_queries) rows.queries = all.queries.topRows(first + count);
      return rows;
    };
    if (spare >= std::max(wanted / 4, least_rows)) return Trials(options, fitted, judged(wanted, spare));
    const Index half = std::min(paired, wanted) / 2;
    if (half >= least_rows) return Trials(options, part(0, half), judged(half, half));
    return std::nullopt;
  }();
  double error_floor = 0;
  if (trials) {
    if (options.automatic) {
      const Choice found = choose(options, *trials);
      if (std::isfinite(found.error)) choice = found;  // none of the trials need have fitted into the budget
    }
    const Verdict verdict = trials->judge(choice.shape, true);
    choice.error = verdict.error;
    error_floor = verdict.error_floor;
  }
  CalibrationContent content = fit_shape(options, fitted, choice.shape);
  content.expected_error = choice.error;
  content.error_floor = error_floor;
  return AnisotropicCalibration(std::make_shared<AnisotropicMap>(make_map(std::move(content))));
}

}  // namespace weir
