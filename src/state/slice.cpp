#include "weir/state/slice.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <vector>

namespace weir {
namespace {

/// Numbers alone. What they mean is known by the state that they are of.
class SliceState : public KeptAs<SliceState> {
 public:
  explicit SliceState(std::string_view holds) : holds_(holds) {}

  void append(std::span<const double> numbers) { arrays_.emplace_back(numbers.begin(), numbers.end()); }

  [[nodiscard]] std::string_view holds() const override { return holds_; }
  [[nodiscard]] std::vector<Numbers> arrays() override { return {arrays_.begin(), arrays_.end()}; }
  void add(const EventBatch&) override { throw std::logic_error("a slice of a state takes no events"); }
  [[nodiscard]] Answer answer(const Question&, Parties&) const override {
    throw std::logic_error("a slice of a state answers no question");
  }

 private:
  std::string holds_;
  std::vector<std::vector<double>> arrays_;
};

bool is_shared_out(const ArrayLayout& layout) { return layout.gathering == Gathering::on_first; }

/// The party's share of an array that is there as a whole.
std::span<double> own_share(const StateArray& array, Party party) {
  ArrayLayout layout = *array.layout;
  layout.gathering = Gathering::in_slices;
  const ArrayShare share = share_of(layout, party);
  return array.numbers.doubles().subspan(static_cast<std::size_t>(share.first), static_cast<std::size_t>(share.count));
}

}  // namespace

std::string describe_slice_problem(const State& state) {
  if (state.kept().other_part().empty() &&
      std::ranges::none_of(state.layout(), [](const ArrayLayout& layout) { return layout.is_single; }))
    return {};
  return fmt::format("a state of {} is merged on one party", state.kept().holds());
}

State slice_of(const State& state, Party party) {
  std::vector<ArrayLayout> layout = state.layout();
  auto kept = std::make_unique<SliceState>(state.kept().holds());
  const std::vector<StateArray> arrays = state.arrays();
  for (std::size_t k = 0; k < arrays.size(); ++k) {
    kept->append(is_shared_out(layout[k]) ? own_share(arrays[k], party) : arrays[k].numbers.doubles());
    if (is_shared_out(layout[k])) layout[k].gathering = Gathering::in_slices;
  }
  State slice(state.problem(), std::move(layout), std::move(kept), party);
  slice.updates = state.updates;
  slice.ranks = state.ranks;
  slice.names = state.names;
  return slice;
}

void put_slice(const State& slice, State& state) {
  const std::vector<StateArray> from = slice.arrays(), to = state.arrays();
  for (std::size_t k = 0; k < to.size(); ++k) {
    const bool is_share = is_shared_out(*to[k].layout);
    if (is_share) std::ranges::fill(to[k].numbers.doubles(), 0.0);
    std::ranges::copy(from[k].numbers.doubles(),
                      (is_share ? own_share(to[k], slice.party()) : to[k].numbers.doubles()).begin());
  }
  state.names = slice.names;
}

void keep_slice(State& state, Party party) {
  for (const StateArray& array : state.arrays()) {
    if (!is_shared_out(*array.layout)) continue;
    const std::span<double> all = array.numbers.doubles(), own = own_share(array, party);
    const auto before = static_cast<std::size_t>(own.data() - all.data());
    std::ranges::fill(all.first(before), 0.0);
    std::ranges::fill(all.subspan(before + own.size()), 0.0);
  }
}

}  // namespace weir
