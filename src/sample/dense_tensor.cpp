#include "weir/sample/dense_tensor.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <tuple>

#include "matrix_view.hpp"
#include "sample/row_norms.hpp"
#include "sample/running_sum.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

/// floor(log2) of the largest magnitude, or nothing when all values are zero. Throws InputError when a value, an entry of
/// `name`, is not finite: every event is finite, so a sum of events has overflowed.
std::optional<int> exponent_of_largest(std::span<const double> values, std::uint64_t columns, const std::string& name) {
  double largest = 0;
  for (std::size_t k = 0; k < values.size(); ++k) {
    if (!std::isfinite(values[k]))
      throw InputError(fmt::format("the sum of the changes of entry ({}, {}) of {} overflows a double", k / columns,
                                   k % columns, name));
    largest = std::max(largest, std::abs(values[k]));
  }
  return largest > 0 ? std::optional(std::ilogb(largest)) : std::nullopt;
}

/// Z times G along one of its indices: `size` values of it, which G maps, with `inner` entries of Z each.
void multiply_index(std::vector<double>& z, std::uint64_t size, std::uint64_t inner, const RowMajorMatrix& gram) {
  if (inner == 1) {  // the last index: all at once
    const auto rows = matrix_view(z, z.size() / size, size);
    z = to_dense_matrix(rows * gram).values;
    return;
  }
  const std::size_t slab = static_cast<std::size_t>(size * inner);
  for (std::size_t first = 0; first < z.size(); first += slab) {
    const std::vector<double> product =
        to_dense_matrix(gram * matrix_view(std::span(z).subspan(first, slab), size, inner)).values;
    std::ranges::copy(product, z.begin() + static_cast<std::ptrdiff_t>(first));
  }
}

}  // namespace

DenseTensor::DenseTensor(std::span<const std::uint64_t> rows, std::span<const std::uint64_t> columns) {
  if (rows.empty() || rows.size() > 8 || rows.size() != columns.size())
    throw UsageError(
        fmt::format("{} factors with columns of {}: expected 1 to 8 factors", rows.size(), columns.size()));
  std::uint64_t entries = 1;
  for (std::size_t q = 0; q < rows.size(); ++q) {
    factors.emplace_back(rows[q], columns[q], rows.size() == 1 ? "A" : fmt::format("A{}", q + 1));
    if (columns[q] > std::numeric_limits<std::size_t>::max() / (2 * sizeof(double)) / entries)
      throw UsageError("X has more entries than a dense matrix may have, 2^59: expected fewer columns of the factors");
    entries *= columns[q];
  }
  x.resize(entries);
}

std::vector<double> DenseTensor::core() const {
  if (x_events > 0) {
    std::ignore = exponent_of_largest(x, factors.back().columns(), "X");
    return x;
  }
  const std::uint64_t d = factors.front().columns();
  if (factors.size() != 2 || factors[1].columns() != d)
    throw InputError(
        "there was no event of X, and it cannot be the identity: expected events of X, or two factors of as many "
        "columns");
  std::vector<double> identity(x.size());
  for (std::uint64_t j = 0; j < d; ++j) identity[j * (d + 1)] = 1;
  return identity;
}

TensorSampler::TensorSampler(const DenseTensor& operands) : operands_(&operands), core_(operands.core()) {
  const std::optional<int> core_exponent = exponent_of_largest(core_, operands.factors.back().columns(), "X");
  for (double& entry : core_) entry = std::ldexp(entry, -core_exponent.value_or(0));
  exponent_ = core_exponent.value_or(0);
  bool is_zero = !core_exponent;
  for (const DenseOperand& a : operands.factors) {
    const std::optional<int> largest = exponent_of_largest(a.table(), a.columns(), a.name());
    is_zero = is_zero || !largest;
    // The unit, too, has to be a double.
    const int exponent = std::clamp(largest.value_or(0), -1000, 1000);
    units_.push_back(std::ldexp(1.0, -exponent));
    exponent_ += exponent;
  }
  if (is_zero) return;  // y = 0: no need for the Gram matrices and the lengths, O(n d^2)
  for (std::size_t q = 0; q < operands.factors.size(); ++q)
    grams_.push_back(q == 0 ? DenseMatrix{} : scaled_gram(operands.factors[q], units_[q]));
  lengths_ = lengths(0, core_);
  const RunningSum masses(lengths_, 2);
  norm_ = std::ldexp(std::sqrt(masses.total()), masses.exponent() + exponent_);
  if (!std::isfinite(norm_)) throw InputError("the values are too large: ||y|| overflows a double; scale them down");
  if (masses.total() > 0 && norm_ < std::numeric_limits<double>::min())
    throw InputError("the values are too small: ||y|| underflows; scale them up");
}

/// X contracted with row i of A_q: Z without its first index.
std::vector<double> TensorSampler::contract(std::size_t q, std::span<const double> z, std::uint64_t i) const {
  const DenseOperand& a = operands_->factors[q];
  const auto row = matrix_view(a.row(i), 1, a.columns());
  return to_dense_matrix(units_[q] * (row * matrix_view(z, a.columns(), z.size() / a.columns()))).values;
}

