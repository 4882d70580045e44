#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace weir {

/// The operand that an event changes: y itself, or an operand that y is computed from. The six that are listed have the
/// values that files know them by. Others are registered by name while the program runs, see operand_named(); their
/// values hold for one process only.
enum class Operand : std::uint8_t { y = 0, x = 1, A = 2, A1 = 3, A2 = 4, X = 5 };

/// Operands that a process may know, the listed ones included.
inline constexpr std::size_t most_operands = 64;
/// Characters in the name of an operand, at most.
inline constexpr std::size_t longest_operand_name = 31;

/// The operand called `name`. It is registered when it is new: as a matrix, whose events carry two indices, if
/// `has_column`, otherwise as a vector. Safe to call from several threads. Throws UsageError when `name` is not a letter
/// followed by letters and digits, or has more than longest_operand_name of them; when it is known with another number
/// of indices; and when there are most_operands already.
Operand operand_named(std::string_view name, bool has_column);
/// The operand called `name`, if it is listed or registered.
[[nodiscard]] std::optional<Operand> find_operand(std::string_view name) noexcept;
/// Every operand that is listed or has been registered so far, in the order of their values. The span stays valid.
[[nodiscard]] std::span<const Operand> known_operands() noexcept;

/// The name: "y", "x", "A", "A1", "A2", "X", or the one it was registered with.
[[nodiscard]] std::string_view to_string(Operand operand) noexcept;

namespace detail {
[[nodiscard]] bool registered_with_column(Operand operand) noexcept;
}  // namespace detail

/// True for matrices, whose events carry two indices: A, A1, A2, X, and what was registered so.
[[nodiscard]] constexpr bool has_column(Operand operand) noexcept {
  return operand <= Operand::X ? operand >= Operand::A : detail::registered_with_column(operand);
}

/// A set of operands.
struct OperandSet {
  std::uint64_t bits = 0;  ///< Bit v, of value 2^v, stands for the operand of the value v.

  /// Goes through the operands of a set in the order of their values.
  class Iterator {
   public:
    using iterator_category = std::forward_iterator_tag;
    using iterator_concept = std::forward_iterator_tag;
    using value_type = Operand;
    using difference_type = std::ptrdiff_t;
    using pointer = void;
    using reference = Operand;

    constexpr Iterator() = default;
    constexpr explicit Iterator(std::uint64_t left) noexcept : left_(left) {}
    [[nodiscard]] constexpr Operand operator*() const noexcept { return static_cast<Operand>(std::countr_zero(left_)); }
    constexpr Iterator& operator++() noexcept {
      left_ &= left_ - 1;
      return *this;
    }
    constexpr Iterator operator++(int) noexcept {
      const Iterator before = *this;
      ++*this;
      return before;
    }
    bool operator==(const Iterator&) const = default;

   private:
    std::uint64_t left_ = 0;
  };

  constexpr OperandSet() = default;
  constexpr OperandSet(std::initializer_list<Operand> operands) {
    for (const Operand operand : operands) insert(operand);
  }
  constexpr void insert(Operand operand) noexcept { bits |= bit(operand); }
  [[nodiscard]] constexpr bool contains(Operand operand) const noexcept { return (bits & bit(operand)) != 0; }
  [[nodiscard]] constexpr bool empty() const noexcept { return bits == 0; }
  [[nodiscard]] constexpr int size() const noexcept { return std::popcount(bits); }
  [[nodiscard]] constexpr Iterator begin() const noexcept { return Iterator(bits); }
  [[nodiscard]] constexpr Iterator end() const noexcept { return Iterator(); }

  bool operator==(const OperandSet&) const = default;
  /// The operands in both.
  [[nodiscard]] friend constexpr OperandSet operator&(OperandSet a, OperandSet b) noexcept {
    return of_bits(a.bits & b.bits);
  }
  /// The operands in one or the other.
  [[nodiscard]] friend constexpr OperandSet operator|(OperandSet a, OperandSet b) noexcept {
    return of_bits(a.bits | b.bits);
  }
  /// The operands in `a` that are not in `b`.
  [[nodiscard]] friend constexpr OperandSet operator-(OperandSet a, OperandSet b) noexcept {
    return of_bits(a.bits & ~b.bits);
  }

 private:
  [[nodiscard]] static constexpr std::uint64_t bit(Operand operand) noexcept {
    return std::uint64_t{1} << (static_cast<unsigned>(operand) % most_operands);
  }
  [[nodiscard]] static constexpr OperandSet of_bits(std::uint64_t bits) noexcept {
    OperandSet set;
    set.bits = bits;
    return set;
  }
};

