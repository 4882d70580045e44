#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace weir {

// Names of indices that are hashes of text (weir/random/key_hash.hpp). A hash does not say what it was made of, so that the
// names of the heaviest keys are kept beside a sketch, in a table of bounded size.
//
// Which they are is a sample of the keys: event t of weight w_t = |delta| has the priority w_t / E_t, where the E_t are
// independent, exponential, and a function of the place of the event in its file. The priority of a key is the largest of its
// events', which is distributed as (sum of its w_t) / E; so the C keys of the largest priorities are a sample of C keys without
// replacement, each step in proportion to the weights (E. Cohen, "Size-estimation framework", 1997; bottom-k sketches). A key
// that has a share f of all weight has its name with a probability of at least 1 - (1 - f)^C: of 20 / C, of 1 - 2e-9. The
// table is a function of the set of the events, so that neither ranks nor their order matter: merging takes the larger of two
// priorities. (Of live sources, whose events have no place, the E_t are those of their arrival.) Deletions count as weight too.

/// Bytes of a name that are kept, at most.
inline constexpr std::size_t longest_name = 1024;
/// Names in a table, unless somebody wants another number, and at most.
inline constexpr std::size_t usual_names = std::size_t{1} << 14;
inline constexpr std::size_t most_names = std::size_t{1} << 20;

/// The name of an index.
struct KeyName {
  std::uint64_t index = 0;
  float priority = 0;
  std::string name = {};  ///< At most longest_name bytes, in any encoding.

  bool operator==(const KeyName&) const = default;
};

/// Names of at most capacity() indices, those of the largest priorities: a value.
class NameTable {
 public:
  explicit NameTable(std::size_t capacity = usual_names) : capacity_(capacity) {}

  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  /// In ascending order of the indices.
  [[nodiscard]] const std::vector<KeyName>& entries() const noexcept { return entries_; }
  [[nodiscard]] bool empty() const noexcept { return entries_.empty(); }
  /// The name of an index; null where it is not known. O(log size).
  [[nodiscard]] const std::string* find(std::uint64_t index) const noexcept;
  /// Adds names, in any order, and drops those of the smallest priorities where there are too many. O(size + added log added).
  void merge(std::vector<KeyName> added);
  /// The same of another table; the capacity becomes the larger one, unless the other is empty.
  void merge(const NameTable& other);

  /// As bytes; none of an empty table.
  [[nodiscard]] std::vector<std::byte> to_bytes() const;
  /// The table that to_bytes() gave. Throws InputError for anything else. The result is not larger than the bytes, but for
  /// some 40 bytes a name.
  [[nodiscard]] static NameTable of_bytes(std::span<const std::byte> bytes);

  bool operator==(const NameTable&) const = default;

 private:
  std::size_t capacity_;
  std::vector<KeyName> entries_;
};

namespace detail {

/// The finaliser of SplitMix64.
[[nodiscard]] constexpr std::uint64_t mixed(std::uint64_t z) noexcept {
  z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
  return z ^ (z >> 31U);
}

}  // namespace detail

/// Where readers leave the names of keys, from several threads: those of the heaviest keys, or those of given indices.
class NameSink {
 public:
  /// The `capacity` heaviest, 1 to most_names. Memory: some 100 bytes a name, and as much again as names are long.
  explicit NameSink(std::size_t capacity);
  /// All of `wanted`, each once.
  explicit NameSink(std::vector<std::uint64_t> wanted);

  /// A number for the events of one source, by which their places differ from those of others: of a file a function of its
  /// name, of a source without one (empty) another one in each call.
  [[nodiscard]] std::uint64_t source_number(std::string_view name) noexcept;

  /// The priority of an event of `weight` >= 0 at `place` of a source if its name may have to be added, none otherwise, which is
  /// the usual case and costs some ns. Any thread.
  [[nodiscard]] std::optional<float> wants(std::uint64_t index, double weight, std::uint64_t source,
                                           std::uint64_t place) noexcept;
  /// Adds names that were wanted. Any thread.
  void add(std::vector<KeyName>& names);
  /// What was added since the last call, without names that others have pushed out.
  [[nodiscard]] std::vector<KeyName> take();

 private:
  /// Indices that were seen, with their priorities, so that frequent ones need not be looked up. Racing writes lose an entry,
  /// which costs time only. An entry has the upper half of the hash of the index, and the bits of a float.
  static constexpr std::size_t ways = 4;
  struct alignas(32) Seen {
    std::array<std::atomic<std::uint64_t>, ways> entries{};
  };
  [[nodiscard]] static std::uint64_t hash_of(std::uint64_t index) noexcept {
    return detail::mixed(index + 0x9E3779B97F4A7C15U);
  }
  [[nodiscard]] bool is_seen(std::uint64_t hash, float priority) const noexcept;
  void note_seen(std::uint64_t hash, float priority) noexcept;
  void prune();

  std::size_t capacity_;
  bool is_list_;  ///< Given indices are wanted.
  std::atomic<float> threshold_{0};
  std::atomic<std::uint64_t> sources_{0};
  std::vector<Seen> seen_;
  std::vector<std::uint64_t> wanted_;  ///< A bit for the hash of each given index, and for few others.
  std::mutex mutex_;
  struct Kept {
    float priority = 0;
    bool is_new = false;
    std::string name;
  };
  std::unordered_map<std::uint64_t, Kept> kept_;
};

inline bool NameSink::is_seen(std::uint64_t hash, float priority) const noexcept {
  bool seen = false;
  for (const std::atomic<std::uint64_t>& entry : seen_[hash & (seen_.size() - 1)].entries) {
    const std::uint64_t value = entry.load(std::memory_order_relaxed);
    // A false alarm, of probability 1e-9 for each key, costs a name.
    seen |= (value >> 32U) == (hash >> 32U) && std::bit_cast<float>(static_cast<std::uint32_t>(value)) >= priority;
  }
  return seen;
}

inline std::optional<float> NameSink::wants(std::uint64_t index, double weight, std::uint64_t source,
                                            std::uint64_t place) noexcept {
  float priority = std::numeric_limits<float>::infinity();
  if (!is_list_) {
    const float threshold = threshold_.load(std::memory_order_relaxed);
    // Uniform in (0, 1); -log(1 - u) is exponential, and at least u.
    const double u = (static_cast<double>(detail::mixed(source + place) >> 11U) + 0.5) * 0x1p-53;
    if (weight <= static_cast<double>(threshold) * u) return std::nullopt;
    priority = static_cast<float>(weight / -std::log1p(-u));
    if (priority <= threshold) return std::nullopt;
  }
  const std::uint64_t hash = hash_of(index);
  if (is_list_ && (wanted_[(hash >> 6U) & (wanted_.size() - 1)] >> (hash & 63U) & 1U) == 0) return std::nullopt;
  if (is_seen(hash, priority)) return std::nullopt;
  return priority;
}

}  // namespace weir
