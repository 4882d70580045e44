#include "weir/attention/recovery.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <numeric>
#include <utility>

#include "attention/views.hpp"
#include "weir/attention/exact.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

constexpr std::uint32_t most_rows = 15;  // of a sketch
// An entry that shares its cells with large ones in most rows looks large itself. Among 20,000 rows, 5 rows of 1,024
// buckets and 32 large entries there are one or two of these. So more candidates than k are refined before the k best
// are chosen.
constexpr std::uint64_t candidates_of_k = 3;
constexpr int refinements = 6;

SketchConfig config_of(std::uint64_t n, std::uint32_t rows, std::uint64_t buckets, std::uint64_t seed) {
  SketchConfig config;
  config.dimension = n;
  config.rows = rows;
  config.buckets = buckets;
  config.lanes = 1;
  // Another seed than that of Psi, so that the two sketches are independent.
  config.seed = subkey(seed, Purpose::operand, 0, 0);
  config.validate();
  return config;
}

/// A candidate for a place among the k best.
struct Candidate {
  double score;  ///< Magnitude, or sum of squares.
  std::uint64_t row;
  std::size_t place;  ///< Of its values, in a list of theirs.
};

bool is_better(const Candidate& a, const Candidate& b) {
  return a.score > b.score || (a.score == b.score && a.row < b.row);
}

/// The k best of the candidates that it was offered. The worst of them is on top of a heap.
class Best {
 public:
  explicit Best(std::uint64_t k) : k_(k) {}
  /// Calls keep(place) where the candidate gets a place, 0 to k - 1.
  template <class Keep>
  void offer(double score, std::uint64_t row, const Keep& keep) {
    Candidate candidate{score, row, heap_.size()};
    if (heap_.size() < k_) {
      heap_.push_back(candidate);
    } else {
      if (!is_better(candidate, heap_.front())) return;
      std::ranges::pop_heap(heap_, is_better);
      candidate.place = heap_.back().place;
      heap_.back() = candidate;
    }
    std::ranges::push_heap(heap_, is_better);
    keep(candidate.place);
  }
  [[nodiscard]] std::vector<Candidate> in_order_of_rows() const {
    std::vector<Candidate> out = heap_;
    std::ranges::sort(out, {}, &Candidate::row);
    return out;
  }

 private:
  std::uint64_t k_;
  std::vector<Candidate> heap_;
};

void store(std::vector<double>& values, std::size_t place, std::span<const double> row) {
  if (values.size() < (place + 1) * row.size()) values.resize((place + 1) * row.size());
  std::ranges::copy(row, values.begin() + static_cast<std::ptrdiff_t>(place * row.size()));
}

/// The k best entries of each column, or the k best rows, of the rows that it was offered.
class Selection {
 public:
  Selection(std::uint64_t columns, std::uint64_t k, bool by_rows) : by_rows_(by_rows), rows_(k) {
    if (!by_rows_) best_.assign(columns, Best(k));
    values_.resize(by_rows_ ? 1 : columns);
  }
  void offer(std::uint64_t row, std::span<const double> estimates) {
    if (by_rows_) {
      const double score = std::inner_product(estimates.begin(), estimates.end(), estimates.begin(), 0.0);
      rows_.offer(score, row, [&](std::size_t place) { store(values_[0], place, estimates); });
      return;
    }
    for (std::size_t c = 0; c < estimates.size(); ++c) offer_entry(c, row, estimates[c]);
  }
  void offer_all(const SparseOutputs& outputs) {
    const std::size_t count = outputs.columns.size();
    if (!by_rows_) {
      for (std::size_t c = 0; c < count; ++c)
        for (const SparseEntry& entry : outputs.columns[c]) offer_entry(c, entry.row, entry.value);
      return;
    }
    std::vector<double> row(count);
    for (std::size_t t = 0; count != 0 && t < outputs.columns[0].size(); ++t) {
      for (std::size_t c = 0; c < count; ++c) row[c] = outputs.columns[c].at(t).value;
      offer(outputs.columns[0][t].row, row);
    }
  }
  void offer_entry(std::size_t column, std::uint64_t row, double estimate) {
    best_[column].offer(std::abs(estimate), row, [&](std::size_t place) {
      store(values_[column], place, {&estimate, 1});
    });
  }
  [[nodiscard]] std::vector<std::vector<SparseEntry>> columns(std::size_t count) const {
    std::vector<std::vector<SparseEntry>> out(count);
    if (by_rows_) {
      for (const Candidate& candidate : rows_.in_order_of_rows())
        for (std::size_t c = 0; c < count; ++c)
          out[c].push_back({candidate.row, values_[0][candidate.place * count + c]});
      return out;
    }
    for (std::size_t c = 0; c < count; ++c)
      for (const Candidate& candidate : best_[c].in_order_of_rows())
        out[c].push_back({candidate.row, values_[c][candidate.place]});
    return out;
  }

