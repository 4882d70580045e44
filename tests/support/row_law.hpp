#pragma once

// Sparse matrices of integers with known laws of rows and of entries of products, and counts of what sketches of them
// draw.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "support/law.hpp"
#include "weir/random/source.hpp"
#include "weir/sample/metric.hpp"
#include "weir/sample/row_sampler.hpp"
#include "weir/sample/two_stage.hpp"
#include "weir/sketch/kronecker_sketch.hpp"

namespace weir::testing_support {

/// Rows keys[t] of a matrix of d columns; all others are zero. All keys are different.
struct SparseRows {
  std::uint64_t d = 0;
  std::vector<std::uint64_t> keys;
  std::vector<double> values;  ///< [t][column]

  [[nodiscard]] std::size_t count() const { return keys.size(); }
  [[nodiscard]] std::span<const double> row(std::size_t t) const { return std::span(values).subspan(t * d, d); }
  [[nodiscard]] std::span<double> row(std::size_t t) { return std::span(values).subspan(t * d, d); }
};

/// Integers of magnitude at most 9, and not all of them zero, in every row.
inline SparseRows random_rows(std::uint64_t d, std::vector<std::uint64_t> keys, std::uint64_t seed) {
  SparseRows rows{d, std::move(keys), {}};
  for (std::size_t k = 0; k < rows.count() * d; ++k) {
    rows.values.push_back(static_cast<double>(finalise(seed * 1000003 + k) % 19) - 9);
  }
  for (std::size_t t = 0; t < rows.count(); ++t) rows.row(t)[0] += rows.row(t)[0] == 0 ? 1 : 0;
  return rows;
}

inline std::vector<std::uint64_t> first_keys(std::size_t count) {
  return make_keys(count, [](std::uint64_t t) { return t; });
}

inline DenseMatrix gram_of(const SparseRows& rows) {
  DenseMatrix gram{rows.d, rows.d, std::vector<double>(rows.d * rows.d)};
  for (std::size_t t = 0; t < rows.count(); ++t) {
    for (std::size_t j = 0; j < rows.d; ++j) {
      for (std::size_t k = 0; k < rows.d; ++k) gram.values[j * rows.d + k] += rows.row(t)[j] * rows.row(t)[k];
    }
  }
  return gram;
}

/// One row as long as all others together.
inline SparseRows with_dominant_row(SparseRows rows) {
  const DenseMatrix gram = gram_of(rows);
  for (std::size_t j = 0; j < rows.d; ++j) rows.row(0)[j] = std::round(std::sqrt(gram.values[j * rows.d + j]));
  return rows;
}

/// Every second row is the one before it.
inline SparseRows with_duplicates(SparseRows rows) {
  for (std::size_t t = 1; t < rows.count(); t += 2) std::ranges::copy(rows.row(t - 1), rows.row(t).begin());
  return rows;
}

inline double quadratic_form(std::span<const double> a, const DenseMatrix& m) {
  double sum = 0;
  for (std::size_t j = 0; j < a.size(); ++j) {
    for (std::size_t k = 0; k < a.size(); ++k) sum += a[j] * m.values[j * a.size() + k] * a[k];
  }
  return sum;
}

inline std::vector<double> normalised(std::vector<double> masses) {
  double total = 0;
  for (const double mass : masses) total += mass;
  for (double& mass : masses) mass /= total;
  return masses;
}

/// a^T M a over the sum.
inline std::vector<double> law_of_rows(const SparseRows& rows, const DenseMatrix& m) {
  std::vector<double> masses;
  for (std::size_t t = 0; t < rows.count(); ++t) masses.push_back(quadratic_form(rows.row(t), m));
  return normalised(std::move(masses));
}

/// The M-norms of the rows.
inline std::vector<double> norms_of(const SparseRows& rows, const DenseMatrix& m) {
  std::vector<double> norms;
  for (std::size_t t = 0; t < rows.count(); ++t) norms.push_back(std::sqrt(quadratic_form(rows.row(t), m)));
  return norms;
}

/// Each row goes too far and comes back, and as many others come and go.
template <class Sketch>
void add_with_deletions(Sketch& sketch, const SparseRows& rows, std::uint64_t n) {
  const std::vector<double> other(rows.d, 40.0);
  const auto add = [&](std::uint64_t key, double weight, std::span<const double> values) {
    sketch.update_rows(std::span(&key, 1), std::span(&weight, 1), values);
  };
  for (std::size_t t = 0; t < rows.count(); ++t) {
    add(rows.keys[t], 3.0, rows.row(t));
    add((rows.keys[t] + n / 2 + 1) % n, 1.0, other);
  }
  for (std::size_t t = 0; t < rows.count(); ++t) {
    add((rows.keys[t] + n / 2 + 1) % n, -1.0, other);
    add(rows.keys[t], -2.0, rows.row(t));
  }
}

template <class Sketch>
void add_rows(Sketch& sketch, const SparseRows& rows) {
  sketch.update_rows(rows.keys, std::vector<double>(rows.count(), 1.0), rows.values);
}

/// Draws of a sampler, given the seed of a sketch, for the seeds first_seed ...; `position` says where a draw counts, and
/// match(seed, draw) what it is beside, where it would be without noise. A sampler for which that is not known has no
/// matches.
struct NoMatches {};
template <class Sampler, class Position, class Matcher = NoMatches>
LawCounts count_draws_by(const Sampler& sampler, const Position& position, std::size_t positions, std::uint32_t lanes,
                         std::uint64_t trials, std::uint64_t first_seed = 1, const Matcher& matcher = {}) {
  LawCounts result;
  result.counts.resize(positions);
  for (std::uint64_t trial = 0; trial < trials; ++trial) {
    auto& row = result.lane_draws.emplace_back(lanes - 1, -1);
    const auto match = [&] {
      if constexpr (std::is_same_v<Matcher, NoMatches>) {
        return NoMatches{};
      } else {
        return matcher(first_seed + trial);
      }
    }();
    for (const Draw& draw : sampler(first_seed + trial).draws) {
      const std::int64_t at = position(draw);
      if (at < 0) {
        ++result.strangers;
      } else {
        ++result.counts[static_cast<std::size_t>(at)];
        row[draw.lane - 1] = at;
        if constexpr (!std::is_same_v<Matcher, NoMatches>) result.matches.push_back(match(draw, at));
      }
    }
    result.lanes_tried += lanes - 1;
  }
  return result;
}

/// Position of a key among those of the rows, -1 for none.
class Positions {
 public:
  explicit Positions(const SparseRows& rows) {
    for (std::size_t t = 0; t < rows.count(); ++t) places_[rows.keys[t]] = static_cast<std::int64_t>(t);
  }
  [[nodiscard]] std::int64_t operator()(std::uint64_t key) const {
    const auto found = places_.find(key);
    return found == places_.end() ? -1 : found->second;
  }

