#pragma once

// What weir_audit asks: vectors and matrices of many kinds, in sketches of default sizes, and the truth about them.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "audit_tally.hpp"
#include "vectors.hpp"
#include "weir/dense_matrix.hpp"
#include "weir/random/source.hpp"
#include "weir/sample/metric.hpp"
#include "weir/sample/moment.hpp"
#include "weir/sample/precision.hpp"
#include "weir/sample/sampler.hpp"
#include "weir/sample/two_stage.hpp"
#include "weir/setting/sizes.hpp"
#include "weir/state/parties.hpp"
#include "weir/state/rows_state.hpp"
#include "weir/state/vector_state.hpp"

namespace weir::experiments {

/// A part of what a state prints, a row of the table.
struct Part {
  std::string name;                    ///< Appended to that of the line; may be empty.
  std::vector<double> law = {};        ///< Of the draws, by cells; empty where there is none.
  std::optional<double> failure = {};  ///< Promised limit of the probability of fewer draws than asked for.
  double acceptance = 0;               ///< Of a lane, as promised; 0: none.
  bool is_chosen =
      false;  ///< Entries are chosen for being large: only their bounds are promised, and values are biased.
};

/// A line that is ready to run: run(seed) makes a state of that seed and returns what it prints, a result for each part.
struct Prepared {
  std::string table;  ///< The shape of the sketch.
  std::vector<Part> parts;
  std::function<std::vector<StateResult>(std::uint64_t seed)> run;
};

struct Line {
  std::string name;
  std::function<Prepared()> prepare;  ///< Makes the data.
  double share = 1;                   ///< Draws, as a part of what is asked for; below 1 where states are costly.
  double quick_draws = 0;             ///< Draws in the short form; 0: not in it.
};

inline constexpr double epsilon_of_law = 0.1;  ///< The default of the program, as those of SizeRequest.

/// A vector by its entries that are not zero.
struct Vector {
  std::string name;
  std::uint64_t n = 0;
  std::vector<std::uint64_t> keys;
  std::vector<double> values;
  std::unordered_map<std::uint64_t, std::size_t> places = {};  ///< Of the keys, in `keys`.

