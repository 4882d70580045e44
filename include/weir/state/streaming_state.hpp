#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "weir/sketch/kronecker_sketch.hpp"
#include "weir/sketch/vector_sketch.hpp"
#include "weir/state/copyable_mutex.hpp"
#include "weir/state/state.hpp"
#include "weir/state/streamed_factor.hpp"

namespace weir {

/// Which operands a StreamingState holds.
struct StreamingOperands {
  Operand streamed = Operand::A1;  ///< A1 or A2.
  bool holds_streamed = true;      ///< Its sums: entries of y can be verified.
  bool holds_fixed = true;         ///< The other factor and X: events can be added.
};

/// y = (A1 (x) A2) vec X while one factor streams and the other and X are fixed: a sketch of y as a matrix, and the
/// operands, cut among the parties by rows (StreamedFactor). Every party is given every event. Arrays: the cells, then
/// A1, A2 and X as far as they are held. X is the identity until events of it come.
class StreamingState : public KeptAs<StreamingState> {
 public:
  /// Throws as StreamedFactor and VectorSketch do. Where the fixed operands are not held, d1 and d2 are
  /// ignored.
  StreamingState(const KroneckerShape& shape, const StreamingOperands& operands, const SketchConfig& config,
                 const std::optional<PrecisionTarget>& precision, Party party);
  [[nodiscard]] static std::vector<ArrayLayout> layout(const KroneckerShape& shape, const StreamingOperands& operands,
                                                       const SketchConfig& config);

  [[nodiscard]] std::unique_ptr<Kept> clone() const override;
  [[nodiscard]] std::string_view holds() const override { return "a matrix y"; }
  [[nodiscard]] std::vector<Numbers> arrays() override;
  void begin_fixed(Operand operand) override;
  /// Events of the fixed operands before finish_fixed(), then of the one that streams. Throws as StreamedFactor does.
  void add(const EventBatch& batch) override;
  void finish_fixed() override;
  [[nodiscard]] std::string describe_range_problem() const override;
  [[nodiscard]] OperandSet zero_operands() const override;
  [[nodiscard]] std::optional<double> norm() const override { return norm_of(y_.f2()).value; }
  [[nodiscard]] std::optional<VectorSketch> sketch_of_y() const override { return y_; }
  [[nodiscard]] bool can_verify(const Parties&) const override { return operands_.holds_streamed && factor_; }
  /// Draws come with the bound of the norm and, where the operands are held, with the norm by a TensorSketch of them. An
  /// exact question costs O((n + m) d^2 / P). Probabilities are exact for p = 2 only: other norms of y are not known.
  [[nodiscard]] Answer answer(const Question& question, Parties& parties) const override;

 private:
  void answer_exactly(const ExactQuestion& question, Parties& parties, Answer& answer) const;
  [[nodiscard]] Estimate tensor_f2(Parties& parties) const;

  KroneckerShape shape_;
  StreamingOperands operands_;
  VectorSketch y_;
  std::optional<PrecisionTarget> precision_;
  /// The fixed factor is multiplied when that is first needed: a state that is only looked at or combined need not have
  /// the memory for it, which no file bounds.
  void multiply() const;

  std::vector<double> x_;                         // d1 * d2 entries, row by row
  mutable std::optional<StreamedFactor> factor_;  // where the fixed operands are held
  bool is_fixed_complete_ = false;
  mutable bool is_multiplied_ = false;
  mutable CopyableMutex multiplying_;
  EventBatch part_;  // scratch
};

}  // namespace weir
