#include "weir/state/attention_state.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "state/operand_events.hpp"
#include "state/whole_rows.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

/// Bytes as numbers that can be broadcast: their count, then eight a number.
std::vector<std::uint64_t> as_words(std::span<const std::byte> bytes) {
  std::vector<std::uint64_t> words(1 + (bytes.size() + 7) / 8);
  words[0] = bytes.size();
  if (!bytes.empty()) std::memcpy(words.data() + 1, bytes.data(), bytes.size());
  return words;
}

std::span<const std::byte> bytes_of(std::span<const std::uint64_t> words) {
  return std::as_bytes(words.subspan(1)).first(static_cast<std::size_t>(words[0]));
}

}  // namespace

Operand keys_and_values() {
  static const Operand operand = operand_named("KV", true);
  return operand;
}

Operand attention_calibration() {
  static const Operand operand = operand_named("calibration", false);
  return operand;
}

AttentionState::AttentionState(const AttentionShape& shape)
    : shape_(shape),
      calibration_(static_cast<std::size_t>(shape.calibration)),
      features_(static_cast<std::size_t>(shape.features)) {}

std::vector<ArrayLayout> AttentionState::layout(const AttentionShape& shape) {
  return {{.name = "numbers of the calibration",
           .operand = attention_calibration(),
           .size = shape.calibration,
           .gathering = Gathering::everywhere},
          {.name = "features",
           .operand = keys_and_values(),
           .size = shape.features,
           .is_single = true,
           .whole_rows_only = "a state of attention"}};
}

std::vector<Numbers> AttentionState::arrays() {
  return {std::span(calibration_), state_ ? state_->features() : std::span(features_)};
}

void AttentionState::add(const EventBatch& batch) {
  require_within(batch, std::array{OperandShape{keys_and_values(), shape_.tokens, shape_.d + shape_.dv}});
  require_whole_rows(batch);
  if (!state_) throw InputError("keys and values came before the calibration");
  const RowBatch& rows = batch.rows;
  const auto d = static_cast<std::size_t>(shape_.d), dv = static_cast<std::size_t>(shape_.dv);
  keys_.resize(rows.size() * d);
  values_.resize(rows.size() * dv);
  weights_.resize(rows.size());
  for (std::size_t t = 0; t < rows.size(); ++t) {
    const std::span<const double> row = rows.row(t);
    std::ranges::copy(row.first(d), keys_.begin() + static_cast<std::ptrdiff_t>(t * d));
    std::ranges::copy(row.subspan(d), values_.begin() + static_cast<std::ptrdiff_t>(t * dv));
    if (std::abs(rows.weights[t]) != 1)
      throw InputError(fmt::format("KV,{}: row with the weight {}, expected 1 or -1", rows.i[t], rows.weights[t]));
    weights_[t] = rows.weights[t] > 0 ? 1 : -1;
  }
  state_->add({.keys = keys_, .values = values_, .tokens = rows.i, .weights = weights_});
}

void AttentionState::set_fixed(Operand operand, const DenseMatrix& values) {
  if (operand != attention_calibration()) return Kept::set_fixed(operand, values);
  if (values.values.size() != calibration_.size())
    throw InputError(
        fmt::format("the calibration has {} numbers, expected {}", values.values.size(), calibration_.size()));
  calibration_ = values.values;
}

void AttentionState::finish_fixed() {
  const auto calibration = AnisotropicCalibration::from_numbers(calibration_);
  if (calibration.d() != shape_.d || calibration.dv() != shape_.dv)
    throw InputError(fmt::format("the calibration is for keys of {} numbers and values of {}, expected {} and {}",
                                 calibration.d(), calibration.dv(), shape_.d, shape_.dv));
  AnisotropicState state(calibration);
  if (state.features().size() != shape_.features)
    throw InputError(fmt::format("the calibration has features of {} numbers, expected {}", state.features().size(),
                                 shape_.features));
  std::ranges::copy(arrays()[1].visit([](auto numbers) { return std::vector<float>(numbers.begin(), numbers.end()); }),
                    state.features().begin());
  if (state_) state.merge(state_->bounded_part());
  for (const auto& [bytes, coefficient] : other_parts_) state.merge(bytes, coefficient < 0 ? -1 : 1);
  state_.emplace(std::move(state));
  features_ = {};
  other_parts_.clear();
}

std::vector<std::byte> AttentionState::other_part() const {
  return state_ ? state_->bounded_part() : std::vector<std::byte>();
}

void AttentionState::merge_other_part(std::span<const std::byte> bytes, double coefficient) {
  if (bytes.empty()) return;
  if (state_) {
    state_->merge(bytes, coefficient < 0 ? -1 : 1);
  } else {
    other_parts_.emplace_back(std::vector(bytes.begin(), bytes.end()), coefficient);
  }
}

void AttentionState::clear_other_part() {
  other_parts_.clear();
  if (state_) state_->clear_bounded_part();
}

Answer AttentionState::answer(const Question& question, Parties& parties) const {
  std::vector<double> features;
  std::vector<std::uint64_t> bounded;
  parties.together([&] {
    if (!question.attend) throw UsageError("a state of attention answers queries alone");
    if (question.attend->queries.columns != shape_.d && question.attend->queries.rows > 0)
      throw UsageError(fmt::format("queries have {} numbers, and keys {}", question.attend->queries.columns, shape_.d));
    if (!state_) throw UsageError("a state of attention without a calibration cannot answer");
    if (!parties.is_first()) return;
    features.assign(state_->features().begin(), state_->features().end());
    bounded = as_words(state_->bounded_part());
  });
  parties.broadcast(features);
  parties.broadcast(bounded);
  Answer answer;
  parties.together([&] {
    AnisotropicState whole(state_->calibration());
    std::ranges::transform(features, whole.features().begin(),
                           [](double number) { return static_cast<float>(number); });
    whole.merge(bytes_of(bounded));
    if (whole.rows() <= 0) throw InputError("no key is in the state: softmax averages need one at least");
    AnisotropicReader reader(whole);
    std::vector<double> queries = question.attend->queries.values;
    for (double& number : queries) number *= shape_.scale;
    AnisotropicAnswers answers = reader.answer(queries, question.attend->with_errors);
    answer.attention = {
        .outputs = std::move(answers.outputs), .errors = std::move(answers.errors), .fallbacks = answers.fallbacks};
  });
  return answer;
}

}  // namespace weir