/// Their names in the order of their values, as in "A1, X".
[[nodiscard]] std::string to_string(OperandSet operands);

/// One change of one entry: operand[i] += delta, or operand[i][j] += delta. Indices are 0-based, below 2^63; delta is
/// finite.
struct Event {
  Operand operand = Operand::y;
  std::uint64_t i = 0;
  std::uint64_t j = 0;  ///< 0 where the operand is a vector.
  double delta = 0;

  bool operator==(const Event&) const = default;
};

/// Changes of whole rows of matrix operands: operands[t][i[t]][:] += weights[t] * row(t).
struct RowBatch {
  std::vector<Operand> operands;
  std::vector<std::uint64_t> i;
  std::vector<double> weights;    ///< 1 for a row that comes, -1 for one that leaves.
  std::vector<double> values;     ///< The rows, one after the other; each as long as its operand has columns.
  std::vector<std::size_t> ends;  ///< Row t is values[ends[t - 1] .. ends[t]).

  [[nodiscard]] std::size_t size() const noexcept { return ends.size(); }
  [[nodiscard]] bool empty() const noexcept { return ends.empty(); }
  void clear() noexcept;
  void push_back(Operand operand, std::uint64_t row, double weight, std::span<const double> row_values);
  /// Makes a row of what has been appended to `values` since the last row.
  void close_row(Operand operand, std::uint64_t row, double weight);
  [[nodiscard]] std::span<const double> row(std::size_t t) const noexcept {
    const std::size_t first = t == 0 ? 0 : ends[t - 1];
    return std::span(values).subspan(first, ends[t] - first);
  }

  bool operator==(const RowBatch&) const = default;
};

/// Events as columns, the unit in which readers deliver and models ingest: changes of entries in four equally long
/// columns, and changes of whole rows. Between the two there is no order, and as all that is built from events is
/// linear, none is needed. A reader delivers runs of one operand in one batch where it can; `operands` tells.
struct EventBatch {
  std::vector<Operand> operands;
  std::vector<std::uint64_t> i;
  std::vector<std::uint64_t> j;
  std::vector<double> delta;
  RowBatch rows;

  /// Entries changed one by one.
  [[nodiscard]] std::size_t size() const noexcept { return delta.size(); }
  /// Events of both kinds; a whole row is one.
  [[nodiscard]] std::size_t events() const noexcept { return delta.size() + rows.size(); }
  [[nodiscard]] bool empty() const noexcept { return events() == 0; }
  void clear() noexcept;
  /// Of the columns of entries; whole rows stay as they are.
  void resize(std::size_t count);
  void push_back(const Event& event);
  [[nodiscard]] Event operator[](std::size_t t) const noexcept { return {operands[t], i[t], j[t], delta[t]}; }
};

/// Replaces the contents of `front` with the first `most` events of `batch`, entries first, then whole rows, and takes
/// them out of it. Costs O(events in `batch`), as the others move to its front; for many small parts of one batch see
/// EventQueue. The two must not be the same.
void split_front(EventBatch& batch, std::size_t most, EventBatch& front);

/// Batches that wait to be taken in parts of other sizes.
class EventQueue {
 public:
  /// Appends. O(1).
  void push(EventBatch batch);
  /// Events that wait; a whole row is one.
  [[nodiscard]] std::uint64_t events() const noexcept { return events_; }
  [[nodiscard]] bool empty() const noexcept { return events_ == 0; }
  /// Replaces the contents of `front` with the next events, at most `most` of them, in the order of the batches, of each the
  /// entries before the whole rows; fewer than `most` only where a batch ends. False, with an empty `front`, when none wait,
  /// or `most` is 0. Costs O(events taken), however many wait; O(1) for a batch that is taken whole.
  bool take(std::size_t most, EventBatch& front);

 private:
  std::deque<EventBatch> batches_;
  std::size_t taken_ = 0;  ///< Events of the first batch that have been taken.
  std::uint64_t events_ = 0;
};

/// The index space an event must lie in. Readers check every event against it, so that the message can name the line.
struct OperandShape {
  Operand operand = Operand::y;
  std::uint64_t rows = 0;     ///< i < rows.
  std::uint64_t columns = 1;  ///< j < columns; 1 for vectors.
};

}  // namespace weir
