#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "weir/attention/anisotropic.hpp"
#include "weir/state/state.hpp"

namespace weir {

/// Row i of this matrix is the key and the value of token i, one after the other: "KV". Rows come and go whole.
[[nodiscard]] Operand keys_and_values();
/// The numbers of an AnisotropicCalibration as an operand that is fixed: "calibration".
[[nodiscard]] Operand attention_calibration();

/// What an AttentionState is made for.
struct AttentionShape {
  std::uint64_t tokens = 0;       ///< n.
  std::uint64_t d = 0;            ///< Numbers of a key.
  std::uint64_t dv = 0;           ///< Numbers of a value.
  double scale = 1;               ///< Scores are scale q.k.
  std::uint64_t calibration = 0;  ///< Numbers of the calibration.
  std::uint64_t features = 0;     ///< Floats of AnisotropicState::features().
};

/// Keys and values stream, and softmax averages of the values are asked for at any queries: softmax(scale Q K^T) V, from a
/// state whose size does not depend on n. Arrays: the calibration, which every party has, and the features, floats that are
/// linear in the rows. The part that is no sum: rows that are kept exactly, a sample for errors, and the range of the values.
class AttentionState : public KeptAs<AttentionState> {
 public:
  explicit AttentionState(const AttentionShape& shape);
  [[nodiscard]] static std::vector<ArrayLayout> layout(const AttentionShape& shape);

  [[nodiscard]] std::string_view holds() const override { return "attention"; }
  [[nodiscard]] std::vector<Numbers> arrays() override;
  /// Rows of keys_and_values() that come and go. Throws InputError for other events, for numbers that are not finite or
  /// above 1e15 in magnitude, and before the calibration is there.
  void add(const EventBatch& batch) override;
  /// The numbers of the calibration.
  void set_fixed(Operand operand, const DenseMatrix& values) override;
  /// Makes the features of the calibration. Throws InputError for numbers that are none, or are for another shape.
  void finish_fixed() override;
  [[nodiscard]] std::vector<std::byte> other_part() const override;
  void merge_other_part(std::span<const std::byte> bytes, double coefficient) override;
  void clear_other_part() override;
  /// Outputs for each party's queries, from the state that is whole on the first party.
  [[nodiscard]] Answer answer(const Question& question, Parties& parties) const override;

  /// The calibration with its state; none before finish_fixed().
  [[nodiscard]] const std::optional<AnisotropicState>& kept() const noexcept { return state_; }

 private:
  AttentionShape shape_;
  std::vector<double> calibration_;
  std::optional<AnisotropicState> state_;
  // Until there is a calibration, as when a file is read:
  std::vector<float> features_;
  std::vector<std::pair<std::vector<std::byte>, double>> other_parts_;
  // Scratch of add().
  std::vector<double> keys_;
  std::vector<double> values_;
  std::vector<std::int8_t> weights_;
};

}  // namespace weir
