#include "state/softmax_of_pairs.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <span>
#include <vector>

#include "attention/products.hpp"
#include "weir/share.hpp"
#include "weir/state/softmax_over_parties.hpp"

namespace weir {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
/// Rows of A1 in a tile of scores: a multiple of the rows that products::add_product takes at once.
constexpr std::uint64_t queries_at_once = 24;

/// Rows of A2 in a block, of `d` numbers each: 1 MiB at most unless they are longer than 8192 numbers. A tile of scores is
/// no larger than 400 KiB.
std::uint64_t keys_at_once(std::uint64_t n2, std::uint64_t d) {
  constexpr std::uint64_t block_numbers = std::uint64_t{1} << 17, most = 2048;
  return std::min(n2, std::clamp<std::uint64_t>(block_numbers / d, products::padding, most));
}

/// c = a b, where c is zero before. `b_length` is the length of a row of b and of c, a multiple of products::padding.
void multiply(std::span<const double> a, std::uint64_t rows, std::uint64_t depth, std::span<const double> b,
              std::uint64_t b_length, std::uint64_t columns, std::span<double> c) {
  products::add_product({a.data(), depth}, {b.data(), b_length}, rows, depth, columns, c.data(), b_length);
}

/// The scores of a party's rows of A1 with all rows of A2.
class PairScores {
 public:
  /// Collective.
  PairScores(Parties& parties, const DenseTensor& operands)
      : parties_(parties),
        operands_(operands),
        n2_(operands.factors[1].rows()),
        d2_(operands.factors[1].columns()),
        block_keys_(keys_at_once(n2_, d2_)) {
    const DenseOperand& a1 = operands.factors[0];
    const Party party = parties.party();
    first_ = share(a1.rows(), party.number, party.count);
    end_ = share(a1.rows(), party.number + 1, party.count);
    queries_ = a1.table().subspan(first_ * a1.columns(), (end_ - first_) * a1.columns());
    std::vector<double> core;  // empty where X is the identity
    parties.together([&] {
      if (!parties.is_first()) return;
      core = operands.core();
      if (operands.x_events == 0) core.clear();
    });
    parties.broadcast(core);
    parties.together([&] {
      if (!core.empty()) multiply_queries(core);
      scores_.resize(queries_at_once * products::padded(block_keys_));
    });
  }

  [[nodiscard]] std::uint64_t first() const noexcept { return first_; }
  [[nodiscard]] std::uint64_t rows() const noexcept { return end_ - first_; }

  /// Collective. Calls take(query, key, y) for the values y[query, key + t] of every row of A1 and block of A2. They may
  /// be overwritten, and have room for the next multiple of 8 numbers. `take` is not collective.
  template <class Take>
  void sweep(const Take& take) {
    for (std::uint64_t key = 0; key < n2_; key += block_keys_) {
      const std::uint64_t count = std::min(block_keys_, n2_ - key), length = products::padded(count);
      parties_.together([&] {
        if (parties_.is_first()) load_keys(key, count);
      });
      parties_.broadcast(keys_);
      parties_.together([&] {
        for (std::uint64_t query = first_; query < end_; query += queries_at_once) {
          const std::uint64_t rows = std::min(queries_at_once, end_ - query);
          std::ranges::fill(scores_, 0.0);
          multiply(queries_.subspan((query - first_) * d2_, rows * d2_), rows, d2_, keys_, length, count, scores_);
          for (std::uint64_t r = 0; r < rows; ++r) take(query + r, key, std::span(scores_).subspan(r * length, count));
        }
      });
    }
  }

 private:
  /// Replaces the rows of A1 by those of A1 X.
  void multiply_queries(std::span<const double> core) {
    const std::uint64_t d1 = operands_.factors[0].columns(), length = products::padded(d2_);
    std::vector<double> padded(d1 * length), product(queries_at_once * length);
    for (std::uint64_t j = 0; j < d1; ++j) std::ranges::copy(core.subspan(j * d2_, d2_), &padded[j * length]);
    transformed_.reserve(rows() * d2_);
    for (std::uint64_t row = 0; row < rows(); row += queries_at_once) {
      const std::uint64_t count = std::min(queries_at_once, rows() - row);
      std::ranges::fill(product, 0.0);
      multiply(queries_.subspan(row * d1, count * d1), count, d1, padded, length, d2_, product);
      for (std::uint64_t r = 0; r < count; ++r) {
        const auto from = product.begin() + static_cast<std::ptrdiff_t>(r * length);
        transformed_.insert(transformed_.end(), from, from + static_cast<std::ptrdiff_t>(d2_));
      }
    }
    queries_ = transformed_;
  }

