#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "weir/attention/rows_view.hpp"
#include "weir/dense_matrix.hpp"

namespace weir::testing_support {

/// rows x columns independent Gaussian numbers with this deviation, the same on every machine: sums of 12
/// uniform numbers, as std::normal_distribution differs between libraries.
inline DenseMatrix gaussian(std::uint64_t rows, std::uint64_t columns, double deviation, std::uint64_t seed) {
  std::mt19937_64 words(seed);
  DenseMatrix matrix{rows, columns, std::vector<double>(rows * columns)};
  for (double& entry : matrix.values) {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += std::ldexp(static_cast<double>(words() >> 11U), -53);
    entry = deviation * sum;
  }
  return matrix;
}

/// Softmax attention by its definition, in long doubles, one query after the other.
inline DenseMatrix naive_attention(const DenseMatrix& q, const DenseMatrix& k, const DenseMatrix& v,
                                   bool causal = false, std::uint64_t window = 0) {
  DenseMatrix out{q.rows, v.columns, std::vector<double>(q.rows * v.columns)};
  for (std::uint64_t i = 0; i < q.rows; ++i) {
    const std::uint64_t end = causal ? i + 1 : k.rows;
    const std::uint64_t first = window == 0 || end < window ? 0 : end - window;
    std::vector<long double> scores(k.rows, 0.0L);
    long double maximum = -1e4000L;
    for (std::uint64_t j = first; j < end; ++j) {
      for (std::uint64_t c = 0; c < q.columns; ++c)
        scores[j] += static_cast<long double>(q.values[i * q.columns + c]) * k.values[j * k.columns + c];
      maximum = std::max(maximum, scores[j]);
    }
    long double denominator = 0;
    std::vector<long double> numerator(v.columns, 0.0L);
    for (std::uint64_t j = first; j < end; ++j) {
      const long double weight = std::exp(scores[j] - maximum);
      denominator += weight;
      for (std::uint64_t c = 0; c < v.columns; ++c) numerator[c] += weight * v.values[j * v.columns + c];
    }
    for (std::uint64_t c = 0; c < v.columns; ++c)
      out.values[i * v.columns + c] = static_cast<double>(numerator[c] / denominator);
  }
  return out;
}

/// ||a - b||_F / ||b||_F.
inline double frobenius_distance(const DenseMatrix& a, const DenseMatrix& b) {
  double difference = 0;
  double size = 0;
  for (std::size_t t = 0; t < b.values.size(); ++t) {
    difference += (a.values[t] - b.values[t]) * (a.values[t] - b.values[t]);
    size += b.values[t] * b.values[t];
  }
  return std::sqrt(difference / size);
}

inline double largest_difference(const DenseMatrix& a, const DenseMatrix& b) {
  double largest = 0;
  for (std::size_t t = 0; t < b.values.size(); ++t) largest = std::max(largest, std::abs(a.values[t] - b.values[t]));
  return largest;
}

inline DenseMatrix rows_of(const DenseMatrix& matrix, std::uint64_t first, std::uint64_t count) {
  const auto begin = matrix.values.begin() + static_cast<std::ptrdiff_t>(first * matrix.columns);
  return {count, matrix.columns, {begin, begin + static_cast<std::ptrdiff_t>(count * matrix.columns)}};
}

}  // namespace weir::testing_support
