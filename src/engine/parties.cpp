#include "engine/parties.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "engine/shared_work.hpp"
#include "weir/engine/memory.hpp"
#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/setting/setting.hpp"
#include "weir/share.hpp"

namespace weir::engine {

void RankParties::together(const std::function<void()>& work) {
  engine::together(*communicator_, [&](mpi::FailureSignal&) { work(); });
}

void RankParties::work_out(const std::function<void()>& work) {
  if (all_hold_all_) return share_work(*communicator_, work);
  together([&] {
    if (is_first()) work();
  });
}

Parties::Share RankParties::sum_by_share(std::span<double> values) {
  const std::span<double> own = communicator_->reduce_scatter_sum(values);
  const Party party = this->party();
  return {share(values.size(), party.number, party.count), own};
}

std::vector<PlacedValue> RankParties::largest_of_each(std::span<const double> values,
                                                      std::span<const std::uint64_t> indices) {
  std::vector<PlacedValue> placed;
  for (const mpi::Located& located : communicator_->all_max_location(values, indices))
    placed.push_back({located.value, static_cast<std::uint32_t>(located.rank), located.index});
  return placed;
}

bool RankParties::has_rows_once(Operand operand) const {
  const auto file = files_.find(operand);
  bool rows = false;
  engine::together(*communicator_, [&](mpi::FailureSignal&) {
    if (communicator_->local_is_root() && file != files_.end())
      rows = content_format(file->second) == StreamFormat::npy;
  });
  return communicator_->broadcast(rows);
}

void RankParties::require_memory(std::uint64_t doubles, const std::string& what) {
  engine::require_memory(*communicator_, doubles_in_bytes(doubles), 0, what);
}

void RankParties::read_again(Operand operand, const std::function<void(const EventBatch&)>& consume) {
  const auto file = files_.find(operand);
  if (file == files_.end())
    throw UsageError(fmt::format("there is no file of {} to be read again", to_string(operand)));
  const std::vector<OperandShape> shapes = shapes_of(*problem_, {problem_->role(operand)});
  const auto shape = std::ranges::find(shapes, operand, &OperandShape::operand);
  ingest(*communicator_, {.paths = {file->second}, .edges = edges_, .resolution = problem_->resolution}, {*shape},
         operand, consume);
}

}  // namespace weir::engine
