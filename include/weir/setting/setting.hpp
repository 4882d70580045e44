#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "weir/setting/sizes.hpp"
#include "weir/state/problem.hpp"
#include "weir/state/question.hpp"
#include "weir/state/state.hpp"

namespace weir {

/// The name of a length, as in "n1", and what it is: "number of rows of A1".
struct SideUse {
  std::string name;
  std::string meaning;
  std::string note = {};  ///< For the help, with \n where a line is to end.
};

/// An operand of a setting.
struct OperandUse {
  Operand operand = Operand::y;
  std::string rows;               ///< The side that is the number of its rows.
  std::string columns = {};       ///< That of its columns; empty where it is a vector.
  std::string more_columns = {};  ///< A side by which its rows are longer still; empty where they are not.
  bool may_be_fixed = false;
  /// Its file may have fewer rows than it: those that are missing are zero.
  bool may_lack_rows = false;
};

/// What is known of a setting without a problem: data for options, for help and for reports.
struct SettingTraits {
  std::string name;         ///< In problems and state files: "kronecker-streaming".
  std::string model;        ///< For users: "kronecker".
  std::string method = {};  ///< For users, where the model has several: "streaming".
  std::vector<SideUse> sides;
  /// The sides that the indices of y run over: {"n"}, or {"n1", "n2"} where y is a matrix.
  std::vector<std::string> sides_of_y = {};
  std::vector<OperandUse> operands;        ///< Files of numbers (.npy, .mtx) hold the first one that streams.
  std::vector<double> exponents{2};        ///< p that sketches can draw by.
  std::vector<double> exact_exponents{2};  ///< p that exact states can draw by.
  bool has_y = true;                       ///< Offered as a model to draw from and to query.
  bool draws_rows = false;                 ///< Rows in a metric, in place of entries of y.
  bool has_sketch_of_y = true;             ///< For precision and moments.
  bool has_gram = false;                   ///< Keeps Gram matrices.
  bool has_softmax = false;                ///< Exact states draw by exp(y_i).
  std::string dot_product_side = {};       ///< Where entries of y are dot products: the side that is their length.
  bool exact_draws = true;                 ///< Has exact states.
  std::string advice = {};                 ///< Added to the message about an event of an operand that may not change.

  /// Sketches draw without replacement.
  [[nodiscard]] bool draws_distinct() const noexcept { return has_sketch_of_y || draws_rows; }
};

/// What it means to measure something: which events of which operands make it up, what a state of it keeps, how large
/// that is, and what may be asked. One object for each, without state, found by name; a new setting derives from this,
/// in a file of its own, and is listed in src/setting/setting.cpp or added by add_setting(). .github/CONTRIBUTING.md
/// says how.
class Setting {
 public:
  explicit Setting(SettingTraits traits) : traits_(std::move(traits)) {}
  virtual ~Setting() = default;
  Setting(const Setting&) = delete;
  Setting& operator=(const Setting&) = delete;

  [[nodiscard]] const SettingTraits& traits() const noexcept { return traits_; }
  /// "the model kronecker" or "--model kronecker --method streaming", for messages.
  [[nodiscard]] std::string label() const;

  /// Whether it is the one to choose, of the settings of one model, for a problem that names fixed operands and what is
  /// kept, but no method. The first that says yes is taken.
  [[nodiscard]] virtual bool suits(const Problem&) const { return true; }
  /// Fills in missing roles, and missing sides that follow from others. A number of rows that nobody has counted
  /// becomes `most_keys`; in an exact state it stays missing, as it is never guessed there.
  virtual void infer(Problem& problem, std::uint64_t most_keys) const;
  /// Throws UsageError when a side is missing, or is not 1 to 2^63.
  virtual void require_sides(const Problem& problem) const;
  /// Throws UsageError for a problem that is incomplete or impossible, before anything is allocated or read: sides,
  /// roles, the law, a sketch that could not be queried. Whoever makes a problem, or reads one from a file, calls it.
  virtual void check(const Problem& problem) const;
  /// Chooses the sketch (and Gram matrices) for a problem whose sides are known. Throws UsageError.
  virtual void size(Problem& problem, const SizeRequest& request) const = 0;

  /// Whether sketches can draw by |y|^p.
  [[nodiscard]] bool draws_by(double p) const;
  /// Whether y can be other than zero with the operands that are fixed, when nothing streams.
  [[nodiscard]] virtual bool is_complete_without_stream(const Problem&) const { return false; }

  /// The arrays of a state, with nothing allocated. Throws UsageError where sizes overflow.
  [[nodiscard]] virtual std::vector<ArrayLayout> layout(const Problem& problem) const = 0;
  /// The state of no event, of one of the parties whose states make up the whole. Throws UsageError, std::bad_alloc.
  [[nodiscard]] virtual std::unique_ptr<Kept> make(const Problem& problem, Party party) const = 0;
  /// True when every party must be given every event; otherwise each event goes to one party.
  [[nodiscard]] virtual bool gives_every_party_every_event(const Problem&) const { return false; }

  /// Doubles that the first party needs besides its state to answer.
  [[nodiscard]] virtual std::uint64_t doubles_to_answer(const Problem& problem) const;
  /// Doubles that a party needs besides the arrays of its state.
  [[nodiscard]] virtual std::uint64_t doubles_besides_arrays(const Problem&, Party) const { return 0; }
  /// What takes the memory, for a message: "the exact values of n = 5".
  [[nodiscard]] virtual std::string describe_memory(const Problem& problem) const;
  /// The lengths of the sides of y: {n}, or {n1, n2} where it is a matrix; {the dimension of the sketch} where the traits
  /// name none.
  [[nodiscard]] std::vector<std::uint64_t> shape_of_y(const Problem& problem) const;
  /// Columns of all sketched matrices together. The sketch has that many times the cells of a vector's sketch.
  [[nodiscard]] virtual std::uint64_t columns_of_sketch(const Problem&) const { return 1; }
  /// Says why the vectors of two problems have no inner product; empty when they have one.
  [[nodiscard]] virtual std::string describe_inner_difference(const Problem& a, const Problem& b) const;
  /// Throws UsageError when a state of the problem cannot answer the question, as far as can be known without a state.
  virtual void check_question(const Problem& problem, const Question& question) const;

 private:
  SettingTraits traits_;
};

/// All settings, in the order in which they are offered.
[[nodiscard]] std::vector<const Setting*> settings();
/// Adds a setting for the rest of the process. Thread-safe. Throws UsageError when there is one of that name.
void add_setting(std::unique_ptr<const Setting> setting);
/// By the name in SettingTraits. Throws UsageError that lists the names.
[[nodiscard]] const Setting& setting_named(std::string_view name);
[[nodiscard]] const Setting& setting_of(const Problem& problem);
/// The setting of a model, by its method or, where none is given, by what suits. `problem` needs only the roles of fixed
/// operands and what is kept. Throws UsageError.
[[nodiscard]] const Setting& choose_setting(std::string_view model, const std::optional<std::string>& method,
                                            const Problem& problem);

/// The operands with their sides, those of the given roles. A side that is not known is 2^63.
[[nodiscard]] std::vector<OperandShape> shapes_of(const Problem& problem, const std::vector<Role>& roles);
/// A state of no event. Throws as Setting::check, layout and make.
[[nodiscard]] State create_state(const Problem& problem, Party party = {});
/// The state of a vector that holds the sketch of y alone of another one, whatever that y was made from. Throws
/// UsageError when there is none.
[[nodiscard]] State as_vector(const State& state);

}  // namespace weir
