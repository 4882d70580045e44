#include "weir/attention/exact.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <limits>
#include <mutex>
#include <thread>

#include "attention/products.hpp"
#include "attention/views.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

// A block of scores, 64 x 256 doubles, stays in the second-level cache.
constexpr std::uint64_t query_block = 64;
constexpr std::uint64_t key_block = 256;
constexpr std::size_t score_length = key_block;
constexpr std::size_t padded(std::size_t count) { return (count + 7) / 8 * 8; }
constexpr double no_score = -std::numeric_limits<double>::infinity();

double largest_norm(RowsView rows) {
  return rows.rows == 0 ? 0.0 : matrix_view(rows).rowwise().stableNorm().maxCoeff();
}

/// The keys of the view, first .. end - 1, that a query sees.
struct Visible {
  std::uint64_t first;
  std::uint64_t end;
};

Visible visible_keys(std::uint64_t query, std::uint64_t keys, const ExactOptions& options) {
  if (!options.causal) return {0, keys};
  const std::uint64_t position = options.first_query + query;
  const auto place = [&](std::uint64_t of) {
    return of <= options.first_key ? 0 : std::min(of - options.first_key, keys);
  };
  const std::uint64_t first = options.window == 0 || position < options.window ? 0 : position - options.window + 1;
  return {place(first), place(position + 1)};
}

/// Attention of the queries first .. first + count - 1, count at most query_block.
class QueryBlock {
 public:
  QueryBlock(RowsView q, RowsView k, RowsView v, const ExactOptions& options, bool may_overflow)
      : q_(q),
        k_(k),
        v_(v),
        options_(options),
        may_overflow_(may_overflow),
        value_length_(padded(v.columns)),
        scores_(query_block * score_length),
        keys_(k.columns * score_length),
        values_(key_block * value_length_) {}

  void run(std::uint64_t first, std::uint64_t count, PartialAttention& out) {
    const Visible first_sees = visible_keys(first, k_.rows, options_);
    const Visible last_sees = visible_keys(first + count - 1, k_.rows, options_);
    // What queries see only moves forwards.
    for (std::uint64_t key = first_sees.first; key < last_sees.end; key += key_block)
      add_keys(first, count, key, std::min(key_block, last_sees.end - key), out);
  }

 private:
  void add_keys(std::uint64_t first, std::uint64_t count, std::uint64_t key, std::uint64_t keys,
                PartialAttention& out) {
    for (std::uint64_t t = 0; t < keys; ++t) {
      for (std::uint64_t c = 0; c < k_.columns; ++c)
        keys_[c * score_length + t] = k_.values[(key + t) * k_.columns + c];
      std::ranges::copy(v_.row(key + t), values_.begin() + static_cast<std::ptrdiff_t>(t * value_length_));
    }
    std::fill_n(scores_.begin(), count * score_length, 0.0);
    products::add_product({q_.values.data() + first * q_.columns, q_.columns}, {keys_.data(), score_length}, count,
                          q_.columns, keys, scores_.data(), score_length);
    double* const numerators = out.numerators.values.data() + first * v_.columns;
    for (std::uint64_t t = 0; t < count; ++t) {
      const Visible sees = visible_keys(first + t, k_.rows, options_);
      const std::uint64_t from = std::clamp(sees.first, key, key + keys) - key;
      const std::uint64_t to = std::clamp(sees.end, key, key + keys) - key;
      double* const row = scores_.data() + t * score_length;
      if (from >= to) {
        std::fill_n(row, keys, 0.0);
        continue;
      }
      const Eigen::Map<const Eigen::VectorXd> seen(row + from, to_index(to - from));
      if (may_overflow_ && !seen.allFinite()) throw_overflow(first + t);
      double& maximum = out.maxima[first + t];
      const double larger = std::max(maximum, seen.maxCoeff());
      const double shrink = std::exp(maximum - larger);
      maximum = larger;
      std::fill_n(row, from, no_score);
      std::fill(row + to, row + keys, no_score);
      const double sum = products::exponentials(row, keys, larger);
      out.denominators[first + t] = out.denominators[first + t] * shrink + sum;
      if (shrink != 1) Eigen::Map<Eigen::VectorXd>(numerators + t * v_.columns, to_index(v_.columns)) *= shrink;
    }
    products::add_product({scores_.data(), score_length}, {values_.data(), value_length_}, count, keys, v_.columns,
                          numerators, v_.columns);
  }

  [[noreturn]] void throw_overflow(std::uint64_t query) const {
    throw InputError(
        fmt::format("queries: row {}: its score with a key is larger than doubles are", options_.first_query + query));
  }

  RowsView q_, k_, v_;
  ExactOptions options_;
  bool may_overflow_;
  std::size_t value_length_;
  std::vector<double> scores_;  // [query][key]
  std::vector<double> keys_;    // [coordinate][key]
  std::vector<double> values_;  // [key][column]
};

}  // namespace