 private:
  bool by_rows_;
  Best rows_;
  std::vector<Best> best_;
  std::vector<std::vector<double>> values_;
};

void require_options(const char* self, const RecoveryOptions& options) {
  require_at_least({self, "k", "the smallest number"}, options.k, 1);
}

std::uint64_t candidates_of(const RecoveryOptions& options) {
  return options.k > ~std::uint64_t{0} / candidates_of_k ? options.k : options.k * candidates_of_k;
}

std::vector<double> mean_of(const OutputSketch& sketch, const RecoveryOptions& options) {
  std::vector<double> mean(sketch.columns(), 0.0);
  if (options.mean_corrected && sketch.sums()[0] > 0)
    for (std::size_t c = 0; c < mean.size(); ++c) mean[c] = sketch.sums()[c + 1] / sketch.sums()[0];
  return mean;
}

/// Z less the sketch of `mean` in every row.
std::vector<double> centred(const OutputSketch& sketch, const std::vector<double>& mean) {
  std::vector<double> z(sketch.z().begin(), sketch.z().end());
  for (std::size_t cell = 0; cell < sketch.phi().m1(); ++cell)
    for (std::size_t c = 0; c < mean.size(); ++c)
      z[cell * mean.size() + c] -= static_cast<double>(sketch.sk_ones()[cell]) * mean[c];
  return z;
}

double median(std::span<double> numbers) {
  const auto middle = numbers.begin() + static_cast<std::ptrdiff_t>(numbers.size() / 2);
  std::nth_element(numbers.begin(), middle, numbers.end());
  return *middle;
}

}  // namespace

Phi::Phi(std::uint64_t n, std::uint32_t rows, std::uint64_t buckets, std::uint64_t seed)
    : operator_(config_of(n, rows, buckets, seed)) {}

void Phi::locate(std::span<const std::uint64_t> queries, PhiColumns& columns) const {
  for (const std::uint64_t query : queries)
    require_below({"Phi::locate", "a row", "the number of queries"}, query, n());
  operator_.locate(0, queries, columns);
}

PhiSize phi_size(double eps1, std::uint64_t k, std::uint64_t n) {
  require_at_least({"phi_size", "k", "the smallest number"}, k, 1);
  if (!(eps1 > 0) || !std::isfinite(eps1))
    throw UsageError(fmt::format("phi_size: eps1 is {}, expected a positive number", eps1));
  // With fewer than 8 k even the k largest collide so often that they are not found.
  const double buckets = std::max(4 / eps1, 8.0) * static_cast<double>(k);
  if (!(buckets <= 0x1p32))
    throw UsageError(
        fmt::format("phi_size: eps1 = {} and k = {} need {:.3g} buckets, expected at most 2^32", eps1, k, buckets));
  const auto rows = static_cast<std::uint32_t>(std::bit_width(std::max<std::uint64_t>(n, 2) - 1) / 4);
  return {std::clamp<std::uint32_t>(rows | 1U, 5, most_rows),
          std::bit_ceil(std::max<std::uint64_t>(2, static_cast<std::uint64_t>(std::ceil(buckets))))};
}

OutputSketch::OutputSketch(Phi phi, std::uint64_t columns, std::uint64_t most_bytes)
    : phi_(std::move(phi)), columns_(columns), located_(phi_.config()) {
  require_at_least({"OutputSketch", "columns", "the smallest number"}, columns, 1);
  const std::uint64_t most = most_bytes / sizeof(float);
  if (columns >= most || phi_.m1() > most / (columns + 1))
    throw UsageError(fmt::format("OutputSketch: {} x {} numbers of 4 bytes need more than the {} bytes there are",
                                 phi_.m1(), columns + 1, most_bytes));
  z_.resize(phi_.m1() * columns);
  sk_ones_.resize(phi_.m1());
  sums_.resize(columns + 1);
}

