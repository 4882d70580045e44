#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "state/operand_events.hpp"
#include "weir/error.hpp"
#include "weir/event.hpp"

namespace weir {

/// Throws the InputError about an event of one entry of an operand whose rows come and go whole.
[[noreturn]] inline void refuse_entry(const Event& event) {
  throw InputError(fmt::format("{0}: {1} comes and goes as whole rows, expected {1},i,*,... or {1},i,-*,...",
                               describe(event), to_string(event.operand)));
}
inline void require_whole_rows(const EventBatch& batch) {
  if (batch.size() > 0) refuse_entry(batch[0]);
}

/// Calls work(first, end) for runs of rows that are of one operand and have one weight.
template <class Work>
void for_runs(const RowBatch& rows, const Work& work) {
  for (std::size_t first = 0, end = 0; first < rows.size(); first = end) {
    while (end < rows.size() && rows.operands[end] == rows.operands[first] && rows.weights[end] == rows.weights[first])
      ++end;
    work(first, end);
  }
}

/// Appends numbers first .. first + count - 1 of rows begin .. end - 1 to `out`.
inline void append_columns(const RowBatch& rows, std::size_t begin, std::size_t end, std::size_t first,
                           std::size_t count, std::vector<double>& out) {
  for (std::size_t t = begin; t < end; ++t) {
    const std::span<const double> part = rows.row(t).subspan(first, count);
    out.insert(out.end(), part.begin(), part.end());
  }
}

/// The indices of rows begin .. end - 1.
[[nodiscard]] inline std::span<const std::uint64_t> indices(const RowBatch& rows, std::size_t begin, std::size_t end) {
  return std::span(rows.i).subspan(begin, end - begin);
}

}  // namespace weir
