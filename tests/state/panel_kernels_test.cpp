#include "state/panel_kernels.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "support/simd_targets.hpp"
#include "weir/sketch/aligned.hpp"

namespace weir::kernels {
namespace {

/// rows x columns real numbers, row after row, of which `zeros` out of 4 are zero.
std::vector<double> random_numbers(std::size_t rows, std::size_t columns, unsigned zeros, std::mt19937_64& random) {
  std::vector<double> values(rows * columns);
  for (double& value : values)
    value = random() % 4 < zeros ? 0 : std::ldexp(static_cast<double>(random() % 4096) - 2048.5, -7) / 3;
  return values;
}

AlignedVector<double> panels_of(const std::vector<double>& b, std::size_t d, std::size_t columns) {
  AlignedVector<double> panels(d * padded(columns));
  for (std::size_t j = 0; j < d; ++j) {
    for (std::size_t k = 0; k < columns; ++k) {
      const std::size_t first = k - k % panel_width;
      panels[first * d + j * panel_columns(first, columns) + k % panel_width] = b[j * columns + k];
    }
  }
  return panels;
}

struct Coefficients {
  AlignedVector<double> values;
  std::vector<std::vector<std::uint64_t>> columns;
  std::vector<std::span<const std::uint64_t>> groups;
  std::size_t rows, d;

  Coefficients(const std::vector<double>& matrix, std::size_t rows_, std::size_t d_)
      : values(rows_ * padded(d_)), rows(rows_), d(d_) {
    for (std::size_t t = 0; t < rows; ++t)
      for (std::size_t j = 0; j < d; ++j) values[t * padded(d) + j] = matrix[t * d + j];
    for (std::size_t t = 0; t < rows; t += rows_at_once) {
      std::vector<std::uint64_t>& found = columns.emplace_back(padded(d));
      found.resize(find_nonzero(values.data() + t * padded(d), std::min(rows_at_once, rows - t), d, found.data()));
    }
    groups.assign(columns.begin(), columns.end());
  }
};

TEST(PanelKernels, FindNonzeroColumnsOfAllRows) {
  testing::for_each_simd_target([](const std::string& target) {
    std::mt19937_64 random(1);
    for (const std::size_t d : {1u, 3u, 8u, 9u, 64u, 101u}) {
      for (const unsigned zeros : {0u, 2u, 4u}) {
        for (std::size_t rows = 1; rows <= rows_at_once; ++rows) {
          const std::vector<double> matrix = random_numbers(rows, d, zeros, random);
          std::vector<std::uint64_t> expected;
          for (std::size_t j = 0; j < d; ++j) {
            bool nonzero = false;
            for (std::size_t t = 0; t < rows; ++t) nonzero = nonzero || matrix[t * d + j] != 0;
            if (nonzero) expected.push_back(j);
          }
          EXPECT_EQ(Coefficients(matrix, rows, d).columns.at(0), expected) << target << ", d = " << d;
        }
      }
    }
  });
}

TEST(PanelKernels, SumsHaveTheSameBitsInAnyCompany) {
  // Every target fuses all of its sums or none, whatever the number of rows and of columns.
  testing::for_each_simd_target([](const std::string& target) {
    std::mt19937_64 random(2);
    bool all_fused = true, all_separate = true;
    for (const std::size_t d : {1u, 3u, 17u, 64u}) {
      for (const std::size_t columns : {1u, 5u, 8u, 9u, 16u, 27u, 32u, 33u, 64u, 72u, 130u}) {
        const std::vector<double> b = random_numbers(d, columns, 0, random);
        const AlignedVector<double> panels = panels_of(b, d, columns);
        for (const std::size_t rows : {1u, 2u, 3u, 4u, 5u, 7u, 11u, 13u, 16u}) {
          const std::vector<double> matrix = random_numbers(rows, d, static_cast<unsigned>(rows % 4), random);
          const Coefficients coefficients(matrix, rows, d);
          const std::size_t stride = padded(columns) + line_width;
          AlignedVector<double> out(rows * stride, 7.0);
          multiply_panels(panels.data(), columns, {coefficients.values.data(), rows, d, coefficients.groups},
                          out.data(), stride);
          for (std::size_t t = 0; t < rows; ++t) {
            for (std::size_t k = 0; k < columns; ++k) {
              double fused = 0, separate = 0;
              for (std::size_t j = 0; j < d; ++j) {
                const volatile double product = matrix[t * d + j] * b[j * columns + k];  // rounded
                separate += product;
                fused = std::fma(matrix[t * d + j], b[j * columns + k], fused);
              }
              all_fused = all_fused && out[t * stride + k] == fused;
              all_separate = all_separate && out[t * stride + k] == separate;
            }
            for (std::size_t k = columns; k < stride; ++k)
              ASSERT_EQ(out[t * stride + k], k < padded(columns) ? 0.0 : 7.0) << target;
          }
        }
      }
    }
    EXPECT_NE(all_fused, all_separate) << target;
  });
}

}  // namespace
}  // namespace weir::kernels
