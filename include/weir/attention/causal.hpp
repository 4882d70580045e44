#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "weir/attention/anisotropic.hpp"

namespace weir {

struct CausalOptions {
  std::uint64_t window = 64;  ///< Rows before a block that are kept as they are; 0 or more.
  std::uint64_t sinks = 4;    ///< First rows that are kept as they are for good. 0 where `sliding` is not.
  /// Query t sees the rows t - sliding + 1 .. t only. 0: rows 0 .. t.
  std::uint64_t sliding = 0;
};

/// Numbers that the window and the first rows take, as floats are counted: what a budget has to spare for them.
[[nodiscard]] std::uint64_t causal_numbers(const CausalOptions& options, std::uint64_t d, std::uint64_t dv) noexcept;

/// Rows of tokens first, first + 1, ... Spans of numbers, row by row.
struct TokenRows {
  std::uint64_t first = 0;
  std::span<const double> keys;
  std::span<const double> values;
};

/// Causal attention: query t is answered from the rows up to t. Tokens are taken in blocks. Rows of the block itself, of the
/// window before it and the first ones are exact; all others are in an AnisotropicState. Rows that leave a sliding window are
/// subtracted from that state, so the caller hands them over once more.
///
/// Blocks begin at multiples of `block`. A part of the tokens can be worked on alone: the result depends on what the state,
/// the window and the first rows hold, not on who worked on the blocks before.
class CausalAttention {
 public:
  /// Tokens of a block, at most.
  static constexpr std::uint64_t block = 64;

  /// Begins at token `first`, a multiple of `block`. `state` holds the rows that are in neither the window nor the first ones:
  /// with w = min(window, first), rows sinks .. first - w - 1, or first - sliding + 1 .. first - w - 1. `sinks` and `recent`
  /// are the first rows, and rows first - w .. first - 1. Throws UsageError for rows that are not those, `sinks` beside
  /// `sliding`, and a `first` between blocks.
  CausalAttention(AnisotropicState state, const CausalOptions& options, std::uint64_t first, const TokenRows& sinks,
                  const TokenRows& recent);

  /// The rows that must be handed to answer() with the next block of `count` tokens: they leave the sliding window while it
  /// is worked on, and are not in the exact window. `count` is 0 where there are none.
  struct Range {
    std::uint64_t first = 0;
    std::uint64_t count = 0;
  };
  [[nodiscard]] Range leaving(std::uint64_t count) const noexcept;

  /// Answers the queries of the next block (count x d, scaled) and takes its rows. All blocks but the last have `block` tokens.
  /// Throws UsageError for sizes that do not fit and for other `leaving` rows than leaving() says, InputError as
  /// AnisotropicState::add.
  [[nodiscard]] AnisotropicAnswers answer(std::span<const double> queries, std::span<const double> keys,
                                          std::span<const double> values, const TokenRows& leaving,
                                          bool with_errors = false);

  [[nodiscard]] const AnisotropicState& state() const noexcept { return state_; }

 private:
  void add_exact(std::span<const double> queries, std::uint64_t first_token, std::span<const double> keys,
                 std::span<const double> values, AttentionSums& sums) const;
  void advance(std::span<const double> keys, std::span<const double> values);

  AnisotropicState state_;
  CausalOptions options_;
  std::uint64_t next_;         ///< The first token of the next block.
  std::uint64_t recent_from_;  ///< The first row of the window.
  std::vector<double> sink_keys_, sink_values_;
  std::vector<double> recent_keys_, recent_values_;
};

}  // namespace weir
