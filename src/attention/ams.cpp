#include "weir/attention/ams.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "attention/anisotropic_kernels.hpp"
#include "attention/products.hpp"
#include "attention/views.hpp"
#include "weir/attention/exact.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

using FloatMatrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using FloatView = Eigen::Map<const FloatMatrix>;
using FloatMap = Eigen::Map<FloatMatrix>;

constexpr std::array<std::string_view, 2> psi_names{"ams", "one_nonzero"};
constexpr std::uint64_t row_limit = (std::uint64_t{1} << 61U) - 1;
// The low 3 bits of a word of kwise are 0. Bits 3 to 62 are 60 signs.
constexpr std::uint64_t signs_of_word = 60;
constexpr unsigned lowest_bit = 3;
// The scratch for columns of Psi has about as many floats at most.
constexpr std::uint64_t scratch_floats = std::uint64_t{1} << 22U;

FloatView view(std::span<const float> numbers, std::uint64_t rows, std::uint64_t columns) {
  return {numbers.data(), to_index(rows), to_index(columns)};
}
FloatMap writable(std::span<float> numbers, std::uint64_t rows, std::uint64_t columns) {
  return {numbers.data(), to_index(rows), to_index(columns)};
}

/// The second factor of products, padded as they need it.
class Factor {
 public:
  explicit Factor(const RowMajorMatrix& matrix) : columns_(matrix.cols()) {
    padded_ = RowMajorMatrix::Zero(matrix.rows(), (columns_ + 7) / 8 * 8);
    padded_.leftCols(columns_) = matrix;
  }
  /// a times it.
  [[nodiscard]] RowMajorMatrix times(const RowMajorMatrix& a) const {
    RowMajorMatrix out = RowMajorMatrix::Zero(a.rows(), columns_);
    products::add_product({a.data(), static_cast<std::size_t>(a.cols())},
                          {padded_.data(), static_cast<std::size_t>(padded_.cols())},
                          static_cast<std::size_t>(a.rows()), static_cast<std::size_t>(a.cols()),
                          static_cast<std::size_t>(columns_), out.data(), static_cast<std::size_t>(columns_));
    return out;
  }

 private:
  Eigen::Index columns_;
  RowMajorMatrix padded_;
};

/// Numbers of panels of `columns` columns and `rows` rows.
std::size_t panel_numbers(std::size_t rows, std::size_t columns) {
  return kernels::panels_of(columns) * rows * kernels::panel_width;
}

/// Throws UsageError, with the table of sizes where that helps, when rows * columns numbers do not fit.
void require_fits(const char* what, std::uint64_t rows, std::uint64_t columns, std::uint64_t most_bytes,
                  const PolynomialConfig& config, std::uint64_t value_columns) {
  if (rows <= most_bytes / sizeof(float) / columns) return;
  throw UsageError(fmt::format("{}: {} x {} numbers of 4 bytes do not fit into the {} bytes there are; {}", what, rows,
                               columns, most_bytes, polynomial_size_table(config.dimension, value_columns)));
}

PolynomialFeatures valid_features(PolynomialConfig config, const char* what, std::uint64_t sketch_rows,
                                  std::uint64_t value_columns, std::uint64_t most_bytes) {
  config.validate();
  const std::uint64_t r = config.features();
  if (value_columns > (std::uint64_t{1} << 62U)) throw UsageError(fmt::format("{}: too many columns", what));
  // The last line of the sketch is for what has one number a feature, or a column.
  require_fits(what, sketch_rows + 1, r + value_columns + 1, most_bytes, config, value_columns);
  return PolynomialFeatures(std::move(config));
}

void require_rows(const char* self, std::span<const std::uint64_t> rows, RowsView view_of_rows, std::uint64_t limit) {
  require_equal({self, "rows.size()", "the number of rows"}, rows.size(), view_of_rows.rows);
  for (const std::uint64_t row : rows) require_below({self, "a row", "the number of rows"}, row, limit);
}

void require_weight(const char* self, double weight) {
  if (!std::isfinite(weight)) throw UsageError(fmt::format("{}: weight is {}", self, weight));
}

}  // namespace

std::string_view to_string(PsiKind kind) noexcept { return psi_names[static_cast<std::size_t>(kind)]; }

PsiKind parse_psi_kind(std::string_view name) {
  if (name == psi_names[0]) return PsiKind::ams;
  if (name == psi_names[1]) return PsiKind::one_nonzero;
  throw UsageError(fmt::format("unknown sketch of keys '{}', expected ams or one_nonzero", name));
}

