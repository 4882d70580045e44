#include "weir/attention/polynomial.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <utility>

#include "attention/products.hpp"
#include "attention/views.hpp"
#include "log_gamma.hpp"
#include "weir/attention/exact.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

constexpr std::uint32_t highest_degree = 64;
constexpr std::size_t vector_rows = products::padding;
constexpr std::uint64_t scratch_target = std::uint64_t{16} << 20U;

/// a * b; no value when that is 2^63 or more.
std::optional<std::uint64_t> product(std::uint64_t a, std::uint64_t b) {
  std::uint64_t out = 0;
  if (__builtin_mul_overflow(a, b, &out) || out >> 63U != 0) return std::nullopt;
  return out;
}

/// C(d + g, g); no value when it is 2^63 or more.
std::optional<std::uint64_t> count_features(std::uint64_t d, std::uint32_t g) {
  std::uint64_t count = 1;
  for (std::uint64_t i = 1; i <= g; ++i) {
    // count is C(d + i - 1, i - 1), and count (d + i) / i a whole number. Common factors are divided out first.
    if (d > (std::uint64_t{1} << 63U) - i) return std::nullopt;
    const std::uint64_t common = std::gcd(count, i);
    const auto next = product(count / common, (d + i) / (i / common));
    if (!next) return std::nullopt;
    count = *next;
  }
  return count;
}

std::optional<std::uint64_t> state_bytes(std::uint64_t features, std::uint64_t value_columns) {
  if (value_columns >> 62U != 0) return std::nullopt;
  const auto numbers = product(features, value_columns + 1);
  return numbers ? product(*numbers, sizeof(float)) : std::nullopt;
}

std::uint64_t parents_of(const PolynomialConfig& config) {
  return config.degree == 0 ? 0 : polynomial_feature_count(config.dimension, config.degree - 1);
}

std::size_t block_of(std::uint64_t parents) {
  const std::uint64_t rows = scratch_target / sizeof(float) / std::max<std::uint64_t>(parents, 1);
  return std::clamp<std::size_t>(rows / vector_rows * vector_rows, vector_rows, PolynomialFeatures::largest_block);
}

double largest_centred_norm(RowsView rows, std::span<const double> centre) {
  double largest = 0;
  for (std::uint64_t i = 0; i < rows.rows; ++i) {
    double squares = 0;
    for (std::uint64_t c = 0; c < rows.columns; ++c) {
      const double x = rows.row(i)[c] - (centre.empty() ? 0.0 : centre[c]);
      squares += x * x;
    }
    largest = std::max(largest, squares);
  }
  return std::sqrt(largest);
}

}  // namespace

std::uint64_t polynomial_feature_count(std::uint64_t dimension, std::uint32_t degree) {
  require_at_least({"polynomial_feature_count", "dimension", "the smallest"}, dimension, 1);
  if (const auto count = count_features(dimension, degree)) return *count;
  throw UsageError(
      fmt::format("polynomial features: of {} dimensions and degree {} there are 2^63 or more", dimension, degree));
}

std::string polynomial_size_table(std::uint64_t dimension, std::uint64_t value_columns, std::uint32_t highest) {
  std::string table;
  for (std::uint32_t degree = 1; degree <= highest; ++degree) {
    const auto count = count_features(dimension, degree);
    const auto bytes = count ? state_bytes(*count, value_columns) : std::nullopt;
    if (!bytes) {
      table += fmt::format("{}g = {}: too many to count", degree == 1 ? "" : "; ", degree);
      break;
    }
    table += fmt::format("{}g = {}: r = {}, {} bytes", degree == 1 ? "" : "; ", degree, *count, *bytes);
  }
  return table;
}

