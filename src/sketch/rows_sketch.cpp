#include "weir/sketch/rows_sketch.hpp"

#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <utility>

#include "matrix_view.hpp"
#include "random/argument_checks.hpp"
#include "sketch/gram.hpp"
#include "weir/error.hpp"
#include "weir/random/source.hpp"

namespace weir {

namespace {

std::uint64_t checked_columns(std::uint64_t d, const GramConfig& gram) {
  if (d == 0 || d > most_gram_columns) {
    throw UsageError(
        fmt::format("rows of {} columns: expected 1 to {}, as their Gram matrix is kept", d, most_gram_columns));
  }
  if (!std::has_single_bit(gram.buckets) || gram.buckets < 2 || gram.buckets > (std::uint64_t{1} << 32U)) {
    throw UsageError(
        fmt::format("buckets of the Gram sketch are {}: expected a power of two, 2 to 2^32", gram.buckets));
  }
  return d;
}

}  // namespace

RowsSketch::RowsSketch(const SketchConfig& config, std::uint64_t d, const GramConfig& gram)
    : draws(config, checked_columns(d, gram)),
      wide(wide_config(config, gram.buckets), d),
      exact_gram(gram.exact ? static_cast<std::size_t>(d * d) : 0) {}

SketchConfig RowsSketch::wide_config(const SketchConfig& config, std::uint64_t buckets) {
  return {.dimension = config.dimension,
          .rows = config.rows,
          .buckets = buckets,
          .lanes = 1,
          .levels = 1,
          .randomness = config.randomness,
          .independence = config.independence,
          .seed = subkey(config.seed, Purpose::operand, 0, 1)};
}

std::uint64_t RowsSketch::size(const SketchConfig& config, std::uint64_t d, const GramConfig& gram) {
  checked_columns(d, gram);
  return std::uint64_t{MatrixSketch::table_size(config, d)} +
         MatrixSketch::table_size(wide_config(config, gram.buckets), d) + (gram.exact ? d * d : 0);
}

void RowsSketch::update(std::span<const std::uint64_t> rows, std::span<const std::uint64_t> columns,
                        std::span<const double> deltas) {
  require_equal({"RowsSketch::update", "columns.size()", "rows.size()"}, columns.size(), rows.size());
  if (!exact_gram.empty() && !rows.empty()) {
    throw InputError(fmt::format("a change of entry ({}, {}): expected whole rows, as the Gram matrix is kept exactly",
                                 rows[0], columns[0]));
  }
  draws.update(rows, columns, deltas);
  wide.update(rows, columns, deltas);
}

void RowsSketch::update_rows(std::span<const std::uint64_t> rows, std::span<const double> weights,
                             std::span<const double> values) {
  if (!exact_gram.empty()) {
    for (std::size_t t = 0; t < weights.size(); ++t) {
      if (std::abs(weights[t]) == 1) continue;
      throw InputError(
          fmt::format("row update {} of the batch: weight is {}, expected 1 or -1, as the Gram matrix of "
                      "rows that come and go is kept exactly",
                      t, weights[t]));
    }
  }
  draws.update_rows(rows, weights, values);
  wide.update_rows(rows, weights, values);
  if (exact_gram.empty()) return;
  // Row by row, so that the bits do not depend on how the rows were cut into batches.
  const auto d = static_cast<Eigen::Index>(columns());
  Eigen::Map<RowMajorMatrix> gram(exact_gram.data(), d, d);
  for (std::size_t t = 0; t < rows.size(); ++t) {
    const Eigen::Map<const Eigen::VectorXd> row(values.data() + t * columns(), d);
    gram.noalias() += weights[t] * row * row.transpose();
  }
}

DenseMatrix RowsSketch::gram() const {
  return exact_gram.empty() ? gram_of(wide) : DenseMatrix{columns(), columns(), exact_gram};
}

DenseMatrix RowsSketch::checked_gram() const {
  DenseMatrix gram = this->gram();
  const auto diagonal = matrix_view(std::as_const(gram)).diagonal();
  Eigen::Index column = 0;
  if (diagonal.minCoeff(&column) < -1e-9 * diagonal.cwiseAbs().maxCoeff()) {
    throw InputError(fmt::format("the sum of the squares of column {} of the rows is {:.6g}, below 0: {}", column,
                                 diagonal(column), unmatched_row));
  }
  return gram;
}

void RowsSketch::add(const RowsSketch& other, double coefficient) {
  if (const std::string difference = describe_difference(*this, other); !difference.empty()) {
    throw InputError("the sketches do not combine: " + difference);
  }
  if (!exact_gram.empty() && std::abs(coefficient) != 1) {
    throw InputError(
        fmt::format("rows and their exact Gram matrix are added or subtracted, not multiplied by {}", coefficient));
  }
  draws.add(other.draws, coefficient);
  wide.add(other.wide, coefficient);
  for (std::size_t k = 0; k < exact_gram.size(); ++k) exact_gram[k] += coefficient * other.exact_gram[k];
}

void RowsSketch::scale(double coefficient) {
  if (!exact_gram.empty() && coefficient != 1) {
    throw InputError(fmt::format("rows and their exact Gram matrix cannot both be multiplied by {}", coefficient));
  }
  draws.scale(coefficient);
  wide.scale(coefficient);
}

std::uint64_t RowsSketch::fingerprint() const noexcept {
  const std::uint64_t exact = exact_gram.empty() ? 0 : 1;
  return finalise(draws.fingerprint() ^ finalise(wide.fingerprint() ^ finalise(exact)));
}

std::string describe_difference(const RowsSketch& a, const RowsSketch& b) {
  if (std::string difference = describe_difference(a.draws, b.draws); !difference.empty()) return difference;
  const GramConfig x = a.gram_config();
  const GramConfig y = b.gram_config();
  if (x.buckets != y.buckets) return fmt::format("buckets of the Gram sketch: {} against {}", x.buckets, y.buckets);
  if (x.exact != y.exact) return fmt::format("exact Gram matrix: {} against {}", x.exact, y.exact);
  return {};
}

}  // namespace weir
