#include "weir/sample/metric.hpp"

#include <fmt/format.h>

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "matrix_view.hpp"
#include "random/argument_checks.hpp"
#include "sketch/gram.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

/// Of the largest eigenvalue, or of the sum of magnitudes: what is negative beyond that is no rounding.
constexpr double significant = 1e-9;

using Solver = Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>;

void require_finite(const DenseMatrix& matrix, const std::string& name) {
  const auto bad = std::ranges::find_if(matrix.values, [](double value) { return !std::isfinite(value); });
  if (bad == matrix.values.end()) return;
  const auto place = static_cast<std::uint64_t>(bad - matrix.values.begin());
  throw InputError(fmt::format("{}: entry ({}, {}) is {}, expected a finite number", name, place / matrix.columns,
                               place % matrix.columns, *bad));
}

Solver decompose(const DenseMatrix& symmetric, const std::string& name) {
  Solver solver(matrix_view(symmetric));
  if (solver.info() != Eigen::Success) throw InputError(name + ": its eigenvalues do not converge");
  return solver;
}

/// V diag(weight(eigenvalue)), of the eigenvalues above `cut`, which is not negative; one column of zeros when there are
/// none.
template <class Weight>
DenseMatrix factor_above(double cut, const Solver& solver, const Weight& weight) {
  const Eigen::VectorXd& values = solver.eigenvalues();  // ascending
  const Eigen::Index d = values.size();
  Eigen::Index rank = 0;
  while (rank < d && values(d - 1 - rank) > cut) ++rank;
  if (rank == 0) return to_dense_matrix(RowMajorMatrix::Zero(d, 1));
  RowMajorMatrix factor = solver.eigenvectors().rightCols(rank);
  for (Eigen::Index k = 0; k < rank; ++k) factor.col(k) *= weight(values(d - rank + k));
  return to_dense_matrix(factor);
}

double largest_eigenvalue(const Solver& solver) { return std::max(0.0, solver.eigenvalues().tail<1>()(0)); }

/// What the arithmetic leaves of a zero, relative to what has been summed.
double rounding(std::uint64_t d) { return static_cast<double>(d) * 0x1p-52; }

double root(double value) { return std::sqrt(value); }

/// Powers of two u_j that make squares_j u_j^2 1 to 4, and 0 where squares_j is `least` or less.
Eigen::VectorXd units_of(const Eigen::VectorXd& squares, double least) {
  return squares.unaryExpr([least](double square) {
    return square > least ? std::ldexp(1.0, -static_cast<int>(std::floor(std::ilogb(square) / 2.0))) : 0.0;
  });
}

/// factor_k / units_k, row by row, times 2^exponent; zero where the unit is.
DenseMatrix without_units(const DenseMatrix& factor, const Eigen::VectorXd& units, int exponent = 0) {
  const Eigen::VectorXd back =
      units.unaryExpr([&](double unit) { return unit > 0 ? std::ldexp(1 / unit, exponent) : 0.0; });
  return to_dense_matrix(back.asDiagonal() * matrix_view(factor));
}

/// Whether eigenvalues are at least -1e-9 of the largest magnitude.
bool is_positive(const Solver& solver) {
  return solver.eigenvalues()(0) >= -significant * solver.eigenvalues().cwiseAbs().maxCoeff();
}

/// Of a matrix that is made of Gram matrices of rows.
[[noreturn]] void throw_indefinite(const std::string& name, const Solver& solver) {
  throw InputError(fmt::format("{} has a negative eigenvalue, {:.3g} of the largest: {}", name,
                               solver.eigenvalues()(0) / solver.eigenvalues().cwiseAbs().maxCoeff(), unmatched_row));
}

/// F of M = F F^T, found in units in which all M_jj are about 1, so that no direction is taken for rounding only because
/// its units are small. None when M is not positive semi-definite in such units.
std::optional<DenseMatrix> factor_in_units(const DenseMatrix& matrix, const std::string& name) {
  const auto m = matrix_view(matrix);
  const Eigen::VectorXd units = units_of(m.diagonal(), 0);
  const DenseMatrix scaled = to_dense_matrix(units.asDiagonal() * m * units.asDiagonal());
  const bool rows_without_unit_are_zero = (units.array() > 0 || m.cwiseAbs().rowwise().maxCoeff().array() == 0).all();
  if (!rows_without_unit_are_zero || !matrix_view(scaled).allFinite()) return std::nullopt;
  const Solver solver = decompose(scaled, name);
  if (!is_positive(solver)) return std::nullopt;
  return without_units(factor_above(rounding(matrix.rows) * largest_eigenvalue(solver), solver, root), units);
}

}  // namespace

Metric::Metric(DenseMatrix matrix, DenseMatrix factor) : matrix_(std::move(matrix)), factor_(std::move(factor)) {}

