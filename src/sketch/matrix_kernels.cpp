#include "sketch/matrix_kernels.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "sketch/matrix_kernels.cpp"
#include <hwy/foreach_target.h>
// The order matters: foreach_target.h re-includes this file once for each target.
#include <hwy/cache_control.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace weir {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using kernels::MatrixShape;
using kernels::WholeRows;

/// Vectors of the cells that stay in registers while the rows of a bucket are added: half of the registers.
constexpr std::size_t tile_vectors = HWY_TARGET <= HWY_AVX3 ? 16 : 8;

/// Calls run(tag, vectors) with the vectors that make up a block of lanes.
template <class Run>
HWY_INLINE void with_block(std::size_t block, const Run& run) {
  const auto call = [&](auto lanes) HWY_ATTR {
    constexpr std::size_t kLanes = decltype(lanes)::value;
    using D = hn::CappedTag < double, kLanes<8 ? kLanes : 8>;
    run(D(), std::integral_constant<std::size_t, kLanes / hn::MaxLanes(D())>());
  };
  switch (block) {
    case 1:
      return call(std::integral_constant<std::size_t, 1>());
    case 2:
      return call(std::integral_constant<std::size_t, 2>());
    case 8:
      return call(std::integral_constant<std::size_t, 8>());
    default:
      return call(std::integral_constant<std::size_t, 16>());
  }
}

/// A cell that rows are added to, and the cell after it, which is brought in meanwhile.
struct Cell {
  double* values;
  const double* next;
  std::size_t lanes;
};

/// cell[column][lanes of the block] += the rows t of `group`, for kColumns columns of them from `first` on. The cell is
/// loaded and stored once.
template <std::size_t kVectors, std::size_t kColumns, class D>
HWY_INLINE void add_tile(D d, const Cell& cell, std::span<const std::uint32_t> group, const WholeRows& rows,
                         std::size_t first) {
  const hn::Rebind<float, D> df;
  const std::size_t width = hn::Lanes(d);
  const std::size_t lanes = cell.lanes;
  constexpr std::size_t line = 8 / hn::MaxLanes(D());  // vectors of a cache line
  double* HWY_RESTRICT tile = cell.values + first * lanes;
  const double* next = cell.next + first * lanes;
  hn::Vec<D> sums[kColumns][kVectors];
  for (std::size_t c = 0; c < kColumns; ++c) {
    for (std::size_t v = 0; v < kVectors; ++v) sums[c][v] = hn::Load(d, tile + c * lanes + v * width);
    for (std::size_t v = 0; v < kVectors; v += line) hwy::Prefetch(next + c * lanes + v * width);
  }
  for (const std::uint32_t t : group) {
    const auto weight = hn::Set(d, rows.signed_weights[t]);
    hn::Vec<D> scale[kVectors];
    for (std::size_t v = 0; v < kVectors; ++v) {
      scale[v] = hn::Mul(hn::PromoteTo(d, hn::LoadU(df, rows.scales + (t * kVectors + v) * width)), weight);
    }
    const double* HWY_RESTRICT values = rows.values + t * rows.columns + first;
    for (std::size_t c = 0; c < kColumns; ++c) {
      const auto value = hn::Set(d, values[c]);
      for (std::size_t v = 0; v < kVectors; ++v) sums[c][v] = hn::Add(sums[c][v], hn::Mul(scale[v], value));
    }
  }
  for (std::size_t c = 0; c < kColumns; ++c) {
    for (std::size_t v = 0; v < kVectors; ++v) hn::Store(sums[c][v], d, tile + c * lanes + v * width);
  }
}

/// Tiles of kColumns columns as long as they fit, then smaller ones.
template <std::size_t kVectors, std::size_t kColumns, class D>
HWY_INLINE void add_tiles(D d, const Cell& cell, std::span<const std::uint32_t> group, const WholeRows& rows,
                          std::size_t first) {
  for (; first + kColumns <= rows.columns; first += kColumns) {
    add_tile<kVectors, kColumns>(d, cell, group, rows, first);
  }
  if constexpr (kColumns > 1) add_tiles<kVectors, kColumns / 2>(d, cell, group, rows, first);
}

