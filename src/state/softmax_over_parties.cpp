#include "weir/state/softmax_over_parties.hpp"

#include <cmath>
#include <cstddef>
#include <cstring>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "weir/error.hpp"

namespace weir {
namespace {

UnitSum sum_over(Parties& parties, const UnitSum& sum) {
  // In halves, so that the fractions of 2^34 parties have a sum.
  constexpr unsigned half = 30;
  constexpr std::uint64_t mask = (std::uint64_t{1} << half) - 1;
  const std::uint64_t low = parties.sum_everywhere(sum.fraction & mask);
  const std::uint64_t high = parties.sum_everywhere(sum.fraction >> half) + (low >> half);
  return {parties.sum_everywhere(sum.whole) + (high >> half), (high & mask) << half | (low & mask)};
}

/// Independent draws: on the first party the largest of each.
std::vector<Perturbed> largest_of_each_draw(Parties& parties, const std::vector<Perturbed>& local) {
  std::vector<double> perturbed;
  std::vector<std::uint64_t> indices;
  for (const Perturbed& own : local) {
    perturbed.push_back(own.perturbed);
    indices.push_back(own.index);
  }
  const std::vector<PlacedValue> winners = parties.largest_of_each(perturbed, indices);
  const std::size_t draws = winners.size();
  std::vector<double> numbers(2 * draws);  // values, then scores: those of the winner, plus zeros
  for (std::size_t s = 0; s < draws; ++s) {
    if (winners[s].party != parties.party().number) continue;
    numbers[s] = local[s].value;
    numbers[draws + s] = local[s].score;
  }
  parties.sum_on_first(numbers);
  std::vector<Perturbed> result;
  for (std::size_t s = 0; s < draws; ++s)
    result.push_back({winners[s].value, winners[s].index, numbers[s], numbers[draws + s]});
  return result;
}

/// Draws without replacement: the lists of all parties, merged on the first.
void merge_on_first(Parties& parties, SoftmaxPart& part, const SoftmaxOptions& options) {
  static_assert(std::is_trivially_copyable_v<Perturbed>);
  const std::vector<std::vector<std::byte>> lists = parties.gather(std::as_bytes(std::span(part.largest)));
  for (std::size_t r = 1; r < lists.size(); ++r) {
    SoftmaxPart other;
    other.largest.resize(lists[r].size() / sizeof(Perturbed));
    if (!lists[r].empty()) std::memcpy(other.largest.data(), lists[r].data(), lists[r].size());
    part.merge(other, options);
  }
}

}  // namespace

SampleResult softmax_over_parties(Parties& parties, std::uint64_t first, std::span<const double> slice,
                                  const SoftmaxOptions& options) {
  SoftmaxRange range;
  parties.together([&] { range = softmax_range(first, slice, options); });
  const SoftmaxSweep sweep = [&](const auto& take) { parties.together([&] { take({first, slice}); }); };
  return softmax_over_parties(parties, range, sweep, options);
}

SampleResult softmax_over_parties(Parties& parties, const SoftmaxRange& local, const SoftmaxSweep& sweep,
                                  const SoftmaxOptions& options) {
  const SoftmaxRange range{parties.largest(local.maximum), parties.largest(local.magnitude)};
  if (std::isinf(range.maximum)) throw UsageError("the softmax of no coordinates: expected at least 1");

  std::optional<SoftmaxScan> scan;
  parties.together([&] { scan.emplace(range, options); });
  sweep([&](const SoftmaxStretch& stretch) { scan->add(stretch); });
  SoftmaxPart part = std::move(*scan).part();
  if (options.without_replacement) {
    merge_on_first(parties, part, options);
  } else {
    part.largest = largest_of_each_draw(parties, part.largest);
  }
  part.exponentials = sum_over(parties, part.exponentials);
  part.squares = sum_over(parties, part.squares);
  SampleResult result;
  parties.together([&] {
    if (parties.is_first()) result = softmax_draws(part, range, options);
  });
  return result;
}

}  // namespace weir
