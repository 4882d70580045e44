#include "sketch/kernels.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#ifndef WEIR_SKETCH_KERNELS_PREFETCH
#define WEIR_SKETCH_KERNELS_PREFETCH
namespace weir {
/// How many items ahead cells are fetched, where they fill cache lines, by the bytes of level 0; measured. What lies in
/// the second-level cache the processor reaches in time by itself; the larger the table, the longer it takes.
constexpr std::size_t prefetch_distance(std::size_t bytes) noexcept {
  if (bytes <= std::size_t{1} << 19U) return 0;
  return bytes <= std::size_t{1} << 22U ? 8 : 16;
}
/// How many items ahead the batch itself is fetched: beyond the chunk that comes next, as that is checked and hashed as
/// a whole before its first item is added.
constexpr std::size_t batch_prefetch_distance = 2 * PhiColumns::capacity;
}  // namespace weir
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "sketch/kernels.cpp"
#include <hwy/foreach_target.h>
// The order matters: foreach_target.h re-includes this file once for each target.
#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include "random/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace weir {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using kernels::ItemsToAdd;

/// Where a row finds its bits in a word, and its cells in the table.
struct RowField {
  std::size_t word;
  int above;  // bits of the word above the row's own
  int below;
  std::uint64_t first_cell;
};

HWY_INLINE RowField field_of_row(const RowBits& bits, std::size_t row) {
  const int above = static_cast<int>(row % bits.rows_of_word) * bits.of_row;
  return {.word = row / bits.rows_of_word,
          .above = above,
          .below = 64 - bits.of_row - above,
          .first_cell = (bits.first_row + row) * bits.buckets * bits.cell_size};
}

/// A vector of cells, and where kSigns one of signs, from words that a row shares.
template <bool kSigns, class D>
HWY_INLINE void locate_vector(D d, const std::uint64_t* words, const RowField& field, std::uint64_t largest_bucket,
                              std::uint64_t cell_size, std::uint64_t* cells, double* signs) {
  const auto word = hn::Load(d, words);
  const auto bucket = hn::And(hn::ShiftRightSame(word, field.below), hn::Set(d, largest_bucket));
#if HWY_TARGET == HWY_SCALAR
  const auto offset = bucket * hn::Set(d, cell_size);
#else
  const hn::Repartition<std::uint32_t, D> d32;  // both fit 32 bits
  const auto offset = hn::MulEven(hn::BitCast(d32, bucket), hn::BitCast(d32, hn::Set(d, cell_size)));
#endif
  hn::Store(hn::Add(offset, hn::Set(d, field.first_cell)), d, cells);
  if constexpr (kSigns) {
    const hn::Repartition<double, D> df;
    const auto sign_bit = hn::And(hn::ShiftLeftSame(word, field.above), hn::Set(d, std::uint64_t{1} << 63U));
    hn::Store(hn::BitCast(df, hn::Or(hn::BitCast(d, hn::Set(df, 1.0)), sign_bit)), df, signs);
  }
}

template <bool kSigns>
HWY_INLINE void locate_row(const RowField& field, const RowBits& bits, std::size_t count,
                           const std::uint64_t* HWY_RESTRICT words, std::uint64_t* HWY_RESTRICT cells,
                           double* HWY_RESTRICT signs) {
  const hn::ScalableTag<std::uint64_t> d;
  for (std::size_t t = 0; t < count; t += hn::Lanes(d)) {
    locate_vector<kSigns>(d, words + t, field, bits.buckets - 1, bits.cell_size, cells + t, signs + t);
  }
}

