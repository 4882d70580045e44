#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "weir/event.hpp"
#include "weir/setting/setting.hpp"
#include "weir/state/problem.hpp"
#include "weir/state/question.hpp"

namespace weir {

/// The problem whose y is measured by exact values in place of a sketch. Throws UsageError where its setting has none.
[[nodiscard]] Problem exact_problem(const Problem& problem, Keeps keeps);

/// A few entries of y, with the rows of the operands that they are computed from, and nothing of the rest: what has to be
/// kept of a stream that is read for their exact values. The selected rows of an operand are numbered anew, in their
/// order, so that the exact state of a much smaller problem can keep them.
class RowSelection {
 public:
  /// The rows behind `entries` of the y of `problem`, at least one. Throws UsageError when its setting does not say which
  /// sides y has or has no exact states, and for entries outside of y.
  RowSelection(const Problem& problem, const std::vector<EntryIndex>& entries);

  /// The exact problem of the selected rows. Operands that have such rows stream.
  [[nodiscard]] const Problem& problem() const noexcept { return problem_; }
  /// Where a selected entry is in it.
  [[nodiscard]] EntryIndex place_of(const EntryIndex& entry) const;
  /// The events of a batch of the whole problem that concern selected rows, and those of operands that have none (x, X),
  /// with the new numbers. Valid until the next call. O(events log rows), most of which one look at a bit decides.
  [[nodiscard]] const EventBatch& select(const EventBatch& batch);

 private:
  /// Selected rows along one side of y.
  struct Rows {
    std::vector<std::uint64_t> numbers;           ///< Increasing.
    std::array<std::uint64_t, 64> may_contain{};  ///< Bit i mod 4096 is set for every i of `numbers`.

    void close();
    /// numbers.size() when `row` is not selected.
    [[nodiscard]] std::uint64_t place_of(std::uint64_t row) const;
  };

  static constexpr std::uint8_t no_side = UINT8_MAX;

  std::vector<Rows> sides_;                            // as SettingTraits::sides_of_y
  std::array<std::uint8_t, most_operands> side_of_{};  // the one that the rows of an operand are along; or no_side
  Problem problem_;
  EventBatch selected_;
};

}  // namespace weir
