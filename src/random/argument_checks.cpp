#include "random/argument_checks.hpp"

#include <fmt/format.h>

#include "weir/error.hpp"

namespace weir {

void throw_bad_argument(const char* function, const char* quantity, const char* what_limits, std::uint64_t value,
                        const char* relation, std::uint64_t limit) {
  throw UsageError(
      fmt::format("{}: {} is {}, expected {}{}, which is {}", function, quantity, value, relation, limit, what_limits));
}

}  // namespace weir
