#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>

#include "workload.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "store_limit.cpp"
#include <hwy/foreach_target.h>
// The order matters: foreach_target.h re-includes this file once for each target.
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace weir::bench::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <std::size_t kLanes>
void add_lanes(double* HWY_RESTRICT table, std::size_t buckets_of_row, const std::uint16_t* HWY_RESTRICT buckets,
               const double* HWY_RESTRICT deltas, std::size_t count) {
  constexpr std::size_t rows = 5;
  const hn::CappedTag<double, (kLanes < 8 ? kLanes : 8)> d;
  for (std::size_t t = 0; t < count; ++t) {
    const auto delta = hn::Set(d, deltas[t]);
    for (std::size_t row = 0; row < rows; ++row) {
      double* HWY_RESTRICT cell = table + (row * buckets_of_row + buckets[t * rows + row]) * kLanes;
      for (std::size_t lane = 0; lane < kLanes; lane += hn::Lanes(d)) {
        hn::Store(hn::Add(hn::Load(d, cell + lane), delta), d, cell + lane);
      }
    }
  }
}

void add_to_cells(double* table, std::size_t lanes, std::size_t buckets_of_row, const std::uint16_t* buckets,
                  const double* deltas, std::size_t count) {
  switch (lanes) {
    case 1:
      return add_lanes<1>(table, buckets_of_row, buckets, deltas, count);
    case 2:
      return add_lanes<2>(table, buckets_of_row, buckets, deltas, count);
    case 8:
      return add_lanes<8>(table, buckets_of_row, buckets, deltas, count);
    case 16:
      return add_lanes<16>(table, buckets_of_row, buckets, deltas, count);
    case 64:
      return add_lanes<64>(table, buckets_of_row, buckets, deltas, count);
    default:
      throw std::invalid_argument("add_to_cells: lanes must be 1, 2, 8, 16 or 64");
  }
}

}  // namespace weir::bench::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace weir::bench {

HWY_EXPORT(add_to_cells);

void add_to_cells(double* table, std::size_t lanes, std::size_t buckets_of_row, std::span<const std::uint16_t> buckets,
                  std::span<const double> deltas) {
  HWY_DYNAMIC_DISPATCH(add_to_cells)(table, lanes, buckets_of_row, buckets.data(), deltas.data(), deltas.size());
}

}  // namespace weir::bench
#endif
