#include "weir/sample/heavy_entries.hpp"

#include <fmt/format.h>

#include <Eigen/Dense>
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <tuple>

#include "weir/error.hpp"
#include "weir/sketch/operator.hpp"

namespace weir {

namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using ConstMap = Eigen::Map<const Matrix>;

Eigen::Index as_index(std::uint64_t value) { return static_cast<Eigen::Index>(value); }

/// The cells of a CountSketch of a factor, one in each row: [repetition and bucket][column].
ConstMap cells_of(const MatrixSketch& sketch) {
  return {sketch.table().data(), as_index(sketch.table().size() / sketch.columns()), as_index(sketch.columns())};
}

/// A^T A: the mean over repetitions and blocks.
Matrix gram_of(const std::vector<MatrixSketch>& blocks) {
  const auto d = as_index(blocks.front().columns());
  Matrix sum = Matrix::Zero(d, d);
  for (const MatrixSketch& block : blocks) sum.noalias() += cells_of(block).transpose() * cells_of(block);
  return sum / (static_cast<double>(blocks.size()) * blocks.front().config().rows);
}

/// Keeps the `size` largest of what is offered, of equal ones those that came first.
template <class Item>
class Largest {
 public:
  explicit Largest(std::size_t size) : size_(size) {}

  /// What is not above it need not be offered.
  [[nodiscard]] double floor() const noexcept { return floor_; }
  /// The largest that was turned away or dropped again; 0 when there was none.
  [[nodiscard]] double largest_left_out() const noexcept { return left_out_; }

  void offer(double magnitude, const Item& item) {
    if (!(magnitude > floor_)) {
      left_out_ = std::max(left_out_, magnitude);
      return;
    }
    items_.emplace_back(magnitude, item);
    if (items_.size() < 2 * size_) return;
    shrink();
    floor_ = items_.back().first;
  }

  /// The largest first.
  [[nodiscard]] std::vector<std::pair<double, Item>> take() {
    shrink();
    return std::move(items_);
  }

