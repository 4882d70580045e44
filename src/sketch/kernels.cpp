#include "sketch/kernels.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#ifndef WEIR_SKETCH_KERNELS_PREFETCH
#define WEIR_SKETCH_KERNELS_PREFETCH
namespace weir {
/// Bytes of level 0 beyond which a run fetches the cells of items to come: below, the processor's own reach is enough.
constexpr std::size_t prefetched_size = std::size_t{1} << 18U;
/// How many items ahead.
constexpr std::size_t prefetch_distance = 8;
}  // namespace weir
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "sketch/kernels.cpp"
#include <hwy/foreach_target.h>
// The order matters: foreach_target.h re-includes this file once for each target.
#include <hwy/cache_control.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace weir {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using kernels::RowFields;

// The arrays of PhiColumns are `capacity` long, a multiple of every vector, so these loops run over whole vectors: what
// they compute past `count` is never read.

void locate_rows(const std::uint64_t* HWY_RESTRICT words, std::size_t count, const RowFields& fields,
                 const double* HWY_RESTRICT deltas, std::uint64_t* HWY_RESTRICT cells,
                 double* HWY_RESTRICT signed_deltas) {
  const hn::ScalableTag<std::uint64_t> d;
  const hn::Repartition<double, decltype(d)> df;
  const std::size_t width = hn::Lanes(d);
  const std::uint64_t row_size = fields.cell_size << (fields.bits - 1);
  const auto sign_bit = hn::Set(d, std::uint64_t{1} << 63U);
  const auto cell_size = hn::Set(d, fields.cell_size);
  for (std::size_t t = 0; t < count; t += width) {
    auto word = hn::Load(d, words + t);
    auto first = hn::Set(d, fields.first_cell);
    auto delta = hn::Zero(df);
    if (deltas != nullptr) {
      if (t + width <= count) {
        delta = hn::LoadU(df, deltas + t);
      } else {  // deltas end within this vector
        HWY_ALIGN double rest[HWY_MAX_BYTES / sizeof(double)] = {};
        std::copy(deltas + t, deltas + count, rest);
        delta = hn::Load(df, rest);
      }
    }
    for (std::size_t row = 0; row < fields.rows; ++row) {
      const auto bucket = hn::ShiftRightSame(hn::ShiftLeft<1>(word), 65 - fields.bits);
#if HWY_TARGET == HWY_SCALAR
      const auto offset = bucket * cell_size;
#else
      const hn::Repartition<std::uint32_t, decltype(d)> d32;
      const auto offset = hn::MulEven(hn::BitCast(d32, bucket), hn::BitCast(d32, cell_size));  // both fit 32 bits
#endif
      hn::Store(hn::Add(offset, first), d, cells + row * PhiColumns::capacity + t);
      if (deltas != nullptr) {
        const auto sign = hn::BitCast(df, hn::And(word, sign_bit));
        hn::Store(hn::Xor(delta, sign), df, signed_deltas + row * PhiColumns::capacity + t);
      }
      word = hn::ShiftLeftSame(word, fields.bits);
      first = hn::Add(first, hn::Set(d, row_size));
    }
  }
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

/// `kVectors` vectors of lanes, for all items and rows of one level; `rows` counts where kRows is 0.
template <std::size_t kVectors, std::size_t kRows, class D>
HWY_INLINE void accumulate_level(D d, double* HWY_RESTRICT table, const std::uint64_t* HWY_RESTRICT cells,
                                 const PhiColumns& columns, std::size_t count, std::size_t rows) {
  const hn::Rebind<float, D> df;
  const std::size_t width = hn::Lanes(d);
  constexpr std::size_t stride = PhiColumns::capacity;
  const double* HWY_RESTRICT signed_deltas = columns.signed_deltas.data();
  const float* HWY_RESTRICT scales = columns.scales.data();
  if constexpr (kRows != 0) rows = kRows;
  for (std::size_t t = 0; t < count; ++t) {
    hn::Vec<D> scale[kVectors];
    for (std::size_t v = 0; v < kVectors; ++v) {
      scale[v] = hn::PromoteTo(d, hn::LoadU(df, scales + (t * kVectors + v) * width));
    }
    for (std::size_t row = 0; row < rows; ++row) {
      const auto delta = hn::Set(d, signed_deltas[row * stride + t]);
      double* HWY_RESTRICT cell = table + cells[row * stride + t];
      for (std::size_t v = 0; v < kVectors; ++v) {
        hn::Store(hn::Add(hn::Load(d, cell + v * width), hn::Mul(scale[v], delta)), d, cell + v * width);
      }
    }
  }
}

/// A block of `kLanes` lanes. One level after the other: both at once share the products, but their cache lines wait on
/// each other, and it is slower.
template <std::size_t kLanes>
void accumulate_lanes(double* HWY_RESTRICT table, const PhiColumns& columns, std::size_t count,
                      const SketchConfig& config) {
  constexpr std::size_t most = kLanes < 8 ? kLanes : 8;
  const hn::CappedTag<double, most> d;
  constexpr std::size_t vectors = kLanes / hn::MaxLanes(hn::CappedTag<double, most>());
  for (std::uint32_t level = 0; level < config.levels; ++level) {
    const std::uint64_t* cells = columns.cells.data() + config.rows_below(level) * PhiColumns::capacity;
    const std::size_t rows = config.rows_at(level);
    with_constant_rows(rows, [&](auto constant) HWY_ATTR {
      accumulate_level<vectors, constant()>(d, table, cells, columns, count, rows);
    });
  }
}

void accumulate(double* table, const PhiColumns& columns, std::size_t count, const SketchConfig& config,
                std::size_t lanes) {
  switch (lanes) {
    case 1:
      return accumulate_lanes<1>(table, columns, count, config);
    case 2:
      return accumulate_lanes<2>(table, columns, count, config);
    case 8:
      return accumulate_lanes<8>(table, columns, count, config);
    default:
      return accumulate_lanes<16>(table, columns, count, config);
  }
}

/// `kVectors` vectors of lanes: the cells of level 0, and in `sums` [row][vector] what the items add to a group. `rows`
/// and `group_rows` count where kRows is 0. A sign times a product is exact, so that it does not matter whether the
/// target fuses it with the addition.
template <std::size_t kVectors, std::size_t kRows, std::size_t kGroupRows, class D>
HWY_INLINE void accumulate_items_of_run(D d, double* HWY_RESTRICT table, const PhiColumns& columns,
                                        const double* HWY_RESTRICT deltas, std::size_t count, std::size_t rows,
                                        std::size_t group_rows, bool prefetch, double* HWY_RESTRICT sums) {
  const hn::Rebind<float, D> df;
  const std::size_t width = hn::Lanes(d);
  constexpr std::size_t stride = PhiColumns::capacity;
  const std::uint64_t* HWY_RESTRICT cells = columns.cells.data();
  const double* HWY_RESTRICT signs = columns.signed_deltas.data();
  const float* HWY_RESTRICT scales = columns.scales.data();
  if constexpr (kRows != 0) {
    rows = kRows;
    group_rows = kGroupRows;
  }
  hn::Vec<D> sum[(kRows == 0 ? 15 : std::max<std::size_t>(kGroupRows, 1)) * kVectors];
  for (std::size_t k = 0; k < group_rows * kVectors; ++k) sum[k] = hn::Zero(d);
  for (std::size_t t = 0; t < count; ++t) {
    if (prefetch) {
      const std::size_t ahead = std::min(t + prefetch_distance, count - 1);
      for (std::size_t row = 0; row < rows; ++row) {
        for (std::size_t v = 0; v < kVectors; ++v) {
          hwy::Prefetch(table + cells[row * stride + ahead] + v * width);
        }
      }
    }
    const auto delta = hn::Set(d, deltas[t]);
    hn::Vec<D> product[kVectors];
    for (std::size_t v = 0; v < kVectors; ++v) {
      product[v] = hn::Mul(delta, hn::PromoteTo(d, hn::LoadU(df, scales + (t * kVectors + v) * width)));
    }
    for (std::size_t row = 0; row < rows; ++row) {
      const auto sign = hn::Set(d, signs[row * stride + t]);
      double* HWY_RESTRICT cell = table + cells[row * stride + t];
      for (std::size_t v = 0; v < kVectors; ++v) {
        hn::Store(hn::MulAdd(sign, product[v], hn::Load(d, cell + v * width)), d, cell + v * width);
        if (row < group_rows) sum[row * kVectors + v] = hn::MulAdd(sign, product[v], sum[row * kVectors + v]);
      }
    }
  }
  for (std::size_t k = 0; k < group_rows * kVectors; ++k) hn::Store(sum[k], d, sums + k * width);
}

template <std::size_t kLanes>
void accumulate_lanes_of_run(double* HWY_RESTRICT table, const PhiColumns& columns, const double* deltas,
                             std::size_t count, const SketchConfig& config) {
  const hn::CappedTag<double, (kLanes < 8 ? kLanes : 8)> d;
  constexpr std::size_t vectors = kLanes / hn::MaxLanes(hn::CappedTag<double, (kLanes < 8 ? kLanes : 8)>());
  HWY_ALIGN double sums[15 * kLanes];
  std::size_t group_rows = 0;
  for (std::uint32_t level = 1; level < config.levels; ++level) {
    group_rows = std::max<std::size_t>(group_rows, config.rows_at(level));
  }
  const bool prefetch = config.rows * config.buckets * config.lanes * sizeof(double) > prefetched_size;
  const auto run = [&](auto rows, auto of_group) HWY_ATTR {
    accumulate_items_of_run<vectors, rows(), of_group()>(d, table, columns, deltas, count, config.rows, group_rows,
                                                         prefetch, sums);
  };
  constexpr std::integral_constant<std::size_t, 0> zero;
  constexpr std::integral_constant<std::size_t, 3> three;
  constexpr std::integral_constant<std::size_t, 5> five;
  if (config.rows == 5 && group_rows == 0) {
    run(five, zero);
  } else if (config.rows == 5 && group_rows == 3) {
    run(five, three);
  } else if (config.rows == 5) {
    run(five, five);
  } else {
    run(zero, zero);
  }
  for (std::uint32_t level = 1; level < config.levels; ++level) {
    for (std::size_t row = 0; row < config.rows_at(level); ++row) {
      double* cell = table + columns.cells[(config.rows_below(level) + row) * PhiColumns::capacity];
      for (std::size_t lane = 0; lane < kLanes; lane += hn::Lanes(d)) {
        hn::Store(hn::Add(hn::Load(d, cell + lane), hn::Load(d, sums + row * kLanes + lane)), d, cell + lane);
      }
    }
  }
}

void accumulate_run(double* table, const PhiColumns& columns, const double* deltas, std::size_t count,
                    const SketchConfig& config, std::size_t lanes) {
  switch (lanes) {
    case 1:
      return accumulate_lanes_of_run<1>(table, columns, deltas, count, config);
    case 2:
      return accumulate_lanes_of_run<2>(table, columns, deltas, count, config);
    case 8:
      return accumulate_lanes_of_run<8>(table, columns, deltas, count, config);
    default:
      return accumulate_lanes_of_run<16>(table, columns, deltas, count, config);
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
  const double* signs = columns.signed_deltas.data();
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
HWY_EXPORT(all_valid);
HWY_EXPORT(accumulate);
HWY_EXPORT(accumulate_run);
HWY_EXPORT(estimate);
HWY_EXPORT(scan);
HWY_EXPORT(add_scaled);

namespace kernels {

void locate_rows(const std::uint64_t* words, std::size_t count, const RowFields& fields, const double* deltas,
                 std::uint64_t* cells, double* signed_deltas) {
  HWY_DYNAMIC_DISPATCH(locate_rows)(words, count, fields, deltas, cells, signed_deltas);
}

bool all_valid(const std::uint64_t* keys, const double* deltas, std::size_t count, std::uint64_t dimension) {
  return HWY_DYNAMIC_DISPATCH(all_valid)(keys, deltas, count, dimension);
}

void accumulate(double* table, const PhiColumns& columns, std::size_t count, const SketchConfig& config,
                std::size_t lanes) {
  HWY_DYNAMIC_DISPATCH(accumulate)(table, columns, count, config, lanes);
}

void accumulate_run(double* table, const PhiColumns& columns, const double* deltas, std::size_t count,
                    const SketchConfig& config, std::size_t lanes) {
  HWY_DYNAMIC_DISPATCH(accumulate_run)(table, columns, deltas, count, config, lanes);
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
