#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

/// The vector loops of tensor sketches; results are the same bits on all instruction sets.
namespace weir::kernels {

// Spectra: real and imaginary parts in turn, `count` doubles, a multiple of 16.

/// a[f] *= b[f].
void multiply_spectra(double* a, const double* b, std::size_t count);
/// sum[f] += a[f] * b[f].
void multiply_add_spectra(double* sum, const double* a, const double* b, std::size_t count);

/// Vectors that are worked on together, one in each lane.
inline constexpr std::size_t product_lanes = 8;

/// cells[(first_buckets[e] + last_buckets[j]) modulo B][lane] += products[e][lane] * values[j][lane] for all e, j and
/// lanes; `buckets` is B, a power of two, and the cells are at a cache-line boundary.
void accumulate_products(double* cells, std::size_t buckets, std::span<const std::uint32_t> first_buckets,
                         const double* products, std::span<const std::uint32_t> last_buckets, const double* values);

}  // namespace weir::kernels