/// Runs over whole vectors: the arrays of PhiColumns are `capacity` long, a multiple of every vector, and what lies past
/// `count` is never read.
void locate_rows(const RowBits& bits, std::size_t count, PhiColumns& columns) {
  constexpr std::size_t stride = PhiColumns::capacity;
  for (std::size_t row = 0; row < bits.rows; ++row) {
    const RowField field = field_of_row(bits, row);
    const std::uint64_t* words = columns.words.data() + field.word * stride;
    std::uint64_t* cells = columns.cells.data() + (bits.first_row + row) * stride;
    if (bits.first_row == 0) {
      locate_row<true>(field, bits, count, words, cells, columns.signs.data() + row * stride);
    } else {
      locate_row<false>(field, bits, count, words, cells, columns.signs.data());
    }
  }
}

void fill_consecutive(std::uint64_t first, std::span<std::uint64_t> keys) {
  const hn::ScalableTag<std::uint64_t> d;
  const std::size_t width = hn::Lanes(d);
  std::size_t t = 0;
  auto next = hn::Iota(d, first);
  for (; t + width <= keys.size(); t += width, next = hn::Add(next, hn::Set(d, width))) hn::StoreU(next, d, &keys[t]);
  for (; t < keys.size(); ++t) keys[t] = first + t;
}

bool all_valid(const std::uint64_t* HWY_RESTRICT keys, const double* HWY_RESTRICT deltas, std::size_t count,
               std::uint64_t dimension) {
  const hn::ScalableTag<std::uint64_t> d;
  const hn::Repartition<double, decltype(d)> df;
  const auto largest_key = hn::Set(d, dimension - 1);
  const auto largest = hn::Set(df, 0x1.fffffffffffffp1023);
  const std::size_t width = hn::Lanes(d);
  std::size_t t = 0;
  auto keys_bad = hn::Gt(largest_key, largest_key);
  auto deltas_good = hn::Eq(largest, largest);
  for (; t + width <= count; t += width) {
    keys_bad = hn::Or(keys_bad, hn::Gt(hn::LoadU(d, keys + t), largest_key));
    deltas_good = hn::And(deltas_good, hn::Le(hn::Abs(hn::LoadU(df, deltas + t)), largest));
  }
  bool good = hn::AllFalse(d, keys_bad) && hn::AllTrue(df, deltas_good);
  for (; t < count; ++t) good = good && keys[t] < dimension && std::isfinite(deltas[t]);
  return good;
}

/// run(number of rows as a constant) where the rows are the default ones of items or groups, else run(0).
template <class Run>
HWY_INLINE void with_constant_rows(std::size_t rows, const Run& run) {
  switch (rows) {
    case 3:
      return run(std::integral_constant<std::size_t, 3>());
    case 5:
      return run(std::integral_constant<std::size_t, 5>());
    default:
      return run(std::integral_constant<std::size_t, 0>());
  }
}

/// Calls work(std::integral_constant k) for k = 0 .. kCount - 1: a loop that is unrolled for certain.
template <std::size_t kCount, class Work>
HWY_INLINE void unrolled(const Work& work) {
  const auto all = [&]<std::size_t... k>(std::index_sequence<k...>) WEIR_INLINE_LAMBDA {
    (work(std::integral_constant<std::size_t, k>()), ...);
  };
  all(std::make_index_sequence<kCount>());
}

/// Vectors of scales made together for a block of kLanes lanes. Of two lanes only the second is scaled: one vector is
/// for so many items that their cells hide all of it.
template <std::size_t kLanes>
constexpr std::size_t scale_vectors = kLanes == 2 ? 1 : 4;
/// Items whose scales these are.
template <std::size_t kLanes>
constexpr std::size_t items_together = [] {
  if (HWY_TARGET == HWY_SCALAR) return std::size_t{1};
  const std::size_t scales = scale_vectors<kLanes> * 2 * hn::MaxLanes(hn::CappedTag<std::uint64_t, 8>());
  return kLanes == 2 ? scales : scales / kLanes;
}();

