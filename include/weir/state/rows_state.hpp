#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "weir/sketch/kronecker_sketch.hpp"
#include "weir/sketch/rows_sketch.hpp"
#include "weir/state/state.hpp"

namespace weir {

/// A streams, and its rows a are drawn by a^T M a. Arrays: those of a RowsSketch.
class RowsState : public KeptAs<RowsState> {
 public:
  /// Throws as RowsSketch does.
  RowsState(const SketchConfig& config, std::uint64_t d, const GramConfig& gram) : a_(config, d, gram) {}
  [[nodiscard]] static std::vector<ArrayLayout> layout(const SketchConfig& config, std::uint64_t d,
                                                       const GramConfig& gram);

  [[nodiscard]] std::string_view holds() const override { return "rows of A"; }
  [[nodiscard]] std::vector<Numbers> arrays() override;
  /// Throws InputError for a change of another operand or outside of A, and as RowsSketch.
  void add(const EventBatch& batch) override;
  [[nodiscard]] std::string describe_range_problem() const override;
  [[nodiscard]] OperandSet zero_operands() const override;
  [[nodiscard]] std::optional<double> norm() const override;
  /// Draws of whole rows, and the Frobenius norm of A.
  [[nodiscard]] Answer answer(const Question& question, Parties& parties) const override;

 private:
  RowsSketch a_;
};

/// y = (A1 (x) A2) vec X while all three may stream: each operand by itself. While there is no event of X it is the
/// identity. Arrays: the number of events of X, X, and those of a RowsSketch for each factor.
class KroneckerState : public KeptAs<KroneckerState> {
 public:
  /// Throws as KroneckerSketch does.
  KroneckerState(const KroneckerShape& shape, const SketchConfig& config, const GramConfig& gram)
      : operands_(shape, config, gram) {}
  [[nodiscard]] static std::vector<ArrayLayout> layout(const KroneckerShape& shape, const SketchConfig& config,
                                                       const GramConfig& gram);

  [[nodiscard]] std::string_view holds() const override { return "A1, A2 and X"; }
  [[nodiscard]] std::vector<Numbers> arrays() override;
  /// Events in any mixture of operands; a whole row of X is one event of X. Throws InputError for a change of another
  /// operand or outside of its operand, when an entry of X overflows, and as RowsSketch.
  void add(const EventBatch& batch) override;
  [[nodiscard]] std::string describe_range_problem() const override;
  [[nodiscard]] OperandSet zero_operands() const override;
  [[nodiscard]] std::string describe_combine_problem(const Problem& problem, double coefficient,
                                                     bool has_others) const override;
  [[nodiscard]] std::optional<double> norm() const override;
  /// Draws of pairs; norm, top entries, points and inner products through a TensorSketch of the operands.
  [[nodiscard]] Answer answer(const Question& question, Parties& parties) const override;

 private:
  KroneckerSketch operands_;
  EventBatch part_;  // scratch: the events of one operand in a mixed batch
};

}  // namespace weir
