#pragma once

#include <cstdint>

namespace weir {

/// Names what a public function checks of its arguments, for the message.
struct Argument {
  const char* function;  ///< "VectorSketch::update"
  const char* quantity;  ///< "deltas.size()"
  const char* limit;     ///< What it is compared with: "keys.size()".
};

/// Throws the UsageError of the checks below, "VectorSketch::update: deltas.size() is 3, expected 4, which is
/// keys.size()". Out of line, so that a check costs its caller one comparison.
/// It takes pointers, not an Argument, as one that is passed on would be written to the stack before the comparison.
[[noreturn]] void throw_bad_argument(const char* function, const char* quantity, const char* what_limits,
                                     std::uint64_t value, const char* relation, std::uint64_t limit);

// The checks of public functions: they throw UsageError unless the relation holds. Internal functions assert instead.

inline void require_equal(const Argument& argument, std::uint64_t value, std::uint64_t expected) {
  if (value != expected) [[unlikely]]
    throw_bad_argument(argument.function, argument.quantity, argument.limit, value, "", expected);
}

inline void require_below(const Argument& argument, std::uint64_t value, std::uint64_t limit) {
  if (value >= limit) [[unlikely]]
    throw_bad_argument(argument.function, argument.quantity, argument.limit, value, "less than ", limit);
}

inline void require_at_least(const Argument& argument, std::uint64_t value, std::uint64_t least) {
  if (value < least) [[unlikely]]
    throw_bad_argument(argument.function, argument.quantity, argument.limit, value, "at least ", least);
}

inline void require_at_most(const Argument& argument, std::uint64_t value, std::uint64_t most) {
  if (value > most) [[unlikely]]
    throw_bad_argument(argument.function, argument.quantity, argument.limit, value, "at most ", most);
}

}  // namespace weir
