#include "weir/state/polynomial_attention_state.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <utility>

#include "state/operand_events.hpp"
#include "state/whole_rows.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

constexpr std::uint64_t any_bytes = ~std::uint64_t{0};
constexpr const char* whole_rows = "a state of attention";

/// Copies the arrays of one state to those of another of the same shape.
void copy_arrays(const std::vector<Numbers>& from, const std::vector<Numbers>& to) {
  for (std::size_t k = 0; k < from.size(); ++k) std::ranges::copy(from[k].bytes(), to[k].bytes().begin());
}

/// Each party's queries answered from M, which `product` makes on the first one.
Answer answer_by_product(const Question& question, Parties& parties, const PolynomialConfig& config,
                         const PolynomialAttentionShape& shape,
                         const std::function<std::vector<float>(const AttendQuestion&)>& product) {
  std::vector<double> m;
  parties.together([&] {
    if (!question.attend) throw UsageError("a state of attention answers queries alone");
    const DenseMatrix& queries = question.attend->queries;
    if (queries.columns != config.dimension && queries.rows > 0)
      throw UsageError(fmt::format("queries have {} numbers, and keys {}", queries.columns, config.dimension));
    if (!parties.is_first()) return;
    const std::vector<float> found = product(*question.attend);
    require_keys(found);
    m.assign(found.begin(), found.end());
  });
  parties.broadcast(m);
  Answer answer;
  parties.together([&] {
    PolynomialState whole(config, shape.dv, any_bytes);
    std::ranges::transform(m, whole.sums().begin(), [](double number) { return static_cast<float>(number); });
    DenseMatrix queries = question.attend->queries;
    for (double& number : queries.values) number *= shape.scale;
    answer.attention.emplace().outputs = {0, shape.dv, {}};
    if (queries.rows > 0) answer.attention->outputs = whole.answer(queries, question.attend->first_query);
  });
  return answer;
}

}  // namespace

Operand attention_keys() {
  static const Operand operand = operand_named("K", true);
  return operand;
}

Operand attention_values() {
  static const Operand operand = operand_named("V", true);
  return operand;
}

Operand attention_queries() {
  static const Operand operand = operand_named("Q", true);
  return operand;
}

Operand attention_centres() {
  static const Operand operand = operand_named("centres", false);
  return operand;
}

void require_keys(std::span<const float> m) {
  // Feature 0 is 1, so this is a sum of positive weights.
  if (m.empty() || !(m.front() > 0)) throw InputError("no key is in the state: softmax averages need one at least");
}

void FixedCentres::set(const DenseMatrix& values) {
  if (values.values.size() != numbers_.size())
    throw InputError(fmt::format("the centres are {} numbers, expected {}", values.values.size(), numbers_.size()));
  numbers_ = values.values;
}

PolynomialConfig FixedCentres::config() const {
  constexpr double largest = 1e15;
  for (const double number : numbers_)
    if (!(std::abs(number) <= largest))
      throw InputError(fmt::format("a centre of keys or queries is {}: expected a number of at most 1e15", number));
  PolynomialConfig config = config_;
  if (std::ranges::all_of(numbers_, [](double number) { return number == 0; })) return config;
  const auto middle = numbers_.begin() + static_cast<std::ptrdiff_t>(config.dimension);
  config.centres = {.q0 = {numbers_.begin(), middle}, .k0 = {middle, numbers_.end()}};
  return config;
}

MonomialAttentionState::MonomialAttentionState(const PolynomialAttentionShape& shape)
    : shape_(shape), centres_(shape.features), state_(shape.features, shape.dv, any_bytes) {}

std::vector<ArrayLayout> MonomialAttentionState::layout(const PolynomialAttentionShape& shape) {
  return {FixedCentres::layout(shape.features.dimension),
          {.name = "feature sums",
           .operand = keys_and_values(),
           .size = shape.features.features() * (shape.dv + 1),
           .is_single = true,
           .whole_rows_only = whole_rows}};
}

void MonomialAttentionState::add(const EventBatch& batch) {
  const std::uint64_t d = shape_.features.dimension;
  require_within(batch, std::array{OperandShape{keys_and_values(), shape_.tokens, d + shape_.dv}});
  require_whole_rows(batch);
  for_runs(batch.rows, [&](std::size_t first, std::size_t end) {
    keys_.clear();
    values_.clear();
    append_columns(batch.rows, first, end, 0, static_cast<std::size_t>(d), keys_);
    append_columns(batch.rows, first, end, static_cast<std::size_t>(d), static_cast<std::size_t>(shape_.dv), values_);
    state_.add({keys_, end - first, d}, {values_, end - first, shape_.dv}, batch.rows.weights[first],
               indices(batch.rows, first, end));
  });
}

void MonomialAttentionState::set_fixed(Operand operand, const DenseMatrix& values) {
  if (operand != attention_centres()) return Kept::set_fixed(operand, values);
  centres_.set(values);
}