/// out[t][lane] = the scales of `items_together` items, from the words that their lanes share.
/// Calls between(k) for k = 0 .. steps_of_scales - 1 on the way.
template <bool kUniform, std::size_t kLanes, class Between>
HWY_INLINE void make_scales(const MixedLanes& lanes, const std::uint64_t* HWY_RESTRICT bases, float* HWY_RESTRICT out,
                            const Between& between) {
#if HWY_TARGET != HWY_SCALAR
  const hn::CappedTag<std::uint64_t, 8> d;
  const hn::Repartition<float, decltype(d)> df;
  constexpr std::size_t width = hn::MaxLanes(hn::CappedTag<std::uint64_t, 8>());
  constexpr std::size_t vectors = scale_vectors<kLanes>;
  hn::Vec<decltype(d)> words[2 * vectors];
  hn::Vec<decltype(df)> scales[vectors];
  if constexpr (kLanes == 2) {  // a vector of items
    const auto lane_xor = hn::Set(d, lanes.lane_xor[1]);
    const auto lane_multiply = hn::Set(d, lanes.lane_multiply[1]);
    for (std::size_t k = 0; k < 2; ++k) words[k] = hn::Xor(hn::Load(d, bases + k * width), lane_xor) * lane_multiply;
    scales_from_words<kUniform, vectors>(d, words, lanes.formula, scales, between);
    hn::StoreInterleaved2(hn::Set(df, 1.0F), scales[0], df, out);
  } else {
    constexpr std::size_t vectors_of_item = kLanes / width;
    for (std::size_t k = 0; k < 2 * vectors; ++k) {
      const std::size_t lane = k % vectors_of_item * width;
      words[k] = hn::Xor(hn::Set(d, bases[k / vectors_of_item]), hn::LoadU(d, lanes.lane_xor + lane)) *
                 hn::LoadU(d, lanes.lane_multiply + lane);
    }
    scales_from_words<kUniform, vectors>(d, words, lanes.formula, scales, between);
    const hn::Repartition<std::int32_t, decltype(d)> di;
    const auto first_lane = hn::Set(di, static_cast<std::int32_t>(lanes.first));
    for (std::size_t k = 0; k < vectors; ++k) {
      const auto in_block = hn::And(hn::Iota(di, static_cast<std::int32_t>(2 * k * width)),
                                    hn::Set(di, static_cast<std::int32_t>(kLanes - 1)));
      const auto unscaled = hn::RebindMask(df, hn::Eq(hn::Add(first_lane, in_block), hn::Zero(di)));
      hn::Store(hn::IfThenElse(unscaled, hn::Set(df, 1.0F), scales[k]), df, out + 2 * k * width);
    }
  }
#else
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    const std::uint64_t word = (*bases ^ lanes.lane_xor[lane]) * lanes.lane_multiply[lane];
    out[lane] = lanes.first + lane == 0 ? 1.0F : scale_from_word(word, lanes.formula);
  }
  unrolled<steps_of_scales>(between);
#endif
}

/// Brings in the cells of item t: in each row, a block of `lanes` lanes.
HWY_INLINE void prefetch_cells(const double* table, const std::uint64_t* cells, std::size_t t, std::size_t rows,
                               std::size_t lanes) {
  for (std::size_t row = 0; row < rows; ++row) {
    const double* cell = table + cells[row * PhiColumns::capacity + t];
    for (std::size_t lane = 0; lane < lanes; lane += 8) hwy::Prefetch(cell + lane);
  }
}

/// Fetches what lies `batch_prefetch_distance` after items t to t + kItems in the batch.
template <std::size_t kItems>
HWY_INLINE void prefetch_batch(const ItemsToAdd& items, std::size_t t) {
  constexpr std::size_t line = 8;
  for (std::size_t ahead = t + batch_prefetch_distance; ahead < t + batch_prefetch_distance + kItems; ahead += line) {
    if (ahead % line != 0 || ahead >= items.batch_keys.size()) continue;
    hwy::Prefetch(items.batch_keys.data() + ahead);
    hwy::Prefetch(items.deltas + ahead);
  }
}

/// Where an item's scales come from: they are in PhiColumns::scales, or they are made in passing.
enum class Scales { given, exponential, uniform };

