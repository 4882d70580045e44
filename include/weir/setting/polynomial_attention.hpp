#pragma once

#include <cstdint>
#include <optional>

#include "weir/attention/ams.hpp"
#include "weir/attention/recovery.hpp"
#include "weir/dense_matrix.hpp"
#include "weir/state/polynomial_attention_state.hpp"
#include "weir/state/problem.hpp"

namespace weir {

// The problems of attention with polynomial features. Keys and values stream in the first two; in the third they have
// become M, and queries stream. Centres are an operand of all three, and not part of a problem: states with others differ
// in an operand that is fixed, and do not combine.

/// Of MonomialAttentionState. Throws UsageError for a scale that is not finite.
[[nodiscard]] Problem attention_monomials_problem(const PolynomialAttentionShape& shape);
/// Of SketchedAttentionState.
[[nodiscard]] Problem attention_sketched_problem(const PolynomialAttentionShape& shape, const Psi& psi);
/// Of AttentionOutputsState, for queries 0 .. query_count - 1 and keys and values of this shape.
[[nodiscard]] Problem attention_outputs_problem(const PolynomialAttentionShape& shape, std::uint64_t query_count,
                                                const PhiSize& phi, std::uint64_t seed, bool is_factored);
/// What such a problem says. Centres are not in it. Throws UsageError for another problem.
[[nodiscard]] PolynomialAttentionShape polynomial_attention_shape(const Problem& problem);
/// Of the third: whether features of queries are sketched rather than outputs. Throws UsageError for another problem.
[[nodiscard]] bool is_factored(const Problem& problem);
/// Of the third: m1, the rows of the sketch of the outputs. Throws UsageError for another problem.
[[nodiscard]] std::uint64_t phi_rows(const Problem& problem);
/// What the centres of `config` are as a fixed operand, attention_centres(): engine::Sources::values has it.
[[nodiscard]] DenseMatrix centres_as_operand(const PolynomialConfig& config);

}  // namespace weir
