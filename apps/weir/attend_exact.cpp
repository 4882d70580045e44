#include <fmt/format.h>

#include <utility>

#include "attend.hpp"
#include "clock.hpp"
#include "options.hpp"
#include "weir/attention/exact.hpp"
#include "weir/attention/peers.hpp"
#include "weir/engine/memory.hpp"
#include "weir/engine/together.hpp"
#include "weir/error.hpp"

namespace weir::app {
namespace {

/// Exact attention over keys and values that every rank has read whole.
class ExactOverRanks {
 public:
  ExactOverRanks(const mpi::Communicator& communicator, const AttendOptions& options, const Shapes& shapes)
      : communicator_(communicator),
        scale_(scale_of(options.scale, shapes.d)),
        is_causal_(options.is_causal()),
        sliding_(options.sliding) {
    engine::require_memory(communicator, engine::doubles_in_bytes(shapes.tokens, shapes.d + shapes.dv), 0,
                           "all keys and values");
    const TokenFiles files(communicator, options, shapes);
    engine::together(communicator, [&](mpi::FailureSignal&) {
      if (options.is_causal() && files.count() != shapes.tokens)
        throw InputError(
            fmt::format("{} of {} tokens are there: causal attention needs them all", files.count(), shapes.tokens));
      LoadedRows all = files.rows(0, files.count());
      keys_ = std::move(all.keys);
      values_ = std::move(all.values);
    });
  }
  /// Collective: hands the outputs of all ranks' queries to `take`, on the root.
  void answer(DenseMatrix queries, std::uint64_t first, const std::function<void(std::span<const double>)>& take) {
    const auto start = Clock::now();
    std::vector<double> outputs;
    engine::together(communicator_, [&](mpi::FailureSignal&) {
      for (double& number : queries.values) number *= scale_;
      if (queries.rows > 0)
        outputs =
            exact_attention(queries, keys_, values_, {.causal = is_causal_, .window = sliding_, .first_query = first})
                .values;
    });
    seconds_ += seconds_since(start);
    communicator_.gather_in_order(outputs, take);
  }
  [[nodiscard]] double seconds() const { return communicator_.all_max(seconds_); }
  [[nodiscard]] const DenseMatrix& keys() const noexcept { return keys_; }
  [[nodiscard]] const DenseMatrix& values() const noexcept { return values_; }

 private:
  const mpi::Communicator& communicator_;
  double scale_;
  bool is_causal_;
  std::uint64_t sliding_;
  DenseMatrix keys_, values_;
  double seconds_ = 0;
};

}  // namespace

Comparison compare(const mpi::Communicator& communicator, const AttendOptions& options, const Shapes& shapes,
                   const DenseMatrix& outputs, const ComparisonOptions& about) {
  ExactOverRanks exact(communicator, options, shapes);
  DenseMatrix truth{shapes.queries, shapes.dv, {}};
  const Queries all_queries(communicator, options, shapes);
  all_queries.for_blocks(communicator, [&](DenseMatrix queries, std::uint64_t first) {
    exact.answer(std::move(queries), first, [&](std::span<const double> numbers) {
      truth.values.insert(truth.values.end(), numbers.begin(), numbers.end());
    });
  });
  // A query that is not there has no output.
  const auto dv = static_cast<std::size_t>(shapes.dv);
  for (std::size_t t = 0; t < truth.values.size(); ++t)
    if (!all_queries.is_there(t / dv)) truth.values[t] = 0;
  Comparison comparison;
  comparison.exact_seconds = exact.seconds();
  engine::together(communicator, [&](mpi::FailureSignal&) {
    if (!communicator.local_is_root()) return;
    comparison.errors = compare_outputs(truth, outputs);
    comparison.mean_only = mean_only_error(truth);
    if (about.sparsity > 0) comparison.best_k = best_sparse_error(truth, about.sparsity);
    DenseMatrix queries = all_queries.all();
    const double scale = scale_of(options.scale, shapes.d);
    for (double& number : queries.values) number *= scale;
    // A sliding window of the last rows is no longer what the peers were made for.
    for (const Peer peer : options.sliding > 0 ? std::span<const Peer>() : all_peers()) {
      try {
        const PeerAnswer answer =
            answer_by_peer(peer, queries, exact.keys(), exact.values(),
                           {.budget = about.budget, .causal = options.is_causal(), .seed = options.seed.value_or(0)});
        comparison.peers[std::string(to_string(peer))] = {.errors = compare_outputs(truth, answer.outputs),
                                                          .kept = answer.kept,
                                                          .bytes = answer.bytes,
                                                          .seconds_rows = answer.seconds_rows,
                                                          .seconds_queries = answer.seconds_queries};
      } catch (const UsageError&) {
        // The budget is too small for this one.
      }
    }
  });
  return comparison;
}

int attend_exactly(const mpi::Communicator& communicator, const AttendOptions& options) {
  const Shapes shapes = shapes_of_inputs(communicator, options, nullptr);
  AttendReport report{
      .mode = options.mode, .n = shapes.tokens, .queries = shapes.queries, .d = shapes.d, .dv = shapes.dv};
  report.scale = scale_of(options.scale, shapes.d);
  report.ranks = static_cast<std::uint64_t>(communicator.local_size());
  report.peak_bytes = bytes_of_process + shapes.token_bytes() + shapes.query_bytes() +
                      2 * block_of_queries * (shapes.d + shapes.dv) * sizeof(double);
  announce_memory(communicator, report);
  ExactOverRanks exact(communicator, options, shapes);
  Outputs outputs(options, shapes, options.compare);
  const Queries all_queries(communicator, options, shapes);
  engine::together(communicator, [&](mpi::FailureSignal&) { all_queries.require_all(); });
  all_queries.for_blocks(communicator, [&](DenseMatrix queries, std::uint64_t first) {
    exact.answer(std::move(queries), first, [&](std::span<const double> numbers) { outputs.add(numbers); });
  });
  report.query_seconds = exact.seconds();
  if (options.compare)
    report.comparison = compare(communicator, options, shapes, outputs.all(), {.budget = options.budget});
  if (!communicator.local_is_root()) return done;
  finish(options, outputs, report);
  return done;
}

}  // namespace weir::app