void MonomialAttentionState::finish_fixed() {
  PolynomialState with_centres(centres_.config(), shape_.dv, any_bytes);
  std::ranges::copy(state_.sums(), with_centres.sums().begin());
  state_ = std::move(with_centres);
}

Answer MonomialAttentionState::answer(const Question& question, Parties& parties) const {
  return answer_by_product(question, parties, state_.config(), shape_,
                           [&](const AttendQuestion&) { return product(); });
}

SketchedAttentionState::SketchedAttentionState(const PolynomialAttentionShape& shape, const Psi& psi)
    : shape_(shape), centres_(shape.features), sketch_(shape.features, shape.dv, psi, any_bytes) {}

std::vector<ArrayLayout> SketchedAttentionState::layout(const PolynomialAttentionShape& shape, std::uint64_t m2) {
  const std::uint64_t r = shape.features.features();
  const auto array = [](std::string name, Operand operand, std::uint64_t size) {
    return ArrayLayout{
        .name = std::move(name), .operand = operand, .size = size, .is_single = true, .whole_rows_only = whole_rows};
  };
  std::vector<ArrayLayout> arrays{FixedCentres::layout(shape.features.dimension),
                                  array("sketch of V", attention_values(), m2 * shape.dv),
                                  array("sum of V", attention_values(), shape.dv),
                                  array("sketch of features of K", attention_keys(), m2 * r),
                                  array("sum of features of K", attention_keys(), r),
                                  array("sketch of ones", attention_keys(), m2),
                                  array("rows of K", attention_keys(), 1)};
  arrays.back().is_single = false;
  return arrays;
}

std::vector<Numbers> SketchedAttentionState::arrays() {
  return {centres_.numbers(), sketch_.sk_v(),    sketch_.sum_v(), sketch_.sk_u2(),
          sketch_.prod(),     sketch_.sk_ones(), sketch_.count()};
}

void SketchedAttentionState::add_entries(const EventBatch& batch) {
  // A row of V that is zero but in one place, a few at a time.
  const std::size_t most = std::max<std::size_t>(1, (std::size_t{1} << 16) / shape_.dv);
  for (std::size_t first = 0; first < batch.size(); first += most) {
    const std::size_t end = std::min(batch.size(), first + most);
    values_.assign((end - first) * shape_.dv, 0.0);
    for (std::size_t t = first; t < end; ++t) {
      if (batch.operands[t] != attention_values()) refuse_entry(batch[t]);
      values_[(t - first) * shape_.dv + batch.j[t]] = batch.delta[t];
    }
    sketch_.add_values(std::span(batch.i).subspan(first, end - first), {values_, end - first, shape_.dv});
  }
}

void SketchedAttentionState::add(const EventBatch& batch) {
  const std::uint64_t d = shape_.features.dimension;
  require_within(batch, std::array{OperandShape{attention_values(), shape_.tokens, shape_.dv},
                                   OperandShape{attention_keys(), shape_.tokens, d},
                                   OperandShape{keys_and_values(), shape_.tokens, d + shape_.dv}});
  add_entries(batch);
  for_runs(batch.rows, [&](std::size_t first, std::size_t end) {
    const Operand operand = batch.rows.operands[first];
    const double weight = batch.rows.weights[first];
    const std::size_t key_columns = operand == attention_values() ? 0 : static_cast<std::size_t>(d);
    if (operand != attention_keys()) {
      values_.clear();
      append_columns(batch.rows, first, end, key_columns, static_cast<std::size_t>(shape_.dv), values_);
      sketch_.add_values(indices(batch.rows, first, end), {values_, end - first, shape_.dv}, weight);
    }
    if (operand != attention_values()) {
      keys_.clear();
      append_columns(batch.rows, first, end, 0, key_columns, keys_);
      sketch_.add_keys(indices(batch.rows, first, end), {keys_, end - first, d}, weight);
    }
  });
}

void SketchedAttentionState::set_fixed(Operand operand, const DenseMatrix& values) {
  if (operand != attention_centres()) return Kept::set_fixed(operand, values);
  centres_.set(values);
}

void SketchedAttentionState::finish_fixed() {
  SketchedKeysValues with_centres(centres_.config(), shape_.dv, sketch_.psi(), any_bytes);
  std::swap(sketch_, with_centres);
  const std::vector<Numbers> own = arrays();
  copy_arrays({with_centres.sk_v(), with_centres.sum_v(), with_centres.sk_u2(), with_centres.prod(),
               with_centres.sk_ones(), with_centres.count()},
              {own.begin() + 1, own.end()});
}

Answer SketchedAttentionState::answer(const Question& question, Parties& parties) const {
  return answer_by_product(question, parties, sketch_.config(), shape_,
                           [&](const AttendQuestion& attend) { return product(attend.mean_corrected); });
}

}  // namespace weir
