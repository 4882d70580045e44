#include "attention/anisotropic_kernels.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <random>
#include <vector>

#include "weir/sketch/aligned.hpp"

namespace weir::kernels {
namespace {

TEST(AnisotropicKernels, ProductsAgreeWithThePlainLoop) {
  std::mt19937 words(1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  for (const std::size_t rows : {1U, 5U, 6U, 13U, 64U}) {
    for (const std::size_t inner : {1U, 7U, 40U}) {
      for (const std::size_t columns : {1U, 8U, 9U, 16U, 17U, 65U}) {
        for (const bool is_transposed : {false, true}) {
          std::vector<float> left(rows * inner);
          for (float& number : left) number = uniform(words);
          const LeftFactor factor{left.data(), is_transposed ? 1 : inner, is_transposed ? rows : 1};
          AlignedVector<float> panels(panels_of(columns) * inner * panel_width, 0.0F);
          for (std::size_t j = 0; j < inner; ++j) {
            for (std::size_t c = 0; c < columns; ++c) {
              panels[(c / panel_width * inner + j) * panel_width + c % panel_width] = uniform(words);
            }
          }
          std::vector<float> out(rows * columns + 1, 0.5F);
          multiply_add(factor, rows, inner, panels.data(), columns, out.data(), columns);
          for (std::size_t i = 0; i < rows; ++i) {
            for (std::size_t c = 0; c < columns; ++c) {
              double expected = 0.5;
              for (std::size_t j = 0; j < inner; ++j) {
                expected += static_cast<double>(left[i * factor.row_step + j * factor.inner_step]) *
                            static_cast<double>(panels[(c / panel_width * inner + j) * panel_width + c % panel_width]);
              }
              EXPECT_NEAR(static_cast<double>(out[i * columns + c]), expected, 1e-5);
            }
          }
          EXPECT_EQ(out.back(), 0.5F);
        }
      }
    }
  }
}

TEST(AnisotropicKernels, ScoresAndSumsAgreeWithThePlainLoop) {
  constexpr std::size_t pitch = 32;
  constexpr std::size_t d = 5;
  AlignedVector<float> keys(d * pitch);
  for (std::size_t t = 0; t < keys.size(); ++t) keys[t] = static_cast<float>(std::sin(static_cast<double>(t)));
  const std::vector<double> query{0.1, -0.2, 0.3, 0.4, -0.5};
  std::vector<double> found(pitch);
  scores(keys.data(), pitch, d, query.data(), found.data());
  for (std::size_t j = 0; j < pitch; ++j) {
    double expected = 0;
    for (std::size_t e = 0; e < d; ++e) expected += query[e] * static_cast<double>(keys[e * pitch + j]);
    EXPECT_NEAR(found[j], expected, 1e-14);
  }
  std::vector<double> powers = found;
  exponentials(powers.data(), pitch, 0.25);
  for (std::size_t j = 0; j < pitch; ++j) EXPECT_NEAR(powers[j], std::exp(found[j] - 0.25), 1e-14);
  const std::vector<float> values(keys.begin(), keys.end());
  std::vector<double> sums(d, 1.0);
  add_weighted(powers.data(), values.data(), pitch, d, sums.data());
  for (std::size_t c = 0; c < d; ++c) {
    double expected = 1;
    for (std::size_t j = 0; j < pitch; ++j) expected += powers[j] * static_cast<double>(values[j * d + c]);
    EXPECT_NEAR(sums[c], expected, 1e-13);
  }
}

}  // namespace
}  // namespace weir::kernels
