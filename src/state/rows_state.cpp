#include "weir/state/rows_state.hpp"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <tuple>
#include <utility>

#include "state/answers.hpp"
#include "state/operand_events.hpp"
#include "weir/error.hpp"
#include "weir/sample/heavy_entries.hpp"
#include "weir/sample/range.hpp"
#include "weir/sample/row_sampler.hpp"
#include "weir/sample/two_stage.hpp"
#include "weir/sketch/tensor_sketch.hpp"

namespace weir {
namespace {

/// The arrays of a RowsSketch of `operand`, named after it.
void add_layout(Operand operand, const SketchConfig& config, std::uint64_t d, const GramConfig& gram,
                std::vector<ArrayLayout>& layout) {
  const std::string name(to_string(operand));
  // Any of the arrays may say what holds for all of them: rows come and go whole, or not.
  const std::string whole_rows = gram.exact ? "a state with an exact Gram matrix" : "";
  layout.push_back({.name = "cells of " + name,
                    .operand = operand,
                    .size = MatrixSketch::table_size(config, d),
                    .whole_rows_only = whole_rows});
  layout.push_back({.name = "cells of the Gram sketch of " + name,
                    .operand = operand,
                    .size = MatrixSketch::table_size(RowsSketch::wide_config(config, gram.buckets), d)});
  if (gram.exact) layout.push_back({.name = "Gram matrix of " + name, .operand = operand, .size = d * d});
}

void add_arrays(RowsSketch& a, std::vector<Numbers>& arrays) {
  arrays.push_back(a.draws.table());
  arrays.push_back(a.wide.table());
  if (!a.exact_gram.empty()) arrays.push_back(a.exact_gram);
}

/// Of the table of a Gram sketch, all rows of the table together.
std::uint64_t cells_of(const SketchConfig& wide) { return wide.rows * wide.buckets; }

/// tr(M A^T A), which an exact Gram matrix gives exactly.
Estimate total_of(const RowsSketch& rows, const Metric& metric, const DenseMatrix& gram) {
  return rows.exact_gram.empty() ? metric.total_of_estimate(gram, cells_of(rows.wide.config()))
                                 : Estimate{metric.total(gram), 0};
}

/// ||A||_F: total_of() with M = I, in O(d^2).
Estimate frobenius_norm(const RowsSketch& rows) {
  const DenseMatrix gram = rows.gram();
  double f2 = 0;
  for (std::uint64_t j = 0; j < gram.rows; ++j) f2 += gram.values[j * gram.columns + j];
  if (!rows.exact_gram.empty()) return norm_of({f2, 0});
  double squares = 0;
  for (const double entry : gram.values) squares += entry / f2 * (entry / f2);
  const double deviation = std::sqrt(2 * squares / static_cast<double>(cells_of(rows.wide.config())));
  return norm_of({f2, f2 > 0 ? Metric::deviations_of_total * deviation * f2 : 0.0});
}

}  // namespace

std::vector<ArrayLayout> RowsState::layout(const SketchConfig& config, std::uint64_t d, const GramConfig& gram) {
  std::ignore = RowsSketch::size(config, d, gram);  // throws where it cannot be
  std::vector<ArrayLayout> layout;
  add_layout(Operand::A, config, d, gram, layout);
  return layout;
}

std::vector<Numbers> RowsState::arrays() {
  std::vector<Numbers> arrays;
  add_arrays(a_, arrays);
  return arrays;
}

void RowsState::add(const EventBatch& batch) {
  require_within(batch, std::array{OperandShape{Operand::A, a_.config().dimension, a_.columns()}});
  a_.update(batch.i, batch.j, batch.delta);
  a_.update_rows(batch.rows.i, batch.rows.weights, batch.rows.values);
}

std::string RowsState::describe_range_problem() const { return weir::describe_range_problem(a_); }

OperandSet RowsState::zero_operands() const { return a_.is_zero() ? OperandSet{Operand::A} : OperandSet(); }

std::optional<double> RowsState::norm() const { return frobenius_norm(a_).value; }

Answer RowsState::answer(const Question& question, Parties& parties) const {
  require_draws_only(question, holds());
  return answer_on_first(parties, [&] {
    Answer answer;
    if (question.draw) {
      if (question.draw->softmax) throw UsageError("rows are drawn by a^T M a");
      const DenseMatrix gram = a_.checked_gram();
      // The inverse of an estimate has a bias of its own, and its scores do not sum to tr(M G) of the estimate.
      const bool is_inverse_of_estimate = question.draw->metric.is_leverage() && a_.exact_gram.empty();
      const SketchConfig& wide = a_.wide.config();
      const Metric& metric =
          answer.metric.emplace(is_inverse_of_estimate ? Metric::leverage_of_estimate(gram, cells_of(wide), wide.rows)
                                                       : question.draw->metric.of(gram));
      const Estimate total =
          is_inverse_of_estimate ? Estimate{static_cast<double>(metric.rank()), 0} : total_of(a_, metric, gram);
      answer.draws_norm_bound = norm_of(total).bound;
      const DrawOptions options{.samples = question.draw->samples, .threshold = question.draw->threshold};
      answer.draws = question.draw->without_replacement
                         ? draw_rows_without_replacement(a_.draws, metric, total, options)
                         : draw_rows(a_.draws, metric, total, options);
    }
    if (question.norm) answer.norm = frobenius_norm(a_);
    return answer;
  });
}

std::vector<ArrayLayout> KroneckerState::layout(const KroneckerShape& shape, const SketchConfig& config,
                                                const GramConfig& gram) {
  std::ignore = KroneckerSketch::size(shape, config, gram);  // throws where it cannot be
  std::vector<ArrayLayout> layout{{.name = "events of X", .operand = Operand::X, .size = 1, .is_count = true},
                                  {.name = "X", .operand = Operand::X, .size = shape.d1 * shape.d2}};
  SketchConfig factor = config;
  for (const auto& [operand, n, d] : {std::tuple{Operand::A1, shape.n1, shape.d1}, {Operand::A2, shape.n2, shape.d2}}) {
    factor.dimension = n;
    add_layout(operand, factor, d, gram, layout);
  }
  return layout;
}

std::vector<Numbers> KroneckerState::arrays() {
  std::vector<Numbers> arrays{std::span(&operands_.x_events, 1), operands_.x};
  add_arrays(operands_.a1, arrays);
  add_arrays(operands_.a2, arrays);
  return arrays;
}

void KroneckerState::add(const EventBatch& batch) {
  const KroneckerShape& shape = operands_.shape;
  require_within(batch, kronecker_shapes(shape));
  for (const Operand operand : {Operand::A1, Operand::A2}) {
    const EventBatch& part = part_of(batch, operand, part_);
    RowsSketch& factor = operand == Operand::A1 ? operands_.a1 : operands_.a2;
    factor.update(part.i, part.j, part.delta);
    factor.update_rows(part.rows.i, part.rows.weights, part.rows.values);
  }
  const EventBatch& of_x = part_of(batch, Operand::X, part_);
  add_to_core(of_x, shape.d2, operands_.x);
  operands_.x_events += static_cast<double>(of_x.events());
}

std::string KroneckerState::describe_range_problem() const {
  // A part of a stream may be without an X, and then has no y.
  if (operands_.has_core()) return weir::describe_range_problem(operands_);
  std::string problem = weir::describe_range_problem(operands_.a1);
  return problem.empty() ? weir::describe_range_problem(operands_.a2) : problem;
}

OperandSet KroneckerState::zero_operands() const {
  OperandSet zero;
  if (operands_.a1.is_zero()) zero.insert(Operand::A1);
  if (operands_.a2.is_zero()) zero.insert(Operand::A2);
  if (operands_.x_is_zero()) zero.insert(Operand::X);
  return zero;
}

std::string KroneckerState::describe_combine_problem(const Problem& problem, double coefficient,
                                                     bool has_others) const {
  if (problem.with_role(Role::streams) != OperandSet{Operand::X} || operands_.x_events > 0) return {};
  if (coefficient == 1 && !has_others) return {};
  return "X, which alone streamed, had no event and is the identity, which is neither multiplied nor added: expected "
         "an "
         "X of events, or of a file";
}

std::optional<double> KroneckerState::norm() const {
  return operands_.has_core() ? std::optional(std::sqrt(operands_.f2())) : std::nullopt;
}

Answer KroneckerState::answer(const Question& question, Parties& parties) const {
  return answer_on_first(parties, [&] {
    Answer answer;
    if (question.draw) {
      if (question.draw->without_replacement || question.draw->softmax)
        throw UsageError("pairs of the method two-stage are drawn with replacement, by y^2");
      answer.draws = draw_pairs(operands_, {.samples = question.draw->samples, .threshold = question.draw->threshold});
      answer.draws_norm_bound = norm_of(answer.draws.mass).bound;
    }
    if (!question.moments.empty()) throw UsageError("moments need a sketch of y, which the method streaming has");
    if (!question.norm && question.top == 0 && question.points.empty() && question.inner == nullptr) return answer;
    const TensorSketch tensor = operands_.tensor();
    const TensorImage image = tensor.image();
    if (question.norm) answer.norm = norm_of(image.f2());
    if (question.top > 0) {
      answer.top.emplace();
      for (const HeavyEntry& heavy : heavy_entries(tensor, question.top).entries)
        answer.top->push_back({heavy.index, heavy.estimate, heavy.column});
    }
    std::vector<std::array<std::uint64_t, 2>> places;
    for (const EntryIndex& entry : question.points) {
      if (!entry.column) throw UsageError(fmt::format("entry {}: y is a matrix, expected two indices", entry.index));
      places.push_back({entry.index, *entry.column});
    }
    const std::vector<Estimate> estimates = estimate_entries(tensor, places);
    for (std::size_t t = 0; t < places.size(); ++t) answer.points.push_back({places[t][0], estimates[t], places[t][1]});
    if (question.inner != nullptr) {
      const auto* other = dynamic_cast<const KroneckerState*>(&question.inner->kept());
      if (other == nullptr)
        throw UsageError(fmt::format("no inner product of {} with {}", holds(), question.inner->kept().holds()));
      answer.inner = image.inner_product(other->operands_.tensor().image());
    }
    return answer;
  });
}

}  // namespace weir
