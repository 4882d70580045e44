#include "weir/attention/ams.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

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
  const std::uint64_t rows = std::clamp<std::uint64_t>(scratch_floats / psi_.m2(), 16, features_.block());
  columns_.resize(rows * psi_.m2());
}

void SketchedKeysValues::fill_columns(std::span<const std::uint64_t> rows) {
  for (std::size_t t = 0; t < rows.size(); ++t) psi_.column(rows[t], {columns_.data() + t * psi_.m2(), psi_.m2()});
}

void SketchedKeysValues::add_values(std::span<const std::uint64_t> rows, RowsView v, double weight) {
  constexpr const char* self = "SketchedKeysValues::add_values";
  require_view(self, "v.columns", v, value_columns_);
  require_rows(self, rows, v, row_limit);
  require_weight(self, weight);
  require_finite_rows(v, "values", rows);
  require_fits_floats(v, "values", rows);
  const std::uint64_t m2 = psi_.m2();
  const std::uint64_t block = columns_.size() / m2;
  auto sketch = writable(sk_v_, m2, value_columns_);
  for (std::uint64_t first = 0; first < v.rows; first += block) {
    const std::uint64_t count = std::min(block, v.rows - first);
    const FloatMatrix values = (weight * matrix_view(v.part(first, count))).cast<float>();
    writable(sum_v_, 1, value_columns_) += values.colwise().sum();
    if (psi_.kind() == PsiKind::one_nonzero) {
      for (std::uint64_t t = 0; t < count; ++t) {
        const Psi::Entry entry = psi_.entry(rows[first + t]);
        sketch.row(to_index(entry.place)) += entry.sign * values.row(to_index(t));
      }
      continue;
    }
    fill_columns(rows.subspan(first, count));
    sketch.noalias() += view(std::span<const float>(columns_), count, m2).transpose() * values;
  }
}

void SketchedKeysValues::add_keys(std::span<const std::uint64_t> rows, RowsView k, double weight) {
  constexpr const char* self = "SketchedKeysValues::add_keys";
  require_view(self, "k.columns", k, config().dimension);
  require_rows(self, rows, k, row_limit);
  require_weight(self, weight);
  require_finite_rows(k, "keys", rows);
  const std::uint64_t m2 = psi_.m2();
  const std::uint64_t block = columns_.size() / m2;
  auto sketch = writable(sk_u2_, m2, features_.count());
  for (std::uint64_t first = 0; first < k.rows; first += block) {
    const std::uint64_t count = std::min(block, k.rows - first);
    const std::vector<double> factors(count, weight);
    const bool is_sparse = psi_.kind() == PsiKind::one_nonzero;
    if (!is_sparse) fill_columns(rows.subspan(first, count));
    features_.of_keys(
        k.part(first, count), factors, rows.subspan(first, count), [&](const PolynomialFeatures::Piece& piece) {
          const FloatView numbers(piece.numbers, to_index(piece.count), to_index(piece.stride));
          const auto used = numbers.leftCols(to_index(count));
          for (std::size_t f = 0; f < piece.count; ++f) prod_[piece.first + f] += used.row(to_index(f)).sum();
          auto part = sketch.middleCols(to_index(piece.first), to_index(piece.count));
          if (!is_sparse) {
            part.noalias() += view(std::span<const float>(columns_), count, m2).transpose() * used.transpose();
            return;
          }
          const FloatMatrix by_rows = used.transpose();
          for (std::uint64_t t = 0; t < count; ++t) {
            const Psi::Entry entry = psi_.entry(rows[first + t]);
            part.row(to_index(entry.place)) += entry.sign * by_rows.row(to_index(t));
          }
        });
    for (std::uint64_t t = 0; t < count; ++t) {
      if (is_sparse) {
        const Psi::Entry entry = psi_.entry(rows[first + t]);
        sk_ones_[entry.place] += static_cast<float>(weight) * entry.sign;
      } else {
        writable(sk_ones_, 1, m2) +=
            static_cast<float>(weight) * view(std::span<const float>(columns_).subspan(t * m2, m2), 1, m2);
      }
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
  for (std::uint64_t first = 0; first < r; first += PolynomialFeatures::piece) {
    const auto count = to_index(std::min<std::uint64_t>(PolynomialFeatures::piece, r - first));
    const RowMajorMatrix part = sketch.middleCols(to_index(first), count).transpose().cast<double>();
    const RowMajorMatrix rest = m.col(0).segment(to_index(first), count).cast<double>() * mean;
    m.middleRows(to_index(first), count).rightCols(to_index(value_columns_)) = (part * values + rest).cast<float>();
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
    Eigen::VectorXd denominators = Eigen::VectorXd::Zero(to_index(count));
    features_.of_queries(queries, {}, rows.subspan(first, count), [&](const PolynomialFeatures::Piece& piece) {
      const FloatView numbers(piece.numbers, to_index(piece.count), to_index(piece.stride));
      denominators +=
          (numbers.leftCols(to_index(count)).transpose() * view(prod.subspan(piece.first, piece.count), piece.count, 1))
              .cast<double>();
    });
    std::vector<double> factors(count);
    for (std::uint64_t t = 0; t < count; ++t) {
      if (!(denominators[to_index(t)] > 0) || !std::isfinite(denominators[to_index(t)]))
        throw InputError(fmt::format("queries: row {}: its denominator is {}, expected a positive number",
                                     rows[first + t], denominators[to_index(t)]));
      factors[t] = weight / denominators[to_index(t)];
    }
    phi_.locate(rows.subspan(first, count), located_);
    features_.of_queries(queries, factors, rows.subspan(first, count), [&](const PolynomialFeatures::Piece& piece) {
      by_rows =
          FloatView(piece.numbers, to_index(piece.count), to_index(piece.stride)).leftCols(to_index(count)).transpose();
      const auto from = to_index(piece.first);
      writable(sum_u1_, 1, features_.count()).middleCols(from, by_rows.cols()) += by_rows.colwise().sum();
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
  auto z = writable(out.z(), phi_.m1(), value_columns);
  const auto sketch = view(std::span<const float>(sk_u1_), phi_.m1(), r);
  for (std::uint64_t first = 0; first < phi_.m1(); first += PolynomialFeatures::piece) {
    const auto count = to_index(std::min<std::uint64_t>(PolynomialFeatures::piece, phi_.m1() - first));
    const RowMajorMatrix part = sketch.middleRows(to_index(first), count).cast<double>();
    z.middleRows(to_index(first), count) = (part * values).cast<float>();
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
