#include "weir/attention/calibration.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "attention/anisotropic_map.hpp"
#include "attention/calibration_law.hpp"
#include "attention/random_head.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

using test::fit;
using test::Head;
using test::random_head;

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

/// Points of a skewed law, with weights that add up to 1.
struct Law {
  std::vector<double> points;
  std::vector<double> weights;
};

Law skewed_law() {
  std::mt19937 words(7);
  std::gamma_distribution<double> gamma(2, 0.5);
  Law law;
  for (int t = 0; t < 300; ++t) {
    law.points.push_back(gamma(words) - 1);
    law.weights.push_back(t % 3 == 0 ? 2 : 1);
  }
  const double total = 400;
  for (double& weight : law.weights) weight /= total;
  return law;
}

TEST(Calibration, PolynomialsAreOrthonormalUnderTheirLaw) {
  const Law law = skewed_law();
  const Polynomials polynomials = orthonormal_polynomials(law.points, law.weights);
  constexpr std::size_t count = largest_degree + 1;
  std::vector<double> products(count * count, 0);
  std::vector<double> values(count);
  for (std::size_t t = 0; t < law.points.size(); ++t) {
    evaluate(polynomials, law.points[t], values);
    for (std::size_t a = 0; a < count; ++a) {
      for (std::size_t b = 0; b < count; ++b) products[a * count + b] += law.weights[t] * values[a] * values[b];
    }
  }
  for (std::size_t a = 0; a < count; ++a) {
    for (std::size_t b = 0; b < count; ++b) EXPECT_NEAR(products[a * count + b], a == b ? 1 : 0, 1e-8) << a << ' ' << b;
  }
}

// Gauss quadrature of n nodes is exact for polynomials of degree 2n - 1 (Gautschi 2004, theorem 1.45).
TEST(Calibration, QuadratureIsExactForPolynomialsUpToDegree27) {
  const Law law = skewed_law();
  const Polynomials polynomials = orthonormal_polynomials(law.points, law.weights);
  const double middle = (polynomials.low + polynomials.high) / 2;
  const double half = (polynomials.high - polynomials.low) / 2;
  const auto moment = [&](std::size_t degree, const auto& points, const auto& weights) {
    double sum = 0;
    for (std::size_t t = 0; t < points.size(); ++t) {
      sum += weights[t] * std::pow((points[t] - middle) / half, static_cast<double>(degree));
    }
    return sum;
  };
  for (std::size_t degree = 0; degree < 2 * quadrature_nodes; ++degree) {
    EXPECT_NEAR(moment(degree, polynomials.nodes, polynomials.node_values), moment(degree, law.points, law.weights),
                1e-12)
        << degree;
  }
  EXPECT_GT(std::abs(moment(2 * quadrature_nodes, polynomials.nodes, polynomials.node_values) -
                     moment(2 * quadrature_nodes, law.points, law.weights)),
            1e-12);
}

TEST(Calibration, OnePointHasPolynomialsOfAllDegrees) {
  for (const double point : {0.0, 3.5, -1e6}) {
    const Polynomials law = law_of_coordinate(std::vector<double>{point}, 0.25);
    EXPECT_LT(law.low, point);
    EXPECT_GT(law.high, point);
    for (const double beta : law.beta) EXPECT_GT(beta, 0.01 * (law.high - law.low));
  }
}

// All multi-indices, from the definition.
TEST(Calibration, FeaturesAreTheBestDownwardClosedSet) {
  constexpr std::uint32_t directions = 3;
  constexpr std::uint32_t degree = 4;
  RowMajorMatrix sizes(directions, degree);
  std::mt19937 words(3);
  std::uniform_real_distribution<double> step(0.1, 1);
  for (Eigen::Index i = 0; i < directions; ++i) {
    double size = 0;
    for (Eigen::Index a = 0; a < degree; ++a) sizes(i, a) = size -= step(words);
  }
  std::vector<double> all;
  for (std::uint32_t a = 0; a <= degree; ++a) {
    for (std::uint32_t b = 0; a + b <= degree; ++b) {
      for (std::uint32_t c = 0; a + b + c <= degree; ++c) {
        all.push_back((a > 0 ? sizes(0, a - 1) : 0) + (b > 0 ? sizes(1, b - 1) : 0) + (c > 0 ? sizes(2, c - 1) : 0));
      }
    }
  }
  ASSERT_EQ(all.size(), 35U);  // binomial(3 + 4, 4)
  std::sort(all.begin(), all.end(), std::greater<>());
  for (const std::size_t count : {1U, 2U, 10U, 34U, 35U, 99U}) {
    const std::vector<Feature> features = best_features(sizes, degree, count);
    ASSERT_EQ(features.size(), std::min<std::size_t>(count, 35));
    std::vector<std::vector<std::uint32_t>> indices{{0, 0, 0}};
    for (std::size_t t = 1; t < features.size(); ++t) {
      ASSERT_LT(features[t].parent, t);
      indices.push_back(indices[features[t].parent]);
      ASSERT_EQ(indices[t][features[t].direction], 0U);
      indices[t][features[t].direction] = features[t].degree;
    }
    const std::set<std::vector<std::uint32_t>> chosen(indices.begin(), indices.end());
    EXPECT_EQ(chosen.size(), features.size());
    for (std::size_t t = 0; t < indices.size(); ++t) {
      double size = 0;
      for (std::uint32_t i = 0; i < directions; ++i) {
        if (indices[t][i] == 0) continue;
        size += sizes(i, indices[t][i] - 1);
        std::vector<std::uint32_t> below = indices[t];
        --below[i];
        EXPECT_TRUE(chosen.contains(below));
      }
      EXPECT_NEAR(size, all[t], 1e-12);
    }
  }
}

