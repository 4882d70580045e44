#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "options.hpp"
#include "weir/dense_matrix.hpp"
#include "weir/engine/job.hpp"
#include "weir/event.hpp"
#include "weir/model/model.hpp"
#include "weir/mpi/communicator.hpp"

namespace weir::app {

/// How entries of a Kronecker product are drawn.
enum class Method : std::uint8_t { streaming, two_stage, exact };
/// "streaming", "two-stage", "exact".
[[nodiscard]] std::string_view to_string(Method method) noexcept;

/// --model and the shape of its operands, --fixed, --method, --gram, --gram-buckets.
struct ModelOptions {
  std::optional<std::string> model;
  std::optional<std::uint64_t> n;
  std::optional<std::uint64_t> d;
  std::optional<std::uint64_t> n1, n2, d1, d2;
  std::vector<std::string> fixed;  ///< NAME=FILE
  std::optional<Method> given_method;
  std::optional<bool> exact_gram;
  std::optional<std::uint64_t> gram_buckets;

  [[nodiscard]] std::string name() const { return model.value_or("vector"); }
  [[nodiscard]] bool is_kronecker() const { return name() == KroneckerModel::name; }
  [[nodiscard]] bool is_rows() const { return name() == RowsModel::name; }
  /// As given, or streaming when one factor is fixed and the other is not.
  [[nodiscard]] Method method() const;
  /// One factor of a Kronecker product streams into a sketch of y.
  [[nodiscard]] bool streams_one_factor() const { return is_kronecker() && method() == Method::streaming; }
  /// That factor.
  [[nodiscard]] Operand streamed_factor() const { return fixed_file("A1").empty() ? Operand::A1 : Operand::A2; }
  /// All operands without which y is zero are fixed: nothing need stream.
  [[nodiscard]] bool factors_are_fixed() const;
  /// After complete().
  [[nodiscard]] KroneckerShape kronecker_shape() const;
  /// Those that a job reads from files before the stream.
  [[nodiscard]] std::vector<engine::FixedOperand> fixed_operands() const;
  /// Those that a state of the stream holds as they are: StateDescription::fixed. `degree` is 2 where rows are lifted.
  [[nodiscard]] OperandSet held_operands(std::uint32_t degree) const;
  /// X: its file, or the identity. Collective; throws on all ranks.
  [[nodiscard]] DenseMatrix core(const mpi::Communicator& communicator) const;
  /// The file of an operand that is fixed; empty when it streams.
  [[nodiscard]] std::string fixed_file(std::string_view operand) const;
  /// What can be checked before anything is read. `knows_shape`: a saved state says what --d is. Throws UsageError.
  void check(bool knows_shape) const;
  /// Collective: what the files of fixed matrices say about their sides where these are not given. The factors of
  /// --method two-stage have `most_rows` when nothing says how many. Throws UsageError or InputError on all ranks, also
  /// when the files contradict what is given.
  void complete(const mpi::Communicator& communicator, std::uint64_t most_rows);
  /// Collective: the root reads the file of a fixed x. `gram` is for the models that draw from operands. Throws
  /// UsageError or InputError on all ranks.
  [[nodiscard]] Model build(const mpi::Communicator& communicator, std::uint64_t dimension, std::uint32_t degree,
                            const GramConfig& gram) const;

 private:
  /// What the file of a fixed matrix says about its sides. Throws UsageError, InputError.
  void take_stated_shape(const engine::FixedOperand& from);
  /// Where X is the identity for certain, one of --d1 and --d2 says the other.
  void equate_columns();
  /// The sides of a Kronecker product that follow from others. Throws UsageError for those that are missing.
  void complete_kronecker(std::uint64_t most_rows);
};
void add_model_options(CLI::App& app, ModelOptions& options);

}  // namespace weir::app
