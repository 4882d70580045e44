#include "attention/anisotropic_rows.hpp"

#include <algorithm>
#include <cstring>

namespace weir {

void AnisotropicRows::add(const Rank& rank, std::span<const float> row, std::int64_t weight) {
  // Rows of equal rank follow each other in the order in which they came; those with other numbers are other rows.
  auto place = std::lower_bound(entries_.begin(), entries_.end(), rank,
                                [](const Entry& entry, const Rank& wanted) { return entry.rank > wanted; });
  for (; place != entries_.end() && place->rank == rank; ++place) {
    if (std::memcmp(storage_.data() + place->slot * numbers_, row.data(), numbers_ * sizeof(float)) != 0) continue;
    place->weight += weight;
    if (place->weight == 0) {
      free_.push_back(place->slot);
      entries_.erase(place);
    }
    return;
  }
  std::size_t slot = storage_.size() / numbers_;
  if (free_.empty()) {
    storage_.resize(storage_.size() + numbers_);
  } else {
    slot = free_.back();
    free_.pop_back();
  }
  std::copy(row.begin(), row.end(), storage_.begin() + static_cast<std::ptrdiff_t>(slot * numbers_));
  entries_.insert(place, Entry{rank, weight, slot});
  if (entries_.size() > capacity_) raise_floor(entries_.back().rank);
}

bool AnisotropicRows::drop_next(std::span<float> dropped, std::int64_t& weight) {
  if (entries_.empty() || !floor_ || entries_.back().rank > *floor_) return false;
  const Entry& last = entries_.back();
  const std::span<const float> numbers = row(last);
  std::copy(numbers.begin(), numbers.end(), dropped.begin());
  weight = last.weight;
  free_.push_back(last.slot);
  entries_.pop_back();
  return true;
}

void AnisotropicRows::clear() {
  entries_.clear();
  storage_.clear();
  free_.clear();
  floor_.reset();
}

std::vector<std::uint64_t> AnisotropicRows::tokens() const {
  std::vector<std::uint64_t> tokens;
  for (const Entry& entry : entries_) tokens.push_back(entry.rank.token);
  std::sort(tokens.begin(), tokens.end());
  return tokens;
}

}  // namespace weir
