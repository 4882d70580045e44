#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "weir/dense_matrix.hpp"
#include "weir/event.hpp"
#include "weir/names.hpp"
#include "weir/sketch/vector_sketch.hpp"
#include "weir/state/numbers.hpp"
#include "weir/state/parties.hpp"
#include "weir/state/problem.hpp"
#include "weir/state/question.hpp"

namespace weir {

/// How the parts of an array that the parties hold become the whole.
enum class Gathering : std::uint8_t {
  on_first,    ///< Parts are summed on the first party; the others go on from zero.
  by_share,    ///< Parts are summed, and party r keeps the sums of its share of the rows; it has zeros elsewhere.
  in_slices,   ///< Party r holds the rows of its share, complete, and nothing of the others'; nothing is summed.
  everywhere,  ///< Every party holds all of it, complete; nothing is summed.
};

/// One array of a state, as it is known before anything is allocated.
struct ArrayLayout {
  std::string name;  ///< Unique in the state, and in files: "cells of A1".
  Operand operand;   ///< The array is linear in it. Arrays of an operand that is fixed are neither added nor scaled.
  std::uint64_t size = 0;  ///< Numbers of all parties together.
  Gathering gathering = Gathering::on_first;
  std::uint64_t row_length = 1;  ///< Of by_share and in_slices: the parties share size / row_length rows.
  bool is_count = false;         ///< A number of events: added whatever the coefficient, never scaled.
  bool is_single = false;        ///< Floats in place of doubles. Not for by_share and in_slices.
  /// Not empty where the array is linear in rows that come and go whole only, so that it can be added or subtracted, not
  /// multiplied: what such a state is, for messages ("a state with an exact Gram matrix").
  std::string whole_rows_only = {};
};

/// A kind of state: the numbers that one party keeps, and what is special about them. All that is common to states is in
/// State. A new kind derives from KeptAs<Itself>; it is made by its Setting.
class Kept {
 public:
  virtual ~Kept() = default;
  [[nodiscard]] virtual std::unique_ptr<Kept> clone() const = 0;

  /// What it holds, for messages: "a vector", "A and x of a product".
  [[nodiscard]] virtual std::string_view holds() const = 0;
  /// This party's part of each array, in the order of the layout.
  [[nodiscard]] virtual std::vector<Numbers> arrays() = 0;
  /// Adds events. Throws InputError for events that are not of the problem, and for sums that overflow.
  virtual void add(const EventBatch& batch) = 0;

  /// False when the file of a fixed operand is read while a question is answered, and not before the stream.
  [[nodiscard]] virtual bool takes_fixed(Operand) const { return true; }
  /// Called before the events of a fixed operand come, from its file.
  virtual void begin_fixed(Operand) {}
  /// Takes a fixed operand that is a vector of numbers rather than a stream (x of a product). UsageError by default.
  virtual void set_fixed(Operand operand, const DenseMatrix& values);
  /// Called once all fixed operands are there: read, or loaded. Works out what follows from them.
  virtual void finish_fixed() {}

  /// Says why the numbers are too large or too small to be measured; empty when they are not. Called on the first
  /// party, of a merged state.
  [[nodiscard]] virtual std::string describe_range_problem() const { return {}; }
  /// The operands that are zero. If there is one, y is zero.
  [[nodiscard]] virtual OperandSet zero_operands() const { return {}; }
  /// Says why the state cannot be multiplied by `coefficient` or, where `has_others`, why no others can be added to it;
  /// empty when that can be done. What the layout says is checked elsewhere.
  [[nodiscard]] virtual std::string describe_combine_problem(const Problem& problem, double coefficient,
                                                             bool has_others) const;
  /// ||y||_2 as draws report it, ||A||_F where rows are drawn; none where there is no y yet.
  [[nodiscard]] virtual std::optional<double> norm() const { return std::nullopt; }
  /// The sketch of y alone, which is multiplied out first where the state keeps operands; none where the state has no
  /// sketch of y.
  [[nodiscard]] virtual std::optional<VectorSketch> sketch_of_y() const { return std::nullopt; }
  /// True where the state is nothing but a sketch of y, so that it may be taken for that of any y.
  [[nodiscard]] virtual bool is_sketch_of_y() const { return false; }
  /// True where an ExactQuestion can be answered, now, with the help of `parties`.
  [[nodiscard]] virtual bool can_verify(const Parties& parties) const;
  /// Collective. The answer is on the first party; elsewhere it is empty. Throws on all parties: UsageError for what
  /// this kind does not answer, InputError for numbers that cannot be measured. This, clone(), and arrays() as long as
  /// nothing is written to them, may be called by several threads at once: what they keep for later needs a lock.
  [[nodiscard]] virtual Answer answer(const Question& question, Parties& parties) const = 0;

