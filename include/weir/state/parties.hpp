#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "weir/event.hpp"

namespace weir {

/// One of `count` parties that share a state.
struct Party {
  std::uint32_t number = 0;
  std::uint32_t count = 1;

  bool operator==(const Party&) const = default;
};

/// A value and the party that holds it.
struct PlacedValue {
  double value = 0;
  std::uint32_t party = 0;
  std::uint64_t index = 0;
};

/// What a state may ask, while it answers a question, of the parties that hold its other parts. Every member but
/// party() is collective: all parties call it, in the same order. The engine implements it over MPI; lone_party() is
/// for a state that is in one place.
class Parties {
 public:
  virtual ~Parties() = default;

  [[nodiscard]] virtual Party party() const = 0;
  [[nodiscard]] bool is_first() const { return party().number == 0; }

  /// Runs `work` on every party. When it throws on any of them, all throw the same error. `work` is not collective.
  virtual void together(const std::function<void()>& work) = 0;
  /// Works out what is for the first party: `work` runs there. Where every party holds the whole state, it runs on all of them,
  /// which share long scans (weir/sample/scan_team.hpp). An error is thrown on all parties. `work` calls no member.
  virtual void work_out(const std::function<void()>& work) = 0;
  /// Element-wise sum, into the first party's values; the others' stay as they were.
  virtual void sum_on_first(std::span<double> values) = 0;
  /// Element-wise sum, shared out: party r's share(n, r, P) of the values become sums. Returns them; `first` of the
  /// result is the number of the first.
  struct Share {
    std::uint64_t first = 0;
    std::span<double> values;
  };
  [[nodiscard]] virtual Share sum_by_share(std::span<double> values) = 0;
  /// Element-wise sum, into the values of all parties, the same bits everywhere.
  virtual void sum_everywhere(std::vector<double>& values) = 0;
  /// The sums of whole numbers, on all parties.
  [[nodiscard]] virtual std::uint64_t sum_everywhere(std::uint64_t value) = 0;
  /// The largest of all parties' values, on all parties.
  [[nodiscard]] virtual double largest(double value) = 0;
  /// For each element: the largest value that any party gave, with the number of that party and the index that it gave.
  /// Of equal values, that of the lowest party. On all parties.
  [[nodiscard]] virtual std::vector<PlacedValue> largest_of_each(std::span<const double> values,
                                                                 std::span<const std::uint64_t> indices) = 0;
  /// Gives all parties the numbers of the first one.
  virtual void broadcast(std::vector<std::uint64_t>& values) = 0;
  virtual void broadcast(std::vector<double>& values) = 0;
  /// Returns on the first party what each party gave, in the order of the parties; elsewhere an empty vector.
  [[nodiscard]] virtual std::vector<std::vector<std::byte>> gather(std::span<const std::byte> bytes) = 0;

  /// True where the file of a fixed operand is at hand, so that read_again() can read it.
  [[nodiscard]] virtual bool can_read_again(Operand operand) const = 0;
  /// True where that file is an array, in which every row comes once and whole.
  [[nodiscard]] virtual bool has_rows_once(Operand operand) const = 0;
  /// Throws InputError on all parties when `doubles` more numbers on each would not fit into memory. `what` says what
  /// the numbers are, for the message.
  virtual void require_memory(std::uint64_t doubles, const std::string& what) = 0;
  /// Reads the file of a fixed operand once more and gives every event of it to one party or another. An error of
  /// reading, or of `consume`, on one party is thrown on all of them.
  virtual void read_again(Operand operand, const std::function<void(const EventBatch&)>& consume) = 0;
};

/// For a state that is in one place: a single party, without files.
[[nodiscard]] Parties& lone_party();

}  // namespace weir