/// `kVectors` vectors of lanes: the cells of level 0, and in `sums` [row][vector] what the items add to their group, of
/// its first `group_rows` rows. `rows` and `group_rows` count where kRows is 0. A sign times a product is exact, so that
/// it does not matter whether the target fuses it with the addition.
///
/// Scales want the arithmetic of the processor, cells its loads and stores: scales of the next items are made between
/// the cells of these. Where an item is a single vector of two lanes there is room for more: items are located there,
/// too.
template <Scales kScales, std::size_t kVectors, std::size_t kRows, std::size_t kGroupRows, class D>
HWY_INLINE void accumulate_items(D d, double* HWY_RESTRICT table, PhiColumns& columns, const ItemsToAdd& items,
                                 std::size_t rows, std::size_t group_rows, std::size_t distance,
                                 double* HWY_RESTRICT sums) {
  const hn::Rebind<float, D> df;
  constexpr std::size_t width = hn::MaxLanes(D());
  constexpr std::size_t stride = PhiColumns::capacity;
  std::uint64_t* HWY_RESTRICT cells = columns.cells.data();
  double* HWY_RESTRICT signs = columns.signs.data();
  const std::uint64_t* HWY_RESTRICT words = columns.words.data();
  const std::uint64_t* HWY_RESTRICT bases = columns.bases.data();
  float* scales = columns.scales.data();
  const double* HWY_RESTRICT deltas = items.deltas;
  const std::size_t count = items.count;
  if constexpr (kRows != 0) {
    rows = kRows;
    group_rows = kGroupRows;
  }
  const auto is_summed = [&](std::size_t row)
                             WEIR_INLINE_LAMBDA { return row < (kRows != 0 ? kGroupRows : group_rows); };
  hn::Vec<D> sum[(kRows == 0 ? 15 : std::max<std::size_t>(kGroupRows, 1)) * kVectors];
  for (std::size_t k = 0; k < group_rows * kVectors; ++k) sum[k] = hn::Zero(d);
  hn::Vec<D> product[kVectors];

  const auto begin_item = [&](std::size_t t) WEIR_INLINE_LAMBDA {
    if (distance > 0) prefetch_cells(table, cells, std::min(t + distance, count - 1), rows, kVectors * width);
    const auto delta = hn::Set(d, deltas[t]);
    for (std::size_t v = 0; v < kVectors; ++v) {
      product[v] = hn::Mul(delta, hn::PromoteTo(d, hn::LoadU(df, scales + (t * kVectors + v) * width)));
    }
  };
  const auto add_to_row = [&](std::size_t t, std::size_t row) WEIR_INLINE_LAMBDA {
    const auto sign = hn::Set(d, signs[row * stride + t]);
    double* HWY_RESTRICT cell = table + cells[row * stride + t];
    for (std::size_t v = 0; v < kVectors; ++v) {
      hn::Store(hn::MulAdd(sign, product[v], hn::Load(d, cell + v * width)), d, cell + v * width);
      if (is_summed(row)) sum[row * kVectors + v] = hn::MulAdd(sign, product[v], sum[row * kVectors + v]);
    }
  };

  std::size_t t = 0;
  if constexpr (kScales != Scales::given) {
    constexpr std::size_t lanes = kVectors * width;
    constexpr std::size_t together = items_together<lanes>;
    static_assert(kRows <= steps_of_scales, "a row is located at a step");
    const auto make = [&](std::size_t first, const auto& between) WEIR_INLINE_LAMBDA {
      make_scales<kScales == Scales::uniform, lanes>(*items.lanes, bases + first, scales + first * lanes, between);
    };
    [[maybe_unused]] const hn::CappedTag<std::uint64_t, std::min<std::size_t>(together, 8)> d_words;
    [[maybe_unused]] std::array<RowField, kRows> fields;
    [[maybe_unused]] std::uint64_t largest_bucket = 0;
    [[maybe_unused]] std::uint64_t cell_size = 0;
    [[maybe_unused]] const auto locate = [&](std::size_t row, std::size_t first) WEIR_INLINE_LAMBDA {
      for (std::size_t k = first; k < first + together; k += hn::Lanes(d_words)) {
        locate_vector<true>(d_words, words + fields[row].word * stride + k, fields[row], largest_bucket, cell_size,
                            cells + row * stride + k, signs + row * stride + k);
      }
    };
    if constexpr (lanes == 2) {
      largest_bucket = items.rows->buckets - 1;
      cell_size = items.rows->cell_size;
      for (std::size_t row = 0; row < kRows; ++row) fields[row] = field_of_row(*items.rows, row);
      for (std::size_t row = 0; row < kRows; ++row) locate(row, 0);
    }
    make(0, nothing_between);
    for (; t + together < count; t += together) {
      prefetch_batch<together>(items, t);
      make(t + together, [&](auto step) WEIR_INLINE_LAMBDA {
        if constexpr (lanes == 2 && step() < kRows) locate(step(), t + together);
        constexpr std::size_t first = step() * together * kRows / steps_of_scales;
        constexpr std::size_t last = (step() + 1) * together * kRows / steps_of_scales;
        unrolled<last - first>([&](auto k) WEIR_INLINE_LAMBDA {
          constexpr std::size_t item = (first + k()) / kRows;
          constexpr std::size_t row = (first + k()) % kRows;
          if constexpr (row == 0) begin_item(t + item);
          add_to_row(t + item, row);
        });
      });
    }
  }
  for (; t < count; ++t) {
    prefetch_batch<1>(items, t);
    begin_item(t);
    for (std::size_t row = 0; row < rows; ++row) add_to_row(t, row);
  }
  for (std::size_t k = 0; k < group_rows * kVectors; ++k) hn::Store(sum[k], d, sums + k * width);
}

