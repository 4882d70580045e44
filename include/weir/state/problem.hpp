#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "weir/event.hpp"
#include "weir/sketch/config.hpp"
#include "weir/sketch/rows_sketch.hpp"

namespace weir {

/// What becomes of an operand in a problem.
enum class Role : std::uint8_t {
  streams,    ///< Events change it, and the state holds what they have made of it.
  fixed,      ///< Given whole before the stream. The state holds it, and no event may change it.
  forgotten,  ///< Events change it, but the state does not hold their sum (states from files of version 2).
  absent,     ///< It does not stream, and the state lacks it: X that is the identity; see version 2 of the format.
};
/// "streams", "fixed", "forgotten", "absent".
[[nodiscard]] std::string_view to_string(Role role) noexcept;

/// What a state keeps of a stream.
enum class Keeps : std::uint8_t {
  sketch,        ///< Small linear sketches.
  exact,         ///< The vector or the operands themselves: the reference for everything else.
  exact_shared,  ///< The same, shared out among the parties by rows, for draws by exp(y_i).
};
/// "sketch", "exact", "exact-shared".
[[nodiscard]] std::string_view to_string(Keeps keeps) noexcept;

/// The epsilon and C that a sketch was sized for whose state draws by Algorithm 2 of the paper; see PrecisionOptions.
struct PrecisionTarget {
  double epsilon = 0;   ///< In (0, 1).
  double constant = 0;  ///< C, above 0 and finite.

  bool operator==(const PrecisionTarget&) const = default;
};

/// What is being measured: the one description of it. Options, or arguments of a program, make it; a Setting
/// (weir/setting/setting.hpp) completes it; the ranks of a session get it by one broadcast; state files hold it; reports
/// show it. It says nothing about where events come from.
struct Problem {
  std::string setting = "vector";  ///< Name of a setting, such as "vector" or "kronecker-streaming".
  Keeps keeps = Keeps::sketch;
  /// Lengths by the names that the setting gives them: n and d, or n1, n2, d1, d2. Each 1 to 2^63.
  std::map<std::string, std::uint64_t, std::less<>> sides = {};
  std::map<Operand, Role> roles = {};
  std::uint32_t degree = 1;  ///< 2 where each row is replaced by the products of its entries (law |y_i|^(2 p)); else 1.
  SketchConfig sketch = {};  ///< Its dimension follows from the sides. An exact state uses only p and the seed.
  GramConfig gram = {};      ///< Used by the settings that keep Gram matrices.
  std::optional<PrecisionTarget> precision = {};  ///< Present if and only if the law of the scales is `uniform`.
  /// A power of two: all numbers that are read, of streams and of fixed operands, are rounded to the nearest multiple of
  /// it, an error of half of it at most. Sums are then exact, as those of whole numbers are. 0: nothing is rounded.
  double resolution = 0;
  std::map<std::string, std::string, std::less<>> parameters = {};  ///< Values that only this setting knows.

  bool operator==(const Problem&) const = default;

  /// Throws UsageError when there is no such side.
  [[nodiscard]] std::uint64_t side(std::string_view name) const;
  /// Role::absent for an operand that is not listed.
  [[nodiscard]] Role role(Operand operand) const;
  [[nodiscard]] OperandSet with_role(Role role) const;
  /// The exponent of the law of the draws: p of the sketch times the degree.
  [[nodiscard]] double exponent() const noexcept { return sketch.p * degree; }
};

/// The largest power of two that is at most `resolution`. Throws UsageError unless that is 2^-200 to 2^200.
[[nodiscard]] double power_of_two_below(double resolution);
/// Rounds numbers to the nearest multiples of Problem::resolution, ties to even ones; leaves them as they are where that
/// is 0. O(numbers).
void round_to(double resolution, std::span<double> numbers) noexcept;

/// One JSON object, for state files and for messages between ranks: every field, names in place of numbers.
[[nodiscard]] std::string to_text(const Problem& problem);
/// Inverse of to_text(). `source` names where the text comes from, in messages. Throws InputError for anything that
/// to_text() does not write, and for numbers out of range; nothing is allocated beyond the size of the text.
[[nodiscard]] Problem problem_of_text(std::string_view text, const std::string& source);
/// 64-bit digest of to_text(), equal on parties that may merge.
[[nodiscard]] std::uint64_t fingerprint_of(const Problem& problem);
/// Says in what two problems of one setting differ first ("seed: 1 against 2", "A: fixed against streamed"); empty when
/// their states may be added.
[[nodiscard]] std::string describe_difference(const Problem& a, const Problem& b);

}  // namespace weir
