#include "weir/sample/heavy_entries.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <tuple>

#include "matrix_view.hpp"
#include "sample/search.hpp"
#include "sketch/gram.hpp"
#include "weir/error.hpp"
#include "weir/sample/metric.hpp"

namespace weir {

namespace {

/// A^T A: the mean over the blocks.
DenseMatrix gram_of_blocks(const std::vector<MatrixSketch>& blocks) {
  DenseMatrix mean = gram_of(blocks.front());
  auto sum = matrix_view(mean);
  for (std::size_t k = 1; k < blocks.size(); ++k) sum += matrix_view(gram_of(blocks[k]));
  sum /= static_cast<double>(blocks.size());
  return mean;
}

/// What the operands say of y as a whole.
struct Product {
  explicit Product(const TensorSketch& sketch)
      : core{sketch.columns(0), sketch.columns(1), sketch.core},
        gram1(gram_of_blocks(sketch.factors[0])),
        metric1(metric_through(core, gram_of_blocks(sketch.factors[1]))),
        metric2(metric_through(to_dense_matrix(matrix_view(core).transpose()), gram1)),
        f2(metric1.total(gram1)) {
    if (!std::isfinite(f2)) throw InputError("||y||^2 overflows a double; scale the values down");
  }

  DenseMatrix core;  ///< X
  DenseMatrix gram1;
  Metric metric1;  ///< In which rows of A1 have the norms of rows of y.
  Metric metric2;  ///< In which rows of A2 have the norms of columns of y.
  double f2;       ///< ||y||_2^2
};

void require_two_factors(const TensorSketch& sketch) {
  if (sketch.config.dimensions.size() != 2) {
    throw UsageError(fmt::format("a tensor of {} factors: expected 2, of a matrix y", sketch.config.dimensions.size()));
  }
}

/// Whether an operand, and so y, is exactly zero, while X is finite. Then no row of the factors has to be scanned.
bool is_zero_product(const TensorSketch& sketch) {
  if (!std::ranges::all_of(sketch.core, [](double entry) { return std::isfinite(entry); })) return false;
  return sketch.factors[0].front().is_zero() || sketch.factors[1].front().is_zero() ||
         std::ranges::all_of(sketch.core, [](double entry) { return entry == 0; });
}

/// Bound of the estimate of an entry whose row and column of y have these norms.
double bound_of_entry(const TensorSketchConfig& config, double f2, double row_norm, double column_norm) {
  const auto buckets = static_cast<double>(config.buckets);
  const double lines = row_norm * row_norm + column_norm * column_norm;
  const double variance = (lines / buckets + f2 / (buckets * buckets)) / config.sparsity;
  return median_deviations(config.rows) * std::sqrt(variance);
}

/// Rows of a factor that may hold large entries of y.
struct Candidates {
  std::vector<std::uint64_t> rows;
  std::vector<double> norms;  ///< Of their rows (or columns) of y.
  double complete_above = 0;  ///< As that of HeavyEntries.
};

/// The `wanted` rows of a factor with the largest norms in `metric`; f2 is ||y||^2.
Candidates find_candidates(const MatrixSketch& factor, const Metric& metric, double f2, std::size_t wanted) {
  const VectorSketch norms = factor.cell_norms(metric.factor());
  const double floor = 0;
  const std::vector<ScanHit> found =
      search_largest(
          norms, {.floors = std::span(&floor, 1), .wanted = wanted, .kept = wanted + 1, .items = CellScore::magnitude})
          .front();
  Candidates candidates;
  for (std::size_t k = 0; k < std::min(wanted, found.size()); ++k) {
    candidates.rows.push_back(found[k].key);
    candidates.norms.push_back(found[k].value);
  }
  if (found.size() > wanted) {
    const double deviation = std::sqrt(f2 / static_cast<double>(factor.config().buckets));
    candidates.complete_above = found[wanted].value + median_deviations(factor.config().rows) * deviation;
  }
  return candidates;
}

/// sign * cell of row i in each repetition: rows of the result.
RowMajorMatrix signed_cells(const MatrixSketch& factor, std::uint64_t i) {
  RowMajorMatrix out(factor.config().rows, static_cast<Eigen::Index>(factor.columns()));
  factor.row_estimates(i, 0, std::span(out.data(), static_cast<std::size_t>(out.size())));
  return out;
}

/// Median over the repetitions of the M-norms of the cells of a row.
double median_norm(const Metric& metric, const RowMajorMatrix& cells) {
  std::vector<double> norms;
  for (Eigen::Index row = 0; row < cells.rows(); ++row)
    norms.push_back(std::sqrt(metric.of_row(std::span(cells.row(row).data(), static_cast<std::size_t>(cells.cols())))));
  return median_of(norms);
}

}  // namespace

std::vector<Estimate> estimate_entries(const TensorSketch& sketch,
                                       std::span<const std::array<std::uint64_t, 2>> indices) {
  const TensorSketchConfig& config = sketch.config;
  require_two_factors(sketch);
  const Product product(sketch);
  const MatrixView x = matrix_view(product.core);
  std::vector<Estimate> estimates;
  for (const auto& [i1, i2] : indices) {
    if (i1 >= config.dimensions[0] || i2 >= config.dimensions[1]) {
      throw UsageError(
          fmt::format("entry ({}, {}) is outside of {} x {}", i1, i2, config.dimensions[0], config.dimensions[1]));
    }
    std::vector<double> repetitions(config.rows, 0.0);
    for (std::uint32_t k = 0; k < config.sparsity; ++k) {
      const RowMajorMatrix left = signed_cells(sketch.factors[0][k], i1);
      const RowMajorMatrix right = signed_cells(sketch.factors[1][k], i2);
      for (std::uint32_t row = 0; row < config.rows; ++row)
        repetitions[row] += left.row(row).dot(x * right.row(row).transpose()) / config.sparsity;
    }
    const double row_norm = median_norm(product.metric1, signed_cells(sketch.factors[0].front(), i1));
    const double column_norm = median_norm(product.metric2, signed_cells(sketch.factors[1].front(), i2));
    estimates.push_back({median_of(repetitions), bound_of_entry(config, product.f2, row_norm, column_norm)});
  }
  return estimates;
}

HeavyEntries heavy_entries(const TensorSketch& sketch, std::size_t count, std::size_t candidates) {
  const TensorSketchConfig& config = sketch.config;
  require_two_factors(sketch);
  for (const std::uint64_t n : config.dimensions) {
    if (n > longest_scanned_factor) {
      throw UsageError(fmt::format("heavy entries look at every row of the factors: {} are more than 2^32", n));
    }
  }
  if (count == 0) throw UsageError("0 heavy entries: expected at least 1");
  if (candidates == 0 || candidates > 8192) {
    throw UsageError(fmt::format("{} candidates for heavy entries: expected 1 to 8192", candidates));
  }

  if (is_zero_product(sketch)) return {};
  const Product product(sketch);
  const MatrixView x = matrix_view(product.core);
  HeavyEntries result;
  result.f2 = product.f2;
  const Candidates rows = find_candidates(sketch.factors[0].front(), product.metric1, product.f2, candidates);
  const Candidates columns = find_candidates(sketch.factors[1].front(), product.metric2, product.f2, candidates);
  result.complete_above = std::max(rows.complete_above, columns.complete_above);

  // X (sign c2) of all candidate columns: [block][repetition], d1 x candidates.
  const auto width = static_cast<Eigen::Index>(columns.rows.size());
  std::vector<std::vector<RowMajorMatrix>> right(
      config.sparsity, std::vector<RowMajorMatrix>(config.rows, RowMajorMatrix(x.rows(), width)));
  for (std::uint32_t k = 0; k < config.sparsity; ++k) {
    for (Eigen::Index j = 0; j < width; ++j) {
      const RowMajorMatrix cells = signed_cells(sketch.factors[1][k], columns.rows[static_cast<std::size_t>(j)]);
      for (std::uint32_t row = 0; row < config.rows; ++row) right[k][row].col(j) = x * cells.row(row).transpose();
    }
  }

  const auto is_larger = [](const HeavyEntry& a, const HeavyEntry& b) {
    return std::tuple(-std::abs(a.estimate.value), a.index, a.column) <
           std::tuple(-std::abs(b.estimate.value), b.index, b.column);
  };
  RowMajorMatrix sums(config.rows, width);
  std::array<double, 15> storage{};  // the most repetitions that a configuration may have
  const auto repetitions = std::span(storage).first(config.rows);
  for (std::size_t i = 0; i < rows.rows.size(); ++i) {
    sums.setZero();
    for (std::uint32_t k = 0; k < config.sparsity; ++k) {
      const RowMajorMatrix left = signed_cells(sketch.factors[0][k], rows.rows[i]);
      for (std::uint32_t row = 0; row < config.rows; ++row) sums.row(row).noalias() += left.row(row) * right[k][row];
    }
    sums /= config.sparsity;
    for (std::size_t j = 0; j < columns.rows.size(); ++j) {
      for (std::uint32_t row = 0; row < config.rows; ++row) {
        repetitions[row] = sums(row, static_cast<Eigen::Index>(j));
      }
      const Estimate estimate{median_of(repetitions),
                              bound_of_entry(config, product.f2, rows.norms[i], columns.norms[j])};
      if (estimate.value != 0) result.entries.push_back({rows.rows[i], columns.rows[j], estimate});
    }
    // Now and then all but the largest go.
    if (i + 1 < rows.rows.size() && (i % 64 != 63 || result.entries.size() <= count)) continue;
    const std::size_t kept = std::min(count, result.entries.size());
    const auto end = result.entries.begin() + static_cast<std::ptrdiff_t>(kept);
    std::partial_sort(result.entries.begin(), end, result.entries.end(), is_larger);
    result.entries.resize(kept);
  }
  return result;
}

}  // namespace weir