/// `kVectors` vectors of lanes, for all items and rows of one level above 0; `rows` counts where kRows is 0.
template <std::size_t kVectors, std::size_t kRows, class D>
HWY_INLINE void accumulate_groups(D d, double* HWY_RESTRICT table, const std::uint64_t* HWY_RESTRICT cells,
                                  const PhiColumns& columns, const ItemsToAdd& items, std::size_t rows,
                                  std::size_t distance) {
  const hn::Rebind<float, D> df;
  const std::size_t width = hn::Lanes(d);
  constexpr std::size_t stride = PhiColumns::capacity;
  const double* HWY_RESTRICT signs = columns.signs.data();
  const float* HWY_RESTRICT scales = columns.scales.data();
  if constexpr (kRows != 0) rows = kRows;
  for (std::size_t t = 0; t < items.count; ++t) {
    if (distance > 0) prefetch_cells(table, cells, std::min(t + distance, items.count - 1), rows, kVectors * width);
    const auto delta = hn::Set(d, items.deltas[t]);
    hn::Vec<D> product[kVectors];
    for (std::size_t v = 0; v < kVectors; ++v) {
      product[v] = hn::Mul(delta, hn::PromoteTo(d, hn::LoadU(df, scales + (t * kVectors + v) * width)));
    }
    for (std::size_t row = 0; row < rows; ++row) {
      const auto sign = hn::Set(d, signs[row * stride + t]);
      double* HWY_RESTRICT cell = table + cells[row * stride + t];
      for (std::size_t v = 0; v < kVectors; ++v) {
        hn::Store(hn::MulAdd(sign, product[v], hn::Load(d, cell + v * width)), d, cell + v * width);
      }
    }
  }
}