Metric::Metric(DenseMatrix factor)
    : matrix_(to_dense_matrix(matrix_view(factor) * matrix_view(factor).transpose())), factor_(std::move(factor)) {}

Metric Metric::norm(std::uint64_t d) {
  const auto size = static_cast<Eigen::Index>(d);
  DenseMatrix identity = to_dense_matrix(RowMajorMatrix::Identity(size, size));
  DenseMatrix factor = identity;
  return {std::move(identity), std::move(factor)};
}

Metric Metric::leverage(const DenseMatrix& gram) {
  require_equal({"Metric::leverage", "gram.columns", "gram.rows"}, gram.columns, gram.rows);
  require_equal({"Metric::leverage", "gram.values.size()", "gram.rows * gram.rows"}, gram.values.size(),
                gram.rows * gram.rows);
  if (gram.rows == 0) throw UsageError("Metric::leverage: gram is 0 x 0, expected at least 1 x 1");
  const std::string name = "the Gram matrix of the rows";
  require_finite(gram, name);
  // Scores do not depend on the units of the columns; which eigenvalues are rounding would.
  const auto g = matrix_view(gram);
  const Eigen::VectorXd squares = g.diagonal();
  if (squares.minCoeff() < -significant * squares.cwiseAbs().maxCoeff())
    throw InputError(
        fmt::format("{} has the entry {:.6g} on its diagonal: {}", name, squares.minCoeff(), unmatched_row));
  const Eigen::VectorXd units = units_of(squares, 0x1p-80 * squares.maxCoeff());
  const Solver solver = decompose(to_dense_matrix(units.asDiagonal() * g * units.asDiagonal()), name);
  if (!is_positive(solver)) throw_indefinite(name, solver);
  const double cut = static_cast<double>(gram.rows) * 0x1p-40 * largest_eigenvalue(solver);
  const DenseMatrix factor = factor_above(cut, solver, [](double value) { return 1.0 / std::sqrt(value); });
  Metric metric(to_dense_matrix(units.asDiagonal() * matrix_view(factor)));
  if (!matrix_view(metric.matrix_).allFinite())
    throw InputError(name + " is so small that its inverse overflows a double; scale the rows up");
  return metric;
}

Metric Metric::leverage_of_estimate(const DenseMatrix& gram, std::uint64_t cells, std::uint32_t rows) {
  Metric metric = leverage(gram);
  const std::uint64_t rank = metric.rank();
  if (cells <= rank + 1) {
    throw UsageError(fmt::format(
        "leverage scores of rows of rank {} need a Gram sketch of more than {} cells: it has {}; expected more "
        "Gram buckets",
        rank, rank + 1, cells));
  }
  const double shrink = static_cast<double>(cells - rank - 1) / static_cast<double>(cells);
  matrix_view(metric.matrix_) *= shrink;
  matrix_view(metric.factor_) *= std::sqrt(shrink);
  const auto r = static_cast<double>(rank);
  metric.relative_deviation_ =
      std::sqrt(std::max(2.0, r / (rows * static_cast<double>(rows))) / (static_cast<double>(cells) - r));
  return metric;
}

Metric Metric::of(DenseMatrix matrix, const std::string& name) {
  const std::uint64_t d = matrix.rows;
  if (d == 0 || d != matrix.columns)
    throw InputError(fmt::format("{} is {} x {}, expected a square matrix", name, d, matrix.columns));
  require_equal({"Metric::of", "matrix.values.size()", "matrix.rows * matrix.rows"}, matrix.values.size(), d * d);
  require_finite(matrix, name);
  const double largest = matrix_view(matrix).cwiseAbs().maxCoeff();
  for (std::uint64_t i = 0; i < d; ++i) {
    for (std::uint64_t j = 0; j < i; ++j) {
      double& lower = matrix.values[i * d + j];
      double& upper = matrix.values[j * d + i];
      if (std::abs(lower - upper) > 1e-9 * largest)
        throw InputError(fmt::format("{}: entry ({}, {}) is {} and entry ({}, {}) is {}, expected a symmetric matrix",
                                     name, i, j, lower, j, i, upper));
      lower = upper = 0.5 * lower + 0.5 * upper;
    }
  }
  if (std::optional<DenseMatrix> factor = factor_in_units(matrix, name)) return Metric(std::move(*factor));
  // What is no metric in such units may be one but for rounding that is relative to its largest entries.
  const Solver solver = decompose(matrix, name);
  if (!is_positive(solver))
    throw InputError(fmt::format("{} has the eigenvalue {:.6g}, expected a positive semi-definite matrix", name,
                                 solver.eigenvalues()(0)));
  return Metric(factor_above(rounding(d) * largest_eigenvalue(solver), solver, root));
}

