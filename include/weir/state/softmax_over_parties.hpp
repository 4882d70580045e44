#pragma once

#include <cstdint>
#include <span>

#include "weir/sample/softmax.hpp"
#include "weir/state/parties.hpp"

namespace weir {

/// Collective: exact draws with probability exp(y_i) / sum exp(y) (weir/sample/softmax.hpp) from a y of which each party
/// holds y[first + t] = slice[t]. Slices are disjoint, may be empty, and lie in the order of the parties; `options` are
/// the same everywhere. The result, on the first party (empty elsewhere), is the same to the bit however y is cut. An
/// index that is drawn with replacement costs one element of one Parties::largest_of_each; without replacement the first
/// party gathers samples + 1 candidates of each. Memory beyond y does not depend on n.
///
/// Throws on all parties: UsageError when all slices are empty, InputError that names the first index of the lowest party
/// whose value is not finite.
[[nodiscard]] SampleResult softmax_over_parties(Parties& parties, std::uint64_t first, std::span<const double> slice,
                                                const SoftmaxOptions& options);

}  // namespace weir
