#include "weir/state/vector_state.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <utility>

#include "state/answers.hpp"
#include "state/exact_product.hpp"
#include "weir/error.hpp"
#include "weir/sample/range.hpp"

namespace weir {
namespace {

constexpr std::string_view lifted = "a state for the law |y_i|^4";

}  // namespace

Updates updates_of_y(const EventBatch& batch) {
  if (!batch.rows.empty())
    throw InputError(
        fmt::format("row {} of {}: y is a vector and has no rows", batch.rows.i[0], to_string(batch.rows.operands[0])));
  return {batch.i, batch.delta};
}

void ProductUpdates::set_x(Operand operand, const DenseMatrix& values) {
  if (operand != Operand::x) throw UsageError(fmt::format("{} is no vector that y = A x has", to_string(operand)));
  if (values.values.size() != x_.size())
    throw UsageError(fmt::format("x has {} entries, expected {}", values.values.size(), x_.size()));
  std::ranges::copy(values.values, x_.begin());
  check();
}

void ProductUpdates::check() const {
  for (std::size_t j = 0; j < x_.size(); ++j)
    if (!std::isfinite(x_[j]))
      throw InputError(fmt::format("entry {} of the fixed operand x is {}, expected a finite number", j, x_[j]));
}

Updates ProductUpdates::operator()(const EventBatch& batch) {
  const std::size_t count = batch.size();
  if (keys_.size() < batch.events()) {
    keys_.resize(batch.events());
    deltas_.resize(batch.events());
  }
  std::size_t used = 0;
  std::uint64_t row = 0;
  double sum = 0;
  const auto close = [&] {
    if (sum != 0) {
      keys_[used] = row;
      deltas_[used] = sum;
      ++used;
    }
  };
  for (std::size_t t = 0; t < count; ++t) {
    const std::uint64_t j = batch.j[t];
    if (j >= x_.size())
      throw InputError(fmt::format("event A,{},{},{}: column {} is outside x of length {}", batch.i[t], j,
                                   batch.delta[t], j, x_.size()));
    const double change = batch.delta[t] * x_[j];
    if (batch.i[t] != row) {
      close();
      row = batch.i[t];
      sum = 0;
    }
    sum += change;
    if (!std::isfinite(sum))
      throw InputError(
          fmt::format("event A,{},{},{}: delta times x[{}] = {} makes an update of y[{}] that overflows a double", row,
                      j, batch.delta[t], j, x_[j], row));
  }
  close();
  for (std::size_t t = 0; t < batch.rows.size(); ++t) {
    row = batch.rows.i[t];
    sum = batch.rows.weights[t] * product(batch.rows, t);
    close();
  }
  return {std::span(keys_).first(used), std::span(deltas_).first(used)};
}

double ProductUpdates::product(const RowBatch& rows, std::size_t t) const {
  const std::span<const double> values = rows.row(t);
  if (rows.operands[t] != Operand::A || values.size() != x_.size())
    throw InputError(fmt::format("row {} of {} has {} values, expected a row of A with {}, the length of x", rows.i[t],
                                 to_string(rows.operands[t]), values.size(), x_.size()));
  const double sum = std::transform_reduce(values.begin(), values.end(), x_.begin(), 0.0);
  if (!std::isfinite(sum))
    throw InputError(
        fmt::format("row {} of A times x makes an update of y[{}] that overflows a double", rows.i[t], rows.i[t]));
  return sum;
}

void require_whole_rows(const EventBatch& batch) {
  const auto found = std::ranges::find(batch.operands, Operand::A);
  if (found == batch.operands.end()) return;
  const Event event = batch[static_cast<std::size_t>(found - batch.operands.begin())];
  throw InputError(
      fmt::format("event A,{},{},{}: for the law |y_i|^4 rows of A come and go whole, as in A,i,*,v0,v1,... and "
                  "A,i,-*,v0,v1,...",
                  event.i, event.j, event.delta));
}

VectorState::VectorState(const SketchConfig& config, const std::optional<PrecisionTarget>& precision)
    : y_(config), precision_(precision) {}

VectorState::VectorState(VectorSketch y, const std::optional<PrecisionTarget>& precision)
    : y_(std::move(y)), precision_(precision) {}

std::vector<ArrayLayout> VectorState::layout(const SketchConfig& config) {
  return {{.name = "cells of y", .operand = Operand::y, .size = config.table_size()}};
}

void VectorState::add(const EventBatch& batch) {
  const Updates updates = updates_of_y(batch);
  y_.update(updates.keys, updates.deltas);
}

void VectorState::add_entries(const OperandShape&, std::span<const std::uint64_t> i, std::span<const std::uint64_t>,
                              std::span<const double> delta) {
  y_.update(i, delta);
}

std::string VectorState::describe_range_problem() const { return weir::describe_range_problem(y_); }

OperandSet VectorState::zero_operands() const { return y_.is_zero() ? OperandSet{Operand::y} : OperandSet(); }

std::optional<double> VectorState::norm() const { return norm_of(y_.f2()).value; }

Answer VectorState::answer(const Question& question, Parties& parties) const {
  return answer_on_first(parties, [&] { return answer_from({.y = y_, .precision = precision_}, question); });
}

FixedProductState::FixedProductState(const SketchConfig& config, std::uint64_t d,
                                     const std::optional<PrecisionTarget>& precision)
    : y_(config), updates_(d), precision_(precision) {}

namespace {

/// The cells of what streams, and x where it is known.
std::vector<ArrayLayout> layout_with_x(ArrayLayout cells, std::uint64_t d) {
  std::vector<ArrayLayout> layout{std::move(cells)};
  if (d > 0) layout.push_back({.name = "x", .operand = Operand::x, .size = d, .gathering = Gathering::everywhere});
  return layout;
}

std::vector<Numbers> with_x(std::span<double> cells, std::span<double> x) {
  std::vector<Numbers> arrays{cells};
  if (!x.empty()) arrays.push_back(x);
  return arrays;
}

}  // namespace

std::vector<ArrayLayout> FixedProductState::layout(const SketchConfig& config, std::uint64_t d) {
  return layout_with_x({.name = "cells of y", .operand = Operand::A, .size = config.table_size()}, d);
}

std::vector<Numbers> FixedProductState::arrays() { return with_x(y_.table(), updates_.x()); }

void FixedProductState::add(const EventBatch& batch) {
  const Updates updates = updates_(batch);
  y_.update(updates.keys, updates.deltas);
}

std::string FixedProductState::describe_range_problem() const { return weir::describe_range_problem(y_); }

OperandSet FixedProductState::zero_operands() const { return y_.is_zero() ? OperandSet{Operand::y} : OperandSet(); }

std::optional<double> FixedProductState::norm() const { return norm_of(y_.f2()).value; }

Answer FixedProductState::answer(const Question& question, Parties& parties) const {
  Answer answer = answer_on_first(parties, [&] { return answer_from({.y = y_, .precision = precision_}, question); });
  if (question.exact)
    answer_exactly(updates_.x(), y_.config().dimension, y_.config().p, *question.exact, parties, answer);
  return answer;
}

SquaredProductState::SquaredProductState(const SketchConfig& config, std::uint64_t d)
    : cells_(config, 2), updates_(d) {}

std::vector<ArrayLayout> SquaredProductState::layout(const SketchConfig& config, std::uint64_t d) {
  return layout_with_x({.name = "cells of y and its squares",
                        .operand = Operand::A,
                        .size = MatrixSketch::table_size(config, 2),
                        .whole_rows_only = std::string(lifted)},
                       d);
}

std::vector<Numbers> SquaredProductState::arrays() { return with_x(cells_.table(), updates_.x()); }

void SquaredProductState::add(const EventBatch& batch) {
  require_whole_rows(batch);
  pairs_.clear();
  for (std::size_t t = 0; t < batch.rows.size(); ++t) {
    const double value = updates_.product(batch.rows, t);
    pairs_.push_back(value);
    pairs_.push_back(value * value);
  }
  cells_.update_rows(batch.rows.i, batch.rows.weights, pairs_);
}

std::string SquaredProductState::describe_range_problem() const {
  std::string problem = weir::describe_range_problem(*sketch_of_y());
  return problem.empty() ? weir::describe_range_problem(squares()) : problem;
}

OperandSet SquaredProductState::zero_operands() const {
  return cells_.is_zero() ? OperandSet{Operand::y} : OperandSet();
}

std::optional<VectorSketch> SquaredProductState::sketch_of_y() const { return cells_.product(0, std::array{1.0}); }

VectorSketch SquaredProductState::squares() const { return cells_.product(1, std::array{1.0}); }

std::optional<double> SquaredProductState::norm() const { return norm_of(sketch_of_y()->f2()).value; }

Answer SquaredProductState::answer(const Question& question, Parties& parties) const {
  Answer answer = answer_on_first(parties, [&] {
    const VectorSketch of_y = *sketch_of_y(), of_squares = squares();
    return answer_from({.y = of_y, .squares = &of_squares}, question);
  });
  const SketchConfig& config = cells_.config();
  if (question.exact) answer_exactly(updates_.x(), config.dimension, 2 * config.p, *question.exact, parties, answer);
  return answer;
}

}  // namespace weir