Metric Metric::of_sums(const DenseMatrix& matrix, std::span<const double> terms, int exponent) {
  require_equal({"Metric::of_sums", "matrix.columns", "matrix.rows"}, matrix.columns, matrix.rows);
  require_equal({"Metric::of_sums", "matrix.values.size()", "matrix.rows * matrix.rows"}, matrix.values.size(),
                matrix.rows * matrix.rows);
  require_equal({"Metric::of_sums", "terms.size()", "matrix.rows"}, terms.size(), matrix.rows);
  const Eigen::VectorXd squares = matrix_view(terms, matrix.rows, 1);
  constexpr const char* too_large = "a metric overflows a double; scale the values down";
  if (!squares.allFinite()) throw InputError(too_large);
  const Eigen::VectorXd units = units_of(squares, 0);
  const auto m = matrix_view(matrix);
  const Solver solver =
      decompose(to_dense_matrix(units.asDiagonal() * (0.5 * m + 0.5 * m.transpose()) * units.asDiagonal()), "a metric");
  const double trace = (units.array() * squares.array() * units.array()).sum();
  if (solver.eigenvalues()(0) < -significant * trace) throw_indefinite("a metric", solver);
  const DenseMatrix factor = factor_above(rounding(matrix.rows) * trace, solver, root);
  Metric metric(without_units(factor, units, exponent));
  const auto result = matrix_view(metric.matrix_);
  if (!result.allFinite()) throw InputError(too_large);
  if (!matrix_view(factor).isZero(0) && result.cwiseAbs().maxCoeff() < std::numeric_limits<double>::min())
    throw InputError("a metric underflows a double; scale the values up");
  return metric;
}

std::uint64_t Metric::rank() const noexcept { return matrix_view(factor_).isZero(0) ? 0 : factor_.columns; }

double Metric::of_row(std::span<const double> a) const {
  require_equal({"Metric::of_row", "a.size()", "the dimension"}, a.size(), dimension());
  return (matrix_view(a, 1, dimension()) * matrix_view(factor_)).squaredNorm();
}

double Metric::total(const DenseMatrix& gram) const {
  require_equal({"Metric::total", "gram.columns", "the dimension"}, gram.columns, dimension());
  require_equal({"Metric::total", "gram.values.size()", "the square of the dimension"}, gram.values.size(),
                dimension() * dimension());
  const RowMajorMatrix products = matrix_view(matrix_).cwiseProduct(matrix_view(gram));
  const double sum = products.sum();
  if (!std::isfinite(sum)) return std::numeric_limits<double>::infinity();
  const double magnitudes = products.cwiseAbs().sum();
  if (sum < -significant * magnitudes)
    throw InputError(fmt::format("the sum of the masses of the rows is {:.6g}, below 0: {}", sum, unmatched_row));
  // Where all rows are in the null space of M, rounding is what is left.
  return sum > rounding(dimension()) * magnitudes ? sum : 0.0;
}

Estimate Metric::total_of_estimate(const DenseMatrix& gram, std::uint64_t cells) const {
  const double total = this->total(gram);
  const double deviation = std::sqrt(2.0 / static_cast<double>(cells)) *
                           (matrix_view(factor_).transpose() * matrix_view(gram) * matrix_view(factor_)).norm();
  return {total, deviations_of_total * deviation};
}

Metric metric_through(const DenseMatrix& x, const DenseMatrix& gram) {
  require_equal({"metric_through", "gram.columns", "gram.rows"}, gram.columns, gram.rows);
  require_equal({"metric_through", "gram.values.size()", "gram.rows * gram.rows"}, gram.values.size(),
                gram.rows * gram.rows);
  require_equal({"metric_through", "x.columns", "gram.rows"}, x.columns, gram.rows);
  require_equal({"metric_through", "x.values.size()", "x.rows * x.columns"}, x.values.size(), x.rows * x.columns);
  // In units near their largest entries: where products underflow, M is not zero for all that.
  const auto exponent_of = [](const DenseMatrix& matrix) {
    const double largest = matrix_view(matrix).cwiseAbs().maxCoeff();
    return largest > 0 && std::isfinite(largest) ? std::clamp(std::ilogb(largest), -1000, 1000) : 0;
  };
  const int of_x = exponent_of(x), of_root = exponent_of(gram) / 2;
  const RowMajorMatrix core = matrix_view(x) * std::ldexp(1.0, -of_x);
  const RowMajorMatrix g = matrix_view(gram) * std::ldexp(1.0, -2 * of_root);
  const Eigen::VectorXd terms = (core.cwiseAbs() * g.cwiseAbs()).cwiseProduct(core.cwiseAbs()).rowwise().sum();
  return Metric::of_sums(to_dense_matrix(core * g * core.transpose()),
                         {terms.data(), static_cast<std::size_t>(terms.size())}, of_x + of_root);
}

}  // namespace weir
