#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace weir {

// Lifting turns squares of inner products into inner products: (a . x)^2 = <lift_row(a), lift_vector(x)>. A sampler of
// exponent 2 on lifted rows draws with exponent 4. Pairs (i, j), i <= j, come in the order (0, 0), (0, 1), ...,
// (0, d-1), (1, 1), ...; integers stay integers on both sides.

/// d (d + 1) / 2. Throws UsageError when d is 2^32 or more.
[[nodiscard]] std::uint64_t lifted_size(std::uint64_t d);
/// out[(i, j)] = a_i a_j. Throws UsageError unless out.size() == lifted_size(a.size()).
void lift_row(std::span<const double> a, std::span<double> out);
/// out[(i, j)] = x_i x_j, twice that where i < j. Throws UsageError unless out.size() == lifted_size(x.size()).
void lift_vector(std::span<const double> x, std::span<double> out);

}  // namespace weir