void OutputSketch::add(std::span<const std::uint64_t> rows, RowsView outputs, double weight) {
  constexpr const char* self = "OutputSketch::add";
  require_view(self, "outputs.columns", outputs, columns_);
  require_equal({self, "rows.size()", "outputs.rows"}, rows.size(), outputs.rows);
  for (const std::uint64_t row : rows) require_below({self, "a row", "the number of queries"}, row, phi_.n());
  if (!std::isfinite(weight)) throw UsageError(fmt::format("{}: weight is {}", self, weight));
  require_finite_rows(outputs, "outputs", rows);
  require_fits_floats(outputs, "outputs", rows);
  for (std::size_t first = 0; first < rows.size(); first += PhiColumns::capacity) {
    const std::size_t count = std::min(PhiColumns::capacity, rows.size() - first);
    phi_.locate(rows.subspan(first, count), located_);
    for (std::size_t t = 0; t < count; ++t) {
      const std::span<const double> output = outputs.row(first + t);
      for (std::uint32_t r = 0; r < phi_.rows(); ++r) {
        const std::uint64_t cell = located_.cells[r * PhiColumns::capacity + t];
        const double factor = weight * located_.signs[r * PhiColumns::capacity + t];
        sk_ones_[cell] += static_cast<float>(factor);
        float* const to = z_.data() + cell * columns_;
        for (std::size_t c = 0; c < columns_; ++c) to[c] += static_cast<float>(factor * output[c]);
      }
      sums_[0] += weight;
      for (std::size_t c = 0; c < columns_; ++c) sums_[c + 1] += weight * output[c];
    }
  }
}

SparseOutputs recovery_candidates(const OutputSketch& sketch, const RecoveryOptions& options) {
  const Phi& phi = sketch.phi();
  require_options("recovery_candidates", options);
  require_at_most({"recovery_candidates", "first_row", "the number of queries"}, options.first_row, phi.n());
  const std::size_t columns = sketch.columns();
  SparseOutputs out{phi.n(), mean_of(sketch, options), {}};
  const std::vector<double> z = centred(sketch, out.mean);
  Selection selection(columns, candidates_of(options), options.by_rows);
  PhiColumns located(phi.config());
  std::array<std::uint64_t, PhiColumns::capacity> keys{};
  std::vector<double> estimates(columns);
  std::array<double, most_rows> of_rows{};
  const std::uint64_t end = options.first_row + std::min(options.row_count, phi.n() - options.first_row);
  for (std::uint64_t first = options.first_row; first < end; first += PhiColumns::capacity) {
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(PhiColumns::capacity, end - first));
    std::iota(keys.begin(), keys.end(), first);
    phi.locate(std::span(keys).first(count), located);
    for (std::size_t t = 0; t < count; ++t) {
      for (std::size_t c = 0; c < columns; ++c) {
        for (std::uint32_t r = 0; r < phi.rows(); ++r)
          of_rows[r] = located.signs[r * PhiColumns::capacity + t] *
                       z[located.cells[r * PhiColumns::capacity + t] * columns + c];
        estimates[c] = median(std::span(of_rows).first(phi.rows()));
      }
      selection.offer(first + t, estimates);
    }
  }
  out.columns = selection.columns(columns);
  return out;
}

SparseOutputs merge_candidates(const SparseOutputs& a, const SparseOutputs& b, const RecoveryOptions& options) {
  require_options("merge_candidates", options);
  require_equal({"merge_candidates", "the number of rows", "that of the other part"}, a.rows, b.rows);
  require_equal({"merge_candidates", "the number of columns", "that of the other part"}, a.columns.size(),
                b.columns.size());
  Selection selection(a.columns.size(), candidates_of(options), options.by_rows);
  selection.offer_all(a);
  selection.offer_all(b);
  return {a.rows, a.mean, selection.columns(a.columns.size())};
}

