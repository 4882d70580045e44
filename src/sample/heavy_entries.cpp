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

}  // namespace

HeavyEntries heavy_entries(const TensorSketch& sketch, std::size_t count, std::size_t candidates) {
  const TensorSketchConfig& config = sketch.config;
  if (config.dimensions.size() != 2) {
    throw UsageError(fmt::format("heavy entries of a tensor of {} factors: expected 2", config.dimensions.size()));
  }
  for (const std::uint64_t n : config.dimensions) {
    if (n > longest_scanned_factor) {
      throw UsageError(fmt::format("heavy entries look at every row of the factors: {} are more than 2^32", n));
    }
  }
  if (count == 0) throw UsageError("0 heavy entries: expected at least 1");
  if (candidates == 0 || candidates > 8192) {
    throw UsageError(fmt::format("{} candidates for heavy entries: expected 1 to 8192", candidates));
  }

  const DenseMatrix core{sketch.columns(0), sketch.columns(1), sketch.core};
  const MatrixView x = matrix_view(core);
  const DenseMatrix gram1 = gram_of_blocks(sketch.factors[0]);
  const Metric metric1 = metric_through(core, gram_of_blocks(sketch.factors[1]));
  const Metric metric2 = metric_through(to_dense_matrix(x.transpose()), gram1);
  HeavyEntries result;
  result.f2 = metric1.total(gram1);
  if (!std::isfinite(result.f2)) throw InputError("||y||^2 overflows a double; scale the values down");
  const Candidates rows = find_candidates(sketch.factors[0].front(), metric1, result.f2, candidates);
  const Candidates columns = find_candidates(sketch.factors[1].front(), metric2, result.f2, candidates);
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

  const auto buckets = static_cast<double>(config.buckets);
  const double deviations = median_deviations(config.rows);
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
      const double lines = rows.norms[i] * rows.norms[i] + columns.norms[j] * columns.norms[j];
      const double variance = (lines / buckets + result.f2 / (buckets * buckets)) / config.sparsity;
      const Estimate estimate{median_of(repetitions), deviations * std::sqrt(variance)};
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