  /// Rows key to key + count of A2, column after column.
  void load_keys(std::uint64_t key, std::uint64_t count) {
    const std::uint64_t length = products::padded(count);
    keys_.assign(d2_ * length, 0.0);
    for (std::uint64_t t = 0; t < count; ++t) {
      const std::span<const double> row = operands_.factors[1].row(key + t);
      for (std::uint64_t j = 0; j < d2_; ++j) keys_[j * length + t] = row[j];
    }
  }

  Parties& parties_;
  const DenseTensor& operands_;
  std::uint64_t n2_, d2_, block_keys_;
  std::uint64_t first_ = 0, end_ = 0;  // the party's rows of A1
  std::span<const double> queries_;    // d2 numbers for each of them: of A1, or of A1 X
  std::vector<double> transformed_;    // A1 X, unless X is the identity
  std::vector<double> keys_;           // a block of A2, transposed
  std::vector<double> scores_;         // a tile
};

/// ln of the sum of exponentials, gathered block after block. Blocks are the same for any number of parties, and so are
/// the bits.
class LogSumExp {
 public:
  /// `scores`, of which `maximum` is the largest, are overwritten.
  void add(std::span<double> scores, double maximum) {
    const double larger = std::max(maximum_, maximum);
    sum_ = sum_ * std::exp(maximum_ - larger) + products::exponentials(scores.data(), scores.size(), larger);
    maximum_ = larger;
  }
  [[nodiscard]] double maximum() const noexcept { return maximum_; }
  [[nodiscard]] double value() const { return maximum_ + std::log(sum_); }

 private:
  double maximum_ = -infinity;
  double sum_ = 0;
};

}  // namespace

SampleResult softmax_of_pairs(Parties& parties, const DenseTensor& operands, SoftmaxOver over,
                              const SoftmaxOptions& options) {
  PairScores scores(parties, operands);
  const std::uint64_t n2 = options.row_length;
  std::vector<LogSumExp> totals;
  std::vector<double> shifts;  // of each row; none where all pairs are normalised together
  parties.together([&] {
    if (over == SoftmaxOver::rows) totals.resize(scores.rows());
  });

  SoftmaxRange range{-infinity, 0};
  scores.sweep([&](std::uint64_t query, std::uint64_t key, std::span<double> y) {
    const SoftmaxRange here = softmax_range(query * n2 + key, y, options);
    range.merge(here);
    if (totals.empty()) return;
    for (double& value : y) value *= options.scale;
    totals[query - scores.first()].add(y, here.maximum);
  });
  parties.together([&] {
    if (totals.empty()) return;
    range.maximum = -infinity;
    for (const LogSumExp& total : totals) {
      shifts.push_back(total.value());
      range.maximum = std::max(range.maximum, total.maximum() - shifts.back());
    }
  });

  const SoftmaxSweep sweep = [&](const auto& take) {
    scores.sweep([&](std::uint64_t query, std::uint64_t key, std::span<const double> y) {
      take({query * n2 + key, y, shifts.empty() ? 0.0 : shifts[query - scores.first()]});
    });
  };
  return softmax_over_parties(parties, range, sweep, options);
}

std::uint64_t doubles_for_pairs(const KroneckerShape& shape, Party party) {
  const std::uint64_t rows =
      share(shape.n1, party.number + 1, party.count) - share(shape.n1, party.number, party.count);
  const std::uint64_t keys = products::padded(keys_at_once(shape.n2, shape.d2));
  // X comes in a copy, and padded.
  return 2 * shape.d1 * products::padded(shape.d2) + rows * (shape.d2 + 3) + (shape.d2 + queries_at_once) * keys;
}

}  // namespace weir
