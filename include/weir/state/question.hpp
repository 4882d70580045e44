#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "weir/attention/recovery.hpp"
#include "weir/dense_matrix.hpp"
#include "weir/sample/draw.hpp"
#include "weir/sample/metric.hpp"
#include "weir/sample/sampler.hpp"
#include "weir/sketch/estimate.hpp"

namespace weir {

class State;

/// Where an entry of y is: i, or (i1, i2) where y is a matrix.
struct EntryIndex {
  std::uint64_t index = 0;                   ///< i, or i1.
  std::optional<std::uint64_t> column = {};  ///< i2.

  auto operator<=>(const EntryIndex&) const = default;
};
[[nodiscard]] inline EntryIndex entry_of(const Draw& draw) { return {draw.index, draw.column}; }
[[nodiscard]] inline EntryIndex entry_of(const HeavyCoordinate& coordinate) {
  return {coordinate.index, coordinate.column};
}

/// The metric M by which --model rows draws. It may depend on the rows.
struct MetricChoice {
  /// M = (A^T A)^-1. Otherwise `given`, and without that the identity.
  bool leverage = false;
  std::optional<Metric> given = {};

  [[nodiscard]] bool is_leverage() const noexcept { return leverage && !given; }
  [[nodiscard]] Metric of(const DenseMatrix& gram) const {
    if (given) return *given;
    return leverage ? Metric::leverage(gram) : Metric::norm(gram.rows);
  }
};

/// The law exp(s) / sum exp(s) of the scores s = scale * y, which only exact states have.
struct SoftmaxChoice {
  double scale = 1;      ///< Finite.
  bool per_row = false;  ///< Each row of a matrix y is normalised by itself: (1 / n1) exp(s) / sum over the row exp(s).
};

/// Random indices by the law of the problem. Which sampler draws follows from the state: Algorithm 2 from scales of the
/// law `uniform`, exact draws from exact states.
struct DrawQuestion {
  std::uint32_t samples = 8;         ///< At most so many draws; at least 1.
  double threshold = 1;              ///< T of the acceptance test of the perfect sampler.
  bool without_replacement = false;  ///< The samples are distinct indices.
  /// The law of exponentials in place of that of the problem, for states that are shared out among the parties.
  std::optional<SoftmaxChoice> softmax = {};
  MetricChoice metric = {};  ///< Used where rows are drawn.
  /// Put exact values in the place of estimates where the operands are at hand.
  bool verify = false;
  /// Leave the estimates and show exact values beside them.
  bool show_exact = false;
};

/// The exact values of some entries, and their probabilities under the law of the problem.
struct ExactQuestion {
  std::vector<EntryIndex> entries;
  MetricChoice metric = {};
};

/// Softmax averages of values. Each party asks for its own queries and gets the answers to them.
struct AttendQuestion {
  DenseMatrix queries;       ///< One a row, without the scale of the scores.
  bool with_errors = false;  ///< An estimate of the error of each, too; see AttendAnswer::errors.
  /// Where V is sketched: less its mean, which is added back.
  bool mean_corrected = false;
  std::uint64_t first_query = 0;  ///< The number of the first one, for messages.
};
struct AttendAnswer {
  DenseMatrix outputs;          ///< queries x dv.
  std::vector<double> errors;   ///< Relative l2 error of each query, estimated; empty unless asked for and known.
  std::uint64_t fallbacks = 0;  ///< Queries at which truncation broke a lower bound of the normaliser.
};

/// What is asked of a state. Any of the parts may be there.
struct Question {
  std::optional<DrawQuestion> draw = {};
  bool norm = false;                            ///< ||y||_2; of rows ||A||_F.
  std::size_t top = 0;                          ///< How many of the largest entries are wanted.
  std::vector<EntryIndex> points = {};          ///< The values of these entries.
  std::vector<double> moments = {};             ///< sum |y_i|^q for each of these q.
  const State* inner = nullptr;                 ///< The inner product with the y of this state.
  std::optional<AttendQuestion> attend = {};    ///< For states of attention.
  std::optional<RecoveryOptions> recover = {};  ///< The largest outputs, for sketches of the outputs of attention.
  std::optional<ExactQuestion> exact = {};      ///< For exact states, and states that can verify.
};

/// The true value of an entry and, where the norm is known, its probability.
struct ExactEntry {
  double value = 0;
  std::optional<double> probability = {};
  std::vector<double> row = {};  ///< Where rows are drawn: the entries of the row.
};

struct MomentAnswer {
  double exponent = 0;  ///< q.
  Estimate estimate;    ///< Its bound is infinite where the draws support none: draw with a p nearer to q.
};

/// The answer to each part of a question that was there.
struct Answer {
  SampleResult draws;
  bool has_exact_values = false;                ///< Values of the draws are exact.
  bool verified = false;                        ///< Values and probabilities of the draws are exact.
  std::optional<Metric> metric = {};            ///< The one by which a sketch of rows has drawn.
  std::optional<double> exact_norm = {};        ///< ||y||_2 without error but rounding.
  std::optional<double> draws_norm_bound = {};  ///< Of draws.norm, as Estimate::bound.
  std::optional<Estimate> tensor_norm = {};     ///< ||y||_2 once more, from another sketch of the same operands.
  std::map<EntryIndex, ExactEntry> exact = {};
  std::optional<Estimate> norm = {};
  std::optional<std::vector<HeavyCoordinate>> top = {};
  std::vector<HeavyCoordinate> points = {};
  std::vector<MomentAnswer> moments = {};
  std::optional<Estimate> inner = {};
  std::optional<AttendAnswer> attention = {};  ///< On every party, to its own queries.
  std::optional<SparseOutputs> recovered = {};
};

/// ||y|| from ||y||^2: the bound is that of the side on which the square root moves more.
[[nodiscard]] Estimate norm_of(const Estimate& f2);

}  // namespace weir