/// A block of `kLanes` lanes, level after level: several at once share the products, but their cache lines wait on each
/// other, and it is slower.
template <std::size_t kLanes>
void accumulate_lanes(double* HWY_RESTRICT table, PhiColumns& columns, const ItemsToAdd& items,
                      const SketchConfig& config) {
  using D = hn::CappedTag<double, (kLanes < 8 ? kLanes : 8)>;
  const D d;
  constexpr std::size_t vectors = kLanes / hn::MaxLanes(D());
  HWY_ALIGN double sums[15 * kLanes];
  std::size_t group_rows = 0;
  for (std::uint32_t level = 1; items.in_one_group && level < config.levels; ++level) {
    group_rows = std::max<std::size_t>(group_rows, config.rows_at(level));
  }
  const std::size_t bytes = config.rows * config.buckets * items.columns * config.lanes * sizeof(double);
  const std::size_t distance = kLanes < 8 ? 0 : prefetch_distance(bytes);

  const auto run = [&](auto scales, auto rows, auto of_group) WEIR_INLINE_LAMBDA {
    accumulate_items<scales(), vectors, rows(), of_group()>(d, table, columns, items, config.rows, group_rows, distance,
                                                            sums);
  };
  const auto run_five_rows = [&](auto scales) WEIR_INLINE_LAMBDA {
    constexpr std::integral_constant<std::size_t, 5> five;
    switch (group_rows) {
      case 0:
        return run(scales, five, std::integral_constant<std::size_t, 0>());
      case 3:
        return run(scales, five, std::integral_constant<std::size_t, 3>());
      default:
        return run(scales, five, five);
    }
  };
  const bool five_rows = config.rows == 5 && (group_rows == 0 || group_rows == 3 || group_rows == 5);
  // Two lanes are made for items that are located in passing as well, not for those of a matrix, which come located.
  const bool scales_in_passing = five_rows && items.lanes.has_value() && (kLanes != 2 || items.rows.has_value());
  const bool located_in_passing = kLanes == 2 && scales_in_passing;
  if (items.rows.has_value() && !located_in_passing) locate_rows(*items.rows, items.count, columns);
  if constexpr (kLanes >= 2) {
    if (items.lanes.has_value()) {
      const bool uniform = items.lanes->formula == ScaleFormula::uniform;
      if (scales_in_passing && uniform) {
        run_five_rows(std::integral_constant<Scales, Scales::uniform>());
      } else if (scales_in_passing) {
        run_five_rows(std::integral_constant<Scales, Scales::exponential>());
      } else {
        const std::uint64_t* bases = columns.bases.data();
        float* scales = columns.scales.data();
        for (std::size_t t = 0; t < items.count; t += items_together<kLanes>) {
          if (uniform) {
            make_scales<true, kLanes>(*items.lanes, bases + t, scales + t * kLanes, nothing_between);
          } else {
            make_scales<false, kLanes>(*items.lanes, bases + t, scales + t * kLanes, nothing_between);
          }
        }
      }
    }
  }
  if (!scales_in_passing && five_rows) {
    run_five_rows(std::integral_constant<Scales, Scales::given>());
  } else if (!scales_in_passing) {
    constexpr std::integral_constant<std::size_t, 0> any;
    run(std::integral_constant<Scales, Scales::given>(), any, any);
  }

  for (std::uint32_t level = 1; level < config.levels; ++level) {
    const std::uint64_t* cells = columns.cells.data() + config.rows_below(level) * PhiColumns::capacity;
    const std::size_t rows = config.rows_at(level);
    if (items.in_one_group) {
      for (std::size_t row = 0; row < rows; ++row) {
        double* cell = table + cells[row * PhiColumns::capacity];
        for (std::size_t lane = 0; lane < kLanes; lane += hn::Lanes(d)) {
          hn::Store(hn::Add(hn::Load(d, cell + lane), hn::Load(d, sums + row * kLanes + lane)), d, cell + lane);
        }
      }
    } else {
      with_constant_rows(rows, [&](auto constant) WEIR_INLINE_LAMBDA {
        accumulate_groups<vectors, constant()>(d, table, cells, columns, items, rows, distance);
      });
    }
  }
}

