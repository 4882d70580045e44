#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace weir {

/// A bounded list of rows with weights: those of the highest priority. Rows are equal where priority, token and numbers
/// are; their weights add up, and a row of weight 0 is none. Once a row dropped out the list takes no row that is not
/// above all that did. So the list is a function of the sum of all rows that ever came, whatever their order and however
/// they were split among lists that are merged, as long as none was removed before the last drop; and a row that is not
/// above the floor is known to be elsewhere.
class AnisotropicRows {
 public:
  /// Of rows with `numbers` floats. `capacity` may be 0: then all rows drop out.
  AnisotropicRows(std::size_t capacity, std::size_t numbers) : capacity_(capacity), numbers_(numbers) {}

  /// Priority, then token: a total order of rows with different tokens.
  struct Rank {
    std::uint64_t priority = 0;
    std::uint64_t token = 0;
    auto operator<=>(const Rank&) const = default;
  };
  struct Entry {
    Rank rank;
    std::int64_t weight = 0;
    std::size_t slot = 0;
  };

  /// True when a row of that rank belongs into the list.
  [[nodiscard]] bool admits(const Rank& rank) const noexcept { return capacity_ > 0 && (!floor_ || rank > *floor_); }
  /// Adds a row that is admitted. When the list is too long then, the floor rises to its last row.
  /// Call drop_next() until it gives nothing afterwards.
  void add(const Rank& rank, std::span<const float> row, std::int64_t weight);
  /// Raises the floor to that of another list. Rows that are not above it any more drop out: drop_next() gives them.
  void raise_floor(const std::optional<Rank>& floor) {
    if (floor && (!floor_ || *floor > *floor_)) floor_ = floor;
  }
  /// Takes out the last row if it is not above the floor: its numbers and its weight. False when there is none.
  bool drop_next(std::span<float> dropped, std::int64_t& weight);
  void clear();

  [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] std::size_t numbers() const noexcept { return numbers_; }
  /// Highest first.
  [[nodiscard]] const std::vector<Entry>& entries() const noexcept { return entries_; }
  [[nodiscard]] std::span<const float> row(const Entry& entry) const {
    return std::span(storage_).subspan(entry.slot * numbers_, numbers_);
  }
  [[nodiscard]] const std::optional<Rank>& floor() const noexcept { return floor_; }
  /// Of all rows, rising.
  [[nodiscard]] std::vector<std::uint64_t> tokens() const;

 private:
  std::size_t capacity_;
  std::size_t numbers_;
  std::vector<Entry> entries_;
  std::vector<float> storage_;
  std::vector<std::size_t> free_;  ///< Slots.
  std::optional<Rank> floor_;
};

}  // namespace weir
