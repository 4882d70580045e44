#pragma once

#include <cstdint>
#include <span>

#include "weir/state/parties.hpp"
#include "weir/state/question.hpp"

namespace weir {

/// Collective: exact entries of y = A x, |y_i|^p as shares of their sum, and ||y||_2, from the file of A, which is read
/// once more. x and the question are the first party's; the result is complete there. A has n rows. O(n d / P) time;
/// where the file has entries, not whole rows, memory in proportion to the rows that it has, and 8 n bytes where these are more
/// than 2^20 on a party; then it is read twice. Throws the same error on all parties.
void answer_exactly(std::span<const double> x_of_first, std::uint64_t n, double p, const ExactQuestion& question,
                    Parties& parties, Answer& answer);

}  // namespace weir