 private:
  std::map<std::uint64_t, std::int64_t> places_;
};

/// Rows drawn from sketches of `rows` in the metric, with the exact total.
inline LawCounts count_rows(SketchConfig config, const SparseRows& rows, const Metric& metric, std::uint64_t trials,
                            double threshold = 1.0) {
  const double total = metric.total(gram_of(rows));
  const Positions position(rows);
  const auto sampler = [&](std::uint64_t seed) {
    config.seed = seed;
    MatrixSketch sketch(config, rows.d);
    add_with_deletions(sketch, rows, config.dimension);
    return draw_rows(sketch, metric, {total}, {.samples = config.lanes, .threshold = threshold});
  };
  const SparseVector norms{rows.keys, norms_of(rows, metric.matrix())};
  const auto matcher = [&](std::uint64_t seed) {
    config.seed = seed;
    return [winners = exact_winners(config, norms)](const Draw& draw, std::int64_t at) -> statistics::Match {
      return {static_cast<std::size_t>(at), winners[draw.lane - 1]};
    };
  };
  return count_draws_by(
      sampler, [&](const Draw& draw) { return position(draw.index); }, rows.count(), config.lanes, trials, 1, matcher);
}

/// The operands of a y = A1 X A2^T.
struct Pairs {
  SparseRows a1;
  SparseRows a2;
  DenseMatrix x;

