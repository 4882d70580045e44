#include "attention/products.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "attention/heads.hpp"
#include "support/simd_targets.hpp"

namespace weir {
namespace {

using testing_support::gaussian;

std::vector<float> floats(std::size_t count, std::uint64_t seed) {
  const DenseMatrix numbers = gaussian(count, 1, 1, seed);
  return {numbers.values.begin(), numbers.values.end()};
}

// Expected sums are naive ones in doubles. Sums of n floats in any order are within n 2^-24 times the sum of magnitudes
// of them.

TEST(Products, AreTheNaiveSumsOnEveryInstructionSet) {
  weir::testing::for_each_simd_target([](const std::string& target) {
    for (const std::size_t count : {1U, 5U, 6U, 7U, 13U, 256U})
      for (const std::size_t stride : {16U, 32U, 48U, 256U})
        for (const std::size_t columns : {1U, 2U, 3U, 4U, 5U, 7U, 8U, 11U, 15U, 16U, 17U, 33U, 64U}) {
          const std::vector<float> features = floats(count * stride, 1);
          const std::size_t row_length = products::padded(columns);
          const std::vector<float> values = floats(stride * row_length, 2);
          const std::vector<float> before = floats(count * (columns + 1), 3);
          std::vector<float> sums = before;
          products::add_key_products(features.data(), count, stride, values.data(), columns, sums.data());
          for (std::size_t f = 0; f < count; ++f)
            for (std::size_t c = 0; c <= columns; ++c) {
              double sum = static_cast<double>(before[f * (columns + 1) + c]);
              double magnitude = std::abs(sum);
              for (std::size_t t = 0; t < stride; ++t) {
                const double term = static_cast<double>(features[f * stride + t]) *
                                    (c == 0 ? 1.0 : static_cast<double>(values[t * row_length + c - 1]));
                sum += term;
                magnitude += std::abs(term);
              }
              ASSERT_NEAR(static_cast<double>(sums[f * (columns + 1) + c]), sum, 1e-6 * magnitude)
                  << target << ' ' << columns;
            }
          const std::vector<float> m = floats(count * columns, 4);
          std::vector<double> out(columns * stride, 0.5);
          products::add_query_products(features.data(), count, stride, m.data(), columns, out.data());
          for (std::size_t c = 0; c < columns; ++c)
            for (std::size_t t = 0; t < stride; ++t) {
              double sum = 0.5;
              double magnitude = 0.5;
              for (std::size_t f = 0; f < count; ++f) {
                const double term =
                    static_cast<double>(features[f * stride + t]) * static_cast<double>(m[f * columns + c]);
                sum += term;
                magnitude += std::abs(term);
              }
              ASSERT_NEAR(out[c * stride + t], sum, 1e-6 * magnitude) << target << ' ' << columns;
            }
          std::vector<float> product(stride);
          products::multiply(features.data(), values.data(), stride, product.data());
          for (std::size_t t = 0; t < stride; ++t) ASSERT_EQ(product[t], features[t] * values[t]);
        }
  });
}

TEST(Products, OfDoublesAreTheNaiveSumsOnEveryInstructionSet) {
  weir::testing::for_each_simd_target([](const std::string& target) {
    for (const std::size_t rows : {1U, 6U, 8U})
      for (const std::size_t depth : {1U, 15U, 100U})
        for (const std::size_t columns : {1U, 2U, 3U, 4U, 5U, 8U, 9U, 15U, 16U, 17U, 40U}) {
          const std::size_t length = (columns + 7) / 8 * 8;
          const std::vector<double> a = gaussian(rows, depth, 1, 5).values;
          const std::vector<double> b = gaussian(depth, length, 1, 6).values;
          std::vector<double> c(rows * columns, 0.5);
          products::add_product({a.data(), depth}, {b.data(), length}, rows, depth, columns, c.data(), columns);
          for (std::size_t i = 0; i < rows; ++i)
            for (std::size_t j = 0; j < columns; ++j) {
              double sum = 0.5;
              for (std::size_t t = 0; t < depth; ++t) sum += a[i * depth + t] * b[t * length + j];
              ASSERT_NEAR(c[i * columns + j], sum, 1e-13) << target;
            }
        }
  });
}

TEST(Products, ExponentialsAreThoseOfTheLibrary) {
  weir::testing::for_each_simd_target([](const std::string& target) {
    for (const std::size_t count : {1U, 3U, 7U, 8U, 9U, 64U}) {
      std::vector<double> numbers(64 + 8, 5e300);
      const std::vector<double> some{3, 2.999999, -1, -50, -700, -706, -800, -2000, -1e300, -HUGE_VAL};
      for (std::size_t t = 0; t < count; ++t) numbers[t] = some[t % some.size()];
      const std::vector<double> before = numbers;
      const double sum = products::exponentials(numbers.data(), count, 3);
      double expected_sum = 0;
      for (std::size_t t = 0; t < count; ++t) {
        const double expected = before[t] < -705 ? 0.0 : std::exp(before[t] - 3);
        ASSERT_NEAR(numbers[t], expected, 1e-15 * expected) << target << ' ' << before[t];
        expected_sum += expected;
      }
      ASSERT_NEAR(sum, expected_sum, 1e-14 * expected_sum) << target;
    }
  });
}

}  // namespace
}  // namespace weir