void accumulate(double* table, PhiColumns& columns, const ItemsToAdd& items, const SketchConfig& config,
                std::size_t lanes) {
  switch (lanes) {
    case 1:
      return accumulate_lanes<1>(table, columns, items, config);
    case 2:
      return accumulate_lanes<2>(table, columns, items, config);
    case 8:
      return accumulate_lanes<8>(table, columns, items, config);
    default:
      return accumulate_lanes<16>(table, columns, items, config);
  }
}

/// Element-wise median of `rows` vectors (odd, at most 15), which are overwritten.
template <class V>
HWY_INLINE V median(V* HWY_RESTRICT values, std::size_t rows) {
  if (rows == 3) {
    return hn::Max(hn::Min(values[0], values[1]), hn::Min(hn::Max(values[0], values[1]), values[2]));
  }
  if (rows == 5) {
    const V low = hn::Max(hn::Min(values[0], values[1]), hn::Min(values[2], values[3]));
    const V high = hn::Min(hn::Max(values[0], values[1]), hn::Max(values[2], values[3]));
    return hn::Max(hn::Min(values[4], low), hn::Min(hn::Max(values[4], low), high));
  }
  // Selection by exchanges: after pass k the k + 1 smallest are in front.
  for (std::size_t k = 0; k <= rows / 2; ++k) {
    for (std::size_t r = k + 1; r < rows; ++r) {
      const V smaller = hn::Min(values[k], values[r]);
      values[r] = hn::Max(values[k], values[r]);
      values[k] = smaller;
    }
  }
  return values[rows / 2];
}

/// Calls found(t, first_lane, medians) for every item and block of lanes: medians of sign * cell, or of |cell| when
/// kAbsolute; `rows` counts where kRows is 0.
template <bool kAbsolute, std::size_t kRows, class D, class Found>
HWY_INLINE void for_each_median(D d, const double* HWY_RESTRICT table, const std::uint64_t* HWY_RESTRICT cells,
                                const double* HWY_RESTRICT signs, std::size_t count, std::size_t rows,
                                std::size_t lanes, const Found& found) {
  const std::size_t width = hn::Lanes(d);
  constexpr std::size_t stride = PhiColumns::capacity;
  if constexpr (kRows != 0) rows = kRows;
  for (std::size_t t = 0; t < count; ++t) {
    for (std::size_t lane = 0; lane < lanes; lane += width) {
      hn::Vec<D> values[kRows == 0 ? 15 : kRows];
      for (std::size_t row = 0; row < rows; ++row) {
        const auto cell = hn::LoadU(d, table + cells[row * stride + t] + lane);
        if constexpr (kAbsolute) {
          values[row] = hn::Abs(cell);
        } else {
          values[row] = hn::Mul(cell, hn::Set(d, signs[row * stride + t]));
        }
      }
      found(t, lane, median(values, rows));
    }
  }
}

template <bool kAbsolute, class Found>
HWY_INLINE void walk_medians(const double* table, const PhiColumns& columns, std::size_t count,
                             const SketchConfig& config, std::uint32_t level, const Found& found) {
  const std::uint64_t* cells = columns.cells.data() + config.rows_below(level) * PhiColumns::capacity;
  const double* signs = columns.signs.data();
  const std::size_t rows = config.rows_at(level);
  const auto run = [&](auto d) HWY_ATTR {
    with_constant_rows(rows, [&](auto constant) HWY_ATTR {
      for_each_median<kAbsolute, constant()>(d, table, cells, signs, count, rows, config.lanes, found);
    });
  };
  if (config.lanes == 1) {
    run(hn::CappedTag<double, 1>());
  } else if (config.lanes == 2) {
    run(hn::CappedTag<double, 2>());
  } else {
    run(hn::CappedTag<double, 8>());
  }
}