/// Roots of the masses of the rows of A_q.
std::vector<double> TensorSampler::lengths(std::size_t q, std::span<const double> z) const {
  const DenseOperand& a = operands_->factors[q];
  const std::uint64_t inner = z.size() / a.columns();
  DenseMatrix factor{a.columns(), 1, {z.begin(), z.end()}};
  if (q + 1 < operands_->factors.size()) {
    std::vector<double> product(z.begin(), z.end()), terms(z.size());
    std::ranges::transform(z, terms.begin(), [](double entry) { return std::abs(entry); });
    const std::vector<double> magnitudes = terms;
    std::uint64_t rest = inner;
    for (std::size_t k = q + 1; k < operands_->factors.size(); ++k) {
      const std::uint64_t d = operands_->factors[k].columns();
      rest /= d;
      multiply_index(product, d, rest, matrix_view(grams_[k]));
      multiply_index(terms, d, rest, matrix_view(grams_[k]).cwiseAbs());
    }
    const auto unfolded = matrix_view(z, a.columns(), inner);
    const Eigen::VectorXd sums = matrix_view(terms, a.columns(), inner)
                                     .cwiseProduct(matrix_view(magnitudes, a.columns(), inner))
                                     .rowwise()
                                     .sum();
    factor = Metric::of_sums(to_dense_matrix(unfolded * matrix_view(product, a.columns(), inner).transpose()),
                             {sums.data(), static_cast<std::size_t>(sums.size())})
                 .factor();
  }
  for (double& entry : factor.values) entry *= units_[q];
  std::vector<double> result(a.rows());
  row_norms(a, factor, result);
  return result;
}

double TensorSampler::value(std::span<const std::uint64_t> indices) const {
  const std::vector<DenseOperand>& factors = operands_->factors;
  if (indices.size() != factors.size())
    throw UsageError(fmt::format("{} indices of an entry of y, expected {}", indices.size(), factors.size()));
  std::vector<double> z = core_;
  for (std::size_t q = 0; q < factors.size(); ++q) {
    if (indices[q] >= factors[q].rows())
      throw UsageError(
          fmt::format("index {} is outside {} of {} rows", indices[q], factors[q].name(), factors[q].rows()));
    z = contract(q, z, indices[q]);
  }
  return std::ldexp(z.front(), exponent_);
}

/// Draws index after index, all that have drawn the same so far together.
class TensorSampler::Descent {
 public:
  Descent(const TensorSampler& sampler, std::uint64_t seed, std::vector<TensorDraw>& draws)
      : sampler_(sampler), uniforms_(seed), draws_(draws), factors_(sampler.operands_->factors.size()) {}

  /// Draws index q, and all that follow, of the draws `which`, whose earlier indices have left Z of X.
  void draw(std::size_t q, std::span<const double> z, std::span<const double> lengths, std::span<std::uint32_t> which) {
    const RunningSum masses(lengths, 2);
    if (!(masses.total() > 0)) return;
    const auto index = [&](std::uint32_t t) -> std::uint64_t& { return draws_[t].indices[q]; };
    for (const std::uint32_t t : which)
      index(t) = masses.invert(uniforms_(std::uint64_t{t} * factors_ + q) * masses.total());
    std::ranges::sort(which, {}, index);
    for (auto first = which.begin(); first != which.end();) {
      const auto last = std::find_if(first, which.end(), [&](std::uint32_t t) { return index(t) != index(*first); });
      const std::vector<double> rest = sampler_.contract(q, z, index(*first));
      if (q + 1 == factors_) {
        const double value = std::ldexp(rest.front(), sampler_.exponent_);
        const double share = value / sampler_.norm_;
        for (auto t = first; t != last; ++t) {
          draws_[*t].value = value;
          draws_[*t].probability = std::min(1.0, share * share);
        }
      } else {
        draw(q + 1, rest, sampler_.lengths(q + 1, rest), {first, last});
      }
      first = last;
    }
  }

 private:
  const TensorSampler& sampler_;
  Uniforms uniforms_;
  std::vector<TensorDraw>& draws_;
  std::size_t factors_;
};

std::vector<TensorDraw> TensorSampler::draw(std::uint32_t samples, std::uint64_t seed) const {
  std::vector<TensorDraw> draws(samples, {.indices = std::vector<std::uint64_t>(operands_->factors.size())});
  std::vector<std::uint32_t> all(samples);
  std::iota(all.begin(), all.end(), 0U);
  Descent(*this, seed, draws).draw(0, core_, lengths_, all);
  std::erase_if(draws, [](const TensorDraw& draw) { return draw.value == 0; });
  return draws;
}

SampleResult draw_pairs(const DenseTensor& operands, const DenseDrawOptions& options) {
  if (options.p != 2.0) throw UsageError(fmt::format("p is {}: entries of A1 X A2^T are drawn with p = 2", options.p));
  if (operands.factors.size() != 2)
    throw UsageError(fmt::format("pairs are drawn from 2 factors, not {}", operands.factors.size()));
  const TensorSampler sampler(operands);
  SampleResult result;
  result.norm = sampler.norm();
  result.zero_vector = !(sampler.norm() > 0);
  for (const TensorDraw& draw : sampler.draw(options.samples, options.seed)) {
    result.draws.push_back({.lane = static_cast<std::uint32_t>(result.draws.size() + 1),
                            .index = draw.indices[0],
                            .value = draw.value,
                            .probability = draw.probability,
                            .value_bound = 0.0,
                            .probability_bound = 0.0,
                            .inclusion = std::nullopt,
                            .column = draw.indices[1]});
  }
  return result;
}

}  // namespace weir
