#include "weir/setting/selection.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "weir/error.hpp"

namespace weir {

Problem exact_problem(const Problem& problem, Keeps keeps) {
  Problem exact = problem;
  exact.keeps = keeps;
  exact.precision.reset();
  const Setting& setting = setting_of(problem);
  if (!setting.traits().exact_draws) throw UsageError(fmt::format("{} has no exact states", setting.label()));
  setting.size(exact, {.p = problem.exponent(), .seed = problem.sketch.seed});
  return exact;
}

void RowSelection::Rows::close() {
  std::ranges::sort(numbers);
  numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
  for (const std::uint64_t row : numbers) may_contain[row / 64 % 64] |= std::uint64_t{1} << row % 64;
}

std::uint64_t RowSelection::Rows::place_of(std::uint64_t row) const {
  if ((may_contain[row / 64 % 64] >> row % 64 & 1U) == 0) return numbers.size();
  const auto found = std::ranges::lower_bound(numbers, row);
  return found != numbers.end() && *found == row ? static_cast<std::uint64_t>(found - numbers.begin()) : numbers.size();
}

RowSelection::RowSelection(const Problem& problem, const std::vector<EntryIndex>& entries) : problem_(problem) {
  const Setting& setting = setting_of(problem);
  const std::vector<std::string>& names = setting.traits().sides_of_y;
  const std::vector<std::uint64_t> shape = setting.shape_of_y(problem);
  if (names.empty() || names.size() > 2 || entries.empty())
    throw UsageError(fmt::format("no entries of y can be selected in {}", setting.label()));
  sides_.resize(names.size());
  side_of_.fill(no_side);
  for (const EntryIndex& entry : entries) {
    if (entry.column.has_value() != (names.size() == 2) || entry.index >= shape[0] ||
        (entry.column && *entry.column >= shape[1]))
      throw UsageError(fmt::format("entry {} of y is outside of it", entry.index));
    sides_[0].numbers.push_back(entry.index);
    if (entry.column) sides_[1].numbers.push_back(*entry.column);
  }
  for (std::size_t k = 0; k < names.size(); ++k) {
    sides_[k].close();
    problem_.sides[names[k]] = sides_[k].numbers.size();
    for (const OperandUse& use : setting.traits().operands) {
      if (use.rows != names[k]) continue;
      side_of_[static_cast<std::size_t>(use.operand)] = static_cast<std::uint8_t>(k);
      problem_.roles[use.operand] = Role::streams;
    }
  }
  problem_ = exact_problem(problem_, Keeps::exact);
}

EntryIndex RowSelection::place_of(const EntryIndex& entry) const {
  EntryIndex place{sides_[0].place_of(entry.index)};
  if (entry.column) place.column = sides_[1].place_of(*entry.column);
  return place;
}

const EventBatch& RowSelection::select(const EventBatch& batch) {
  selected_.clear();
  // The new number of a row; none when it is not selected.
  const auto renumbered = [&](Operand operand, std::uint64_t row) -> std::optional<std::uint64_t> {
    const std::uint8_t side = side_of_[static_cast<std::size_t>(operand)];
    if (side == no_side) return row;
    const std::uint64_t place = sides_[side].place_of(row);
    return place < sides_[side].numbers.size() ? std::optional(place) : std::nullopt;
  };
  for (std::size_t t = 0; t < batch.size(); ++t)
    if (const auto row = renumbered(batch.operands[t], batch.i[t]))
      selected_.push_back({batch.operands[t], *row, batch.j[t], batch.delta[t]});
  for (std::size_t t = 0; t < batch.rows.size(); ++t)
    if (const auto row = renumbered(batch.rows.operands[t], batch.rows.i[t]))
      selected_.rows.push_back(batch.rows.operands[t], *row, batch.rows.weights[t], batch.rows.row(t));
  return selected_;
}

}  // namespace weir