void require_polynomial_fits(std::uint64_t dimension, std::uint32_t degree, std::uint64_t value_columns,
                             std::uint64_t bytes) {
  const auto count = count_features(dimension, degree);
  const auto needed = count ? state_bytes(*count, value_columns) : std::nullopt;
  if (needed && *needed <= bytes) return;
  throw UsageError(
      fmt::format("polynomial features: a state of dimension {}, degree {} and values of {} columns needs {} bytes, of "
                  "which there are {}; {}",
                  dimension, degree, value_columns, needed ? std::to_string(*needed) : "2^63 or more", bytes,
                  polynomial_size_table(dimension, value_columns)));
}

double taylor_relative_error(double range, std::uint32_t degree) {
  if (!(range >= 0)) throw UsageError(fmt::format("taylor_relative_error: range is {}, expected 0 or more", range));
  if (range == 0) return 0;
  const double next = static_cast<double>(degree) + 1;
  return std::exp(range + next * std::log(range) - log_gamma(next + 1));
}

double attention_error_bound(double range, std::uint32_t degree, double largest_value) {
  const double delta = taylor_relative_error(range, degree);
  return delta < 1 ? 2 * delta / (1 - delta) * largest_value : std::numeric_limits<double>::infinity();
}

double score_range(RowsView q, RowsView k, std::span<const double> q0, std::span<const double> k0) {
  constexpr const char* self = "score_range";
  require_view(self, "q.columns", q, q.columns);
  require_view(self, "k.columns", k, q.columns);
  if (!q0.empty()) require_equal({self, "q0.size()", "the number of columns"}, q0.size(), q.columns);
  if (!k0.empty()) require_equal({self, "k0.size()", "the number of columns"}, k0.size(), q.columns);
  return largest_centred_norm(q, q0) * largest_centred_norm(k, k0);
}

void PolynomialConfig::validate() const {
  require_at_least({"PolynomialConfig", "dimension", "the smallest"}, dimension, 1);
  require_at_most({"PolynomialConfig", "degree", "the highest"}, degree, highest_degree);
  for (const auto& [name, centre] : {std::pair{"centres.q0.size()", &centres.q0}, {"centres.k0.size()", &centres.k0}}) {
    if (centre->empty()) continue;
    require_equal({"PolynomialConfig", name, "the dimension"}, centre->size(), dimension);
    if (!std::ranges::all_of(*centre, [](double x) { return std::isfinite(x); }))
      throw UsageError("PolynomialConfig: a centre has a number that is not finite");
  }
  static_cast<void>(polynomial_feature_count(dimension, degree));
}

std::uint64_t PolynomialFeatures::scratch_bytes(const PolynomialConfig& config) {
  const std::uint64_t parents = parents_of(config);
  const std::uint64_t block = block_of(parents);
  return parents * (block * sizeof(float) + 2 * sizeof(std::uint32_t)) +
         (piece + config.dimension * config.degree) * block * sizeof(float);
}

PolynomialFeatures::PolynomialFeatures(PolynomialConfig config) : config_(std::move(config)) {
  config_.validate();
  count_ = config_.features();
  const std::uint64_t parents = parents_of(config_);
  block_ = block_of(parents);
  coordinates_.resize(config_.degree * config_.dimension * block_);
  kept_.resize(parents * block_);
  piece_.resize(piece * block_);
  last_.reserve(parents);
  power_.reserve(parents);
  if (parents == 0) return;
  // Feature 0, the constant, may be multiplied by any coordinate.
  last_.push_back(0);
  power_.push_back(0);
  for (std::size_t parent = 0; last_.size() < parents; ++parent)
    for (std::uint32_t c = last_[parent]; c < config_.dimension && last_.size() < parents; ++c) {
      last_.push_back(c);
      power_.push_back(c == last_[parent] ? power_[parent] + 1 : 1);
    }
}

