#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <span>
#include <vector>

#include "weir/error.hpp"
#include "weir/stream/reader.hpp"

namespace weir::fuzz {

/// The events of `bytes`, or nothing when they are an input error. Aborts on an event that no reader may deliver.
inline std::optional<std::vector<Event>> read(std::span<const std::byte> bytes, const ReadOptions& options) {
  std::vector<Event> events;
  try {
    EventReader reader(bytes, "input", options);
    EventBatch batch;
    while (reader.next(batch)) {
      if (batch.empty() || batch.size() > options.batch) std::abort();
      for (std::size_t t = 0; t < batch.size(); ++t) {
        const Event event = batch[t];
        const bool possible = event.operand <= Operand::X && event.i >> 63 == 0 && event.j >> 63 == 0 &&
                              std::isfinite(event.delta) && (has_column(event.operand) || event.j == 0);
        if (!possible) std::abort();
        events.push_back(event);
      }
    }
  } catch (const InputError&) {
    return std::nullopt;
  }
  return events;
}

/// Aborts unless the slices of `bytes`, for two to four parties, are together what one party reads: the same events or
/// an error.
inline void require_slices_agree(std::span<const std::byte> bytes, ReadOptions options) {
  const auto whole = read(bytes, options);
  for (options.slice_count = 2; options.slice_count <= 4; ++options.slice_count) {
    std::optional<std::vector<Event>> together{std::in_place};
    for (options.slice = 0; options.slice < options.slice_count; ++options.slice) {
      const auto part = read(bytes, options);
      if (!part) together.reset();
      if (together && part) together->insert(together->end(), part->begin(), part->end());
    }
    if (together != whole) std::abort();
  }
}

}  // namespace weir::fuzz
