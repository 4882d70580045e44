#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "weir/setting/polynomial_attention.hpp"
#include "weir/setting/setting.hpp"

// What the settings of attention have in common: numbers among the parameters of a problem, and their checks.

namespace weir {

/// Numbers of a row, at most.
inline constexpr std::uint64_t widest_attention_row = 4096;

/// Throws UsageError where the problem lacks the parameter.
[[nodiscard]] std::string_view parameter(const Problem& problem, std::string_view name);
/// A whole number of `least` to `most`. Throws UsageError.
[[nodiscard]] std::uint64_t whole_parameter(const Problem& problem, std::string_view name, std::uint64_t least,
                                            std::uint64_t most);
/// A finite number. Throws UsageError.
[[nodiscard]] double real_parameter(const Problem& problem, std::string_view name);

/// What all of them check: sketches alone, no row that is too wide, roles as in `streaming` and `fixed`. Throws UsageError.
void check_attention(const Problem& problem, std::initializer_list<Operand> streaming,
                     std::initializer_list<Operand> fixed);
/// Throws UsageError for a question other than the kinds of which attention knows two. `expected` ends the message.
void require_attention_question(const Question& question, bool attend, bool recover, std::string_view expected);

/// Throws UsageError where `rows` times all features, or times the numbers of a value, are 2^60 or more.
void require_room_for_features(const PolynomialAttentionShape& shape, std::uint64_t rows);
/// The sides, the scale, the degree, and centres that are fixed.
[[nodiscard]] Problem polynomial_problem(std::string setting, const PolynomialAttentionShape& shape);

}  // namespace weir
