#include "attention/anisotropic_kernels.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "weir/sketch/aligned.hpp"

namespace weir::kernels {
namespace {

TEST(AnisotropicKernels, ProductsAgreeWithThePlainLoop) {
  std::mt19937 words(1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  for (const std::size_t rows : {1U, 5U, 6U, 13U, 23U, 64U}) {
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
          multiply_add(factor, rows, inner, {panels.data(), inner * panel_width}, columns, out.data(), columns);
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
  for (const std::size_t count : {1U, 3U, 4U, 9U, 32U}) {
    EXPECT_EQ(largest(found.data(), count), *std::max_element(found.begin(), found.begin() + static_cast<int>(count)));
  }
  for (const std::size_t columns : {1U, 3U, 5U, 15U, 16U, 47U, 64U}) {
    std::vector<float> values(pitch * columns);
    for (std::size_t t = 0; t < values.size(); ++t) values[t] = static_cast<float>(std::cos(static_cast<double>(t)));
    std::vector<double> sums(columns, 1.0);
    add_weighted(powers.data(), values.data(), pitch, columns, sums.data());
    for (std::size_t c = 0; c < columns; ++c) {
      double expected = 1;
      for (std::size_t j = 0; j < pitch; ++j) expected += powers[j] * static_cast<double>(values[j * columns + c]);
      EXPECT_NEAR(sums[c], expected, 1e-13);
    }
  }
  std::vector<double> weighted = powers;
  double sum = 0;
  for (std::size_t j = 0; j < pitch; ++j) sum += powers[j] * found[j];
  EXPECT_NEAR(weigh(weighted.data(), found.data(), pitch), sum, 1e-13);
  for (std::size_t j = 0; j < pitch; ++j) EXPECT_EQ(weighted[j], powers[j] * found[j]);
}

TEST(AnisotropicKernels, CoefficientsOfPowersAreThoseOfTheDifference) {
  constexpr std::size_t pitch = 16;
  constexpr std::size_t degree = 3;
  const std::vector<double> nodes{-2, -0.5, 0.25, 3};
  std::vector<double> weights((degree + 1) * nodes.size());
  for (std::size_t t = 0; t < weights.size(); ++t) weights[t] = t < 4 ? 0.25 : std::sin(static_cast<double>(t));
  const Quadrature quadrature{nodes.data(), weights.data(), nodes.size()};
  std::vector<double> q(pitch);
  for (std::size_t j = 0; j < pitch; ++j) q[j] = 2 * static_cast<double>(j) - 15;
  for (const double centre : {-20.0, 0.0, 7.5}) {
    std::vector<double> about(pitch);
    for (std::size_t j = 0; j < pitch; ++j) about[j] = q[j] - centre;
    AlignedVector<float> expected(degree * pitch);
    AlignedVector<float> lanes(degree * pitch);
    std::vector<double> logs(pitch, 0.0), energies(pitch, 0.0), expected_logs(pitch, 0.0),
        expected_energies(pitch, 0.0);
    coefficients(quadrature, degree, about.data(), expected.data(), {expected_logs.data(), expected_energies.data()},
                 pitch);
    std::vector<double> powers(nodes.size() * pitch);
    std::vector<double> shifts(pitch);
    node_powers(quadrature, q.data(), powers.data(), shifts.data(), pitch);
    const double shift = std::max(-centre * nodes.front(), -centre * nodes.back());
    std::vector<double> centre_powers;
    for (const double node : nodes) centre_powers.push_back(std::exp(-centre * node - shift));
    coefficients_of_powers(quadrature, degree, {powers.data(), shifts.data()}, centre_powers.data(), shift,
                           lanes.data(), {logs.data(), energies.data()}, pitch);
    for (std::size_t j = 0; j < pitch; ++j) {
      EXPECT_NEAR(logs[j], expected_logs[j], 1e-12 * (1 + std::abs(expected_logs[j])));
      EXPECT_NEAR(energies[j], expected_energies[j], 1e-12);
      for (std::size_t a = 0; a < degree; ++a) {
        EXPECT_NEAR(static_cast<double>(lanes[a * pitch + j]), static_cast<double>(expected[a * pitch + j]), 1e-6);
      }
    }
  }
}

TEST(AnisotropicKernels, SumsOfLanesAgreeWithThePlainLoop) {
  constexpr std::size_t pitch = 48;
  constexpr std::size_t count = 3;
  AlignedVector<float> lanes(count * pitch);
  for (std::size_t t = 0; t < lanes.size(); ++t) lanes[t] = static_cast<float>(std::sin(static_cast<double>(t)));
  std::vector<float> out(count * 2, 0.5F);
  add_lane_sums(lanes.data(), count, pitch, out.data(), 2);
  for (std::size_t t = 0; t < count; ++t) {
    double expected = 0.5;
    for (std::size_t j = 0; j < pitch; ++j) expected += static_cast<double>(lanes[t * pitch + j]);
    EXPECT_NEAR(static_cast<double>(out[2 * t]), expected, 1e-5);
    EXPECT_EQ(out[2 * t + 1], 0.5F);
  }
  // What rounding takes is kept: 2^-24 is half of what 1 can be told from.
  AlignedVector<float> small(pitch, 0.0F);
  small[7] = 0x1p-24F;
  std::vector<float> sum{1.0F};
  std::vector<float> lost{0.0F};
  for (int t = 0; t < 1024; ++t) add_lane_sums(small.data(), 1, pitch, sum.data(), 1, lost.data());
  EXPECT_EQ(sum[0], 1 + 0x1p-14F);
}

TEST(AnisotropicKernels, ProjectionsAgreeWithThePlainLoop) {
  for (const std::size_t d : {1U, 5U, 15U}) {
    for (const std::size_t width : {4U, 8U, 12U, 20U}) {
      constexpr std::size_t count = 8;
      constexpr std::size_t pitch = 24;
      std::vector<double> rows(count * d);
      for (std::size_t t = 0; t < rows.size(); ++t) rows[t] = std::sin(static_cast<double>(t));
      AlignedVector<double> map(d * width);
      for (std::size_t t = 0; t < map.size(); ++t) map[t] = std::cos(static_cast<double>(t));
      std::vector<double> projections(count * width);
      project(rows.data(), count, d, map.data(), width, projections.data());
      const std::size_t used = width - 1;
      std::vector<double> lanes(used * pitch, 7.0);
      to_lanes(projections.data(), count, width, used, lanes.data(), pitch);
      std::vector<std::uint32_t> which(count);
      std::vector<double> dot(count);
      const std::vector<double> minus{1, 2, 3};
      for (std::size_t j = 0; j < count; ++j) which[j] = static_cast<std::uint32_t>(j % 3);
      dots(rows.data(), count, d, map.data(), which.data(), minus.data(), dot.data());
      for (std::size_t j = 0; j < count; ++j) {
        for (std::size_t i = 0; i < used; ++i) {
          double expected = 0;
          for (std::size_t e = 0; e < d; ++e) expected += rows[j * d + e] * map[e * width + i];
          EXPECT_NEAR(projections[j * width + i], expected, 1e-13);
          EXPECT_EQ(lanes[i * pitch + j], projections[j * width + i]);
        }
        double expected = -minus[which[j]];
        for (std::size_t e = 0; e < d; ++e) expected += rows[j * d + e] * map[which[j] * d + e];
        EXPECT_NEAR(dot[j], expected, 1e-13);
      }
      EXPECT_EQ(lanes[count], 7.0);
    }
  }
}

TEST(AnisotropicKernels, NearestCentresAgreeWithThePlainLoop) {
  constexpr std::size_t count = 32;
  constexpr std::size_t directions = 3;
  std::vector<double> x(directions * count);
  for (std::size_t t = 0; t < x.size(); ++t) x[t] = std::sin(static_cast<double>(t));
  const std::vector<double> roots{2.0, 1.0, 0.5};
  for (const std::size_t centres : {1U, 2U, 4U, 7U}) {
    std::vector<double> scaled(centres * directions);
    for (std::size_t t = 0; t < scaled.size(); ++t) scaled[t] = std::cos(static_cast<double>(7 * t));
    // The last two are equal: the first of them is taken.
    for (std::size_t i = 0; centres > 1 && i < directions; ++i) {
      scaled[(centres - 1) * directions + i] = scaled[(centres - 2) * directions + i];
    }
    std::vector<std::uint32_t> numbers(count, 99);
    std::vector<float> radii(count);
    nearest({roots.data(), scaled.data(), centres, directions}, x.data(), count, count, numbers.data(), radii.data());
    for (std::size_t j = 0; j < count; ++j) {
      std::uint32_t expected = 0;
      double least = 1e308;
      for (std::size_t c = 0; c < centres; ++c) {
        double sum = 0;
        for (std::size_t i = 0; i < directions; ++i) {
          sum += std::pow(roots[i] * x[i * count + j] - scaled[c * directions + i], 2);
        }
        if (sum < least - 1e-12) {
          least = sum;
          expected = static_cast<std::uint32_t>(c);
        }
      }
      EXPECT_EQ(numbers[j], expected);
      EXPECT_NEAR(static_cast<double>(radii[j]), least, 1e-6 * least);
    }
  }
}

TEST(AnisotropicKernels, PolynomialsFollowTheirRecurrence) {
  constexpr std::size_t pitch = 16;
  constexpr std::size_t degree = 5;
  std::vector<double> steps;
  for (std::size_t a = 0; a < degree; ++a) {
    const auto number = static_cast<double>(a);
    steps.insert(steps.end(), {1 + 0.1 * number, 0.2 - 0.1 * number, 0.3 * number});
  }
  std::vector<double> x(pitch);
  for (std::size_t j = 0; j < pitch; ++j) x[j] = 0.25 * static_cast<double>(j);
  AlignedVector<float> lanes(degree * pitch);
  polynomials({steps.data(), 1.5, -1, 2}, degree, x.data(), lanes.data(), pitch);
  for (std::size_t j = 0; j < pitch; ++j) {
    const double at = std::min(std::max(x[j] - 1.5, -1.0), 2.0);
    double before = 0;
    double current = 1;
    for (std::size_t a = 0; a < degree; ++a) {
      const double next = (steps[3 * a] * at + steps[3 * a + 1]) * current - steps[3 * a + 2] * before;
      before = current;
      current = next;
      EXPECT_NEAR(static_cast<double>(lanes[a * pitch + j]), current, 1e-6 * (1 + std::abs(current)));
    }
  }
}

TEST(AnisotropicKernels, NumbersAreRoundedAndChecked) {
  constexpr double limit = 1e12;
  for (const std::size_t columns : {1U, 2U, 3U, 4U, 7U, 8U, 15U, 16U, 17U, 33U, 64U}) {
    for (const bool after_one : {false, true}) {
      constexpr std::size_t count = 7;
      const std::size_t step = count * panel_width;
      std::vector<double> rows(count * columns);
      for (std::size_t t = 0; t < rows.size(); ++t) rows[t] = std::sin(static_cast<double>(t));
      rows[0] = -0.0;
      const auto round = [&](AlignedVector<float>& panels, std::vector<float>& low, std::vector<float>& high) {
        return round_values(rows.data(), count, columns, after_one, limit, panels.data(), step, low.data(),
                            high.data());
      };
      AlignedVector<float> panels(panels_of(columns + 1) * step, 5.0F);
      std::vector<float> low(columns, 1e30F);
      std::vector<float> high(columns, -1e30F);
      EXPECT_TRUE(round(panels, low, high));
      const std::size_t shift = after_one ? 1 : 0;
      const auto at = [&](std::size_t j, std::size_t c) {
        return panels[c / panel_width * step + j * panel_width + c % panel_width];
      };
      std::vector<double> keys(rows.size());
      EXPECT_TRUE(round_keys(rows.data(), rows.size(), limit, keys.data()));
      EXPECT_FALSE(std::signbit(keys[0]));
      EXPECT_FALSE(std::signbit(at(0, shift)));
      for (std::size_t c = 0; c < columns; ++c) {
        float least = 1e30F;
        float largest = -1e30F;
        for (std::size_t j = 0; j < count; ++j) {
          const auto expected = static_cast<float>(rows[j * columns + c]);
          EXPECT_EQ(at(j, c + shift), expected) << columns << ' ' << c;
          EXPECT_EQ(keys[j * columns + c], static_cast<double>(expected));
          least = std::min(least, expected);
          largest = std::max(largest, expected);
        }
        EXPECT_EQ(low[c], least);
        EXPECT_EQ(high[c], largest);
      }
      for (std::size_t j = 0; j < count; ++j) {
        if (after_one) {
          EXPECT_EQ(at(j, 0), 1.0F);
        }
        for (std::size_t c = columns + shift; c < panels_of(columns + 1) * panel_width; ++c) EXPECT_EQ(at(j, c), 5.0F);
      }
      // Every place is checked.
      for (std::size_t t = 0; t < rows.size(); ++t) {
        for (const double bad : {std::nan(""), 1.0001e12, -1.0001e12, -HUGE_VAL}) {
          const double before = std::exchange(rows[t], bad);
          EXPECT_FALSE(round(panels, low, high)) << columns << ' ' << t << ' ' << bad;
          EXPECT_FALSE(round_keys(rows.data(), rows.size(), limit, keys.data()));
          rows[t] = before;
        }
      }
    }
  }
}

}  // namespace
}  // namespace weir::kernels
