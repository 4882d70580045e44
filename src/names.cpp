#include "weir/names.hpp"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <iterator>
#include <limits>
#include <utility>

#include "weir/error.hpp"

namespace weir {

namespace {

/// Whether `a` stays rather than `b`, another index.
bool is_heavier(const KeyName& a, const KeyName& b) noexcept {
  return a.priority != b.priority ? a.priority > b.priority : a.index < b.index;
}

template <class Value>
void put(std::vector<std::byte>& bytes, const Value& value) {
  bytes.resize(bytes.size() + sizeof value);
  std::memcpy(bytes.data() + bytes.size() - sizeof value, &value, sizeof value);
}

template <class Value>
Value take(std::span<const std::byte>& bytes) {
  if (bytes.size() < sizeof(Value)) throw InputError("a table of names ends too early");
  Value value;
  std::memcpy(&value, bytes.data(), sizeof value);
  bytes = bytes.subspan(sizeof value);
  return value;
}

}  // namespace

const std::string* NameTable::find(std::uint64_t index) const noexcept {
  const auto found = std::ranges::lower_bound(entries_, index, {}, &KeyName::index);
  return found != entries_.end() && found->index == index ? &found->name : nullptr;
}

void NameTable::merge(std::vector<KeyName> added) {
  if (added.empty()) return;
  // Of two names of one index, which collide or are one, the heavier stays; of equal ones the first in the alphabet.
  const auto before = [](const KeyName& a, const KeyName& b) {
    if (a.index != b.index) return a.index < b.index;
    return a.priority != b.priority ? a.priority > b.priority : a.name < b.name;
  };
  std::ranges::sort(added, before);
  std::vector<KeyName> all;
  all.reserve(entries_.size() + added.size());
  std::merge(std::make_move_iterator(entries_.begin()), std::make_move_iterator(entries_.end()),
             std::make_move_iterator(added.begin()), std::make_move_iterator(added.end()), std::back_inserter(all),
             before);
  const auto same = std::ranges::unique(all, {}, &KeyName::index);
  all.erase(same.begin(), same.end());
  if (all.size() > capacity_) {
    std::ranges::nth_element(all, all.begin() + static_cast<std::ptrdiff_t>(capacity_), is_heavier);
    all.resize(capacity_);
    std::ranges::sort(all, {}, &KeyName::index);
  }
  entries_ = std::move(all);
}

void NameTable::merge(const NameTable& other) {
  if (other.empty()) return;
  capacity_ = std::max(capacity_, other.capacity_);
  merge(other.entries_);
}

// capacity, number of names; then of each name the index, the priority, the length and the bytes; little-endian.
std::vector<std::byte> NameTable::to_bytes() const {
  std::vector<std::byte> bytes;
  if (entries_.empty()) return bytes;
  put(bytes, std::uint64_t{capacity_});
  put(bytes, std::uint64_t{entries_.size()});
  for (const KeyName& entry : entries_) {
    put(bytes, entry.index);
    put(bytes, entry.priority);
    put(bytes, static_cast<std::uint32_t>(entry.name.size()));
    const auto* const first = reinterpret_cast<const std::byte*>(entry.name.data());
    bytes.insert(bytes.end(), first, first + entry.name.size());
  }
  return bytes;
}

NameTable NameTable::of_bytes(std::span<const std::byte> bytes) {
  NameTable table;
  if (bytes.empty()) return table;
  const auto capacity = take<std::uint64_t>(bytes), count = take<std::uint64_t>(bytes);
  if (capacity == 0 || capacity > most_names)
    throw InputError(fmt::format("a table of {} names: expected 1 to {}", capacity, most_names));
  constexpr std::size_t shortest = sizeof(std::uint64_t) + sizeof(float) + sizeof(std::uint32_t);
  if (count > capacity || count > bytes.size() / shortest)
    throw InputError(fmt::format("{} names do not fit into a table of {} in {} bytes", count, capacity, bytes.size()));
  table.capacity_ = static_cast<std::size_t>(capacity);
  table.entries_.reserve(static_cast<std::size_t>(count));
  for (std::uint64_t k = 0; k < count; ++k) {
    KeyName entry;
    entry.index = take<std::uint64_t>(bytes);
    entry.priority = take<float>(bytes);
    const auto length = take<std::uint32_t>(bytes);
    if (length > longest_name || length > bytes.size())
      throw InputError(fmt::format("name {} of a table has {} bytes, of which {} are there; expected at most {}", k,
                                   length, bytes.size(), longest_name));
    if (!(entry.priority >= 0) || (k > 0 && entry.index <= table.entries_.back().index))
      throw InputError(fmt::format("name {} of a table is out of order", k));
    entry.name.assign(reinterpret_cast<const char*>(bytes.data()), length);
    bytes = bytes.subspan(length);
    table.entries_.push_back(std::move(entry));
  }
  if (!bytes.empty()) throw InputError(fmt::format("{} bytes follow a table of names", bytes.size()));
  return table;
}

NameSink::NameSink(std::size_t capacity) : capacity_(capacity), is_list_(false) {
  if (capacity == 0 || capacity > most_names)
    throw UsageError(fmt::format("{} names: expected 1 to {}", capacity, most_names));
  // One entry in four is taken when the table is full.
  seen_ = std::vector<Seen>(std::bit_ceil(capacity));
  kept_.reserve(2 * capacity);
}

NameSink::NameSink(std::vector<std::uint64_t> wanted) : capacity_(wanted.size()), is_list_(true) {
  const std::size_t size = std::bit_ceil(std::max<std::size_t>(wanted.size(), 16));
  seen_ = std::vector<Seen>(size);
  wanted_.assign(size, 0);
  for (const std::uint64_t index : wanted) {
    kept_.try_emplace(index);
    const std::uint64_t hash = hash_of(index);
    wanted_[(hash >> 6U) & (size - 1)] |= std::uint64_t{1} << (hash & 63U);
  }
}

void NameSink::note_seen(std::uint64_t hash, float priority) noexcept {
  const std::uint64_t value = (hash >> 32U << 32U) | std::bit_cast<std::uint32_t>(priority);
  auto& entries = seen_[hash & (seen_.size() - 1)].entries;
  std::atomic<std::uint64_t>* place = &entries[0];
  float lowest = std::numeric_limits<float>::infinity();
  for (std::atomic<std::uint64_t>& entry : entries) {
    const std::uint64_t old = entry.load(std::memory_order_relaxed);
    if (old >> 32U == hash >> 32U) {
      place = &entry;
      break;
    }
    const float of_old = std::bit_cast<float>(static_cast<std::uint32_t>(old));
    if (of_old < lowest) {
      lowest = of_old;
      place = &entry;
    }
  }
  place->store(value, std::memory_order_relaxed);
}

std::uint64_t NameSink::source_number(std::string_view name) noexcept {
  if (!name.empty()) return XXH3_64bits(name.data(), name.size());
  return detail::mixed(~sources_.fetch_add(1, std::memory_order_relaxed));
}

void NameSink::add(std::vector<KeyName>& names) {
  if (names.empty()) return;
  const std::lock_guard lock(mutex_);
  for (KeyName& added : names) {
    if (added.name.size() > longest_name) added.name.resize(longest_name);
    if (is_list_) {
      const auto wanted = kept_.find(added.index);
      if (wanted == kept_.end()) continue;  // its bit is that of another index
      note_seen(hash_of(added.index), added.priority);
      if (wanted->second.priority > 0) continue;
      wanted->second = {.priority = added.priority, .is_new = true, .name = std::move(added.name)};
      continue;
    }
    Kept& kept = kept_[added.index];
    if (added.priority > kept.priority)
      kept = {.priority = added.priority, .is_new = true, .name = std::move(added.name)};
    note_seen(hash_of(added.index), kept.priority);
  }
  names.clear();
  if (!is_list_ && kept_.size() >= 2 * capacity_) prune();
}

/// Drops all but the heaviest, which costs O(1) for each name that was added since the last time.
void NameSink::prune() {
  std::vector<float> priorities;
  priorities.reserve(kept_.size());
  for (const auto& [index, kept] : kept_) priorities.push_back(kept.priority);
  std::ranges::nth_element(priorities, priorities.begin() + static_cast<std::ptrdiff_t>(capacity_) - 1,
                           std::greater<>());
  const float least = priorities[capacity_ - 1];
  std::erase_if(kept_, [&](const auto& entry) { return entry.second.priority < least; });
  threshold_.store(std::nextafter(least, 0.0F), std::memory_order_relaxed);
}

std::vector<KeyName> NameSink::take() {
  const std::lock_guard lock(mutex_);
  std::vector<KeyName> taken;
  for (auto& [index, kept] : kept_)
    if (std::exchange(kept.is_new, false)) taken.push_back({index, kept.priority, kept.name});
  return taken;
}

}  // namespace weir
