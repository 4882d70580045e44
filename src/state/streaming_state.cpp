#include "weir/state/streaming_state.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <mutex>
#include <utility>

#include "state/answers.hpp"
#include "state/operand_events.hpp"
#include "weir/error.hpp"
#include "weir/sample/range.hpp"
#include "weir/sketch/tensor_sketch.hpp"

namespace weir {
namespace {

/// Buckets of the TensorSketch that the norm is compared with.
constexpr std::uint64_t tensor_buckets = 2048;
/// Values of whole rows that are handed to a sketch at a time.
constexpr std::size_t values_at_once = std::size_t{1} << 18;

/// Numbers of an operand; more than memory has where they do not fit into 64 bits.
std::uint64_t size_of(const OperandShape& shape) {
  constexpr std::uint64_t most = std::uint64_t{1} << 60;
  return shape.columns != 0 && shape.rows > most / shape.columns ? most : shape.rows * shape.columns;
}

std::vector<double> identity(const KroneckerShape& shape) {
  std::vector<double> x(static_cast<std::size_t>(shape.d1 * shape.d2));
  for (std::uint64_t j = 0; j < std::min(shape.d1, shape.d2); ++j) x[j * shape.d2 + j] = 1;
  return x;
}

/// Adds the rows of a slice that are not zero to factor number q of `tensor`.
void add_rows(const DenseMatrix& slice, std::uint64_t first_row, std::size_t q, TensorSketch& tensor) {
  std::vector<std::uint64_t> rows;
  std::vector<double> weights, values;
  const auto flush = [&] {
    weights.assign(rows.size(), 1);
    if (!rows.empty()) tensor.update_rows(q, rows, weights, values);
    rows.clear();
    values.clear();
  };
  for (std::uint64_t i = 0; i < slice.rows; ++i) {
    const auto row = std::span(slice.values).subspan(i * slice.columns, slice.columns);
    if (std::ranges::all_of(row, [](double value) { return value == 0; })) continue;
    rows.push_back(first_row + i);
    values.insert(values.end(), row.begin(), row.end());
    if (values.size() >= values_at_once) flush();
  }
  flush();
}

}  // namespace

StreamingState::StreamingState(const KroneckerShape& shape, const StreamingOperands& operands,
                               const SketchConfig& config, const std::optional<PrecisionTarget>& precision, Party party)
    : shape_(shape), operands_(operands), y_(config), precision_(precision) {
  if (!operands.holds_fixed) return;
  x_ = identity(shape);
  factor_.emplace(shape, operands.streamed, DenseMatrix{shape.d1, shape.d2, x_}, party);
}

std::vector<ArrayLayout> StreamingState::layout(const KroneckerShape& shape, const StreamingOperands& operands,
                                                const SketchConfig& config) {
  std::vector<ArrayLayout> layout{{.name = "cells of y", .operand = operands.streamed, .size = config.table_size()}};
  for (const OperandShape& factor : kronecker_shapes(shape)) {
    const bool streams = factor.operand == operands.streamed;
    if (!(streams ? operands.holds_streamed && operands.holds_fixed : operands.holds_fixed)) continue;
    layout.push_back({.name = std::string(to_string(factor.operand)),
                      .operand = factor.operand,
                      .size = size_of(factor),
                      .gathering = factor.operand == Operand::X ? Gathering::everywhere : Gathering::in_slices,
                      .row_length = factor.columns});
  }
  return layout;
}

std::vector<Numbers> StreamingState::arrays() {
  std::vector<Numbers> arrays{y_.table()};
  if (!factor_) return arrays;
  for (const Operand operand : {Operand::A1, Operand::A2}) {
    if (operand != operands_.streamed) {
      arrays.push_back(factor_->fixed_rows());
    } else if (operands_.holds_streamed) {
      arrays.push_back(factor_->streamed_rows());
    }
  }
  arrays.push_back(x_);
  return arrays;
}

void StreamingState::begin_fixed(Operand operand) {
  if (operand == Operand::X) std::ranges::fill(x_, 0.0);
}

void StreamingState::add(const EventBatch& batch) {
  if (!factor_)
    throw UsageError("the state does not hold the operands that were fixed: they must be given again for it to go on");
  require_within(batch, kronecker_shapes(shape_));
  if (const EventBatch& part = part_of(batch, operands_.streamed, part_); !part.empty()) {
    multiply();
    factor_->add_events(part, y_);
  }
  if (const EventBatch& part = part_of(batch, factor_->fixed(), part_); !part.empty()) factor_->add_fixed(part);
  add_to_core(part_of(batch, Operand::X, part_), shape_.d2, x_);
}

void StreamingState::finish_fixed() { is_fixed_complete_ = true; }

std::unique_ptr<Kept> StreamingState::clone() const {
  const std::lock_guard lock(multiplying_);
  return std::make_unique<StreamingState>(*this);
}

void StreamingState::multiply() const {
  const std::lock_guard lock(multiplying_);
  if (is_multiplied_) return;
  if (!is_fixed_complete_) throw UsageError("the fixed operands have to be complete before the other factor streams");
  factor_->set_core({shape_.d1, shape_.d2, x_});
  factor_->multiply();
  is_multiplied_ = true;
}

std::string StreamingState::describe_range_problem() const { return weir::describe_range_problem(y_); }

OperandSet StreamingState::zero_operands() const { return y_.is_zero() ? OperandSet{Operand::y} : OperandSet(); }

Answer StreamingState::answer(const Question& question, Parties& parties) const {
  Answer answer = answer_on_first(parties, [&] {
    const KeyMap keys{y_.config().row_length, operands_.streamed == Operand::A2};
    return answer_from({.y = y_, .precision = precision_, .keys = keys}, question);
  });
  if (question.draw && can_verify(parties)) answer.tensor_norm = norm_of(tensor_f2(parties));
  if (question.exact) answer_exactly(*question.exact, parties, answer);
  return answer;
}

Estimate StreamingState::tensor_f2(Parties& parties) const {
  const SketchConfig& config = y_.config();
  const TensorSketchConfig tensor_config{.dimensions = {shape_.n1, shape_.n2},
                                         .rows = config.rows,
                                         .buckets = tensor_buckets,
                                         .sparsity = 1,
                                         .randomness = config.randomness,
                                         .independence = config.independence,
                                         .seed = config.seed};
  std::optional<TensorSketch> tensor;
  parties.together([&] {
    tensor.emplace(tensor_config, std::array{shape_.d1, shape_.d2});
    tensor->core = x_;
    const bool first_streams = operands_.streamed == Operand::A1;
    add_rows(factor_->streamed_slice(), factor_->first_streamed_row(), first_streams ? 0 : 1, *tensor);
    add_rows(factor_->fixed_slice(), factor_->first_fixed_row(), first_streams ? 1 : 0, *tensor);
  });
  for (auto& factor : tensor->factors)
    for (MatrixSketch& block : factor) parties.sum_on_first(block.table());
  Estimate f2;
  parties.together([&] {
    if (parties.is_first()) f2 = tensor->image().f2();
  });
  return f2;
}

void StreamingState::answer_exactly(const ExactQuestion& question, Parties& parties, Answer& answer) const {
  std::vector<std::uint64_t> rows, columns;  // of y as the sketch sees it
  const bool transposed = operands_.streamed == Operand::A2;
  parties.together([&] {
    for (const EntryIndex& entry : question.entries) {
      if (!entry.column) throw UsageError(fmt::format("entry {}: y is a matrix, expected two indices", entry.index));
      rows.push_back(transposed ? *entry.column : entry.index);
      columns.push_back(transposed ? entry.index : *entry.column);
    }
    if (!can_verify(parties)) throw UsageError("the state does not hold the operands, so that nothing can be verified");
  });
  parties.broadcast(rows);
  parties.broadcast(columns);
  std::vector<double> row_values, values;
  DenseMatrix metric;
  parties.together([&] {
    multiply();
    row_values = factor_->rows_of_streamed(rows);
    metric = factor_->metric_part();
  });
  parties.sum_everywhere(row_values);
  parties.sum_everywhere(metric.values);
  double squared_norm = 0;
  parties.together([&] {
    values = factor_->entries(row_values, columns);
    squared_norm = factor_->mass_part(metric);
  });
  parties.sum_on_first(values);
  parties.sum_on_first({&squared_norm, 1});
  if (!parties.is_first()) return;
  const double norm = std::sqrt(std::max(0.0, squared_norm));
  answer.exact_norm = norm;
  for (std::size_t t = 0; t < values.size(); ++t) {
    ExactEntry exact{values[t], std::nullopt};
    if (y_.config().p == 2) {
      const double root = norm > 0 ? values[t] / norm : 0.0;
      exact.probability = root * root;
    }
    answer.exact[question.entries[t]] = exact;
  }
}

}  // namespace weir
