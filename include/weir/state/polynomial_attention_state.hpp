#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "weir/attention/ams.hpp"
#include "weir/attention/polynomial.hpp"
#include "weir/state/attention_state.hpp"
#include "weir/state/state.hpp"

namespace weir {

/// "K" and "V", row i of which is the key and the value of token i, "Q", whose rows are queries.
[[nodiscard]] Operand attention_keys();
[[nodiscard]] Operand attention_values();
[[nodiscard]] Operand attention_queries();
/// What is subtracted from queries (scaled) and keys before features are made: an operand that is fixed, 2 d numbers,
/// "centres". It need not be given: then nothing is subtracted.
[[nodiscard]] Operand attention_centres();

/// Throws InputError where M, r x (dv + 1) numbers, is that of no key.
void require_keys(std::span<const float> m);

/// What the states of attention with polynomial features are made for.
struct PolynomialAttentionShape {
  std::uint64_t tokens = 0;        ///< n.
  std::uint64_t dv = 0;            ///< Numbers of a value.
  PolynomialConfig features = {};  ///< d and the degree. Centres are an operand.
  double scale = 1;                ///< Scores are scale q.k.
};

/// The centres of a state, and the configuration of features that follows.
class FixedCentres {
 public:
  explicit FixedCentres(PolynomialConfig config) : config_(std::move(config)), numbers_(2 * config_.dimension) {}

  [[nodiscard]] static ArrayLayout layout(std::uint64_t d) {
    return {.name = "centres", .operand = attention_centres(), .size = 2 * d, .gathering = Gathering::everywhere};
  }
  [[nodiscard]] std::vector<double>& numbers() noexcept { return numbers_; }
  /// Throws InputError unless there are 2 d numbers.
  void set(const DenseMatrix& values);
  /// With the centres; all zero is none. Throws InputError for numbers that are not finite, or above 1e15 in magnitude.
  [[nodiscard]] PolynomialConfig config() const;

 private:
  PolynomialConfig config_;
  std::vector<double> numbers_;
};

/// Keys come with their values, and S = sum_j phi(k_j) [1, v_j] is kept exactly, r x (dv + 1) floats: the modes paired,
/// direct and collapsed. Answers softmax averages at any queries. Linear in the tokens.
class MonomialAttentionState : public KeptAs<MonomialAttentionState> {
 public:
  /// Throws UsageError as PolynomialState does, but for its bytes, which the caller has seen to.
  explicit MonomialAttentionState(const PolynomialAttentionShape& shape);
  [[nodiscard]] static std::vector<ArrayLayout> layout(const PolynomialAttentionShape& shape);

  [[nodiscard]] std::string_view holds() const override { return "attention with monomials"; }
  [[nodiscard]] std::vector<Numbers> arrays() override { return {centres_.numbers(), state_.sums()}; }
  /// Rows of keys_and_values(). Throws InputError for other events, and as PolynomialState::add.
  void add(const EventBatch& batch) override;
  void set_fixed(Operand operand, const DenseMatrix& values) override;
  void finish_fixed() override;
  /// See AttentionState::answer; there are no estimates of errors.
  [[nodiscard]] Answer answer(const Question& question, Parties& parties) const override;
  /// S, row after row: what answers follow from. Of a merged state.
  [[nodiscard]] std::vector<float> product() const { return {state_.sums().begin(), state_.sums().end()}; }

 private:
  PolynomialAttentionShape shape_;
  FixedCentres centres_;
  PolynomialState state_;
  std::vector<double> keys_, values_;  // scratch of add()
};

/// The sketches of V and of K of the paper: Psi V, Psi phi(K), and phi(K)^T 1. Entries of V change one by one, rows of V
/// and K come and go whole, alone or both at once as rows of keys_and_values(). Answers as MonomialAttentionState does,
/// with the error of Psi besides.
class SketchedAttentionState : public KeptAs<SketchedAttentionState> {
 public:
  SketchedAttentionState(const PolynomialAttentionShape& shape, const Psi& psi);
  [[nodiscard]] static std::vector<ArrayLayout> layout(const PolynomialAttentionShape& shape, std::uint64_t m2);

  [[nodiscard]] std::string_view holds() const override { return "sketches of keys and values"; }
  [[nodiscard]] std::vector<Numbers> arrays() override;
  /// Throws InputError for events of other operands, for entries of K, and as SketchedKeysValues does.
  void add(const EventBatch& batch) override;
  void set_fixed(Operand operand, const DenseMatrix& values) override;
  void finish_fixed() override;
  [[nodiscard]] Answer answer(const Question& question, Parties& parties) const override;
  /// M, the estimate of S: r x (dv + 1) floats; see SketchedKeysValues::product. Of a merged state.
  [[nodiscard]] std::vector<float> product(bool mean_corrected) const { return sketch_.product(mean_corrected); }

 private:
  void add_entries(const EventBatch& batch);

  PolynomialAttentionShape shape_;
  FixedCentres centres_;
  SketchedKeysValues sketch_;
  std::vector<double> keys_, values_;  // scratch of add()
};

}  // namespace weir