SparseOutputs refine_candidates(const OutputSketch& sketch, const SparseOutputs& candidates,
                                const RecoveryOptions& options) {
  const Phi& phi = sketch.phi();
  require_options("refine_candidates", options);
  require_equal({"refine_candidates", "the number of rows", "that of the sketch"}, candidates.rows, phi.n());
  require_equal({"refine_candidates", "the number of columns", "that of the sketch"}, candidates.columns.size(),
                sketch.columns());
  const std::size_t columns = sketch.columns();
  const std::vector<double> z = centred(sketch, candidates.mean);
  SparseOutputs refined = candidates;
  PhiColumns located(phi.config());
  std::vector<double> rest(phi.m1());
  std::array<double, most_rows> of_rows{};
  for (std::size_t c = 0; c < columns; ++c) {
    std::vector<SparseEntry>& entries = refined.columns[c];
    std::vector<std::uint64_t> keys;
    keys.reserve(entries.size());
    for (const SparseEntry& entry : entries) keys.push_back(entry.row);
    // Where the entries are: [entry][row of Phi].
    std::vector<std::uint64_t> cells;
    std::vector<double> signs;
    for (std::size_t first = 0; first < keys.size(); first += PhiColumns::capacity) {
      const std::size_t count = std::min(PhiColumns::capacity, keys.size() - first);
      phi.locate(std::span(keys).subspan(first, count), located);
      for (std::size_t t = 0; t < count; ++t)
        for (std::uint32_t r = 0; r < phi.rows(); ++r) {
          cells.push_back(located.cells[r * PhiColumns::capacity + t]);
          signs.push_back(located.signs[r * PhiColumns::capacity + t]);
        }
    }
    // The squared norm of what is left of the column of Z without its entries.
    const auto take_out = [&] {
      for (std::size_t cell = 0; cell < rest.size(); ++cell) rest[cell] = z[cell * columns + c];
      for (std::size_t place = 0; place < cells.size(); ++place)
        rest[cells[place]] -= signs[place] * entries[place / phi.rows()].value;
      return std::inner_product(rest.begin(), rest.end(), rest.begin(), 0.0);
    };
    const double at_first = take_out();
    for (int round = 0; round < refinements; ++round) {
      for (std::size_t t = 0; t < entries.size(); ++t) {
        for (std::uint32_t r = 0; r < phi.rows(); ++r)
          of_rows[r] = signs[t * phi.rows() + r] * rest[cells[t * phi.rows() + r]];
        entries[t].value += median(std::span(of_rows).first(phi.rows()));
      }
      // With more entries than the buckets can tell apart, corrections would grow without end: the first estimates stay
      // then.
      if (!(take_out() <= 1.1 * at_first)) {
        entries = candidates.columns[c];
        break;
      }
    }
  }
  Selection selection(columns, options.k, options.by_rows);
  selection.offer_all(refined);
  refined.columns = selection.columns(columns);
  return refined;
}

SparseOutputs recover(const OutputSketch& sketch, const RecoveryOptions& options) {
  return refine_candidates(sketch, recovery_candidates(sketch, options), options);
}

class LargestOutputs::Parts {
 public:
  std::uint64_t n;
  std::uint64_t columns;
  Selection selection;
};

LargestOutputs::LargestOutputs(std::uint64_t n, std::uint64_t columns, const RecoveryOptions& options) {
  require_options("LargestOutputs", options);
  parts_ = std::make_unique<Parts>(Parts{n, columns, Selection(columns, options.k, options.by_rows)});
}
LargestOutputs::~LargestOutputs() = default;
LargestOutputs::LargestOutputs(LargestOutputs&&) noexcept = default;
LargestOutputs& LargestOutputs::operator=(LargestOutputs&&) noexcept = default;

void LargestOutputs::add(std::span<const std::uint64_t> rows, RowsView outputs) {
  constexpr const char* self = "LargestOutputs::add";
  require_view(self, "outputs.columns", outputs, parts_->columns);
  require_equal({self, "rows.size()", "outputs.rows"}, rows.size(), outputs.rows);
  for (const std::uint64_t row : rows) require_below({self, "a row", "the number of queries"}, row, parts_->n);
  for (std::uint64_t t = 0; t < outputs.rows; ++t) parts_->selection.offer(rows[t], outputs.row(t));
}

void LargestOutputs::add(const SparseOutputs& others) {
  require_equal({"LargestOutputs::add", "the number of columns", "that of the others"}, others.columns.size(),
                parts_->columns);
  parts_->selection.offer_all(others);
}

SparseOutputs LargestOutputs::outputs() const {
  return {parts_->n, std::vector<double>(parts_->columns, 0.0), parts_->selection.columns(parts_->columns)};
}

DenseMatrix to_dense(const SparseOutputs& outputs) {
  const std::size_t columns = outputs.columns.size();
  if (columns != 0 && outputs.rows >= (std::uint64_t{1} << 40U) / columns)
    throw UsageError(fmt::format("to_dense: {} x {} numbers are too many", outputs.rows, columns));
  DenseMatrix dense{outputs.rows, columns, std::vector<double>(outputs.rows * columns)};
  for (std::uint64_t i = 0; i < outputs.rows; ++i)
    std::ranges::copy(outputs.mean, dense.values.begin() + static_cast<std::ptrdiff_t>(i * columns));
  for (std::size_t c = 0; c < columns; ++c)
    for (const SparseEntry& entry : outputs.columns[c]) dense.values[entry.row * columns + c] += entry.value;
  return dense;
}

}  // namespace weir
