#include "weir/event.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>
#include <utility>

#include "weir/error.hpp"

namespace weir {
namespace {

struct Entry {
  std::array<char, longest_operand_name> name{};
  std::uint8_t length = 0;
  bool has_column = false;

  [[nodiscard]] std::string_view view() const noexcept { return {name.data(), length}; }
};

/// What is known of the operand of value v is entries[v]. Entries below `count` never change, so that they are read
/// without a lock.
struct Registry {
  std::array<Entry, most_operands> entries;
  std::atomic<std::size_t> count = 0;
  std::mutex registering;

  Registry() {
    for (const std::string_view name : {"y", "x", "A", "A1", "A2", "X"})
      append(name, has_column(static_cast<Operand>(count.load())));
  }
  void append(std::string_view name, bool has_column) noexcept {
    const std::size_t at = count.load(std::memory_order_relaxed);
    std::ranges::copy(name, entries[at].name.begin());
    entries[at].length = static_cast<std::uint8_t>(name.size());
    entries[at].has_column = has_column;
    count.store(at + 1, std::memory_order_release);
  }
};

Registry& registry() noexcept {
  static Registry instance;
  return instance;
}

constexpr std::array<Operand, most_operands> all_values = [] {
  std::array<Operand, most_operands> values{};
  for (std::size_t v = 0; v < values.size(); ++v) values[v] = static_cast<Operand>(v);
  return values;
}();

bool is_name(std::string_view name) noexcept {
  const auto is_letter = [](char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); };
  return !name.empty() && name.size() <= longest_operand_name && is_letter(name[0]) &&
         std::ranges::all_of(name, [&](char c) { return is_letter(c) || (c >= '0' && c <= '9'); });
}

/// Events first, ..., last - 1 of `batch`, entries before rows, as the contents of `part`.
void copy_events(const EventBatch& batch, std::size_t first, std::size_t last, EventBatch& part) {
  part.clear();
  const auto copy = [](const auto& from, std::size_t begin, std::size_t end, auto& to) {
    to.assign(from.begin() + static_cast<std::ptrdiff_t>(begin), from.begin() + static_cast<std::ptrdiff_t>(end));
  };
  const std::size_t begin = std::min(first, batch.size());
  const std::size_t end = std::min(last, batch.size());
  copy(batch.operands, begin, end, part.operands);
  copy(batch.i, begin, end, part.i);
  copy(batch.j, begin, end, part.j);
  copy(batch.delta, begin, end, part.delta);
  const std::size_t first_row = first - begin;
  const std::size_t last_row = last - end;
  if (first_row == last_row) return;
  copy(batch.rows.operands, first_row, last_row, part.rows.operands);
  copy(batch.rows.i, first_row, last_row, part.rows.i);
  copy(batch.rows.weights, first_row, last_row, part.rows.weights);
  copy(batch.rows.ends, first_row, last_row, part.rows.ends);
  const std::size_t offset = first_row == 0 ? 0 : batch.rows.ends[first_row - 1];
  copy(batch.rows.values, offset, batch.rows.ends[last_row - 1], part.rows.values);
  for (std::size_t& row_end : part.rows.ends) row_end -= offset;
}

std::string_view indices_of(bool has_column) noexcept { return has_column ? "two indices" : "one index"; }

}  // namespace

Operand operand_named(std::string_view name, bool has_column) {
  if (!is_name(name)) {
    throw UsageError(
        fmt::format("an operand cannot be called {:?}: expected a letter, then letters and digits, at most {} in all",
                    name.substr(0, 2 * longest_operand_name), longest_operand_name));
  }
  Registry& all = registry();
  const std::lock_guard lock(all.registering);
  if (const auto known = find_operand(name)) {
    if (weir::has_column(*known) != has_column) {
      throw UsageError(fmt::format("operand {} has {}, and cannot be used with {}", name,
                                   indices_of(weir::has_column(*known)), indices_of(has_column)));
    }
    return *known;
  }
  const std::size_t count = all.count.load(std::memory_order_relaxed);
  if (count == most_operands) {
    throw UsageError(fmt::format(
        "cannot register operand {}: there are {} operands already, the most that there can be", name, most_operands));
  }
  all.append(name, has_column);
  return static_cast<Operand>(count);
}

std::optional<Operand> find_operand(std::string_view name) noexcept {
  for (const Operand operand : known_operands()) {
    if (name == to_string(operand)) return operand;
  }
  return std::nullopt;
}

std::span<const Operand> known_operands() noexcept {
  return std::span(all_values).first(registry().count.load(std::memory_order_acquire));
}

std::string_view to_string(Operand operand) noexcept {
  const auto value = static_cast<std::size_t>(operand);
  return value < most_operands ? registry().entries[value].view() : std::string_view();
}

bool detail::registered_with_column(Operand operand) noexcept {
  const auto value = static_cast<std::size_t>(operand);
  return value < most_operands && registry().entries[value].has_column;
}

std::string to_string(OperandSet operands) {
  std::string names;
  for (const Operand operand : operands) {
    if (!names.empty()) names += ", ";
    names += to_string(operand);
  }
  return names;
}

void RowBatch::clear() noexcept {
  operands.clear();
  i.clear();
  weights.clear();
  values.clear();
  ends.clear();
}

void RowBatch::push_back(Operand operand, std::uint64_t row, double weight, std::span<const double> row_values) {
  values.insert(values.end(), row_values.begin(), row_values.end());
  close_row(operand, row, weight);
}

void RowBatch::close_row(Operand operand, std::uint64_t row, double weight) {
  operands.push_back(operand);
  i.push_back(row);
  weights.push_back(weight);
  ends.push_back(values.size());
}

void EventBatch::clear() noexcept {
  operands.clear();
  i.clear();
  j.clear();
  delta.clear();
  rows.clear();
}

void EventBatch::resize(std::size_t count) {
  operands.resize(count);
  i.resize(count);
  j.resize(count);
  delta.resize(count);
}

void EventBatch::push_back(const Event& event) {
  operands.push_back(event.operand);
  i.push_back(event.i);
  j.push_back(event.j);
  delta.push_back(event.delta);
}

void split_front(EventBatch& batch, std::size_t most, EventBatch& front) {
  if (most >= batch.events()) {
    front.clear();
    std::swap(batch, front);
    return;
  }
  copy_events(batch, 0, most, front);
  EventBatch others;
  copy_events(batch, most, batch.events(), others);
  batch = std::move(others);
}

void EventQueue::push(EventBatch batch) {
  if (batch.empty()) return;
  events_ += batch.events();
  batches_.push_back(std::move(batch));
}

bool EventQueue::take(std::size_t most, EventBatch& front) {
  front.clear();
  if (events_ == 0 || most == 0) return false;
  EventBatch& batch = batches_.front();
  const std::size_t count = std::min(most, batch.events() - taken_);
  if (count == batch.events()) {
    std::swap(front, batch);
  } else {
    copy_events(batch, taken_, taken_ + count, front);
  }
  taken_ += count;
  events_ -= count;
  if (taken_ >= batch.events()) {
    batches_.pop_front();
    taken_ = 0;
  }
  return true;
}

}  // namespace weir