void PolynomialFeatures::load(const char* name, RowsView rows, std::span<const double> centre,
                              std::span<const double> tilt, std::span<const double> factors,
                              const RowNumbers& numbers) {
  constexpr const char* self = "PolynomialFeatures";
  require_view(self, "rows.columns", rows, config_.dimension);
  require_at_most({self, "rows.rows", "a block"}, rows.rows, block_);
  if (!factors.empty()) require_equal({self, "factors.size()", "the number of rows"}, factors.size(), rows.rows);
  require_finite_rows(rows, name, numbers);
  stride_ = products::padded(rows.rows);
  const std::size_t d = config_.dimension;
  std::array<double, highest_degree> inverse_roots{};
  for (std::size_t power = 0; power < inverse_roots.size(); ++power)
    inverse_roots[power] = 1 / std::sqrt(static_cast<double>(power + 1));
  std::fill(coordinates_.begin(), coordinates_.end(), 0.0F);
  // Without parents, degree 0, the constant is the only feature and is made in the piece.
  float* constants = config_.degree == 0 ? piece_.data() : kept_.data();
  std::fill(constants, constants + stride_, 0.0F);
  for (std::size_t t = 0; t < rows.rows; ++t) {
    double exponent = 0;
    double squares = 0;
    for (std::size_t c = 0; c < d; ++c) {
      const double x = rows.row(t)[c] - (centre.empty() ? 0.0 : centre[c]);
      if (!tilt.empty()) exponent += tilt[c] * x;
      squares += x * x;
      for (std::size_t power = 0; power < config_.degree; ++power)
        coordinates_[(power * d + c) * stride_ + t] = static_cast<float>(x * inverse_roots[power]);
    }
    const double constant = (factors.empty() ? 1.0 : factors[t]) * std::exp(exponent);
    // No feature of degree m is larger than ||x||^m / sqrt(m!), as the sum of their squares is that squared.
    double largest = std::abs(constant);
    double of_degree = largest;
    for (std::uint32_t m = 1; m <= config_.degree; ++m) {
      of_degree *= std::sqrt(squares / m);
      largest = std::max(largest, of_degree);
    }
    if (!(largest < largest_float))
      throw InputError(
          fmt::format("{}: row {}: its polynomial features of degree {} may be as large as {:.1e}, more than fits "
                      "into 32-bit numbers",
                      name, numbers[t], config_.degree, largest));
    constants[t] = static_cast<float>(constant);
  }
}

void PolynomialFeatures::make(const Take& take) {
  if (stride_ == 0) return;
  if (config_.degree == 0) return take({0, 1, stride_, piece_.data()});
  const std::size_t d = config_.dimension;
  const std::size_t stride = stride_;
  const auto multiply = [&](std::size_t parent, std::size_t c, float* out) {
    const std::size_t power = c == last_[parent] ? power_[parent] : 0;
    products::multiply(kept_.data() + parent * stride, coordinates_.data() + (power * d + c) * stride, stride, out);
  };
  const std::size_t parents = last_.size();
  // Parents of parents come before them, so that one pass makes all features of lower degrees; it goes on where they
  // end.
  std::size_t next = 1;
  std::size_t parent = 0;
  std::size_t c = 0;
  for (; next < parents; ++next) {
    while (c == d) c = last_[++parent];
    multiply(parent, c++, kept_.data() + next * stride);
  }
  for (std::size_t first = 0; first < parents; first += piece)
    take({first, std::min(piece, parents - first), stride, kept_.data() + first * stride});
  for (std::uint64_t first = parents; first < count_; first += piece) {
    const std::size_t count = std::min<std::uint64_t>(piece, count_ - first);
    for (std::size_t f = 0; f < count; ++f) {
      while (c == d) c = last_[++parent];
      multiply(parent, c++, piece_.data() + f * stride);
    }
    take({first, count, stride, piece_.data()});
  }
}

void PolynomialFeatures::of_queries(RowsView q, std::span<const double> factors, const RowNumbers& numbers,
                                    const Take& take) {
  load("queries", q, config_.centres.q0, {}, factors, numbers);
  make(take);
}

void PolynomialFeatures::of_keys(RowsView k, std::span<const double> factors, const RowNumbers& numbers,
                                 const Take& take) {
  load("keys", k, config_.centres.k0, config_.centres.q0, factors, numbers);
  make(take);
}

