#pragma once

#include <algorithm>
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

struct Events {
  std::vector<Event> entries;
  RowBatch rows;

  void add(const Events& more) {
    entries.insert(entries.end(), more.entries.begin(), more.entries.end());
    for (std::size_t t = 0; t < more.rows.size(); ++t)
      rows.push_back(more.rows.operands[t], more.rows.i[t], more.rows.weights[t], more.rows.row(t));
  }
  bool operator==(const Events&) const = default;
};

inline bool is_possible(const Event& event) {
  return event.operand <= Operand::X && event.i >> 63 == 0 && event.j >> 63 == 0 && std::isfinite(event.delta) &&
         (has_column(event.operand) || event.j == 0);
}

/// Every value of the row as an event must be possible, and there must be as many as the operand has columns.
inline bool is_possible(const RowBatch& rows, std::size_t t, const ReadOptions& options) {
  const std::span<const double> row = rows.row(t);
  const Operand operand = rows.operands[t];
  for (const OperandShape& shape : options.shapes) {
    if (shape.operand == operand && (rows.i[t] >= shape.rows || row.size() != shape.columns)) return false;
  }
  return !row.empty() && row.size() <= longest_row && has_column(operand) && std::abs(rows.weights[t]) == 1 &&
         std::all_of(row.begin(), row.end(), [&](double value) {
           return is_possible({operand, rows.i[t], 0, value});
         });
}

/// The events of `bytes`, or nothing when they are an input error. Aborts on an event that no reader may deliver.
inline std::optional<Events> read(std::span<const std::byte> bytes, const ReadOptions& options) {
  Events events;
  try {
    EventReader reader(bytes, "input", options);
    EventBatch batch;
    while (reader.next(batch)) {
      // A line of a symmetric Matrix Market file may stand for two.
      if (batch.empty() || batch.events() > options.batch + 1) std::abort();
      Events part{{}, batch.rows};
      for (std::size_t t = 0; t < batch.size(); ++t) {
        if (!is_possible(batch[t])) std::abort();
        part.entries.push_back(batch[t]);
      }
      for (std::size_t t = 0; t < batch.rows.size(); ++t) {
        if (!is_possible(batch.rows, t, options)) std::abort();
      }
      events.add(part);
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
    std::optional<Events> together{std::in_place};
    for (options.slice = 0; options.slice < options.slice_count; ++options.slice) {
      const auto part = read(bytes, options);
      if (!part) together.reset();
      if (together && part) together->add(*part);
    }
    if (together != whole) std::abort();
  }
}

}  // namespace weir::fuzz