void require_finite_rows(RowsView rows, const char* name, const RowNumbers& numbers) {
  require_equal({"require_finite_rows", "values.size()", "rows * columns"}, rows.values.size(),
                rows.rows * rows.columns);
  const auto found = std::find_if(rows.values.begin(), rows.values.end(), [](double x) { return !std::isfinite(x); });
  if (found == rows.values.end()) return;
  const auto place = static_cast<std::uint64_t>(found - rows.values.begin());
  throw InputError(fmt::format("{}: row {}, column {} is {}, expected a finite number", name,
                               numbers[place / rows.columns], place % rows.columns, *found));
}

PartialAttention partial_attention(RowsView q, RowsView k, RowsView v, const ExactOptions& options) {
  constexpr const char* self = "partial_attention";
  require_at_least({self, "q.columns", "of a query"}, q.columns, 1);
  require_at_least({self, "v.columns", "of a value"}, v.columns, 1);
  require_view(self, "q.columns", q, q.columns);
  require_view(self, "k.columns", k, q.columns);
  require_view(self, "v.columns", v, v.columns);
  require_equal({self, "v.rows", "k.rows"}, v.rows, k.rows);
  require_at_least({self, "threads", "the smallest number"}, options.threads, 1);
  require_at_most({self, "threads", "the largest number"}, options.threads, 1024);
  if (options.window != 0 && !options.causal)
    throw UsageError("partial_attention: a window needs causal attention; without, give the keys of the window only");
  require_finite_rows(q, "queries", options.first_query);
  require_finite_rows(k, "keys", options.first_key);
  require_finite_rows(v, "values", options.first_key);

  PartialAttention out{std::vector<double>(q.rows, no_score), std::vector<double>(q.rows, 0.0),
                       DenseMatrix{q.rows, v.columns, std::vector<double>(q.rows * v.columns, 0.0)}};
  const bool may_overflow = !(largest_norm(q) * largest_norm(k) < 1e300);
  const std::uint64_t blocks = (q.rows + query_block - 1) / query_block;
  // Threads take blocks of queries in turn, as the later ones of causal attention are longer. No two write to one row.
  std::atomic<std::uint64_t> next{0};
  std::mutex failing;
  std::exception_ptr failure;
  const auto work = [&] {
    try {
      QueryBlock block(q, k, v, options, may_overflow);
      for (std::uint64_t b = next++; b < blocks; b = next++)
        block.run(b * query_block, std::min(query_block, q.rows - b * query_block), out);
    } catch (...) {
      const std::scoped_lock lock(failing);
      if (!failure) failure = std::current_exception();
      next = blocks;
    }
  };
  {
    std::vector<std::jthread> helpers;
    for (std::uint64_t t = 1; t < std::min<std::uint64_t>(options.threads, blocks); ++t) helpers.emplace_back(work);
    work();
  }
  if (failure) std::rethrow_exception(failure);
  return out;
}

void rescale(PartialAttention& part, const std::vector<double>& maxima) {
  require_equal({"rescale", "maxima.size()", "the number of queries"}, maxima.size(), part.maxima.size());
  for (std::size_t i = 0; i < maxima.size(); ++i)
    if (!(maxima[i] >= part.maxima[i]))
      throw UsageError(fmt::format("rescale: the maximum of query {} is {}, expected at least its own, {}", i,
                                   maxima[i], part.maxima[i]));
  auto numerators = matrix_view(part.numerators);
  for (std::size_t i = 0; i < maxima.size(); ++i) {
    if (maxima[i] == part.maxima[i]) continue;
    const double factor = std::exp(part.maxima[i] - maxima[i]);
    part.denominators[i] *= factor;
    numerators.row(to_index(i)) *= factor;
    part.maxima[i] = maxima[i];
  }
}

void merge(PartialAttention& part, const PartialAttention& other) {
  require_equal({"merge", "the number of queries", "that of the other part"}, part.maxima.size(), other.maxima.size());
  require_equal({"merge", "the number of columns", "that of the other part"}, part.numerators.columns,
                other.numerators.columns);
  std::vector<double> maxima(part.maxima.size());
  std::transform(part.maxima.begin(), part.maxima.end(), other.maxima.begin(), maxima.begin(),
                 [](double a, double b) { return std::max(a, b); });
  PartialAttention scaled = other;
  rescale(scaled, maxima);
  rescale(part, maxima);
  for (std::size_t i = 0; i < maxima.size(); ++i) part.denominators[i] += scaled.denominators[i];
  matrix_view(part.numerators) += matrix_view(scaled.numerators);
}

DenseMatrix finish(const PartialAttention& part) {
  DenseMatrix out = part.numerators;
  for (std::size_t i = 0; i < part.denominators.size(); ++i) {
    if (!(part.denominators[i] > 0)) throw InputError(fmt::format("attention: query {} sees no key", i));
    matrix_view(out).row(to_index(i)) /= part.denominators[i];
  }
  return out;
}

DenseMatrix exact_attention(RowsView q, RowsView k, RowsView v, const ExactOptions& options) {
  return finish(partial_attention(q, k, v, options));
}

}  // namespace weir