  // A part that is no sum: a bounded list, say. By default there is none.
  /// Its bytes.
  [[nodiscard]] virtual std::vector<std::byte> other_part() const { return {}; }
  /// Adds the other part of another state, times `coefficient`, to this one's. Throws InputError when the bytes are not of
  /// such a part.
  virtual void merge_other_part(std::span<const std::byte> bytes, double coefficient);
  /// Empties it, after another party has got it.
  virtual void clear_other_part() {}

  // Entries in columns. By default they are checked, and copied into batches.
  /// See State::add_entries.
  virtual void add_entries(const OperandShape& shape, std::span<const std::uint64_t> i,
                           std::span<const std::uint64_t> j, std::span<const double> delta);

 protected:
  Kept() = default;
  Kept(const Kept&) = default;
  Kept(Kept&&) = default;
  Kept& operator=(const Kept&) = default;
  Kept& operator=(Kept&&) = default;
};

/// Base of the kinds of states: copies are copies of the values.
template <class Kind>
class KeptAs : public Kept {
 public:
  [[nodiscard]] std::unique_ptr<Kept> clone() const override {
    return std::make_unique<Kind>(static_cast<const Kind&>(*this));
  }
};

/// One array of a state.
struct StateArray {
  const ArrayLayout* layout;
  Numbers numbers;  ///< This party's.
};

/// What one party keeps of a stream: a value. It knows its problem. States of one problem are added, subtracted and
/// scaled array by array, saved (weir/io/state_file.hpp), sent, merged (weir/engine/session.hpp) and asked.
class State {
 public:
  /// Made by create_state() of weir/setting/setting.hpp. Throws std::logic_error when the arrays of `kept` do not have the
  /// sizes that the layout gives the party.
  State(Problem problem, std::vector<ArrayLayout> layout, std::unique_ptr<Kept> kept, Party party = {});
  State(const State& other);
  State(State&&) noexcept = default;
  State& operator=(const State& other);
  State& operator=(State&&) noexcept = default;

  [[nodiscard]] const Problem& problem() const noexcept { return problem_; }
  [[nodiscard]] const std::vector<ArrayLayout>& layout() const noexcept { return layout_; }
  [[nodiscard]] Party party() const noexcept { return party_; }
  [[nodiscard]] const Kept& kept() const noexcept { return *kept_; }
  [[nodiscard]] Kept& kept() noexcept { return *kept_; }
  /// The numbers of this party. They are the state's: writing to them changes it.
  [[nodiscard]] std::vector<StateArray> arrays() const;
  /// The numbers of the array called `name`, which are doubles; throws UsageError when there is none.
  [[nodiscard]] std::span<double> array(std::string_view name) const;

  std::uint64_t updates = 0;  ///< Events that were added, by all parties. The caller of add() counts them.
  std::uint64_t ranks = 1;    ///< Parties that it was merged from.
  /// Names of rows of the operand that streams (the first one), where its keys are text: of the heaviest, of all that went in,
  /// be it added, subtracted or forgotten since. States of different names add all the same.
  NameTable names = NameTable();

