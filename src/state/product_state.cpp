#include "weir/state/product_state.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <mutex>

#include "state/answers.hpp"
#include "state/exact_product.hpp"
#include "weir/error.hpp"
#include "weir/sample/range.hpp"
#include "weir/sketch/lift.hpp"
#include "weir/state/vector_state.hpp"

namespace weir {
namespace {

/// Lifted values held at a time.
constexpr std::size_t lifted_capacity = std::size_t{1} << 18;

}  // namespace

void ProductEntries::split(const EventBatch& batch, std::span<double> x) {
  const auto is_a = [](Operand operand) { return operand == Operand::A; };
  if (std::ranges::all_of(batch.operands, is_a)) {
    rows = batch.i;
    columns = batch.j;
    deltas = batch.delta;
    return;
  }
  own_rows_.clear();
  own_columns_.clear();
  own_deltas_.clear();
  for (std::size_t t = 0; t < batch.size(); ++t) {
    const Event event = batch[t];
    if (is_a(event.operand)) {
      own_rows_.push_back(event.i);
      own_columns_.push_back(event.j);
      own_deltas_.push_back(event.delta);
    } else if (event.operand != Operand::x || event.i >= x.size()) {
      throw InputError(fmt::format("event {},{},{}: expected x,j,delta with j below {}", to_string(event.operand),
                                   event.i, event.delta, x.size()));
    } else if (!std::isfinite(x[event.i] += event.delta)) {
      throw InputError(fmt::format("event x,{},{}: the sum of the changes of x[{}] overflows a double", event.i,
                                   event.delta, event.i));
    }
  }
  rows = own_rows_;
  columns = own_columns_;
  deltas = own_deltas_;
}

void require_rows_of_a(const RowBatch& rows, std::uint64_t d) {
  for (std::size_t t = 0; t < rows.size(); ++t)
    if (rows.operands[t] != Operand::A || rows.row(t).size() != d)
      throw InputError(fmt::format("a row of {} numbers for {}, expected {} for A", rows.row(t).size(),
                                   to_string(rows.operands[t]), d));
}

ProductState::ProductState(const SketchConfig& config, std::uint64_t d, std::uint32_t degree,
                           const std::optional<PrecisionTarget>& precision)
    : operands_(config, d, degree), precision_(precision) {}

std::vector<ArrayLayout> ProductState::layout(const SketchConfig& config, std::uint64_t d, std::uint32_t degree) {
  return {{.name = "x", .operand = Operand::x, .size = d},
          {.name = "cells of A",
           .operand = Operand::A,
           .size = MatrixSketch::table_size(config, ProductSketch::columns(d, degree)),
           .whole_rows_only = degree == 2 ? "a state for the law |y_i|^4" : ""}};
}

std::vector<Numbers> ProductState::arrays() {
  forget_product();
  return {operands_.x, operands_.a.table()};
}

void ProductState::add(const EventBatch& batch) {
  forget_product();
  if (operands_.degree == 2) require_whole_rows(batch);
  const std::uint64_t d = operands_.x.size();
  if (batch.size() > 0) {
    entries_.split(batch, operands_.x);
    if (!entries_.rows.empty()) operands_.a.update(entries_.rows, entries_.columns, entries_.deltas);
  }
  require_rows_of_a(batch.rows, d);
  const RowBatch& rows = batch.rows;
  if (operands_.degree == 1) return operands_.a.update_rows(rows.i, rows.weights, rows.values);

  const std::size_t width = operands_.a.columns();
  const std::size_t at_once = std::max<std::size_t>(1, lifted_capacity / width);
  for (std::size_t first = 0; first < rows.size(); first += at_once) {
    const std::size_t count = std::min(at_once, rows.size() - first);
    lifted_.resize(count * width);
    for (std::size_t t = 0; t < count; ++t) {
      const std::span<const double> row = rows.row(first + t);
      const std::span<double> out = std::span(lifted_).subspan(t * width, width);
      std::ranges::copy(row, out.begin());
      lift_row(row, out.subspan(d));
    }
    operands_.a.update_rows(std::span(rows.i).subspan(first, count), std::span(rows.weights).subspan(first, count),
                            lifted_);
  }
}

std::unique_ptr<Kept> ProductState::clone() const {
  const std::lock_guard lock(product_mutex_);
  return std::make_unique<ProductState>(*this);
}

std::shared_ptr<const VectorSketch> ProductState::product() const {
  const std::lock_guard lock(product_mutex_);
  if (!product_) product_ = std::make_shared<const VectorSketch>(operands_.y());
  return product_;
}

void ProductState::forget_product() {
  const std::lock_guard lock(product_mutex_);
  product_.reset();
}

std::string ProductState::describe_range_problem() const {
  for (std::size_t j = 0; j < operands_.x.size(); ++j)
    if (!std::isfinite(operands_.x[j])) return fmt::format("the sum of the changes of x[{}] overflows a double", j);
  std::string problem = weir::describe_range_problem(*product());
  if (problem.empty() && operands_.degree == 2) problem = weir::describe_range_problem(operands_.squares());
  return problem;
}

OperandSet ProductState::zero_operands() const {
  OperandSet zero;
  if (operands_.x_is_zero()) zero.insert(Operand::x);
  if (product()->is_zero()) zero.insert(Operand::y);
  return zero;
}

bool ProductState::can_verify(const Parties& parties) const { return parties.can_read_again(Operand::A); }

Answer ProductState::answer(const Question& question, Parties& parties) const {
  Answer answer = answer_on_first(parties, [&] {
    std::optional<VectorSketch> squares;
    if (operands_.degree == 2) squares = operands_.squares();
    const std::shared_ptr<const VectorSketch> y = product();
    return answer_from({.y = *y, .squares = squares ? &*squares : nullptr, .precision = precision_}, question);
  });
  if (question.exact)
    answer_exactly(operands_.x, operands_.config().dimension, operands_.config().p * operands_.degree, *question.exact,
                   parties, answer);
  return answer;
}

}  // namespace weir