Psi::Psi(PsiKind kind, std::uint64_t m2, std::uint64_t seed) : kind_(kind), m2_(m2), seed_(seed) {
  require_at_least({"Psi", "m2", "the smallest number"}, m2, 1);
  require_at_most({"Psi", "m2", "the largest number"}, m2, largest);
  // Another seed than that of Phi, so that the two sketches are independent.
  const std::uint64_t own_seed = subkey(seed, Purpose::operand, 1, 0);
  const std::uint64_t words = kind == PsiKind::ams ? (m2 + signs_of_word - 1) / signs_of_word : 1;
  for (std::uint32_t word = 0; word < words; ++word)
    words_.emplace_back(Randomness::kwise, own_seed, Purpose::row, word, 4);
}

Psi::Entry Psi::entry(std::uint64_t row) const {
  require_below({"Psi::entry", "row", "the number of rows"}, row, row_limit);
  if (kind_ != PsiKind::one_nonzero) throw UsageError("Psi::entry: the columns of ams have no zeros");
  const std::uint64_t word = words_[0](row) >> lowest_bit;
  // 60 bits choose the place: by the upper half of a product, as m2 is any number. The last one is the sign.
  __extension__ using Wide = unsigned __int128;
  const auto place = static_cast<std::uint64_t>((static_cast<Wide>(word >> 1U) * m2_) >> 60U);
  return {place, (word & 1U) != 0 ? 1.0F : -1.0F};
}

void Psi::column(std::uint64_t row, std::span<float> out) const {
  require_below({"Psi::column", "row", "the number of rows"}, row, row_limit);
  require_equal({"Psi::column", "out.size()", "m2"}, out.size(), m2_);
  if (kind_ == PsiKind::one_nonzero) {
    std::ranges::fill(out, 0.0F);
    const Entry nonzero = entry(row);
    out[nonzero.place] = nonzero.sign;
    return;
  }
  const auto size = static_cast<float>(1 / std::sqrt(static_cast<double>(m2_)));
  for (std::size_t word = 0; word < words_.size(); ++word) {
    const std::uint64_t bits = words_[word](row) >> lowest_bit;
    const std::size_t first = word * signs_of_word;
    const std::size_t count = std::min<std::size_t>(signs_of_word, m2_ - first);
    for (std::size_t s = 0; s < count; ++s) out[first + s] = ((bits >> s) & 1U) != 0 ? size : -size;
  }
}

void Psi::rows_of_columns(std::span<const std::uint64_t> rows, std::span<float> out, std::size_t stride) const {
  if (kind_ != PsiKind::ams) throw UsageError("Psi::rows_of_columns: the columns of one_nonzero are zeros but for one");
  require_at_least({"Psi::rows_of_columns", "out.size()", "m2 * stride"}, out.size(), m2_ * stride);
  require_at_least({"Psi::rows_of_columns", "stride", "the number of rows"}, stride, rows.size());
  for (const std::uint64_t row : rows) require_below({"Psi::column", "row", "the number of rows"}, row, row_limit);
  const auto size = static_cast<float>(1 / std::sqrt(static_cast<double>(m2_)));
  std::vector<std::uint32_t> low(stride, 0);
  std::vector<std::uint32_t> high(stride, 0);
  for (std::size_t word = 0; word < words_.size(); ++word) {
    for (std::size_t t = 0; t < rows.size(); ++t) {
      const std::uint64_t bits = words_[word](rows[t]) >> lowest_bit;
      low[t] = static_cast<std::uint32_t>(bits);
      high[t] = static_cast<std::uint32_t>(bits >> 32U);
    }
    const std::size_t first = word * signs_of_word;
    const std::size_t count = std::min<std::size_t>(signs_of_word, m2_ - first);
    for (std::size_t s = 0; s < count; ++s) {
      products::signs((s < 32 ? low : high).data(), static_cast<unsigned>(s % 32), rows.size(), stride, size,
                      out.data() + (first + s) * stride);
    }
  }
}

