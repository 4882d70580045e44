#include "random/argument_checks.hpp"

#include <fmt/format.h>

#include "weir/error.hpp"

namespace weir {

void throw_bad_argument(const Argument& argument, std::uint64_t value, const char* relation, std::uint64_t limit) {
  throw UsageError(fmt::format("{}: {} is {}, expected {}{}, which is {}", argument.function, argument.quantity, value,
                               relation, limit, argument.limit));
}

}  // namespace weir
