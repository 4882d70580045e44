#include "weir/engine/streamed_factor_job.hpp"

#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <utility>

#include "weir/engine/job.hpp"
#include "weir/engine/memory.hpp"
#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/sample/range.hpp"
#include "weir/share.hpp"

namespace weir::engine {
namespace {

using Clock = std::chrono::steady_clock;

/// Adds the changes of one factor (of `operand`) to its CountSketches.
void add_to_tensor(const EventBatch& batch, Operand operand, TensorSketch& tensor) {
  const std::size_t q = operand == Operand::A1 ? 0 : 1;
  if (batch.size() > 0) tensor.update(q, batch.i, batch.j, batch.delta);
  if (!batch.rows.empty()) tensor.update_rows(q, batch.rows.i, batch.rows.weights, batch.rows.values);
}

}  // namespace

FactorJobResult run_streamed_factor_job(const mpi::Communicator& communicator, const KroneckerShape& shape,
                                        Operand streamed, const DenseMatrix& core, const SketchConfig& config,
                                        std::uint64_t tensor_buckets, const FactorSource& source,
                                        std::optional<VectorSketch> start) {
  config.validate();
  const Party party{static_cast<std::uint32_t>(communicator.local_rank()),
                    static_cast<std::uint32_t>(communicator.local_size())};
  const bool continues = communicator.broadcast(start ? 1 : 0) != 0;
  const TensorSketchConfig tensor_config{.dimensions = {shape.n1, shape.n2},
                                         .rows = config.rows,
                                         .buckets = tensor_buckets,
                                         .sparsity = 1,
                                         .randomness = config.randomness,
                                         .independence = config.independence,
                                         .seed = config.seed};
  // The operands by slices, with the fixed factor there twice while it is multiplied; then the sketches.
  const std::uint64_t per_rank = [&](std::uint64_t rows, std::uint64_t columns) {
    return doubles_in_bytes(rows / party.count + 1, columns);
  }(shape.n1 + shape.n2, shape.d1 + shape.d2);
  const std::uint64_t tensor = doubles_in_bytes(config.rows * tensor_buckets, shape.d1 + shape.d2);
  const std::uint64_t table = doubles_in_bytes(config.table_size());
  require_memory(communicator, add_saturated(per_rank, add_saturated(tensor, table)), table,
                 fmt::format("the slices of the operands, n1 = {}, n2 = {}, d1 = {}, d2 = {}, and the sketches",
                             shape.n1, shape.n2, shape.d1, shape.d2));

  std::optional<StreamedFactorModel> model;
  std::optional<VectorSketch> y;
  std::optional<TensorSketch> operands;
  together(communicator, [&](mpi::FailureSignal&) {
    model.emplace(shape, streamed, core, party);
    if (start) {
      y = std::move(start);
    } else {
      y.emplace(config);
    }
    if (!continues) {
      operands.emplace(tensor_config, std::array{shape.d1, shape.d2});
      if (communicator.local_is_root()) operands->core = core.values;
    }
  });

  // Every rank sees all batches; for the sketches of the operands, which are summed, each takes its share of them.
  std::uint64_t batches = 0;
  const auto add_share_to_tensor = [&](const EventBatch& batch, Operand operand) {
    if (operands && batches++ % party.count == party.number) add_to_tensor(batch, operand, *operands);
  };
  ingest(
      communicator, {.paths = {source.fixed_factor}}, {model->fixed_shape()}, model->fixed(),
      [&](const EventBatch& batch) {
        model->add_fixed(batch);
        add_share_to_tensor(batch, model->fixed());
      },
      Delivery::every_rank);
  together(communicator, [&](mpi::FailureSignal&) { model->multiply(); });

  FactorJobResult result{.y = VectorSketch({.dimension = 1, .buckets = 2, .lanes = 1}),
                         .tensor_f2 = std::nullopt,
                         .model = std::move(*model),
                         .ingest = {},
                         .merge_seconds = 0};
  result.ingest = ingest(
      communicator, source.stream, {result.model.streamed_shape()}, streamed,
      [&](const EventBatch& batch) {
        result.model.add_events(batch, *y);
        add_share_to_tensor(batch, streamed);
      },
      Delivery::every_rank);

  const auto merge_start = Clock::now();
  communicator.require_equal(y->config().fingerprint(), "the configuration of the sketch");
  communicator.reduce_sum(y->table());
  result.y = std::move(*y);
  if (operands)
    for (auto& factor : operands->factors)
      for (MatrixSketch& block : factor) communicator.reduce_sum(block.table());
  together(communicator, [&](mpi::FailureSignal&) {
    if (!communicator.local_is_root()) return;
    require_range(result.y);
    if (operands) result.tensor_f2 = operands->image().f2();
  });
  result.merge_seconds = communicator.all_max(std::chrono::duration<double>(Clock::now() - merge_start).count());
  return result;
}

ExactMatrixEntries exact_entries(const mpi::Communicator& communicator, const StreamedFactorModel& model,
                                 std::vector<std::uint64_t> keys) {
  communicator.broadcast(keys);
  const std::uint64_t columns = model.fixed_shape().rows;
  std::vector<std::uint64_t> rows;
  for (std::uint64_t& key : keys) {
    rows.push_back(key / columns);
    key %= columns;
  }
  ExactMatrixEntries exact;
  std::vector<double> row_values;
  DenseMatrix metric;
  together(communicator, [&](mpi::FailureSignal&) {
    row_values = model.rows_of_streamed(rows);
    metric = model.metric_part();
  });
  communicator.all_sum(row_values);
  communicator.all_sum(metric.values);
  together(communicator, [&](mpi::FailureSignal&) {
    exact.values = model.entries(row_values, keys);
    exact.norm = model.mass_part(metric);
  });
  communicator.reduce_sum(exact.values);
  communicator.reduce_sum({&exact.norm, 1});
  exact.norm = std::sqrt(std::max(0.0, exact.norm));
  return exact;
}

}  // namespace weir::engine