std::uint64_t psi_rows(double eps2, std::uint64_t n) {
  if (!(eps2 > 0)) throw UsageError(fmt::format("psi_rows: eps2 is {}, expected a positive number", eps2));
  const double rows = std::ceil(std::log(static_cast<double>(std::max<std::uint64_t>(n, 3))) / (eps2 * eps2));
  if (!(rows <= static_cast<double>(Psi::largest)))
    throw UsageError(fmt::format("psi_rows: eps2 = {} needs {:.3g} rows, expected at most 2^24", eps2, rows));
  return std::max<std::uint64_t>(1, static_cast<std::uint64_t>(rows));
}

SketchedKeysValues::SketchedKeysValues(PolynomialConfig config, std::uint64_t value_columns, Psi psi,
                                       std::uint64_t most_bytes)
    : features_(valid_features(std::move(config), "sketches of keys and values", psi.m2(), value_columns, most_bytes)),
      psi_(std::move(psi)),
      value_columns_(value_columns) {
  require_at_least({"SketchedKeysValues", "value_columns", "the smallest number"}, value_columns, 1);
  sk_v_.resize(psi_.m2() * value_columns);
  sum_v_.resize(value_columns);
  sk_u2_.resize(psi_.m2() * features_.count());
  prod_.resize(features_.count());
  sk_ones_.resize(psi_.m2());
  block_ = std::clamp<std::uint64_t>(scratch_floats / psi_.m2() / products::padding * products::padding,
                                     products::padding, features_.block());
  const bool is_sparse = psi_.kind() == PsiKind::one_nonzero;
  columns_.resize(is_sparse ? 0 : block_ * psi_.m2());
  panels_.resize(is_sparse ? 0
                           : panel_numbers(block_, std::max<std::size_t>(value_columns, PolynomialFeatures::piece)));
}

void SketchedKeysValues::add_by_columns(std::size_t count, std::size_t columns, float* sketch,
                                        std::size_t sketch_columns) {
  // Rows of Psi whose part of the block stays in the second-level cache, while all panels pass by.
  constexpr std::size_t strip = 120;
  for (std::size_t first = 0; first < psi_.m2(); first += strip) {
    kernels::multiply_add(
        {columns_.data() + first * stride_, stride_, 1}, std::min<std::size_t>(strip, psi_.m2() - first), count,
        {panels_.data(), count * kernels::panel_width}, columns, sketch + first * sketch_columns, sketch_columns);
  }
}

void SketchedKeysValues::add_values(std::span<const std::uint64_t> rows, RowsView v, double weight) {
  constexpr const char* self = "SketchedKeysValues::add_values";
  require_view(self, "v.columns", v, value_columns_);
  require_rows(self, rows, v, row_limit);
  require_weight(self, weight);
  require_finite_rows(v, "values", rows);
  require_fits_floats(v, "values", rows);
  const std::uint64_t m2 = psi_.m2();
  auto sketch = writable(sk_v_, m2, value_columns_);
  for (std::uint64_t first = 0; first < v.rows; first += block_) {
    const std::uint64_t count = std::min(block_, v.rows - first);
    const FloatMatrix values = (weight * matrix_view(v.part(first, count))).cast<float>();
    writable(sum_v_, 1, value_columns_) += values.colwise().sum();
    if (psi_.kind() == PsiKind::one_nonzero) {
      for (std::uint64_t t = 0; t < count; ++t) {
        const Psi::Entry entry = psi_.entry(rows[first + t]);
        sketch.row(to_index(entry.place)) += entry.sign * values.row(to_index(t));
      }
      continue;
    }
    stride_ = products::padded(count);
    psi_.rows_of_columns(rows.subspan(first, count), columns_, stride_);
    for (std::size_t c = 0; c < value_columns_; ++c) {
      float* panel =
          panels_.data() + c / kernels::panel_width * count * kernels::panel_width + c % kernels::panel_width;
      for (std::size_t t = 0; t < count; ++t) {
        panel[t * kernels::panel_width] = values(to_index(t), to_index(c));
      }
    }
    add_by_columns(count, value_columns_, sk_v_.data(), value_columns_);
  }
}