  [[nodiscard]] std::optional<std::size_t> place(std::uint64_t key) const {
    const auto found = places.find(key);
    return found == places.end() ? std::nullopt : std::optional(found->second);
  }
  [[nodiscard]] double moment(double q) const {
    double sum = 0;
    for (const double value : values) sum += std::pow(std::abs(value), q);
    return sum;
  }
  [[nodiscard]] VectorSketch sketch(const SketchConfig& config) const {
    VectorSketch sketch(config);
    sketch.update(keys, values);
    return sketch;
  }
};

/// `count` values in n entries, the t-th at key(t).
inline Vector make_sparse(std::string name, std::uint64_t n, std::size_t count,
                          const std::function<double(std::size_t)>& value,
                          const std::function<std::uint64_t(std::uint64_t)>& key) {
  Vector y{.name = std::move(name), .n = n, .keys = {}, .values = make_vector(count, value)};
  for (std::uint64_t t = 0; t < count; ++t) {
    y.keys.push_back(key(t));
    if (!y.places.emplace(y.keys.back(), t).second) throw std::logic_error("two entries have one key");
  }
  return y;
}

inline std::uint64_t reversed(std::uint64_t key, unsigned bits) {
  std::uint64_t result = 0;
  for (unsigned bit = 0; bit < bits; ++bit) result |= ((key >> bit) & 1U) << (bits - 1 - bit);
  return result;
}

inline double zipf(std::size_t t, double exponent) { return std::pow(static_cast<double>(t + 1), -exponent); }

/// A kind of vector: its name and how to make it. Making is left to when it is needed.
struct VectorKind {
  std::string name;
  std::function<Vector()> make;
};

inline VectorKind dense_kind(const std::string& name, std::size_t n, const std::function<double(std::size_t)>& value) {
  const std::string full = fmt::format("{} n={}", name, n);
  return {full, [=] { return make_sparse(full, n, n, value, [](std::uint64_t t) { return t; }); }};
}
inline VectorKind flat_kind(std::size_t n) {
  return dense_kind("flat", n, [](std::size_t) { return 1.0; });
}
inline VectorKind zipf_kind(double exponent, std::size_t n) {
  return dense_kind(fmt::format("zipf {}", exponent), n, [=](std::size_t t) { return zipf(t, exponent); });
}
/// `heavy` equal entries hold half of the sum of |y|^p.
inline VectorKind heavy_kind(const std::string& name, std::size_t heavy, std::size_t n, double p) {
  const double height = std::pow(static_cast<double>(n - heavy) / static_cast<double>(heavy), 1 / p);
  return dense_kind(name, n, [=](std::size_t t) { return t < heavy ? height : 1.0; });
}
/// Ratio^t, down to 2^-40; all others are zero.
inline VectorKind geometric_kind(double ratio, std::size_t n) {
  const std::string name = fmt::format("geometric {} n={}", ratio, n);
  const auto count = static_cast<std::size_t>(40 * std::log(2.0) / -std::log(ratio));
  return {name, [=] {
            return make_sparse(
                name, n, count, [=](std::size_t t) { return std::pow(ratio, static_cast<double>(t)); },
                [](std::uint64_t t) { return t; });
          }};
}
inline VectorKind strided_kind(std::size_t count) {
  const std::string name = fmt::format("flat, stride 16, n={}", 16 * count);
  return {name, [=] {
            return make_sparse(
                name, 16 * count, count, [](std::size_t) { return 1.0; }, [](std::uint64_t t) { return 16 * t; });
          }};
}
inline VectorKind bit_reversed_kind(unsigned bits) {
  const std::size_t n = std::size_t{1} << bits;
  const std::string name = fmt::format("zipf 1, bit-reversed, n={}", n);
  return {name, [=] {
            return make_sparse(
                name, n, n, [](std::size_t t) { return zipf(t, 1); },
                [=](std::uint64_t t) { return reversed(t, bits); });
          }};
}
/// `count` entries in n = 2^bits.
inline VectorKind huge_kind(const std::string& shape, std::size_t count, unsigned bits,
                            const std::function<double(std::size_t)>& value) {
  const std::string name = fmt::format("{}, {} of n=2^{}", shape, count, bits);
  // A key that is taken is hashed again.
  return {name, [=] {
            std::unordered_set<std::uint64_t> taken;
            return make_sparse(name, std::uint64_t{1} << bits, count, value, [&](std::uint64_t t) {
              std::uint64_t key = finalise(t + 1) >> (64 - bits);
              while (!taken.insert(key).second) key = finalise(key) >> (64 - bits);
              return key;
            });
          }};
}
inline VectorKind huge_flat_kind(std::size_t count, unsigned bits) {
  return huge_kind("flat", count, bits, [](std::size_t) { return 1.0; });
}
inline VectorKind huge_zipf_kind(std::size_t count, unsigned bits) {
  return huge_kind("zipf 1", count, bits, [](std::size_t t) { return zipf(t, 1); });
}

/// The law |y_i|^p of known values, by their places.
class Law {
 public:
  Law(std::vector<double> values, double p) : values_(std::move(values)), p_(p), cells_(make_cells(values_, p)) {
    for (const double value : values_) mass_ += std::pow(std::abs(value), p_);
  }
  [[nodiscard]] double mass() const { return mass_; }
  [[nodiscard]] const std::vector<double>& cells() const { return cells_.probability; }

  /// A draw beside the truth. Without a place the entry is zero.
  [[nodiscard]] Drawn drawn(const Draw& draw, std::optional<std::size_t> place) const {
    const double truth = place ? values_[*place] : 0.0;
    const double share = std::pow(std::abs(truth), p_) / mass_;
    Drawn result{.index = draw.index, .value = {draw.value, truth, draw.value_bound}};
    result.probability = {draw.probability, share, draw.probability_bound};
    if (place && truth != 0) result.cell = cells_.of_key[*place];
    return result;
  }