/// The same where a cell holds one lane, whose scale is 1: then the columns lie side by side.
HWY_INLINE void add_columns(const Cell& cell, std::span<const std::uint32_t> group, const WholeRows& rows) {
  const hn::ScalableTag<double> d;
  const std::size_t width = hn::Lanes(d);
  double* HWY_RESTRICT sums = cell.values;
  for (const std::uint32_t t : group) {
    const double* HWY_RESTRICT values = rows.values + t * rows.columns;
    const double weight = rows.signed_weights[t];
    const auto factor = hn::Set(d, weight);
    std::size_t c = 0;
    for (; c + width <= rows.columns; c += width) {
      hn::StoreU(hn::Add(hn::LoadU(d, sums + c), hn::Mul(hn::LoadU(d, values + c), factor)), d, sums + c);
    }
    for (; c < rows.columns; ++c) sums[c] += values[c] * weight;
  }
}

void accumulate_rows(double* HWY_RESTRICT cells, const WholeRows& rows, const MatrixShape& shape, std::size_t lanes) {
  const std::size_t cell_size = shape.columns * shape.lanes;
  const auto for_each_group = [&](const auto& add) HWY_ATTR {
    std::size_t first = 0;
    for (std::size_t g = 0; g < rows.groups; ++g) {
      const std::size_t end = rows.group_ends[g];
      const std::uint32_t next = rows.group_buckets[g + 1 < rows.groups ? g + 1 : g];
      add(Cell{cells + rows.group_buckets[g] * cell_size, cells + next * cell_size, shape.lanes},
          std::span(rows.order + first, end - first));
      first = end;
    }
  };
  if (shape.lanes == 1) {
    return for_each_group([&](const Cell& cell, std::span<const std::uint32_t> group)
                              HWY_ATTR { add_columns(cell, group, rows); });
  }
  with_block(lanes, [&](auto d, auto vectors) HWY_ATTR {
    constexpr std::size_t kVectors = decltype(vectors)::value;
    constexpr std::size_t kColumns = kVectors < tile_vectors ? tile_vectors / kVectors : 1;
    for_each_group([&](const Cell& cell, std::span<const std::uint32_t> group)
                       HWY_ATTR { add_tiles<kVectors, kColumns>(d, cell, group, rows, 0); });
  });
}

void multiply(const double* HWY_RESTRICT table, std::size_t cells, const MatrixShape& shape,
              std::span<const std::size_t> columns, const double* HWY_RESTRICT coefficients, double* HWY_RESTRICT out) {
  const std::size_t lanes = shape.lanes;
  const std::size_t block = lanes < 8 ? lanes : lanes % 16 == 0 ? 16 : 8;
  with_block(block, [&](auto d, auto vectors) HWY_ATTR {
    constexpr std::size_t kVectors = decltype(vectors)::value;
    const std::size_t width = hn::Lanes(d);
    for (std::size_t cell = 0; cell < cells; ++cell) {
      for (std::size_t lane = 0; lane < lanes; lane += block) {
        const double* HWY_RESTRICT first = table + cell * shape.columns * lanes + lane;
        hn::Vec<decltype(d)> sums[kVectors];
        for (std::size_t v = 0; v < kVectors; ++v) sums[v] = hn::Zero(d);
        for (std::size_t k = 0; k < columns.size(); ++k) {
          const double* HWY_RESTRICT column = first + columns[k] * lanes;
          const auto coefficient = hn::Set(d, coefficients[k]);
          for (std::size_t v = 0; v < kVectors; ++v) {
            sums[v] = hn::Add(sums[v], hn::Mul(hn::Load(d, column + v * width), coefficient));
          }
        }
        for (std::size_t v = 0; v < kVectors; ++v) hn::Store(sums[v], d, out + cell * lanes + lane + v * width);
      }
    }
  });
}

/// Directions taken at a time, so that a cell is loaded once for them, and the columns where one is not zero: of the
/// identity few.
struct DirectionTile {
  static constexpr std::size_t size = 4;
  const double* coefficients;  ///< [column][direction], those past the last direction 0.
  std::size_t first_column;
  std::size_t end_column;
};