void SketchedKeysValues::add_keys(std::span<const std::uint64_t> rows, RowsView k, double weight) {
  constexpr const char* self = "SketchedKeysValues::add_keys";
  require_view(self, "k.columns", k, config().dimension);
  require_rows(self, rows, k, row_limit);
  require_weight(self, weight);
  require_finite_rows(k, "keys", rows);
  const std::uint64_t m2 = psi_.m2();
  auto sketch = writable(sk_u2_, m2, features_.count());
  for (std::uint64_t first = 0; first < k.rows; first += block_) {
    const std::uint64_t count = std::min(block_, k.rows - first);
    const std::vector<double> factors(count, weight);
    const bool is_sparse = psi_.kind() == PsiKind::one_nonzero;
    if (!is_sparse) {
      stride_ = products::padded(count);
      psi_.rows_of_columns(rows.subspan(first, count), columns_, stride_);
    }
    features_.of_keys(
        k.part(first, count), factors, rows.subspan(first, count), [&](const PolynomialFeatures::Piece& piece) {
          kernels::add_lane_sums(piece.numbers, piece.count, piece.stride, prod_.data() + piece.first, 1);
          if (!is_sparse) {
            for (std::size_t f = 0; f < piece.count; ++f) {
              float* panel =
                  panels_.data() + f / kernels::panel_width * count * kernels::panel_width + f % kernels::panel_width;
              for (std::size_t t = 0; t < count; ++t) {
                panel[t * kernels::panel_width] = piece.numbers[f * piece.stride + t];
              }
            }
            add_by_columns(count, piece.count, sk_u2_.data() + piece.first, features_.count());
            return;
          }
          auto part = sketch.middleCols(to_index(piece.first), to_index(piece.count));
          const FloatView numbers(piece.numbers, to_index(piece.count), to_index(piece.stride));
          const FloatMatrix by_rows = numbers.leftCols(to_index(count)).transpose();
          for (std::uint64_t t = 0; t < count; ++t) {
            const Psi::Entry entry = psi_.entry(rows[first + t]);
            part.row(to_index(entry.place)) += entry.sign * by_rows.row(to_index(t));
          }
        });
    if (is_sparse) {
      for (std::uint64_t t = 0; t < count; ++t) {
        const Psi::Entry entry = psi_.entry(rows[first + t]);
        sk_ones_[entry.place] += static_cast<float>(weight) * entry.sign;
      }
    } else {
      std::vector<float> ones(m2, 0.0F);
      kernels::add_lane_sums(columns_.data(), m2, stride_, ones.data(), 1);
      for (std::size_t i = 0; i < m2; ++i) sk_ones_[i] += static_cast<float>(weight) * ones[i];
    }
    count_ += weight * static_cast<double>(count);
  }
}

std::vector<float> SketchedKeysValues::product(bool mean_corrected) const {
  const std::uint64_t m2 = psi_.m2();
  const std::uint64_t r = features_.count();
  RowMajorMatrix values = view(std::span<const float>(sk_v_), m2, value_columns_).cast<double>();
  Eigen::RowVectorXd mean = Eigen::RowVectorXd::Zero(to_index(value_columns_));
  if (mean_corrected && count_ > 0) {
    mean = view(std::span<const float>(sum_v_), 1, value_columns_).cast<double>() / count_;
    values -= view(std::span<const float>(sk_ones_), m2, 1).cast<double>() * mean;
  }
  std::vector<float> out(r * (value_columns_ + 1));
  auto m = writable(out, r, value_columns_ + 1);
  m.col(0) = view(std::span<const float>(prod_), r, 1);
  const auto sketch = view(std::span<const float>(sk_u2_), m2, r);
  const Factor factor(values);
  for (std::uint64_t first = 0; first < r; first += PolynomialFeatures::piece) {
    const auto count = to_index(std::min<std::uint64_t>(PolynomialFeatures::piece, r - first));
    const RowMajorMatrix part = sketch.middleCols(to_index(first), count).transpose().cast<double>();
    const RowMajorMatrix rest = m.col(0).segment(to_index(first), count).cast<double>() * mean;
    m.middleRows(to_index(first), count).rightCols(to_index(value_columns_)) =
        (factor.times(part) + rest).cast<float>();
  }
  return out;
}

QuerySketch::QuerySketch(PolynomialConfig config, Phi phi, std::uint64_t most_bytes)
    : features_(valid_features(std::move(config), "sketch of queries", phi.m1(), 0, most_bytes)),
      phi_(std::move(phi)),
      located_(phi_.config()) {
  sk_u1_.resize(phi_.m1() * features_.count());
  sum_u1_.resize(features_.count());
  sk_ones_.resize(phi_.m1());
}

