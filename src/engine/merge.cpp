#include "engine/merge.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "weir/engine/memory.hpp"
#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/setting/setting.hpp"
#include "weir/state/slice.hpp"

namespace weir::engine {
namespace {

std::uint64_t bytes_of(const Problem& problem, Party party) {
  const Setting& setting = setting_of(problem);
  return add_saturated(doubles_in_bytes(doubles_of(setting.layout(problem), party)),
                       doubles_in_bytes(setting.doubles_besides_arrays(problem, party)));
}

}  // namespace

Party party_of(const mpi::Communicator& communicator) {
  return {static_cast<std::uint32_t>(communicator.local_rank()), static_cast<std::uint32_t>(communicator.local_size())};
}

void require_room(const mpi::Communicator& communicator, const Problem& problem, const std::optional<Problem>& exact,
                  StateCopies copies) {
  // A rank's share of rows is rounded up on some; that of the last is never the smaller one.
  const Party last{party_of(communicator).count - 1, party_of(communicator).count};
  const Problem& larger = exact ? *exact : problem;
  std::uint64_t bytes = 0, answering = 0;
  std::string what;
  together(communicator, [&](mpi::FailureSignal&) {
    bytes = bytes_of(problem, last);
    if (exact) bytes = add_saturated(bytes, bytes_of(*exact, last));
    answering = doubles_in_bytes(setting_of(problem).doubles_to_answer(problem));
    const std::uint64_t one = bytes;
    const auto ranks = static_cast<std::uint64_t>(communicator.local_size());
    bytes = multiply_saturated(one, copies.everywhere);
    bytes = add_saturated(bytes, multiply_saturated(one / ranks + 1, copies.slices));
    if (copies.all_answer) bytes = add_saturated(bytes, std::exchange(answering, 0));
    answering = add_saturated(answering, multiply_saturated(one, copies.more_on_root));
    what = setting_of(larger).describe_memory(larger);
    if (const std::uint64_t times = copies.everywhere + copies.more_on_root + copies.slices; times > 1)
      what = fmt::format("{} {} times, as epochs, windows and checkpoints need it,", what, times);
  });
  require_memory(communicator, bytes, answering, what);
}

namespace {

void sum_by_share(const mpi::Communicator& communicator, const StateArray& array) {
  const std::span<double> numbers = array.numbers.doubles();
  const std::span<double> own = communicator.reduce_scatter_sum(numbers, array.layout->row_length);
  const auto first = static_cast<std::size_t>(own.data() - numbers.data());
  std::ranges::fill(numbers.first(first), 0.0);
  std::ranges::fill(numbers.subspan(first + own.size()), 0.0);
}

/// What is no sum goes to the root.
void merge_other_parts(const mpi::Communicator& communicator, State& state) {
  const std::vector<std::vector<std::byte>> others = communicator.gather(state.other_part());
  together(communicator, [&](mpi::FailureSignal&) {
    for (std::size_t r = 1; r < others.size(); ++r) state.merge_other_part(others[r], 1);
    if (!communicator.local_is_root()) state.clear_other_part();
  });
}

}  // namespace

void merge(const mpi::Communicator& communicator, State& state) {
  communicator.require_equal(fingerprint_of(state.problem()), "the problem that is measured");
  const bool root = communicator.local_is_root();
  for (const StateArray& array : state.arrays()) {
    switch (array.layout->gathering) {
      case Gathering::on_first:
        array.numbers.visit([&](auto numbers) { communicator.reduce_sum(numbers); });
        if (!root) std::ranges::fill(array.numbers.bytes(), std::byte{0});
        break;
      case Gathering::by_share:
        sum_by_share(communicator, array);
        break;
      case Gathering::in_slices:
      case Gathering::everywhere:
        break;
    }
  }
  merge_other_parts(communicator, state);
}

void merge_slices(const mpi::Communicator& communicator, State& state) {
  communicator.require_equal(fingerprint_of(state.problem()), "the problem that is measured");
  together(communicator, [&](mpi::FailureSignal&) {
    if (const std::string reason = describe_slice_problem(state); !reason.empty())
      throw InputError(reason + ": expected --merge root");
  });
  for (const StateArray& array : state.arrays())
    if (array.layout->gathering == Gathering::on_first || array.layout->gathering == Gathering::by_share)
      sum_by_share(communicator, array);
  // Names: a state with another part that is no sum has been refused.
  merge_other_parts(communicator, state);
}

void share_slices(const mpi::Communicator& communicator, State& state) {
  for (const StateArray& array : state.arrays())
    if (array.layout->gathering == Gathering::on_first)
      communicator.all_gather_shares(array.numbers.doubles(), array.layout->row_length);
}

}  // namespace weir::engine