  /// Adds events; see Kept::add.
  void add(const EventBatch& batch) { kept_->add(batch); }
  /// Adds changes of one operand that streams, given as columns: operand[i[t]] += delta[t], or operand[i[t]][j[t]] where it
  /// is a matrix; `j` is empty otherwise. `shape` is that of the operand (shapes_of() of weir/setting/setting.hpp). A state
  /// of a vector reads them where they are; others copy some thousands at a time. Throws UsageError when the columns are
  /// not equally long, InputError for an entry outside of the operand and for a delta that is not finite: nothing is added
  /// then, but for the rounding of VectorSketch::update. Throws as add() for what the kind of state does not take.
  void add_entries(const OperandShape& shape, std::span<const std::uint64_t> i, std::span<const std::uint64_t> j,
                   std::span<const double> delta);
  /// This state as the part that one of several parties holds. Throws std::logic_error when an array is cut among them.
  [[nodiscard]] State as_part(Party party) &&;
  /// *this += coefficient * other, operands that are fixed kept once; their updates are counted. Throws InputError that
  /// says what differs, or why it cannot be. `other` may be *this.
  void add(const State& other, double coefficient = 1);
  /// *this *= coefficient, operand by operand, but for those that are fixed. Throws InputError.
  void scale(double coefficient);
  /// What it has that is no sum, as bytes: Kept::other_part() and the names. Empty where there is neither.
  [[nodiscard]] std::vector<std::byte> other_part() const;
  /// Adds that of another state, times `coefficient`. Throws InputError when the bytes are not of such a part.
  void merge_other_part(std::span<const std::byte> bytes, double coefficient);
  /// Empties it, after another party has got it.
  void clear_other_part();
  /// True when no number of an operand that streams shows that it was rounded: all are below 2^37 in magnitude, and
  /// multiples of 2^-16, as are the sums of whole numbers times scales; where there is a resolution, both times that (and
  /// once more for each fixed operand). Such sums do not depend on the order of the
  /// events or on the number of parties. A number that left that range and came back is not noticed. O(size).
  [[nodiscard]] bool has_exact_sums() const;
  /// As if no event had come: only operands that are fixed stay.
  void clear();
  /// Throws InputError when the numbers are too large or too small to be measured. Of a merged state, on the first party.
  void require_range() const;
  /// See Kept::answer. Throws as require_range() first, on all parties. Threads may ask one state at once, save it and copy
  /// it, each with parties of its own (lone_party() serves them all), as long as none changes it.
  [[nodiscard]] Answer answer(const Question& question, Parties& parties = lone_party()) const;
  /// True when the operand of the array is fixed.
  [[nodiscard]] bool is_fixed(const ArrayLayout& layout) const { return problem_.role(layout.operand) == Role::fixed; }

 private:
  Problem problem_;
  std::vector<ArrayLayout> layout_;
  std::unique_ptr<Kept> kept_;
  Party party_;
};

/// The first and the number of the numbers of an array that a party holds.
struct ArrayShare {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
};
[[nodiscard]] ArrayShare share_of(const ArrayLayout& layout, Party party) noexcept;
/// Doubles of all arrays of one party, at most, two floats being one; the largest number when they do not fit into one.
[[nodiscard]] std::uint64_t doubles_of(const std::vector<ArrayLayout>& layout, Party party) noexcept;

/// state.answer(question). Where the question has a draw that asks to verify or to show exact values, and `exact`, a state
/// of the same events that keeps them exactly, or without one `state` itself can tell them, these are put in the place
/// of estimates, or beside them. Collective, and throws, as State::answer().
[[nodiscard]] Answer answer_with_exact(const State& state, const State* exact, const Question& question,
                                       Parties& parties = lone_party());

/// Says in what two states differ first that must be equal for them to be added: what they hold, their problems, and
/// operands that are fixed, number by number. Empty when they can be added.
[[nodiscard]] std::string describe_difference(const State& a, const State& b);
/// The name of the first array with a number that is not finite, and the place of that; none when all are finite.
[[nodiscard]] std::optional<std::pair<std::string, std::uint64_t>> find_not_finite(const State& state);
/// Says why `state`, times `coefficient`, cannot be a term of a sum; empty when it can. `is_first`: no term comes
/// before it. `is_only`: it is the only term.
[[nodiscard]] std::string describe_combine_problem(const State& state, double coefficient, bool is_first, bool is_only);

}  // namespace weir