void QuerySketch::add(std::span<const std::uint64_t> rows, RowsView q, std::span<const float> prod, double weight) {
  constexpr const char* self = "QuerySketch::add";
  require_view(self, "q.columns", q, features_.config().dimension);
  require_rows(self, rows, q, phi_.n());
  require_equal({self, "prod.size()", "r"}, prod.size(), features_.count());
  require_weight(self, weight);
  require_finite_rows(q, "queries", rows);
  auto sketch = writable(sk_u1_, phi_.m1(), features_.count());
  FloatMatrix by_rows;
  for (std::uint64_t first = 0; first < q.rows; first += features_.block()) {
    const std::uint64_t count = std::min<std::uint64_t>(features_.block(), q.rows - first);
    const RowsView queries = q.part(first, count);
    // The denominators need all features, so that these are made twice.
    std::vector<double> denominators(products::padded(count), 0.0);
    features_.of_queries(queries, {}, rows.subspan(first, count), [&](const PolynomialFeatures::Piece& piece) {
      products::add_query_products(piece.numbers, piece.count, piece.stride, prod.data() + piece.first, 1,
                                   denominators.data());
    });
    std::vector<double> factors(count);
    for (std::uint64_t t = 0; t < count; ++t) {
      if (!(denominators[t] > 0) || !std::isfinite(denominators[t]))
        throw InputError(fmt::format("queries: row {}: its denominator is {}, expected a positive number",
                                     rows[first + t], denominators[t]));
      factors[t] = weight / denominators[t];
    }
    phi_.locate(rows.subspan(first, count), located_);
    features_.of_queries(queries, factors, rows.subspan(first, count), [&](const PolynomialFeatures::Piece& piece) {
      by_rows =
          FloatView(piece.numbers, to_index(piece.count), to_index(piece.stride)).leftCols(to_index(count)).transpose();
      const auto from = to_index(piece.first);
      kernels::add_lane_sums(piece.numbers, piece.count, piece.stride, sum_u1_.data() + piece.first, 1);
      for (std::uint64_t t = 0; t < count; ++t)
        for (std::uint32_t r = 0; r < phi_.rows(); ++r) {
          const std::size_t place = r * PhiColumns::capacity + t;
          sketch.row(to_index(located_.cells[place])).segment(from, by_rows.cols()) +=
              static_cast<float>(located_.signs[place]) * by_rows.row(to_index(t));
        }
    });
    for (std::uint64_t t = 0; t < count; ++t)
      for (std::uint32_t r = 0; r < phi_.rows(); ++r) {
        const std::size_t place = r * PhiColumns::capacity + t;
        sk_ones_[located_.cells[place]] += static_cast<float>(weight * located_.signs[place]);
      }
    count_ += weight * static_cast<double>(count);
  }
}

OutputSketch QuerySketch::product(std::span<const float> m, std::uint64_t value_columns) const {
  const std::uint64_t r = features_.count();
  require_at_least({"QuerySketch::product", "value_columns", "the smallest number"}, value_columns, 1);
  require_equal({"QuerySketch::product", "m.size()", "r (dv + 1)"}, m.size(), r * (value_columns + 1));
  OutputSketch out(phi_, value_columns);
  const auto dv = to_index(value_columns);
  const RowMajorMatrix values = view(m, r, value_columns + 1).rightCols(dv).cast<double>();
  const Factor factor(values);
  auto z = writable(out.z(), phi_.m1(), value_columns);
  const auto sketch = view(std::span<const float>(sk_u1_), phi_.m1(), r);
  for (std::uint64_t first = 0; first < phi_.m1(); first += PolynomialFeatures::piece) {
    const auto count = to_index(std::min<std::uint64_t>(PolynomialFeatures::piece, phi_.m1() - first));
    const RowMajorMatrix part = sketch.middleRows(to_index(first), count).cast<double>();
    z.middleRows(to_index(first), count) = factor.times(part).cast<float>();
  }
  std::ranges::copy(sk_ones_, out.sk_ones().begin());
  out.sums()[0] = count_;
  Eigen::Map<Eigen::RowVectorXd>(out.sums().data() + 1, dv) =
      view(std::span<const float>(sum_u1_), 1, r).cast<double>() * values;
  return out;
}

void add_collapsed(OutputSketch& z, PolynomialFeatures& features, std::span<const float> m, RowsView q,
                   std::span<const std::uint64_t> rows, double weight) {
  require_rows("add_collapsed", rows, q, z.phi().n());
  require_finite_rows(q, "queries", rows);
  z.add(rows, answer_from_product(features, m, z.columns(), q, rows), weight);
}

}  // namespace weir