void estimate(const double* table, const PhiColumns& columns, std::size_t count, const SketchConfig& config,
              double* HWY_RESTRICT out) {
  walk_medians<false>(table, columns, count, config, 0, [&](std::size_t t, std::size_t lane, auto medians) HWY_ATTR {
    hn::StoreU(medians, hn::DFromV<decltype(medians)>(), out + t * config.lanes + lane);
  });
}

void scan(const double* table, const PhiColumns& columns, std::size_t count, const SketchConfig& config,
          std::uint32_t level, CellScore score, const double* HWY_RESTRICT thresholds, std::uint64_t first_key,
          std::vector<ScanHit>& hits) {
  const auto collect = [&](std::size_t t, std::size_t lane, auto medians) HWY_ATTR {
    const hn::DFromV<decltype(medians)> d;
    const auto above = hn::Gt(hn::Abs(medians), hn::LoadU(d, thresholds + lane));
    if (HWY_LIKELY(hn::AllFalse(d, above))) return;
    HWY_ALIGN double values[8];
    hn::Store(medians, d, values);
    for (std::size_t k = 0; k < hn::Lanes(d); ++k) {
      if (std::abs(values[k]) > thresholds[lane + k]) {
        hits.push_back({first_key + t, static_cast<std::uint32_t>(lane + k), values[k]});
      }
    }
  };
  if (score == CellScore::magnitude) {
    walk_medians<true>(table, columns, count, config, level, collect);
  } else {
    walk_medians<false>(table, columns, count, config, level, collect);
  }
}

void add_scaled(double* target, const double* source, double coefficient, std::size_t count) {
  const hn::ScalableTag<double> d;
  const auto factor = hn::Set(d, coefficient);
  const std::size_t width = hn::Lanes(d);
  std::size_t t = 0;
  for (; t + width <= count; t += width) {
    hn::StoreU(hn::Add(hn::LoadU(d, target + t), hn::Mul(hn::LoadU(d, source + t), factor)), d, target + t);
  }
  for (; t < count; ++t) target[t] += coefficient * source[t];
}

}  // namespace HWY_NAMESPACE
}  // namespace weir
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace weir {

HWY_EXPORT(locate_rows);
HWY_EXPORT(fill_consecutive);
HWY_EXPORT(all_valid);
HWY_EXPORT(accumulate);
HWY_EXPORT(estimate);
HWY_EXPORT(scan);
HWY_EXPORT(add_scaled);

namespace kernels {

void locate_rows(const RowBits& bits, std::size_t count, PhiColumns& columns) {
  HWY_DYNAMIC_DISPATCH(locate_rows)(bits, count, columns);
}

void fill_consecutive(std::uint64_t first, std::span<std::uint64_t> keys) {
  HWY_DYNAMIC_DISPATCH(fill_consecutive)(first, keys);
}

bool all_valid(const std::uint64_t* keys, const double* deltas, std::size_t count, std::uint64_t dimension) {
  return HWY_DYNAMIC_DISPATCH(all_valid)(keys, deltas, count, dimension);
}

void accumulate(double* table, PhiColumns& columns, const ItemsToAdd& items, const SketchConfig& config,
                std::size_t lanes) {
  HWY_DYNAMIC_DISPATCH(accumulate)(table, columns, items, config, lanes);
}

void estimate(const double* table, const PhiColumns& columns, std::size_t count, const SketchConfig& config,
              double* out) {
  HWY_DYNAMIC_DISPATCH(estimate)(table, columns, count, config, out);
}

void scan(const double* table, const PhiColumns& columns, std::size_t count, const SketchConfig& config,
          std::uint32_t level, CellScore score, const double* thresholds, std::uint64_t first_key,
          std::vector<ScanHit>& hits) {
  HWY_DYNAMIC_DISPATCH(scan)(table, columns, count, config, level, score, thresholds, first_key, hits);
}

void add_scaled(double* target, const double* source, double coefficient, std::size_t count) {
  HWY_DYNAMIC_DISPATCH(add_scaled)(target, source, coefficient, count);
}

}  // namespace kernels
}  // namespace weir
#endif