 private:
  void shrink() {
    std::stable_sort(items_.begin(), items_.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
    if (items_.size() <= size_) return;
    left_out_ = std::max(left_out_, items_[size_].first);
    items_.resize(size_);
  }

  std::size_t size_;
  double floor_ = 0;
  double left_out_ = 0;
  std::vector<std::pair<double, Item>> items_;
};

/// Rows of a factor that may hold large entries of y.
struct Candidates {
  std::vector<std::uint64_t> rows;
  std::vector<double> norms;  ///< Of their rows (or columns) of y.
  double complete_above = 0;
};

/// The rows of a factor with the largest norms in `metric`.
Candidates find_candidates(const std::vector<MatrixSketch>& blocks, const Matrix& metric, double f2,
                           std::size_t wanted) {
  const SketchConfig& config = blocks.front().config();
  const std::size_t repetitions = config.rows * blocks.size();
  std::vector<std::vector<double>> norms;  // [block][repetition and bucket]
  std::vector<SketchOperator> hashes;
  for (const MatrixSketch& block : blocks) {
    const ConstMap cells = cells_of(block);
    const Eigen::VectorXd squares = (cells * metric).cwiseProduct(cells).rowwise().sum();
    norms.emplace_back(squares.begin(), squares.end());
    for (double& norm : norms.back()) norm = std::sqrt(std::max(norm, 0.0));  // below 0 by rounding
    hashes.emplace_back(block.config(), 1);
  }

  Largest<std::uint64_t> largest(wanted);
  PhiColumns columns(config);
  std::array<std::uint64_t, PhiColumns::capacity> keys;
  std::vector<double> values(repetitions * PhiColumns::capacity);  // [t][repetition and block]
  for (std::uint64_t first = 0; first < config.dimension; first += PhiColumns::capacity) {
    const auto count =
        static_cast<std::size_t>(std::min<std::uint64_t>(PhiColumns::capacity, config.dimension - first));
    std::iota(keys.begin(), keys.end(), first);
    // A median is above the floor only where more than half are.
    std::array<std::uint32_t, PhiColumns::capacity> above{};
    std::size_t repetition = 0;
    for (std::size_t k = 0; k < blocks.size(); ++k) {
      hashes[k].locate(0, std::span<const std::uint64_t>(keys).first(count), PhiColumns::ones, columns);
      for (std::uint32_t row = 0; row < config.rows; ++row, ++repetition) {
        const std::uint64_t* cells = columns.cells.data() + row * PhiColumns::capacity;
        double* into = values.data() + repetition;
        for (std::size_t t = 0; t < count; ++t) {
          const double norm = norms[k][cells[t]];
          into[t * repetitions] = norm;
          above[t] += norm > largest.floor() ? 1U : 0U;
        }
      }
    }
    for (std::size_t t = 0; t < count; ++t) {
      if (above[t] < (repetitions + 1) / 2) continue;
      largest.offer(median_of(std::span(values).subspan(t * repetitions, repetitions)), first + t);
    }
  }

  Candidates candidates;
  for (const auto& [norm, row] : largest.take()) {
    candidates.rows.push_back(row);
    candidates.norms.push_back(norm);
  }
  const double cut = std::max(largest.floor(), largest.largest_left_out());
  if (cut > 0) {
    candidates.complete_above =
        cut + median_deviations(repetitions) * std::sqrt(f2 / static_cast<double>(config.buckets));
  }
  return candidates;
}

/// sign * cell of the row `i` in each repetition: rows of the result.
Matrix signed_cells(const MatrixSketch& sketch, const SketchOperator& hashes, std::uint64_t i, PhiColumns& column) {
  hashes.locate(0, std::span(&i, 1), PhiColumns::ones, column);
  const ConstMap cells = cells_of(sketch);
  Matrix out(sketch.config().rows, cells.cols());
  for (std::uint32_t row = 0; row < sketch.config().rows; ++row) {
    const std::size_t at = row * PhiColumns::capacity;
    out.row(row) = column.signed_deltas[at] * cells.row(as_index(column.cells[at]));
  }
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

  const ConstMap x(sketch.core.data(), as_index(sketch.columns(0)), as_index(sketch.columns(1)));
  const Matrix gram1 = gram_of(sketch.factors[0]);
  const Matrix metric1 = x * gram_of(sketch.factors[1]) * x.transpose();
  const Matrix metric2 = x.transpose() * gram1 * x;
  HeavyEntries result;
  result.f2 = std::max(metric1.cwiseProduct(gram1).sum(), 0.0);
  const Candidates rows = find_candidates(sketch.factors[0], metric1, result.f2, candidates);
  const Candidates columns = find_candidates(sketch.factors[1], metric2, result.f2, candidates);
  result.complete_above = std::max(rows.complete_above, columns.complete_above);

  // X (sign c2) of all candidate columns: [block][repetition], d1 x candidates.
  const auto width = as_index(columns.rows.size());
  PhiColumns column(config.factor(0, 0));
  std::vector<std::vector<Matrix>> right(config.sparsity, std::vector<Matrix>(config.rows, Matrix(x.rows(), width)));
  std::vector<SketchOperator> hashes;
  for (std::uint32_t k = 0; k < config.sparsity; ++k) {
    const SketchOperator column_hashes(config.factor(1, k), 1);
    for (Eigen::Index j = 0; j < width; ++j) {
      const Matrix cells =
          signed_cells(sketch.factors[1][k], column_hashes, columns.rows[static_cast<std::size_t>(j)], column);
      for (std::uint32_t row = 0; row < config.rows; ++row) right[k][row].col(j) = x * cells.row(row).transpose();
    }
    hashes.emplace_back(config.factor(0, k), 1);
  }

  const auto buckets = static_cast<double>(config.buckets);
  const auto square = [](double norm) { return norm * norm; };
  Largest<HeavyEntry> largest(std::min(count, rows.rows.size() * columns.rows.size()));
  Matrix sums(config.rows, width);
  std::array<double, 15> repetitions;
  for (std::size_t i = 0; i < rows.rows.size(); ++i) {
    sums.setZero();
    for (std::uint32_t k = 0; k < config.sparsity; ++k) {
      const Matrix left = signed_cells(sketch.factors[0][k], hashes[k], rows.rows[i], column);
      for (std::uint32_t row = 0; row < config.rows; ++row) sums.row(row).noalias() += left.row(row) * right[k][row];
    }
    sums /= config.sparsity;
    for (std::size_t j = 0; j < columns.rows.size(); ++j) {
      for (std::uint32_t row = 0; row < config.rows; ++row) repetitions[row] = sums(row, as_index(j));
      const double value = median_of(std::span(repetitions).first(config.rows));
      const double variance =
          ((square(rows.norms[i]) + square(columns.norms[j])) / buckets + result.f2 / square(buckets)) /
          config.sparsity;
      largest.offer(std::abs(value), {.index = rows.rows[i],
                                      .column = columns.rows[j],
                                      .estimate = {value, median_deviations(config.rows) * std::sqrt(variance)}});
    }
  }
  for (auto& [magnitude, entry] : largest.take()) result.entries.push_back(entry);
  std::sort(result.entries.begin(), result.entries.end(), [](const HeavyEntry& a, const HeavyEntry& b) {
    return std::tuple(-std::abs(a.estimate.value), a.index, a.column) <
           std::tuple(-std::abs(b.estimate.value), b.index, b.column);
  });
  return result;
}

}  // namespace weir