std::vector<DirectionTile> tile_directions(const MatrixShape& shape, const double* directions, std::size_t count,
                                           std::vector<double>& storage) {
  const std::size_t tiles = (count + DirectionTile::size - 1) / DirectionTile::size;
  const std::size_t tile_size = shape.columns * DirectionTile::size;
  storage.assign(tiles * tile_size, 0.0);
  std::vector<DirectionTile> result;
  for (std::size_t tile = 0; tile < tiles; ++tile) {
    double* coefficients = storage.data() + tile * tile_size;
    std::size_t first = shape.columns;
    std::size_t end = 0;
    for (std::size_t j = 0; j < shape.columns; ++j) {
      for (std::size_t k = 0; k < std::min(DirectionTile::size, count - tile * DirectionTile::size); ++k) {
        const double coefficient = directions[(tile * DirectionTile::size + k) * shape.columns + j];
        coefficients[j * DirectionTile::size + k] = coefficient;
        if (coefficient == 0) continue;
        first = std::min(first, j);
        end = j + 1;
      }
    }
    if (first < end) result.push_back({coefficients, first, end});
  }
  return result;
}

void norms(const double* HWY_RESTRICT table, std::size_t cells, const MatrixShape& shape, const double* directions,
           std::size_t count, double* HWY_RESTRICT out) {
  const std::size_t lanes = shape.lanes;
  std::vector<double> storage;
  const std::vector<DirectionTile> tiles = tile_directions(shape, directions, count, storage);
  with_block(std::min<std::size_t>(lanes, 8), [&](auto d, auto) HWY_ATTR {
    constexpr std::size_t kTile = DirectionTile::size;
    const std::size_t width = hn::Lanes(d);
    for (std::size_t cell = 0; cell < cells; ++cell) {
      for (std::size_t lane = 0; lane < lanes; lane += width) {
        const double* HWY_RESTRICT first = table + cell * shape.columns * lanes + lane;
        auto squares = hn::Zero(d);
        for (const DirectionTile& tile : tiles) {
          hn::Vec<decltype(d)> sums[kTile];
          for (auto& sum : sums) sum = hn::Zero(d);
          for (std::size_t j = tile.first_column; j < tile.end_column; ++j) {
            const auto column = hn::Load(d, first + j * lanes);
            for (std::size_t k = 0; k < kTile; ++k) {
              sums[k] = hn::Add(sums[k], hn::Mul(column, hn::Set(d, tile.coefficients[j * kTile + k])));
            }
          }
          for (const auto& sum : sums) squares = hn::Add(squares, hn::Mul(sum, sum));
        }
        hn::Store(hn::Sqrt(squares), d, out + cell * lanes + lane);
      }
    }
  });
}

bool all_finite(std::span<const double> values) {
  const hn::ScalableTag<double> d;
  const auto largest = hn::Set(d, 0x1.fffffffffffffp1023);
  const std::size_t width = hn::Lanes(d);
  std::size_t t = 0;
  auto finite = hn::Eq(largest, largest);
  for (; t + width <= values.size(); t += width) {
    finite = hn::And(finite, hn::Le(hn::Abs(hn::LoadU(d, values.data() + t)), largest));
  }
  bool good = hn::AllTrue(d, finite);
  for (; t < values.size(); ++t) good = good && std::isfinite(values[t]);
  return good;
}

}  // namespace HWY_NAMESPACE
}  // namespace weir
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace weir {

HWY_EXPORT(accumulate_rows);
HWY_EXPORT(multiply);
HWY_EXPORT(norms);
HWY_EXPORT(all_finite);

namespace kernels {

void accumulate_rows(double* cells, const WholeRows& rows, const MatrixShape& shape, std::size_t lanes) {
  HWY_DYNAMIC_DISPATCH(accumulate_rows)(cells, rows, shape, lanes);
}

void multiply(const double* table, std::size_t cells, const MatrixShape& shape, std::span<const std::size_t> columns,
              const double* coefficients, double* out) {
  HWY_DYNAMIC_DISPATCH(multiply)(table, cells, shape, columns, coefficients, out);
}

void norms(const double* table, std::size_t cells, const MatrixShape& shape, const double* directions,
           std::size_t count, double* out) {
  HWY_DYNAMIC_DISPATCH(norms)(table, cells, shape, directions, count, out);
}

bool all_finite(std::span<const double> values) { return HWY_DYNAMIC_DISPATCH(all_finite)(values); }

}  // namespace kernels
}  // namespace weir
#endif