DenseMatrix answer_from_product(PolynomialFeatures& features, std::span<const float> m, std::uint64_t value_columns,
                                RowsView q, const RowNumbers& numbers) {
  constexpr const char* self = "answer_from_product";
  require_view(self, "q.columns", q, features.config().dimension);
  require_at_least({self, "value_columns", "the smallest number"}, value_columns, 1);
  require_equal({self, "m.size()", "r (dv + 1)"}, m.size(), features.count() * (value_columns + 1));
  require_finite_rows(q, "queries", numbers);
  DenseMatrix out{q.rows, value_columns, std::vector<double>(q.rows * value_columns)};
  const std::size_t columns = value_columns + 1;
  const std::size_t block = features.block();
  std::vector<double> sums(columns * block);  // [column][row]
  for (std::uint64_t first = 0; first < q.rows; first += block) {
    const std::uint64_t count = std::min<std::uint64_t>(block, q.rows - first);
    const std::size_t stride = products::padded(count);
    std::ranges::fill(sums, 0.0);
    features.of_queries(q.part(first, count), {}, numbers.from(first), [&](const PolynomialFeatures::Piece& piece) {
      products::add_query_products(piece.numbers, piece.count, stride, m.data() + piece.first * columns, columns,
                                   sums.data());
    });
    for (std::uint64_t t = 0; t < count; ++t) {
      const double denominator = sums[t];
      if (!(denominator > 0) || !std::isfinite(denominator))
        throw InputError(fmt::format("queries: row {}: its denominator is {}, expected a positive number",
                                     numbers[first + t], denominator));
      for (std::size_t c = 0; c < value_columns; ++c)
        out.values[(first + t) * value_columns + c] = sums[(c + 1) * stride + t] / denominator;
    }
  }
  return out;
}

PolynomialState::PolynomialState(PolynomialConfig config, std::uint64_t value_columns, std::uint64_t most_bytes)
    : features_([&] {
        config.validate();
        require_at_least({"PolynomialState", "value_columns", "the smallest number"}, value_columns, 1);
        require_polynomial_fits(config.dimension, config.degree, value_columns, most_bytes);
        return PolynomialFeatures(std::move(config));
      }()),
      value_columns_(value_columns),
      sums_(features_.count() * (value_columns + 1)),
      values_(features_.block() * products::padded(value_columns)) {}

void PolynomialState::add(RowsView k, RowsView v, double weight, const RowNumbers& numbers) {
  constexpr const char* self = "PolynomialState::add";
  require_view(self, "k.columns", k, config().dimension);
  require_view(self, "v.columns", v, value_columns_);
  require_equal({self, "v.rows", "k.rows"}, v.rows, k.rows);
  if (!std::isfinite(weight)) throw UsageError(fmt::format("{}: weight is {}", self, weight));
  require_finite_rows(k, "keys", numbers);
  require_finite_rows(v, "values", numbers);
  require_fits_floats(v, "values", numbers);
  std::array<double, PolynomialFeatures::largest_block> weights{};
  weights.fill(weight);
  for (std::uint64_t first = 0; first < k.rows; first += features_.block()) {
    const std::uint64_t count = std::min<std::uint64_t>(features_.block(), k.rows - first);
    const std::size_t row_length = products::padded(value_columns_);
    for (std::uint64_t t = 0; t < count; ++t)
      std::ranges::transform(v.row(first + t), values_.data() + t * row_length,
                             [](double x) { return static_cast<float>(x); });
    features_.of_keys(k.part(first, count), std::span(weights).first(count), numbers.from(first),
                      [&](const PolynomialFeatures::Piece& piece) {
                        products::add_key_products(piece.numbers, piece.count, piece.stride, values_.data(),
                                                   value_columns_, sums_.data() + piece.first * (value_columns_ + 1));
                      });
  }
}

DenseMatrix PolynomialState::answer(RowsView q, const RowNumbers& numbers) {
  return answer_from_product(features_, sums_, value_columns_, q, numbers);
}

}  // namespace weir
