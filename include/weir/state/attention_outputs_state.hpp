#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "weir/attention/ams.hpp"
#include "weir/attention/recovery.hpp"
#include "weir/state/polynomial_attention_state.hpp"

namespace weir {

/// M, from which outputs follow: an operand that is fixed, r x (dv + 1) numbers, "M". It is what keys and values have
/// become, and so no key comes once queries do.
[[nodiscard]] Operand attention_product();

/// How the outputs are sketched.
struct AttentionOutputsShape {
  PolynomialAttentionShape attention = {};
  std::uint64_t queries = 0;  ///< Their indices are below it.
  PhiSize phi = {};
  std::uint64_t seed = 0;
  /// The queries' features are sketched, m1 x r, and multiplied by M when outputs are asked for, as in the paper. Else the
  /// outputs themselves, m1 x dv.
  bool is_factored = false;
};

/// Queries stream, and a sketch of their outputs is kept from which the largest are recovered: the modes paper and
/// collapsed. Linear in the rows of Q, which come and go whole.
class AttentionOutputsState : public KeptAs<AttentionOutputsState> {
 public:
  explicit AttentionOutputsState(const AttentionOutputsShape& shape);
  [[nodiscard]] static std::vector<ArrayLayout> layout(const AttentionOutputsShape& shape);

  [[nodiscard]] std::string_view holds() const override { return "a sketch of outputs of attention"; }
  [[nodiscard]] std::vector<Numbers> arrays() override;
  /// Rows of Q. Throws InputError for other events, for numbers that are not finite, and naming the query whose normaliser
  /// is not positive.
  void add(const EventBatch& batch) override;
  /// The centres, or M.
  void set_fixed(Operand operand, const DenseMatrix& values) override;
  void finish_fixed() override;
  /// The recovered outputs, on the first party.
  [[nodiscard]] Answer answer(const Question& question, Parties& parties) const override;
  /// The sketch of the outputs; of a merged state.
  [[nodiscard]] OutputSketch sketch() const;

 private:
  AttentionOutputsShape shape_;
  FixedCentres centres_;
  std::vector<float> product_;
  std::vector<float> normaliser_;  ///< Column 0 of M.
  // One or the other.
  std::optional<QuerySketch> factored_;
  std::optional<OutputSketch> outputs_;
  std::optional<PolynomialFeatures> features_;  ///< Beside outputs_.
  std::vector<double> queries_;                 // scratch of add()
};

}  // namespace weir