 private:
  std::vector<double> values_;
  double p_;
  Cells cells_;
  double mass_ = 0;
};

inline Number number_of(const Estimate& estimate, double truth) { return {estimate.value, truth, estimate.bound}; }

/// The p-norm is printed where it has a finite bound.
inline std::optional<Number> norm_p_of(const SampleResult& result, double truth) {
  if (!result.norm_p || !std::isfinite(result.norm_p->bound)) return std::nullopt;
  return number_of(*result.norm_p, truth);
}

/// The mass has no bound where none is computed: it is not 0 for an estimate.
inline Number mass_of_draws(const SampleResult& result, double truth) {
  Number mass{result.mass.value, truth, result.mass.bound};
  if (result.mass.bound == 0 && mass.misses()) mass.bound.reset();
  return mass;
}

inline std::string table_of(const SketchConfig& config) { return fmt::format("{} x {}", config.buckets, config.lanes); }

/// Draws of all lanes; whether there are enough of them for `samples` shows in is_short. `lanes` are tried.
inline StateResult result_of(const SampleResult& result, std::uint32_t samples, std::uint32_t lanes) {
  StateResult state{.accepted = static_cast<double>(result.draws.size()) / lanes};
  state.is_short = result.draws.size() < samples;
  return state;
}

/// Of answers that are no draws.
inline StateResult result_of_numbers(const std::vector<Number>& numbers) {
  StateResult state;
  for (const Number& number : numbers) state.drawn.push_back({.value = number});
  return state;
}

/// `weir sample --p P --samples S` of a vector, P = 0.5, 1, 2, or 4 through the squares.
inline Prepared prepare_draws(Vector vector, double p, std::uint32_t samples) {
  const SizeRequest request{.samples = samples, .p = p};
  const SketchConfig sizes = vector_config(request, vector.n);
  const auto y = std::make_shared<const Vector>(std::move(vector));
  const auto law = std::make_shared<const Law>(y->values, p);
  const auto run = [=](std::uint64_t seed) {
    SketchConfig config = sizes;
    config.seed = seed;
    const VectorSketch sketch = y->sketch(config);
    SampleResult result;
    if (p == 4) {
      VectorSketch squares(config);
      std::vector<double> values = y->values;
      for (double& value : values) value *= value;
      squares.update(y->keys, values);
      result = draws_of_roots(draw_with_replacement(squares, {.samples = config.lanes}), squares, sketch);
    } else {
      result = draw_with_replacement(sketch, {.samples = config.lanes});
    }
    StateResult state = result_of(result, samples, config.lanes - 1);
    for (const Draw& draw : result.draws) state.drawn.push_back(law->drawn(draw, y->place(draw.index)));
    state.norm = Number{result.norm, std::sqrt(y->moment(2)), norm_of(estimate_f2(sketch)).bound};
    state.mass = mass_of_draws(result, law->mass());
    state.norm_p = norm_p_of(result, std::pow(law->mass(), 1 / p));
    return std::vector{std::move(state)};
  };
  return {table_of(sizes),
          {{.name = "", .law = law->cells(), .failure = request.failure, .acceptance = -std::expm1(-1.0)}},
          run};
}

/// `weir sample --without-replacement`, and sums through the draws. The law is that of the first draw.
inline Prepared prepare_distinct(Vector vector, double p, std::uint32_t samples, std::vector<double> exponents) {
  const SizeRequest request{.samples = samples, .without_replacement = true, .p = p};
  const SketchConfig sizes = vector_config(request, vector.n);
  const auto y = std::make_shared<const Vector>(std::move(vector));
  const auto law = std::make_shared<const Law>(y->values, p);
  Prepared prepared{table_of(sizes), {{.name = "", .law = law->cells(), .failure = request.failure}}, {}};
  for (const double q : exponents) prepared.parts.push_back({.name = fmt::format("sum |y|^{}", q)});
  prepared.run = [=](std::uint64_t seed) {
    SketchConfig config = sizes;
    config.seed = seed;
    const VectorSketch sketch = y->sketch(config);
    const SampleResult result = draw_without_replacement(sketch, {.samples = samples});
    StateResult state;
    state.is_short = result.draws.size() < std::min<std::size_t>(samples, y->keys.size());
    for (const Draw& draw : result.draws) {
      state.drawn.push_back(law->drawn(draw, y->place(draw.index)));
      if (state.drawn.size() > 1) state.drawn.back().cell.reset();
    }
    state.norm = Number{result.norm, std::sqrt(y->moment(2)), norm_of(estimate_f2(sketch)).bound};
    state.mass = mass_of_draws(result, law->mass());
    state.norm_p = norm_p_of(result, std::pow(law->mass(), 1 / p));
    std::vector<StateResult> results{std::move(state)};
    for (const double q : exponents) {
      const MomentEstimate moment = moment_through_samples(result.draws, q, p);
      Number number{moment.value, y->moment(q)};
      if (std::isfinite(moment.bound)) number.bound = moment.bound;
      results.emplace_back().drawn.push_back({.value = number});
    }
    return results;
  };
  return prepared;
}

/// `weir sample --sampler precision`.
inline Prepared prepare_precision(Vector vector) {
  const SizeRequest request{.precision = PrecisionTarget{.epsilon = epsilon_of_law, .constant = 1}};
  const SketchConfig sizes = vector_config(request, vector.n);
  const auto y = std::make_shared<const Vector>(std::move(vector));
  const auto law = std::make_shared<const Law>(y->values, 2.0);
  const auto run = [=](std::uint64_t seed) {
    SketchConfig config = sizes;
    config.seed = seed;
    const VectorSketch sketch = y->sketch(config);
    const SampleResult result =
        draw_by_precision_sampling(sketch, {.samples = config.lanes, .epsilon = epsilon_of_law});
    StateResult state = result_of(result, request.samples, config.lanes - 1);
    for (const Draw& draw : result.draws) state.drawn.push_back(law->drawn(draw, y->place(draw.index)));
    state.norm = Number{result.norm, std::sqrt(law->mass()), norm_of(estimate_f2(sketch)).bound};
    state.mass = mass_of_draws(result, law->mass());
    return std::vector{std::move(state)};
  };
  const double threshold = precision_threshold(y->n, epsilon_of_law, 1);
  return {table_of(sizes),
          {{.name = "", .law = law->cells(), .failure = request.failure, .acceptance = -std::expm1(-1 / threshold)}},
          run};
}

inline DenseMatrix gram_of(const DenseMatrix& a) {
  const auto d = static_cast<std::size_t>(a.columns);
  DenseMatrix gram{d, d, std::vector<double>(d * d)};
  for (std::size_t i = 0; i < a.rows; ++i) {
    const double* row = a.values.data() + i * d;
    for (std::size_t j = 0; j < d; ++j)
      if (row[j] != 0)
        for (std::size_t k = 0; k < d; ++k) gram.values[j * d + k] += row[j] * row[k];
  }
  return gram;
}

struct MatrixKind {
  std::string name;
  std::function<DenseMatrix()> make;
};

/// Normal entries, each row times weight(i).
inline MatrixKind weighted_kind(const std::string& name, std::uint64_t n, std::uint64_t d,
                                const std::function<double(std::uint64_t)>& weight) {
  return {fmt::format("{} {} x {}", name, n, d), [=] {
            DenseMatrix a = normal_matrix(n, d, 1);
            for (std::size_t k = 0; k < a.values.size(); ++k) a.values[k] *= weight(k / d);
            return a;
          }};
}
inline MatrixKind normal_kind(std::uint64_t n, std::uint64_t d) {
  return weighted_kind("normal", n, d, [](std::uint64_t) { return 1.0; });
}
/// The first d rows are long multiples of the unit vectors: each spans a direction of its own, and has nearly all of its
/// leverage.
inline MatrixKind coherent_kind(std::uint64_t n, std::uint64_t d) {
  return {fmt::format("coherent {} x {}", n, d), [=] {
            DenseMatrix a = normal_matrix(n, d, 1);
            const double length = 10 * std::sqrt(static_cast<double>(n));
            for (std::size_t i = 0; i < d; ++i)
              for (std::size_t j = 0; j < d; ++j) a.values[i * d + j] = i == j ? length : 0;
            return a;
          }};
}
/// The last column is the first but for a millionth of noise.
inline MatrixKind deficient_kind(std::uint64_t n, std::uint64_t d) {
  return {fmt::format("nearly deficient {} x {}", n, d), [=] {
            DenseMatrix a = normal_matrix(n, d, 1);
            for (std::size_t i = 0; i < n; ++i)
              a.values[i * d + d - 1] = a.values[i * d] + 1e-6 * a.values[i * d + d - 1];
            return a;
          }};
}

/// `weir sample --model rows`, by norm or by leverage. The value of a draw is the norm of the row in the metric.
inline Prepared prepare_rows(const DenseMatrix& a, bool by_leverage) {
  const std::uint64_t n = a.rows, d = a.columns;
  const SizeRequest request{.leverage = by_leverage};
  const PairsConfig sizes = rows_config(request, n, d);
  const DenseMatrix gram = gram_of(a);
  const Metric metric = by_leverage ? Metric::leverage(gram) : Metric::norm(d);
  const auto events = std::make_shared<EventBatch>();
  std::vector<double> norms;
  double frobenius = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const std::span<const double> row(a.values.data() + i * d, d);
    events->rows.push_back(Operand::A, i, 1.0, row);
    norms.push_back(std::sqrt(metric.of_row(row)));
    for (const double value : row) frobenius += value * value;
  }
  const auto law = std::make_shared<const Law>(std::move(norms), 2.0);
  const auto run = [=](std::uint64_t seed) {
    SketchConfig config = sizes.sketch;
    config.seed = seed;
    RowsState rows(config, d, sizes.gram);
    rows.add(*events);
    const DrawQuestion draw{.samples = config.lanes, .metric = {.leverage = by_leverage}};
    const Answer answer = rows.answer({.draw = draw, .norm = true}, lone_party());
    StateResult state = result_of(answer.draws, request.samples, config.lanes - 1);
    for (const Draw& one : answer.draws.draws)
      state.drawn.push_back(law->drawn(one, static_cast<std::size_t>(one.index)));
    state.norm = Number{answer.draws.norm, std::sqrt(law->mass()), answer.draws_norm_bound};
    state.mass = mass_of_draws(answer.draws, law->mass());
    return std::vector{std::move(state), result_of_numbers({number_of(*answer.norm, std::sqrt(frobenius))})};
  };
  return {fmt::format("{}, {}", table_of(sizes.sketch), sizes.gram.buckets),
          {{.name = "", .law = law->cells(), .failure = request.failure, .acceptance = -std::expm1(-1.0)},
           {.name = "norm"}},
          run};
}

