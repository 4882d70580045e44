#include "weir/state/attention_outputs_state.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "state/operand_events.hpp"
#include "state/whole_rows.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

constexpr std::uint64_t any_bytes = ~std::uint64_t{0};

Phi phi_of(const AttentionOutputsShape& shape) {
  return {shape.queries, shape.phi.rows, shape.phi.buckets, shape.seed};
}

}  // namespace

Operand attention_product() {
  static const Operand operand = operand_named("M", false);
  return operand;
}

AttentionOutputsState::AttentionOutputsState(const AttentionOutputsShape& shape)
    : shape_(shape),
      centres_(shape.attention.features),
      product_(static_cast<std::size_t>(shape.attention.features.features() * (shape.attention.dv + 1))) {
  if (shape_.is_factored) {
    factored_.emplace(shape_.attention.features, phi_of(shape_), any_bytes);
  } else {
    outputs_.emplace(phi_of(shape_), shape_.attention.dv);
  }
}

std::vector<ArrayLayout> AttentionOutputsState::layout(const AttentionOutputsShape& shape) {
  const PolynomialAttentionShape& attention = shape.attention;
  const std::uint64_t r = attention.features.features(), m1 = std::uint64_t{shape.phi.rows} * shape.phi.buckets;
  const auto array = [](std::string name, std::uint64_t size, bool is_single) {
    return ArrayLayout{.name = std::move(name),
                       .operand = attention_queries(),
                       .size = size,
                       .is_single = is_single,
                       .whole_rows_only = "a sketch of outputs of attention"};
  };
  std::vector<ArrayLayout> arrays{FixedCentres::layout(attention.features.dimension),
                                  {.name = "features with values",
                                   .operand = attention_product(),
                                   .size = r * (attention.dv + 1),
                                   .gathering = Gathering::everywhere,
                                   .is_single = true}};
  if (shape.is_factored) {
    arrays.push_back(array("sketch of features of Q", m1 * r, true));
    arrays.push_back(array("sum of features of Q", r, true));
  } else {
    arrays.push_back(array("sketch of outputs", m1 * attention.dv, true));
  }
  arrays.push_back(array("sketch of ones", m1, true));
  arrays.push_back(array("sums", shape.is_factored ? 1 : attention.dv + 1, false));
  return arrays;
}

std::vector<Numbers> AttentionOutputsState::arrays() {
  std::vector<Numbers> arrays{centres_.numbers(), std::span<float>(product_)};
  if (factored_) {
    arrays.insert(arrays.end(), {factored_->sk_u1(), factored_->sum_u1(), factored_->sk_ones(), factored_->count()});
  } else {
    arrays.insert(arrays.end(), {outputs_->z(), outputs_->sk_ones(), outputs_->sums()});
  }
  return arrays;
}

void AttentionOutputsState::set_fixed(Operand operand, const DenseMatrix& values) {
  if (operand == attention_centres()) return centres_.set(values);
  if (operand != attention_product()) return Kept::set_fixed(operand, values);
  if (values.values.size() != product_.size())
    throw InputError(fmt::format("M of attention has {} numbers, expected {}", values.values.size(), product_.size()));
  std::ranges::transform(values.values, product_.begin(), [](double number) { return static_cast<float>(number); });
}

void AttentionOutputsState::finish_fixed() {
  for (const float number : product_)
    if (!std::isfinite(number)) throw InputError("M of attention has a number that is not finite");
  const PolynomialConfig config = centres_.config();
  normaliser_.clear();
  for (std::size_t t = 0; t < product_.size(); t += static_cast<std::size_t>(shape_.attention.dv + 1))
    normaliser_.push_back(product_[t]);
  if (!factored_) {
    features_.emplace(config);
    return;
  }
  QuerySketch with_centres(config, factored_->phi(), any_bytes);
  std::ranges::copy(factored_->sk_u1(), with_centres.sk_u1().begin());
  std::ranges::copy(factored_->sum_u1(), with_centres.sum_u1().begin());
  std::ranges::copy(factored_->sk_ones(), with_centres.sk_ones().begin());
  std::ranges::copy(factored_->count(), with_centres.count().begin());
  factored_ = std::move(with_centres);
}

void AttentionOutputsState::add(const EventBatch& batch) {
  const std::uint64_t d = shape_.attention.features.dimension;
  require_within(batch, std::array{OperandShape{attention_queries(), shape_.queries, d}});
  require_whole_rows(batch);
  if (!factored_ && !features_) throw InputError("queries came before M, which outputs follow from");
  for_runs(batch.rows, [&](std::size_t first, std::size_t end) {
    queries_.clear();
    append_columns(batch.rows, first, end, 0, static_cast<std::size_t>(d), queries_);
    for (double& number : queries_) number *= shape_.attention.scale;
    const RowsView rows(queries_, end - first, d);
    const double weight = batch.rows.weights[first];
    if (factored_) {
      factored_->add(indices(batch.rows, first, end), rows, normaliser_, weight);
    } else {
      add_collapsed(*outputs_, *features_, product_, rows, indices(batch.rows, first, end), weight);
    }
  });
}

OutputSketch AttentionOutputsState::sketch() const {
  return factored_ ? factored_->product(product_, shape_.attention.dv) : *outputs_;
}

Answer AttentionOutputsState::answer(const Question& question, Parties& parties) const {
  Answer answer;
  parties.together([&] {
    if (!question.recover) throw UsageError("a sketch of outputs of attention answers by its largest ones alone");
    if (!parties.is_first()) return;
    const OutputSketch outputs = sketch();
    // The mean would be the output of queries that are not there, too, which nobody can tell from the sketch.
    if (question.recover->mean_corrected && outputs.sums()[0] != static_cast<double>(shape_.queries))
      throw InputError(
          fmt::format("{} of {} queries are there: --mean-correct, by which every one has the mean, needs them all",
                      outputs.sums()[0], shape_.queries));
    answer.recovered = recover(outputs, *question.recover);
  });
  return answer;
}

}  // namespace weir
