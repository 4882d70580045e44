#pragma once

#include <string>

#include "weir/state/state.hpp"

namespace weir {

/// Says why the sums of a state cannot be shared out (it has a part that is no sum, or numbers of single precision); empty when
/// they can. Then slice_of() and the others take it.
[[nodiscard]] std::string describe_slice_problem(const State& state);

/// The party's share of the numbers of a state: of each array that is summed on the first party (Gathering::on_first) the
/// numbers that it would have in_slices, and the other arrays as they are. A slice adds, scales and is saved as states do, in
/// 1 / party.count of their memory. It takes no events and answers no question (std::logic_error).
[[nodiscard]] State slice_of(const State& state, Party party);
/// Puts the numbers of a slice where they belong in `state`, and makes the others of arrays that are summed zero. The state
/// keeps its own count of updates.
void put_slice(const State& slice, State& state);
/// Makes all numbers of arrays that are summed zero that are not in the party's slice.
void keep_slice(State& state, Party party);

}  // namespace weir