/// `weir sample --model kronecker` by the method two-stage, X the identity, and answers of the same state.
inline Prepared prepare_pairs(const DenseMatrix& factor1, const DenseMatrix& factor2) {
  constexpr std::size_t points = 8, top = 10;
  const SizeRequest request;
  const PairsConfig sizes = pairs_config(request, factor1.rows, factor2.rows);
  const KroneckerShape shape{factor1.rows, factor2.rows, factor1.columns, factor2.columns};
  auto y = std::make_shared<std::vector<double>>();
  for (std::size_t i1 = 0; i1 < shape.n1; ++i1)
    for (std::size_t i2 = 0; i2 < shape.n2; ++i2) {
      const double* a = factor1.values.data() + i1 * shape.d1;
      y->push_back(std::inner_product(a, a + shape.d1, factor2.values.data() + i2 * shape.d2, 0.0));
    }
  const auto events = std::make_shared<EventBatch>();
  for (const auto& [operand, factor] : {std::pair{Operand::A1, &factor1}, {Operand::A2, &factor2}})
    for (std::size_t i = 0; i < factor->rows; ++i)
      events->rows.push_back(operand, i, 1.0, std::span(factor->values).subspan(i * factor->columns, factor->columns));
  const auto law = std::make_shared<const Law>(*y, 2.0);
  const auto place = [=](std::uint64_t i1, std::uint64_t i2) { return static_cast<std::size_t>(i1 * shape.n2 + i2); };
  // Some of the largest entries, and some of the median size.
  std::vector<std::size_t> order(y->size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) { return std::abs((*y)[a]) > std::abs((*y)[b]); });
  std::vector<EntryIndex> asked;
  for (const std::size_t first : {std::size_t{0}, order.size() / 2})
    for (std::size_t k = first; k < first + points; ++k) asked.push_back({order[k] / shape.n2, order[k] % shape.n2});

  const auto run = [=](std::uint64_t seed) {
    SketchConfig config = sizes.sketch;
    config.seed = seed;
    KroneckerState kronecker(shape, config, sizes.gram);
    kronecker.add(*events);
    const Question question{.draw = DrawQuestion{.samples = config.lanes}, .norm = true, .top = top, .points = asked};
    const Answer answer = kronecker.answer(question, lone_party());
    StateResult state = result_of(answer.draws, request.samples, config.lanes - 1);
    for (const Draw& one : answer.draws.draws) state.drawn.push_back(law->drawn(one, place(one.index, *one.column)));
    state.norm = Number{answer.draws.norm, std::sqrt(law->mass()), answer.draws_norm_bound};
    state.mass = mass_of_draws(answer.draws, law->mass());
    std::vector<StateResult> results{std::move(state)};
    results.push_back(result_of_numbers({number_of(*answer.norm, std::sqrt(law->mass()))}));
    StateResult& largest = results.emplace_back();
    for (const HeavyCoordinate& heavy : *answer.top)
      largest.drawn.push_back({.value = number_of(heavy.estimate, (*y)[place(heavy.index, *heavy.column)])});
    for (const std::size_t first : {std::size_t{0}, points}) {
      StateResult& entries = results.emplace_back();
      for (std::size_t k = first; k < first + points; ++k)
        entries.drawn.push_back(
            {.value = number_of(answer.points[k].estimate, (*y)[place(asked[k].index, *asked[k].column)])});
    }
    return results;
  };
  // Lanes accept in two stages, whose number is chosen for the failures alone.
  return {fmt::format("{}, {}", table_of(sizes.sketch), sizes.gram.buckets),
          {{.name = "", .law = law->cells(), .failure = request.failure},
           {.name = "norm"},
           {.name = "top", .is_chosen = true},
           {.name = "heavy entries"},
           {.name = "light entries"}},
          run};
}