TEST(Calibration, CoordinatesOfQueriesAndKeysHaveTheSameDiagonalCovariance) {
  const Head head = random_head(500, 6, 3, 1, 11);
  AnisotropicOptions options{.d = 6, .dv = 3, .budget = 1U << 16U};
  options.automatic = false;
  const CalibrationContent content = fit(options, head).map().content;
  ASSERT_EQ(content.directions, 6U);
  const auto covariance = [&](const std::vector<double>& rows, const RowMajorMatrix& map) {
    Eigen::MatrixXd coordinates = matrix_view(rows, head.rows(), head.d) * map.transpose();
    coordinates.rowwise() -= coordinates.colwise().mean().eval();
    return Eigen::MatrixXd(coordinates.transpose() * coordinates / static_cast<double>(head.rows()));
  };
  const Eigen::MatrixXd expected = content.spread.asDiagonal();
  // The covariances are regularised by 1e-6 of their mean variance.
  EXPECT_LT((covariance(head.keys, content.to_keys) - expected).norm(), 1e-4 * expected.norm());
  EXPECT_LT((covariance(head.queries, content.to_queries) - expected).norm(), 1e-4 * expected.norm());
  for (Eigen::Index i = 1; i < 6; ++i) EXPECT_LE(content.spread[i], content.spread[i - 1]);
  // Inner products are kept: to_queries is the inverse of to_keys, transposed.
  EXPECT_LT((content.to_queries.transpose() * content.to_keys - RowMajorMatrix::Identity(6, 6)).norm(), 1e-9);
}

TEST(Calibration, NumbersAreAllThatItConsistsOf) {
  const Head head = random_head(600, 5, 2, 2, 12);
  for (const std::uint32_t clusters : {1U, 8U}) {
    AnisotropicOptions options{.d = 5, .dv = 2, .budget = 1U << 14U, .seed = 0x123456789ABCDEFU};
    options.clusters = clusters;
    options.automatic = false;
    const AnisotropicCalibration calibration = fit(options, head);
    EXPECT_EQ(calibration, fit(options, head));
    EXPECT_EQ(calibration.bytes(), 4 * calibration.numbers().size());
    EXPECT_LE(calibration.numbers().size(), anisotropic_sizes(options).calibration_numbers);
    const AnisotropicCalibration again = AnisotropicCalibration::from_numbers(calibration.numbers());
    EXPECT_EQ(again, calibration);
    EXPECT_EQ(again.seed(), options.seed);
    EXPECT_EQ(again.features(), calibration.features());
    EXPECT_EQ(again.map().features, calibration.map().features);
    EXPECT_EQ(again.map().low, calibration.map().low);
    EXPECT_LE(calibration.bytes() +
                  4 * (calibration.clusters() * calibration.features() * 3 + calibration.exact_rows() * 9 + 4),
              options.budget);
  }
}

TEST(Calibration, WhatIsGivenIsTakenByTheAutomaticChoiceToo) {
  const Head head = random_head(1200, 5, 2, 2, 12);
  for (const std::uint32_t clusters : {1U, 3U, 100U, 256U}) {
    AnisotropicOptions options{.d = 5, .dv = 2, .budget = 1U << 16U};
    options.clusters = clusters;
    options.exact_rows = 7;
    const AnisotropicCalibration calibration = fit(options, head);
    // Clusters that no row is nearest to are left out, but these are few: all rows differ.
    EXPECT_LE(calibration.clusters(), clusters);
    EXPECT_GT(calibration.clusters(), clusters / 2);
    EXPECT_EQ(calibration.exact_rows(), 7U);
  }
}

