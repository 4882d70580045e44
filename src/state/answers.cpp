#include "state/answers.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "weir/error.hpp"
#include "weir/sample/moment.hpp"
#include "weir/sample/precision.hpp"
#include "weir/sample/sampler.hpp"
#include "weir/state/state.hpp"

namespace weir {
namespace {

/// Draws through which a moment is estimated, where the sketch has the buckets for so many.
constexpr std::uint64_t most_moment_draws = 64;
/// Buckets that a draw of a flat vector needs (apps/experiments/README.md).
constexpr std::uint64_t buckets_a_draw = 128;

SampleResult draw_from(const SketchOfY& sketch, const DrawQuestion& question) {
  if (question.softmax) throw UsageError("a sketch cannot draw by exp(y_i): expected an exact state");
  const DrawOptions options{.samples = question.samples, .threshold = question.threshold};
  if (sketch.precision) {
    if (question.without_replacement) throw UsageError("the sampler precision draws with replacement only");
    return draw_by_precision_sampling(
        sketch.y,
        {.samples = question.samples, .epsilon = sketch.precision->epsilon, .constant = sketch.precision->constant});
  }
  const VectorSketch& from = sketch.squares != nullptr ? *sketch.squares : sketch.y;
  SampleResult result =
      question.without_replacement ? draw_without_replacement(from, options) : draw_with_replacement(from, options);
  return sketch.squares != nullptr ? draws_of_roots(std::move(result), from, sketch.y) : result;
}

std::vector<MomentAnswer> moments_of(const SketchOfY& sketch, const std::vector<double>& exponents) {
  const std::uint64_t draws =
      std::clamp<std::uint64_t>(sketch.y.config().buckets / buckets_a_draw, 2, most_moment_draws);
  const SampleResult sample = draw_from({.y = sketch.y, .squares = sketch.squares},
                                        {.samples = static_cast<std::uint32_t>(draws), .without_replacement = true});
  const double law = sketch.y.config().p * (sketch.squares != nullptr ? 2 : 1);
  std::vector<MomentAnswer> moments;
  for (const double exponent : exponents) {
    const MomentEstimate moment = moment_through_samples(sample.draws, exponent, law);
    moments.push_back({exponent, {moment.value, moment.bound}});
  }
  return moments;
}

}  // namespace

EntryIndex KeyMap::entry(std::uint64_t key) const noexcept {
  if (row_length == 0) return {key};
  const std::uint64_t row = key / row_length, column = key % row_length;
  return transposed ? EntryIndex{column, row} : EntryIndex{row, column};
}

std::uint64_t KeyMap::key(const EntryIndex& entry) const {
  if (entry.column.has_value() != (row_length != 0))
    throw UsageError(row_length != 0
                         ? fmt::format("entry {}: y is a matrix, expected two indices", entry.index)
                         : fmt::format("entry {}:{}: y is a vector, expected one index", entry.index, *entry.column));
  if (row_length == 0) return entry.index;
  return transposed ? *entry.column * row_length + entry.index : entry.index * row_length + *entry.column;
}

Answer answer_from(const SketchOfY& sketch, const Question& question) {
  Answer answer;
  const auto place = [&](std::uint64_t& index, std::optional<std::uint64_t>& column) {
    const EntryIndex entry = sketch.keys.entry(index);
    index = entry.index;
    column = entry.column;
  };
  if (question.draw) {
    answer.draws = draw_from(sketch, *question.draw);
    for (Draw& draw : answer.draws.draws) place(draw.index, draw.column);
    if (answer.draws.next) place(answer.draws.next->index, answer.draws.next->column);
    answer.draws_norm_bound = norm_of(estimate_f2(sketch.y)).bound;
  }
  if (question.norm) answer.norm = norm_of(estimate_f2(sketch.y));
  if (question.top > 0) {
    answer.top = heavy_coordinates(sketch.y, question.top);
    for (HeavyCoordinate& heavy : *answer.top) place(heavy.index, heavy.column);
  }
  std::vector<std::uint64_t> keys;
  for (const EntryIndex& entry : question.points) keys.push_back(sketch.keys.key(entry));
  const std::vector<Estimate> estimates = estimate_entries(sketch.y, keys);
  for (std::size_t k = 0; k < keys.size(); ++k)
    answer.points.push_back({question.points[k].index, estimates[k], question.points[k].column});
  if (!question.moments.empty()) answer.moments = moments_of(sketch, question.moments);
  if (question.inner != nullptr) {
    const std::optional<VectorSketch> other = question.inner->kept().sketch_of_y();
    if (!other)
      throw UsageError(
          fmt::format("no inner product of a sketch of y with a state of {}", question.inner->kept().holds()));
    answer.inner = sketch.y.inner_product(*other);
  }
  return answer;
}

Answer answer_on_first(Parties& parties, const std::function<Answer()>& answer) {
  Answer result;
  parties.work_out([&] { result = answer(); });
  return parties.is_first() ? std::move(result) : Answer();
}

void require_draws_only(const Question& question, std::string_view holds) {
  if (question.top > 0 || !question.points.empty() || !question.moments.empty() || question.inner != nullptr)
    throw UsageError(fmt::format("a state of {} answers draws and the norm only", holds));
}

}  // namespace weir