/// Answers about a vector. `of_draws`: by a state of `weir sample`; otherwise by one of `weir query --top --moment`.
inline Prepared prepare_query(Vector vector, bool of_draws, std::vector<double> exponents) {
  constexpr std::size_t points = 8, top = 10;
  SizeRequest request;
  if (!of_draws) request = {.for_answers = true, .with_top = true, .with_moments = !exponents.empty()};
  const SketchConfig sizes = vector_config(request, vector.n);
  std::vector<std::size_t> order(vector.keys.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(
      order, [&](std::size_t a, std::size_t b) { return std::abs(vector.values[a]) > std::abs(vector.values[b]); });
  // The largest entries, some of the median size, and some that are zero.
  std::vector<std::uint64_t> heavy, light, zeros;
  const std::size_t some = std::min(points, order.size());
  for (std::size_t k = 0; k < some; ++k) heavy.push_back(vector.keys[order[k]]);
  for (std::size_t k = 0; k < some; ++k) light.push_back(vector.keys[order[(order.size() - some) / 2 + k]]);
  for (std::uint64_t key = 1; key < vector.n && zeros.size() < points; ++key)
    if (!vector.place(key)) zeros.push_back(key);

  const auto y = std::make_shared<const Vector>(std::move(vector));
  // Another vector of the same entries, for an inner product that does not cancel.
  auto magnitudes = std::make_shared<Vector>(*y);
  double inner = 0;
  for (double& value : magnitudes->values) {
    inner += value * std::abs(value);
    value = std::abs(value);
  }
  Prepared prepared{table_of(sizes), {{.name = "norm"}, {.name = "inner"}, {.name = "top", .is_chosen = true}}, {}};
  std::vector<std::pair<std::string, std::vector<std::uint64_t>>> groups{{"heavy", heavy}, {"light", light}};
  if (!zeros.empty()) groups.emplace_back("zero", zeros);
  for (const auto& [name, keys] : groups) prepared.parts.push_back({.name = name + " entries"});
  for (const double q : exponents) prepared.parts.push_back({.name = fmt::format("sum |y|^{}", q)});

  prepared.run = [=](std::uint64_t seed) {
    const auto truth_of = [&](std::uint64_t key) {
      const std::optional<std::size_t> place = y->place(key);
      return place ? y->values[*place] : 0.0;
    };
    SketchConfig config = sizes;
    config.seed = seed;
    const VectorSketch sketch = y->sketch(config);
    Question question{.norm = true, .top = std::min(top, y->keys.size()), .moments = exponents};
    for (const auto& [name, keys] : groups)
      for (const std::uint64_t key : keys) question.points.push_back({key});
    const Answer answer = VectorState(sketch, std::nullopt).answer(question, lone_party());

    std::vector<StateResult> results(3);
    results[0].drawn.push_back({.value = number_of(*answer.norm, std::sqrt(y->moment(2)))});
    results[1].drawn.push_back({.value = number_of(sketch.inner_product(magnitudes->sketch(config)), inner)});
    for (const HeavyCoordinate& heavy_one : *answer.top)
      results[2].drawn.push_back(
          {.index = heavy_one.index, .value = number_of(heavy_one.estimate, truth_of(heavy_one.index))});
    std::size_t point = 0;
    for (const auto& [name, keys] : groups) {
      StateResult& group = results.emplace_back();
      for (const std::uint64_t key : keys)
        group.drawn.push_back({.index = key, .value = number_of(answer.points[point++].estimate, truth_of(key))});
    }
    for (const MomentAnswer& moment : answer.moments) {
      Number number{moment.estimate.value, y->moment(moment.exponent)};
      if (std::isfinite(moment.estimate.bound)) number.bound = moment.estimate.bound;
      results.emplace_back().drawn.push_back({.value = number});
    }
    return results;
  };
  return prepared;
}

/// All lines, those of the short form among them.
inline std::vector<Line> make_lines() {
  std::vector<Line> lines;
  const auto with = [&](const VectorKind& kind, double p, double share, double quick = 0, std::uint32_t samples = 8) {
    std::string name = fmt::format("draws p={} {}", p, kind.name);
    if (samples != 8) name += fmt::format(", {} samples", samples);
    lines.push_back({name, [=] { return prepare_draws(kind.make(), p, samples); }, share, quick});
  };
  constexpr std::size_t n = 65536;
  with(flat_kind(1000), 2, 1, 60000);
  with(flat_kind(n), 2, 1, 3000);
  with(flat_kind(85000), 2, 1);
  with(flat_kind(1000000), 2, 0.2);
  with(zipf_kind(0.6, 1000), 2, 1);
  with(zipf_kind(0.6, n), 2, 1);
  with(zipf_kind(1, 1000), 2, 1, 4000);
  with(zipf_kind(1, n), 2, 1);
  with(zipf_kind(1.5, n), 2, 1);
  with(zipf_kind(2, n), 2, 1);
  with(heavy_kind("one heavy", 1, 1000, 2), 2, 1, 40000);
  with(heavy_kind("one heavy", 1, n, 2), 2, 1);
  with(heavy_kind("two tied", 2, n, 2), 2, 1);
  with(geometric_kind(0.5, 1000), 2, 1);
  with(geometric_kind(0.9, 1000), 2, 1, 4000);
  with(strided_kind(4096), 2, 1, 3000);
  with(bit_reversed_kind(16), 2, 1);
  with(huge_flat_kind(1000, 40), 2, 1, 300);
  with(huge_zipf_kind(10000, 20), 2, 0.1);
  with(huge_zipf_kind(10000, 30), 2, 0.5);
  with(huge_zipf_kind(10000, 40), 2, 1);
  with(huge_flat_kind(65536, 40), 2, 0.5);
  // Many lanes.
  with(flat_kind(1000), 2, 1, 7000, 100);
  with(zipf_kind(1, n), 2, 1, 0, 100);
  with(heavy_kind("one heavy", 1, 1000, 2), 2, 1, 0, 100);

  for (const double p : {1.0, 0.5}) {
    with(flat_kind(1000), p, 1, p == 1 ? 3000 : 0);
    with(flat_kind(n), p, 0.5, p == 1 ? 300 : 0);
    with(zipf_kind(0.6, n), p, 0.5);
    with(zipf_kind(1, 1000), p, 1, 3000);
    with(zipf_kind(1, n), p, 0.5);
    with(zipf_kind(2, n), p, 0.5);
    with(heavy_kind("one heavy", 1, n, p), p, 0.5);
    with(heavy_kind("two tied", 2, n, p), p, 0.5);
    with(geometric_kind(0.9, 1000), p, 1);
    with(strided_kind(4096), p, 0.5);
    with(huge_zipf_kind(10000, 20), p, 0.05);
    with(huge_zipf_kind(10000, 30), p, 0.1, p == 1 ? 100 : 0);
    with(huge_zipf_kind(10000, 40), p, 0.2);
  }
  with(flat_kind(1000), 4, 1, 3000);
  with(flat_kind(n), 4, 1);
  with(zipf_kind(0.6, n), 4, 1);
  with(zipf_kind(1, n), 4, 1);
  with(heavy_kind("one heavy", 1, n, 4), 4, 1);

  const std::vector<double> all_moments{0.5, 1, 2, 3, 4};
  const auto distinct = [&](const VectorKind& kind, double p, std::uint32_t samples, double share, double quick = 0) {
    lines.push_back(
        {fmt::format("distinct p={} {}, {} samples", p, kind.name, samples),
         [=] { return prepare_distinct(kind.make(), p, samples, samples > 8 ? all_moments : std::vector{p}); }, share,
         quick});
  };
  for (const double p : {2.0, 1.0}) {
    for (const std::uint32_t samples : {8U, 64U}) {
      const bool few = samples == 8;
      distinct(flat_kind(1000), p, samples, 1, few ? 20000 : 0);
      distinct(flat_kind(n), p, samples, 1);
      distinct(zipf_kind(0.6, n), p, samples, 1);
      distinct(zipf_kind(1, 1000), p, samples, 1, 4000);
      distinct(zipf_kind(1, n), p, samples, 1);
      distinct(zipf_kind(2, n), p, samples, 1);
      distinct(heavy_kind("one heavy", 1, n, p), p, samples, 1);
      distinct(geometric_kind(0.9, 1000), p, samples, 1);
      distinct(strided_kind(4096), p, samples, 1, few && p == 2 ? 3000 : 0);
      distinct(huge_zipf_kind(10000, 40), p, samples, 1);
    }
  }

  const auto precision = [&](const VectorKind& kind, double share, double quick = 0) {
    lines.push_back({"precision " + kind.name, [=] { return prepare_precision(kind.make()); }, share, quick});
  };
  precision(flat_kind(1000), 0.1);
  precision(zipf_kind(1, 1000), 0.1);
  precision(heavy_kind("one heavy", 1, 1000, 2), 0.1);
  precision(flat_kind(n), 0.01);

  const auto rows = [&](const MatrixKind& kind, bool by_leverage, double share, double quick = 0) {
    lines.push_back({fmt::format("rows by {} {}", by_leverage ? "leverage" : "norm", kind.name),
                     [=] { return prepare_rows(kind.make(), by_leverage); }, share, quick});
  };
  const auto heavy_row = [](std::uint64_t i) { return i == 0 ? std::sqrt(2000.0) : 1.0; };
  for (const std::uint64_t d : {4U, 16U, 64U}) {
    const double share = d < 64 ? 1 : 0.3;
    rows(normal_kind(2000, d), false, share, d == 4 ? 3000 : 0);
    rows(weighted_kind("zipf 1", 2000, d, [](std::uint64_t i) { return zipf(i, 1); }), false, share);
    rows(weighted_kind("one heavy", 2000, d, heavy_row), false, share);
    rows(normal_kind(2000, d), true, share, d == 4 ? 3000 : 0);
    rows(coherent_kind(2000, d), true, share, d == 16 ? 3000 : 0);
    rows(deficient_kind(2000, d), true, share);
  }
  for (const std::uint64_t d : {512U, 2048U}) {
    const double share = d == 512 ? 0.01 : 0.001;
    rows(normal_kind(2 * d, d), true, share);
    rows(coherent_kind(2 * d, d), true, share);
  }

  const auto pairs = [&](const std::string& name, const std::function<double(std::uint64_t)>& weight,
                         double quick = 0) {
    lines.push_back({fmt::format("pairs {} 300 x 200, d=8", name),
                     [=] {
                       DenseMatrix a2 = normal_matrix(200, 8, 2);
                       for (std::size_t k = 0; k < a2.values.size(); ++k) a2.values[k] *= weight(k / 8);
                       return prepare_pairs(weighted_kind("", 300, 8, weight).make(), std::move(a2));
                     },
                     0.3, quick});
  };
  pairs(
      "normal", [](std::uint64_t) { return 1.0; }, 3000);
  pairs("zipf 1", [](std::uint64_t i) { return zipf(i, 1); });
  pairs("dominant", [](std::uint64_t i) { return i == 0 ? 16.0 : 1.0; });

  const auto query = [&](const VectorKind& kind, bool of_draws, double share, double quick = 0) {
    lines.push_back({fmt::format("query{} {}", of_draws ? " of a sample" : "", kind.name),
                     [=] { return prepare_query(kind.make(), of_draws, {}); }, share, quick});
  };
  for (const bool of_draws : {false, true}) {
    query(flat_kind(n), of_draws, 0.1);
    query(zipf_kind(0.6, n), of_draws, 0.1);
    query(zipf_kind(1, 1000), of_draws, 0.3, 2500);
    query(zipf_kind(1, n), of_draws, 0.1);
    query(zipf_kind(2, n), of_draws, 0.1);
    query(heavy_kind("one heavy", 1, n, 2), of_draws, 0.1);
    query(geometric_kind(0.5, 1000), of_draws, 0.3);
    query(strided_kind(4096), of_draws, 0.3, of_draws ? 0 : 2500);
    query(huge_zipf_kind(10000, 40), of_draws, 0.1);
  }
  const auto moments = [&](const VectorKind& kind, double share, double quick = 0) {
    lines.push_back({fmt::format("moments {}", kind.name),
                     [=] { return prepare_query(kind.make(), false, all_moments); }, share, quick});
  };
  moments(flat_kind(10000), 0.1);
  moments(zipf_kind(0.6, 10000), 0.1);
  moments(zipf_kind(1, 10000), 0.1);
  moments(zipf_kind(2, 10000), 0.1);
  moments(heavy_kind("one heavy", 1, 10000, 2), 0.1);
  return lines;
}

}  // namespace weir::experiments