TEST(Calibration, DamagedNumbersAreRefused) {
  const Head head = random_head(100, 3, 2, 1, 13);
  AnisotropicOptions options{.d = 3, .dv = 2, .budget = 4096};
  options.automatic = false;
  options.clusters = 2;
  const AnisotropicCalibration calibration = fit(options, head);
  const std::vector<double> numbers(calibration.numbers().begin(), calibration.numbers().end());
  for (std::size_t t = 0; t < numbers.size(); ++t) {
    for (const double bad : {nan, infinity, -infinity, 1e200}) {
      std::vector<double> damaged = numbers;
      damaged[t] = bad;
      EXPECT_THROW(static_cast<void>(AnisotropicCalibration::from_numbers(damaged)), InputError) << t << ' ' << bad;
    }
    // Others are refused, or are the numbers of some calibration: nothing worse happens.
    for (const double other : {-1.0, 0.0, 0.5, 1e9, 1e99, 4294967295.0}) {
      std::vector<double> damaged = numbers;
      damaged[t] = other;
      try {
        static_cast<void>(AnisotropicCalibration::from_numbers(damaged));
      } catch (const InputError&) {
      }
    }
  }
  for (std::size_t length = 0; length < numbers.size(); ++length) {
    EXPECT_THROW(static_cast<void>(AnisotropicCalibration::from_numbers(std::span(numbers).first(length))), InputError);
  }
  std::vector<double> longer = numbers;
  longer.push_back(0);
  EXPECT_THROW(static_cast<void>(AnisotropicCalibration::from_numbers(longer)), InputError);
}

TEST(Calibration, RefusesWhatCannotBe) {
  const auto refuses = [](AnisotropicOptions options, const std::string& what) {
    try {
      validate(options);
      ADD_FAILURE() << "not refused: " << what;
    } catch (const UsageError& error) {
      EXPECT_NE(std::string(error.what()).find(what), std::string::npos) << error.what();
    }
  };
  const AnisotropicOptions good{.d = 8, .dv = 8, .budget = 1U << 14U};
  validate(good);
  const auto with = [&](const auto& change) {
    AnisotropicOptions options = good;
    change(options);
    return options;
  };
  refuses(with([](auto& o) { o.d = 0; }), "d is 0");
  refuses(with([](auto& o) { o.dv = 5000; }), "dv is 5000");
  refuses(with([](auto& o) { o.budget = 200; }), "budget of 200 bytes is too small");
  refuses(with([](auto& o) { o.calibration_rows = 0; }), "calibration_rows is 0");
  refuses(with([](auto& o) { o.clusters = 0; }), "clusters is 0");
  refuses(with([](auto& o) { o.clusters = 257; }), "clusters is 257");
  refuses(with([](auto& o) { o.directions = 9; }), "directions is 9");
  refuses(with([](auto& o) { o.degree = 13; }), "degree is 13");
  refuses(with([](auto& o) { o.exact_rows = 300; }), "300 exact rows");
}

TEST(Calibration, RefusesRowsThatAreNotFiniteAndNamesThem) {
  Head head = random_head(20, 3, 2, 1, 14);
  const AnisotropicOptions options{.d = 3, .dv = 2};
  const auto refused = [&](std::vector<double>& numbers, std::size_t place, double bad, const std::string& what) {
    const double good = std::exchange(numbers[place], bad);
    try {
      static_cast<void>(fit(options, head));
      ADD_FAILURE() << "not refused: " << what;
    } catch (const InputError& error) {
      EXPECT_NE(std::string(error.what()).find(what), std::string::npos) << error.what();
    }
    numbers[place] = good;
  };
  refused(head.queries, 7, nan, "row 2 of queries");
  refused(head.keys, 11, infinity, "row 3 of keys");
  refused(head.values, 9, -1e13, "row 4 of values");
  EXPECT_THROW(static_cast<void>(AnisotropicCalibration::fit(options, head.queries, {}, {})), UsageError);
  EXPECT_THROW(static_cast<void>(AnisotropicCalibration::fit(options, std::span(head.queries).first(4), head.keys, {})),
               UsageError);
  EXPECT_THROW(static_cast<void>(AnisotropicCalibration::fit(options, {}, head.keys, std::span(head.values).first(4))),
               UsageError);
}

TEST(Calibration, CountsTheDirectionsInWhichScoresVary) {
  // q and k have independent coordinates of variance s_i: the spreads are s_i themselves.
  std::mt19937 words(5);
  std::normal_distribution<double> normal;
  constexpr std::size_t d = 30;
  constexpr std::size_t n = 4000;
  std::vector<double> queries;
  std::vector<double> keys;
  for (std::size_t t = 0; t < n * d; ++t) {
    const double deviation = std::sqrt(t % d < 23 ? 0.3 : 0.01);
    queries.push_back(deviation * normal(words));
    keys.push_back(deviation * normal(words));
  }
  AnisotropicOptions options{.d = d, .dv = 1, .budget = 1U << 18U};
  options.calibration_rows = n;
  options.automatic = false;
  EXPECT_EQ(AnisotropicCalibration::fit(options, queries, keys, {}).varied_directions(), 23U);
}

}  // namespace
}  // namespace weir
