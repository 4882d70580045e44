#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "weir/sample/dense.hpp"
#include "weir/sample/dense_operand.hpp"
#include "weir/sample/dense_product.hpp"
#include "weir/sample/dense_tensor.hpp"
#include "weir/sketch/kronecker_sketch.hpp"
#include "weir/state/product_state.hpp"
#include "weir/state/state.hpp"
#include "weir/state/vector_state.hpp"

namespace weir {

// The exact references: what sketches are compared with, and what to use where the operands fit into memory. They answer
// draws, which are exact, the norm, and exact questions.

/// What exact draws depend on, besides y.
struct DenseLaw {
  double p = 2;
  std::uint64_t seed = 0;
  bool shared = false;  ///< Rows are shared out among the parties, for draws by exp(y_i), and only these.
};

/// y itself, n doubles a party. With d > 0 it is A x for an x of d entries that is fixed. Arrays: y, then x.
class DenseVectorState : public KeptAs<DenseVectorState> {
 public:
  DenseVectorState(std::uint64_t n, std::uint64_t d, const DenseLaw& law, Party party);
  [[nodiscard]] static std::vector<ArrayLayout> layout(std::uint64_t n, std::uint64_t d, const DenseLaw& law);

  [[nodiscard]] std::string_view holds() const override { return "exact values of y"; }
  [[nodiscard]] std::vector<Numbers> arrays() override;
  void add(const EventBatch& batch) override;
  void set_fixed(Operand operand, const DenseMatrix& values) override { updates_.set_x(operand, values); }
  [[nodiscard]] std::string describe_range_problem() const override;
  [[nodiscard]] OperandSet zero_operands() const override;
  [[nodiscard]] bool can_verify(const Parties&) const override { return !law_.shared; }
  [[nodiscard]] Answer answer(const Question& question, Parties& parties) const override;

 private:
  DenseVector y_;
  bool is_product_;
  ProductUpdates updates_;
  DenseLaw law_;
  Party party_;
};

/// A and x of y = A x themselves, (n + 1) d doubles a party. Arrays: x, A.
class DenseProductState : public KeptAs<DenseProductState> {
 public:
  DenseProductState(std::uint64_t n, std::uint64_t d, const DenseLaw& law, Party party)
      : operands_(n, d), law_(law), party_(party) {}
  [[nodiscard]] static std::vector<ArrayLayout> layout(std::uint64_t n, std::uint64_t d, const DenseLaw& law);

  [[nodiscard]] std::string_view holds() const override { return "exact values of A and x"; }
  [[nodiscard]] std::vector<Numbers> arrays() override { return {operands_.x, operands_.a.table()}; }
  void add(const EventBatch& batch) override;
  [[nodiscard]] std::string describe_range_problem() const override;
  [[nodiscard]] bool can_verify(const Parties&) const override { return !law_.shared; }
  [[nodiscard]] Answer answer(const Question& question, Parties& parties) const override;

 private:
  DenseProduct operands_;
  DenseLaw law_;
  Party party_;
  ProductEntries entries_;  // scratch
};

/// x of y = A x where A is a file that can be read again: d doubles, and n more while a question is answered. Array: x.
class DenseFactorState : public KeptAs<DenseFactorState> {
 public:
  DenseFactorState(std::uint64_t n, std::uint64_t d, const DenseLaw& law)
      : n_(n), x_(static_cast<std::size_t>(d)), law_(law) {}
  [[nodiscard]] static std::vector<ArrayLayout> layout(std::uint64_t d);

  [[nodiscard]] std::string_view holds() const override { return "exact values of x"; }
  [[nodiscard]] std::vector<Numbers> arrays() override { return {x_}; }
  [[nodiscard]] bool takes_fixed(Operand) const override { return false; }
  void add(const EventBatch& batch) override;
  [[nodiscard]] std::string describe_range_problem() const override;
  [[nodiscard]] bool can_verify(const Parties& parties) const override;
  [[nodiscard]] Answer answer(const Question& question, Parties& parties) const override;

 private:
  std::uint64_t n_;
  std::vector<double> x_;
  DenseLaw law_;
};

/// A itself, whose rows are drawn by a^T M a. Array: A.
class DenseRowsState : public KeptAs<DenseRowsState> {
 public:
  DenseRowsState(std::uint64_t n, std::uint64_t d, const DenseLaw& law) : a_(n, d, "A"), law_(law) {}
  [[nodiscard]] static std::vector<ArrayLayout> layout(std::uint64_t n, std::uint64_t d);

  [[nodiscard]] std::string_view holds() const override { return "exact rows of A"; }
  [[nodiscard]] std::vector<Numbers> arrays() override { return {a_.table()}; }
  void add(const EventBatch& batch) override;
  [[nodiscard]] std::string describe_range_problem() const override;
  [[nodiscard]] bool can_verify(const Parties&) const override { return true; }
  [[nodiscard]] Answer answer(const Question& question, Parties& parties) const override;

 private:
  DenseOperand a_;
  DenseLaw law_;
};

/// A1, A2 and X of y = (A1 (x) A2) vec X themselves. Arrays: the number of events of X, X, A1, A2. Where they are shared
/// out it is A1 that is cut, by rows; the first party has the others.
class DenseKroneckerState : public KeptAs<DenseKroneckerState> {
 public:
  DenseKroneckerState(const KroneckerShape& shape, const DenseLaw& law);
  [[nodiscard]] static std::vector<ArrayLayout> layout(const KroneckerShape& shape, const DenseLaw& law);
  /// Doubles that a party needs for shared-out draws besides the arrays: O(n1 d2 / P + d1 d2) and a block.
  [[nodiscard]] static std::uint64_t doubles_to_share(const KroneckerShape& shape, Party party);

  [[nodiscard]] std::string_view holds() const override { return "exact values of A1, A2 and X"; }
  [[nodiscard]] std::vector<Numbers> arrays() override;
  void add(const EventBatch& batch) override;
  [[nodiscard]] std::string describe_range_problem() const override;
  [[nodiscard]] bool can_verify(const Parties&) const override { return !law_.shared; }
  [[nodiscard]] Answer answer(const Question& question, Parties& parties) const override;

 private:
  KroneckerShape shape_;
  DenseTensor operands_;
  DenseLaw law_;
  EventBatch part_;  // scratch
};

}  // namespace weir
