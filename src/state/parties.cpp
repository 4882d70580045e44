#include "weir/state/parties.hpp"

#include <fmt/format.h>

#include "weir/error.hpp"
#include "weir/state/lone_party.hpp"

namespace weir {

std::vector<PlacedValue> LoneParty::largest_of_each(std::span<const double> values,
                                                    std::span<const std::uint64_t> indices) {
  std::vector<PlacedValue> placed;
  for (std::size_t k = 0; k < values.size(); ++k) placed.push_back({values[k], 0, indices[k]});
  return placed;
}

void LoneParty::read_again(Operand operand, const std::function<void(const EventBatch&)>&) {
  throw UsageError(fmt::format("there is no file of {} to be read again", to_string(operand)));
}

Parties& lone_party() {
  static LoneParty party;
  return party;
}

}  // namespace weir
