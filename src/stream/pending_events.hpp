#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>

#include "weir/event.hpp"

namespace weir::stream {

/// A batch that is handed out in parts.
class PendingEvents {
 public:
  PendingEvents() = default;
  explicit PendingEvents(EventBatch batch) noexcept : batch_(std::move(batch)) {}

  [[nodiscard]] std::size_t left() const noexcept { return batch_.events() - entries_ - rows_; }
  [[nodiscard]] bool empty() const noexcept { return left() == 0; }

  /// Appends at most `most` events to `out`; returns how many.
  std::size_t take(EventBatch& out, std::size_t most) {
    if (out.empty() && entries_ + rows_ == 0 && left() <= most) {
      std::swap(out, batch_);
      batch_.clear();
      return out.events();
    }
    const std::size_t entries = std::min(most, batch_.size() - entries_);
    const auto append = [&](auto& to, const auto& from) {
      const auto first = from.begin() + static_cast<std::ptrdiff_t>(entries_);
      to.insert(to.end(), first, first + static_cast<std::ptrdiff_t>(entries));
    };
    append(out.operands, batch_.operands);
    append(out.i, batch_.i);
    append(out.j, batch_.j);
    append(out.delta, batch_.delta);
    entries_ += entries;
    const std::size_t rows = std::min(most - entries, batch_.rows.size() - rows_);
    for (std::size_t t = rows_; t < rows_ + rows; ++t)
      out.rows.push_back(batch_.rows.operands[t], batch_.rows.i[t], batch_.rows.weights[t], batch_.rows.row(t));
    rows_ += rows;
    return entries + rows;
  }

 private:
  EventBatch batch_;
  std::size_t entries_ = 0;  ///< Handed out.
  std::size_t rows_ = 0;     ///< Likewise.
};

}  // namespace weir::stream
