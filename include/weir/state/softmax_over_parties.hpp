#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "weir/sample/softmax.hpp"
#include "weir/state/parties.hpp"

namespace weir {

/// Collective: exact draws with probability exp(s_i) / sum exp(s), s the scores (weir/sample/softmax.hpp), from a y of
/// which each party holds y[first + t] = slice[t]. Slices are disjoint, may be empty, and lie in the order of the parties;
/// `options` are the same everywhere. The result, on the first party (empty elsewhere), is the same to the bit however y
/// is cut. An index that is drawn with replacement costs one element of one Parties::largest_of_each; without replacement
/// the first party gathers samples + 1 candidates of each. Memory beyond y does not depend on n.
///
/// Throws on all parties: UsageError when all slices are empty, InputError that names the first index of the lowest party
/// whose value or score is not finite.
[[nodiscard]] SampleResult softmax_over_parties(Parties& parties, std::uint64_t first, std::span<const double> slice,
                                                const SoftmaxOptions& options);

/// Calls its argument for all coordinates that the party holds, stretch by stretch, in any order. Collective, while the
/// argument is not: an error in it must be thrown on all parties (Parties::together).
using SoftmaxSweep = std::function<void(const std::function<void(const SoftmaxStretch&)>& take)>;

/// Collective: the same from a y that no party has in memory. `local` is the range of the scores that the party's sweep
/// yields; the sweep is made once. Throws UsageError on all parties when no party has a coordinate, and what the sweep
/// throws.
[[nodiscard]] SampleResult softmax_over_parties(Parties& parties, const SoftmaxRange& local, const SoftmaxSweep& sweep,
                                                const SoftmaxOptions& options);

}  // namespace weir
