#pragma once

#include <cstdint>

#include "weir/sample/dense_tensor.hpp"
#include "weir/sample/softmax.hpp"
#include "weir/sketch/kronecker_sketch.hpp"
#include "weir/state/parties.hpp"

namespace weir {

/// What the pairs are normalised over.
enum class SoftmaxOver : std::uint8_t {
  all,   ///< (i1, i2) has probability exp(s) / sum over all pairs of exp(s).
  rows,  ///< (1 / n1) exp(s) / sum over the pairs of row i1 of exp(s): a query at random, then a key by its attention.
};

/// Collective: exact draws of pairs (i1, i2) by the scores s = scale * y of y = A1 X A2^T, n1 x n2, which is never held.
/// Party r of P has its share(n1, r, P) of the rows of A1 in `operands`; the first party has A2 and X. The draws, on the
/// first party (empty elsewhere), are the same to the bit for every number of parties, as the value of a pair does not
/// depend on the other pairs. `options.row_length` is n2; draws have an index and a column.
///
/// A2 is sent to all parties in blocks of rows, twice, and each computes the scores of its own rows of A1 with a block, a
/// tile at a time: O(n1 n2 d2 / P) for a party, besides O(n1 d1 d2 / P) for A1 X and the pass of SoftmaxScan. Memory:
/// doubles_for_pairs().
///
/// Throws on all parties: InputError that names a pair whose value or score is not finite, and as DenseTensor::core does.
[[nodiscard]] SampleResult softmax_of_pairs(Parties& parties, const DenseTensor& operands, SoftmaxOver over,
                                            const SoftmaxOptions& options);

/// Doubles that a party needs for it besides the operands: X, the party's rows of A1 X, a block of A2 and a tile of
/// scores, and two numbers for each of its rows.
[[nodiscard]] std::uint64_t doubles_for_pairs(const KroneckerShape& shape, Party party);

}  // namespace weir