  /// y, [t1][t2] over the rows given.
  [[nodiscard]] std::vector<double> y() const {
    std::vector<double> entries;
    for (std::size_t t1 = 0; t1 < a1.count(); ++t1) {
      for (std::size_t t2 = 0; t2 < a2.count(); ++t2) {
        double sum = 0;
        for (std::size_t j = 0; j < x.rows; ++j) {
          for (std::size_t k = 0; k < x.columns; ++k) {
            sum += a1.row(t1)[j] * x.values[j * x.columns + k] * a2.row(t2)[k];
          }
        }
        entries.push_back(sum);
      }
    }
    return entries;
  }
  [[nodiscard]] double f2() const {
    double sum = 0;
    for (const double entry : y()) sum += entry * entry;
    return sum;
  }
  [[nodiscard]] std::vector<double> law() const {
    std::vector<double> masses = y();
    for (double& mass : masses) mass *= mass;
    return normalised(std::move(masses));
  }
};

inline void set_core(KroneckerSketch& sketch, const DenseMatrix& x) {
  sketch.x = x.values;
  sketch.x_events = static_cast<double>(x.values.size());
}

inline KroneckerSketch sketch_of(const Pairs& pairs, std::uint64_t n1, std::uint64_t n2, const SketchConfig& config,
                                 const GramConfig& gram) {
  KroneckerSketch sketch({.n1 = n1, .n2 = n2, .d1 = pairs.x.rows, .d2 = pairs.x.columns}, config, gram);
  add_rows(sketch.a1, pairs.a1);
  add_rows(sketch.a2, pairs.a2);
  set_core(sketch, pairs.x);
  return sketch;
}

/// Pairs drawn from sketches of the operands, counted at t1 * a2.count() + t2.
inline LawCounts count_pairs(SketchConfig config, std::uint64_t n1, std::uint64_t n2, const Pairs& pairs,
                             const GramConfig& gram, std::uint64_t trials, double threshold = 1.0) {
  const Positions first(pairs.a1);
  const Positions second(pairs.a2);
  const auto sampler = [&](std::uint64_t seed) {
    config.seed = seed;
    return draw_pairs(sketch_of(pairs, n1, n2, config, gram), {.samples = config.lanes, .threshold = threshold});
  };
  const auto position = [&](const Draw& draw) -> std::int64_t {
    const std::int64_t t1 = first(draw.index);
    const std::int64_t t2 = second(draw.column.value());
    return t1 < 0 || t2 < 0 ? -1 : t1 * static_cast<std::int64_t>(pairs.a2.count()) + t2;
  };
  // Which lane of A2 draws i2 depends on the other draws; matched are the rows i1.
  const std::size_t width = pairs.a2.count();
  SparseVector norms{pairs.a1.keys, std::vector<double>(pairs.a1.count())};
  std::vector<double> law_of_rows(pairs.a1.count());
  const std::vector<double> law = pairs.law();
  for (std::size_t k = 0; k < law.size(); ++k) law_of_rows[k / width] += law[k];
  for (std::size_t t = 0; t < law_of_rows.size(); ++t) norms.values[t] = std::sqrt(law_of_rows[t]);
  const auto matcher = [&](std::uint64_t seed) {
    SketchConfig first_factor = config;
    first_factor.seed = subkey(seed, Purpose::operand, 0, 0);
    return
        [winners = exact_winners(first_factor, norms), width](const Draw& draw, std::int64_t at) -> statistics::Match {
          return {static_cast<std::size_t>(at) / width, winners[draw.lane - 1]};
        };
  };
  LawCounts drawn = count_draws_by(sampler, position, pairs.a1.count() * width, config.lanes, trials, 1, matcher);
  drawn.law_of_matches = law_of_rows;
  return drawn;
}

}  // namespace weir::testing_support
