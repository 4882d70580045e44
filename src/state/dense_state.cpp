#include "weir/state/dense_state.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <utility>

#include "state/answers.hpp"
#include "state/operand_events.hpp"
#include "state/softmax_of_pairs.hpp"
#include "weir/error.hpp"
#include "weir/sample/range.hpp"
#include "weir/share.hpp"
#include "weir/state/softmax_over_parties.hpp"

namespace weir {
namespace {

constexpr std::uint64_t most_doubles = std::uint64_t{1} << 60;

/// rows * columns; the largest size that a layout may have where that is more.
std::uint64_t size_of(std::uint64_t rows, std::uint64_t columns) {
  return columns != 0 && rows > most_doubles / columns ? most_doubles : rows * columns;
}

Gathering gathering_of(const DenseLaw& law) { return law.shared ? Gathering::by_share : Gathering::on_first; }

void require_shared(const Question& question, const DenseLaw& law) {
  const bool softmax = question.draw && question.draw->softmax.has_value();
  if (softmax != law.shared || (law.shared && (question.norm || question.exact)))
    throw UsageError(law.shared ? "y is shared out among the parties: expected draws by exp(y_i), and nothing else"
                                : "draws by exp(y_i) need a y that is shared out among the parties");
}

/// Draws, the norm and exact entries of a y that is in one place.
void answer_from_values(const DenseVector& y, const Question& question, const DenseLaw& law, Answer& answer) {
  require_range(y);
  if (question.draw) {
    const DenseDrawOptions options{.samples = question.draw->samples, .p = law.p, .seed = law.seed};
    answer.draws =
        question.draw->without_replacement ? draw_without_replacement(y, options) : draw_with_replacement(y, options);
    answer.verified = answer.has_exact_values = true;
  }
  if (question.norm) answer.norm = Estimate{y.norm(), 0};
  if (!question.exact) return;
  answer.exact_norm = y.norm();
  for (const EntryIndex& entry : question.exact->entries) {
    if (entry.column || entry.index >= y.dimension())
      throw UsageError(fmt::format("entry {} is outside y of length {}", entry.index, y.dimension()));
    answer.exact[entry] = {y.table()[static_cast<std::size_t>(entry.index)], y.probability(entry.index, law.p)};
  }
}

SoftmaxOptions softmax_options(const DrawQuestion& draw, const DenseLaw& law, std::uint64_t row_length) {
  return {.samples = draw.samples,
          .without_replacement = draw.without_replacement,
          .seed = law.seed,
          .scale = draw.softmax->scale,
          .row_length = row_length};
}

Answer exact_draws(SampleResult draws) {
  Answer answer;
  answer.draws = std::move(draws);
  answer.verified = answer.has_exact_values = true;
  return answer;
}

Answer softmax_answer(Parties& parties, std::uint64_t first, std::span<const double> slice, const Question& question,
                      const DenseLaw& law) {
  if (question.draw->softmax->per_row) throw UsageError("a vector y has no rows to be normalised by themselves");
  return exact_draws(softmax_over_parties(parties, first, slice, softmax_options(*question.draw, law, 0)));
}

/// Parts of x that are finite may have a sum that is not. Empty when all is well.
std::string describe_overflow(std::span<const double> x) {
  const auto bad = std::ranges::find_if(x, [](double entry) { return !std::isfinite(entry); });
  return bad == x.end() ? std::string()
                        : fmt::format("the sum of the changes of x[{}] overflows a double", bad - x.begin());
}

DenseDrawOptions pair_options(const Question& question, const DenseLaw& law) {
  if (question.draw->without_replacement) throw UsageError("rows and pairs are drawn with replacement");
  return {.samples = question.draw->samples, .p = law.p, .seed = law.seed};
}

ExactEntry square_share(double value, double norm) {
  const double root = norm > 0 ? value / norm : 0.0;
  return {.value = value, .probability = root * root};
}

}  // namespace

DenseVectorState::DenseVectorState(std::uint64_t n, std::uint64_t d, const DenseLaw& law, Party party)
    : y_(n), is_product_(d > 0), updates_(d), law_(law), party_(party) {}

std::vector<ArrayLayout> DenseVectorState::layout(std::uint64_t n, std::uint64_t d, const DenseLaw& law) {
  std::vector<ArrayLayout> layout{{.name = "y",
                                   .operand = d > 0 ? Operand::A : Operand::y,
                                   .size = std::min(n, most_doubles),
                                   .gathering = gathering_of(law)}};
  if (d > 0) layout.push_back({.name = "x", .operand = Operand::x, .size = d, .gathering = Gathering::everywhere});
  return layout;
}

std::vector<Numbers> DenseVectorState::arrays() {
  std::vector<Numbers> arrays{y_.table()};
  if (is_product_) arrays.push_back(updates_.x());
  return arrays;
}

void DenseVectorState::add(const EventBatch& batch) {
  const Updates updates = is_product_ ? updates_(batch) : updates_of_y(batch);
  y_.update(updates.keys, updates.deltas);
}

std::string DenseVectorState::describe_range_problem() const {
  return law_.shared ? std::string() : weir::describe_range_problem(y_);
}

OperandSet DenseVectorState::zero_operands() const {
  const bool zero = std::ranges::all_of(y_.table(), [](double value) { return value == 0; });
  return zero ? OperandSet{Operand::y} : OperandSet();
}

Answer DenseVectorState::answer(const Question& question, Parties& parties) const {
  require_draws_only(question, holds());
  require_shared(question, law_);
  if (law_.shared) {
    const auto y = y_.table();
    const std::uint64_t first = share(y.size(), party_.number, party_.count);
    const std::uint64_t end = share(y.size(), party_.number + 1, party_.count);
    return softmax_answer(parties, first, y.subspan(first, end - first), question, law_);
  }
  return answer_on_first(parties, [&] {
    Answer answer;
    answer_from_values(y_, question, law_, answer);
    return answer;
  });
}

std::vector<ArrayLayout> DenseProductState::layout(std::uint64_t n, std::uint64_t d, const DenseLaw& law) {
  return {{.name = "x", .operand = Operand::x, .size = d},
          {.name = "A", .operand = Operand::A, .size = size_of(n, d), .gathering = gathering_of(law), .row_length = d}};
}

void DenseProductState::add(const EventBatch& batch) {
  if (batch.size() > 0) {
    entries_.split(batch, operands_.x);
    if (!entries_.rows.empty()) operands_.a.update(entries_.rows, entries_.columns, entries_.deltas);
  }
  require_rows_of_a(batch.rows, operands_.x.size());
  operands_.a.update_rows(batch.rows.i, batch.rows.weights, batch.rows.values);
}

std::string DenseProductState::describe_range_problem() const {
  if (std::string problem = describe_overflow(operands_.x); !problem.empty()) return problem;
  return law_.shared ? std::string() : weir::describe_range_problem(operands_.times(operands_.x));
}

Answer DenseProductState::answer(const Question& question, Parties& parties) const {
  require_draws_only(question, holds());
  require_shared(question, law_);
  if (!law_.shared)
    return answer_on_first(parties, [&] {
      Answer answer;
      answer_from_values(operands_.times(operands_.x), question, law_, answer);
      return answer;
    });
  std::vector<double> x = operands_.x;
  parties.broadcast(x);
  std::vector<double> slice;
  std::uint64_t first = 0;
  parties.together([&] {
    const std::uint64_t rows = operands_.a.rows();
    first = share(rows, party_.number, party_.count);
    for (std::uint64_t i = first; i < share(rows, party_.number + 1, party_.count); ++i)
      slice.push_back(std::inner_product(x.begin(), x.end(), operands_.a.row(i).begin(), 0.0));
  });
  return softmax_answer(parties, first, slice, question, law_);
}

std::vector<ArrayLayout> DenseFactorState::layout(std::uint64_t d) {
  return {{.name = "x", .operand = Operand::x, .size = d}};
}

void DenseFactorState::add(const EventBatch& batch) {
  require_within(batch, std::array{OperandShape{Operand::x, x_.size(), 1}});
  for (std::size_t t = 0; t < batch.size(); ++t)
    if (!std::isfinite(x_[batch.i[t]] += batch.delta[t]))
      throw InputError(
          fmt::format("event {}: the sum of the changes of x[{}] overflows a double", describe(batch[t]), batch.i[t]));
}

std::string DenseFactorState::describe_range_problem() const { return describe_overflow(x_); }

bool DenseFactorState::can_verify(const Parties& parties) const {
  return !law_.shared && parties.can_read_again(Operand::A);
}

Answer DenseFactorState::answer(const Question& question, Parties& parties) const {
  require_draws_only(question, holds());
  require_shared(question, law_);
  std::vector<double> x = x_;
  parties.broadcast(x);
  std::optional<DenseVector> y;
  ProductUpdates updates(x.size());
  parties.together([&] {
    updates.set_x(Operand::x, {x.size(), 1, x});
    y.emplace(n_);
  });
  parties.read_again(Operand::A, [&](const EventBatch& batch) {
    const Updates changes = updates(batch);
    y->update(changes.keys, changes.deltas);
  });
  if (law_.shared) {
    const Parties::Share own = parties.sum_by_share(y->table());
    return softmax_answer(parties, own.first, own.values, question, law_);
  }
  parties.sum_on_first(y->table());
  return answer_on_first(parties, [&] {
    Answer answer;
    answer_from_values(*y, question, law_, answer);
    return answer;
  });
}

std::vector<ArrayLayout> DenseRowsState::layout(std::uint64_t n, std::uint64_t d) {
  return {{.name = "A", .operand = Operand::A, .size = size_of(n, d)}};
}

void DenseRowsState::add(const EventBatch& batch) {
  require_within(batch, std::array{OperandShape{Operand::A, a_.rows(), a_.columns()}});
  a_.update(batch.i, batch.j, batch.delta);
  a_.update_rows(batch.rows.i, batch.rows.weights, batch.rows.values);
}

std::string DenseRowsState::describe_range_problem() const { return weir::describe_range_problem(a_); }

Answer DenseRowsState::answer(const Question& question, Parties& parties) const {
  require_draws_only(question, holds());
  return answer_on_first(parties, [&] {
    Answer answer;
    const DenseMatrix gram = a_.gram();
    if (question.draw) {
      answer.draws = draw_rows(a_, question.draw->metric.of(gram), pair_options(question, law_));
      answer.verified = answer.has_exact_values = true;
    }
    if (question.norm) answer.norm = Estimate{std::sqrt(Metric::norm(a_.columns()).total(gram)), 0};
    if (!question.exact) return answer;
    const Metric metric = question.exact->metric.of(gram);
    answer.exact_norm = std::sqrt(metric.total(gram));
    for (const EntryIndex& entry : question.exact->entries) {
      const std::span<const double> row = a_.row(entry.index);
      ExactEntry& exact = answer.exact[entry] = square_share(std::sqrt(metric.of_row(row)), *answer.exact_norm);
      exact.row.assign(row.begin(), row.end());
    }
    return answer;
  });
}

DenseKroneckerState::DenseKroneckerState(const KroneckerShape& shape, const DenseLaw& law)
    : shape_(shape), operands_(std::array{shape.n1, shape.n2}, std::array{shape.d1, shape.d2}), law_(law) {}

std::vector<ArrayLayout> DenseKroneckerState::layout(const KroneckerShape& shape, const DenseLaw& law) {
  return {{.name = "events of X", .operand = Operand::X, .size = 1, .is_count = true},
          {.name = "X", .operand = Operand::X, .size = size_of(shape.d1, shape.d2)},
          {.name = "A1",
           .operand = Operand::A1,
           .size = size_of(shape.n1, shape.d1),
           .gathering = gathering_of(law),
           .row_length = shape.d1},
          {.name = "A2", .operand = Operand::A2, .size = size_of(shape.n2, shape.d2)}};
}

std::uint64_t DenseKroneckerState::doubles_to_share(const KroneckerShape& shape, Party party) {
  return doubles_for_pairs(shape, party);
}

std::vector<Numbers> DenseKroneckerState::arrays() {
  return {std::span(&operands_.x_events, 1), operands_.x, operands_.factors[0].table(), operands_.factors[1].table()};
}

void DenseKroneckerState::add(const EventBatch& batch) {
  require_within(batch, kronecker_shapes(shape_));
  for (const Operand operand : {Operand::A1, Operand::A2}) {
    const EventBatch& part = part_of(batch, operand, part_);
    DenseOperand& factor = operands_.factors[operand == Operand::A1 ? 0 : 1];
    factor.update(part.i, part.j, part.delta);
    factor.update_rows(part.rows.i, part.rows.weights, part.rows.values);
  }
  const EventBatch& of_x = part_of(batch, Operand::X, part_);
  add_to_core(of_x, shape_.d2, operands_.x);
  operands_.x_events += static_cast<double>(of_x.events());
}

std::string DenseKroneckerState::describe_range_problem() const {
  return law_.shared ? std::string() : weir::describe_range_problem(operands_);
}

Answer DenseKroneckerState::answer(const Question& question, Parties& parties) const {
  require_draws_only(question, holds());
  require_shared(question, law_);
  if (law_.shared) {
    const SoftmaxOver over = question.draw->softmax->per_row ? SoftmaxOver::rows : SoftmaxOver::all;
    return exact_draws(softmax_of_pairs(parties, operands_, over, softmax_options(*question.draw, law_, shape_.n2)));
  }
  return answer_on_first(parties, [&] {
    Answer answer;
    if (question.draw) {
      answer.draws = draw_pairs(operands_, pair_options(question, law_));
      answer.verified = answer.has_exact_values = true;
    }
    if (!question.norm && !question.exact) return answer;
    const TensorSampler exact(operands_);
    if (question.norm) answer.norm = Estimate{exact.norm(), 0};
    if (!question.exact) return answer;
    answer.exact_norm = exact.norm();
    for (const EntryIndex& entry : question.exact->entries)
      answer.exact[entry] = square_share(exact.value(std::array{entry.index, entry.column.value_or(0)}), exact.norm());
    return answer;
  });
}

}  // namespace weir
