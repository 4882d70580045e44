#include "weir/sample/softmax.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <utility>

#include "random/argument_checks.hpp"
#include "weir/error.hpp"

namespace weir {

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
/// Coordinates whose words are held at a time.
constexpr std::size_t block = 1024;

constexpr Perturbed nobody{-infinity, std::numeric_limits<std::uint64_t>::max(), 0, -infinity};

/// Larger, or as large with the smaller index.
bool before(const Perturbed& a, const Perturbed& b) noexcept {
  return a.perturbed > b.perturbed || (a.perturbed == b.perturbed && a.index < b.index);
}

/// value - reference, the largest value, kept finite.
double below(double value, double reference) noexcept {
  return std::max(value - reference, std::numeric_limits<double>::lowest());
}

double gumbel(std::uint64_t word) noexcept {
  const double v = (static_cast<double>(word) + 0.5) * 0x1p-64;
  return -std::log(-std::log1p(-std::min(v, 1 - 0x1p-53)));
}

/// A word whose noise reaches `noise` is at most this: E = -ln(1 - v) >= v, so that G >= noise needs v <= exp(-noise).
std::uint64_t largest_word_that_reaches(double noise) noexcept {
  const double v = std::exp(-noise) * (1 + 1e-9);  // with room for the rounding of gumbel()
  return v < 0.5 ? static_cast<std::uint64_t>(v * 0x1p64) : std::numeric_limits<std::uint64_t>::max();
}

WordFunction words_of_draw(std::uint64_t seed, std::uint32_t draw) {
  return WordFunction(Randomness::mix, seed, Purpose::draw, 1 + draw, 2);
}

/// A block of coordinates, with the numbers that bound what they can reach.
struct Block {
  SoftmaxStretch stretch;
  double scale = 1;
  double reference = 0;  ///< The largest score of all of y: scores count relative to it.
  double largest = 0;    ///< Of the scores of the block, relative.

  [[nodiscard]] double score(std::size_t t) const noexcept { return scale * stretch.values[t] - stretch.shift; }
  [[nodiscard]] double relative(std::size_t t) const noexcept { return below(score(t), reference); }
};

/// Calls found(candidate) for every coordinate of the block that reaches `bound()`, in the order of the indices, and
/// maybe for others. Few do, as a rule: the others cost a word and a comparison.
template <class Bound, class Found>
void for_each_candidate(const Block& part, std::span<const std::uint64_t> words, const Bound& bound,
                        const Found& found) {
  std::uint64_t limit = largest_word_that_reaches(bound() - part.largest);
  for (std::size_t t = 0; t < words.size(); ++t) {
    if (words[t] > limit) continue;
    found(
        Perturbed{part.relative(t) + gumbel(words[t]), part.stretch.first + t, part.stretch.values[t], part.score(t)});
    limit = largest_word_that_reaches(bound() - part.largest);
  }
}

/// The name of y[index] in messages.
std::string name_of(std::uint64_t index, const SoftmaxOptions& options) {
  return options.row_length == 0 ? fmt::format("y[{}]", index)
                                 : fmt::format("y[{}, {}]", index / options.row_length, index % options.row_length);
}

}  // namespace

void SoftmaxRange::merge(const SoftmaxRange& other) noexcept {
  maximum = std::max(maximum, other.maximum);
  magnitude = std::max(magnitude, other.magnitude);
}

SoftmaxRange softmax_range(std::uint64_t first, std::span<const double> values, const SoftmaxOptions& options) {
  SoftmaxRange range{-infinity, 0};
  for (std::size_t t = 0; t < values.size(); ++t) {
    const double score = options.scale * values[t];
    if (!std::isfinite(score)) {
      const std::string name = name_of(first + t, options);
      throw InputError(
          std::isfinite(values[t])
              ? fmt::format("{} is {}: times the scale {} it overflows a double", name, values[t], options.scale)
              : fmt::format("{} is {}: the softmax needs finite values", name, values[t]));
    }
    range.maximum = std::max(range.maximum, score);
    range.magnitude = std::max(range.magnitude, std::abs(values[t]));
  }
  return range;
}

namespace {

constexpr unsigned fraction_bits = 60;
constexpr std::uint64_t fraction_mask = (std::uint64_t{1} << fraction_bits) - 1;

}  // namespace

void UnitSum::add(double term) noexcept {
  // NOLINTNEXTLINE(bugprone-incorrect-roundings): terms are at least 0, and lround is a call
  fraction += static_cast<std::uint64_t>(term * 0x1p60 + 0.5);
  whole += fraction >> fraction_bits;
  fraction &= fraction_mask;
}

void UnitSum::merge(const UnitSum& other) noexcept {
  fraction += other.fraction;
  whole += other.whole + (fraction >> fraction_bits);
  fraction &= fraction_mask;
}

double UnitSum::value() const noexcept {
  // Rounded once, while the sum is below 2^23.
  return (static_cast<double>(whole) + static_cast<double>(fraction >> 30U) * 0x1p-30) +
         static_cast<double>(fraction & 0x3FFFFFFFU) * 0x1p-60;
}

void SoftmaxPart::merge(const SoftmaxPart& other, const SoftmaxOptions& options) {
  exponentials.merge(other.exponentials);
  squares.merge(other.squares);
  if (options.without_replacement) {
    std::vector<Perturbed> all(largest.size() + other.largest.size());
    std::merge(largest.begin(), largest.end(), other.largest.begin(), other.largest.end(), all.begin(), before);
    all.resize(std::min(all.size(), std::size_t{options.samples} + 1));
    largest = std::move(all);
    return;
  }
  require_equal({"SoftmaxPart::merge", "other.largest.size()", "largest.size()"}, other.largest.size(), largest.size());
  for (std::size_t s = 0; s < largest.size(); ++s) {
    if (before(other.largest[s], largest[s])) largest[s] = other.largest[s];
  }
}

SoftmaxScan::SoftmaxScan(const SoftmaxRange& range, const SoftmaxOptions& options) : range_(range), options_(options) {
  const std::uint32_t perturbations = options.without_replacement ? 1 : options.samples;
  for (std::uint32_t s = 0; s < perturbations; ++s) words_.push_back(words_of_draw(options.seed, s));
  if (!options.without_replacement) part_.largest.assign(options.samples, nobody);
}

/// Keeps the samples + 1 first of what it is offered.
void SoftmaxScan::offer(const Perturbed& candidate) {
  std::vector<Perturbed>& heap = part_.largest;
  if (heap.size() > options_.samples) {
    if (!before(candidate, heap.front())) return;
    std::pop_heap(heap.begin(), heap.end(), before);
    heap.pop_back();
  }
  heap.push_back(candidate);
  std::push_heap(heap.begin(), heap.end(), before);
}

void SoftmaxScan::add(const SoftmaxStretch& stretch) {
  std::array<std::uint64_t, block> keys;
  std::array<std::uint64_t, block> words;
  for (std::size_t done = 0; done < stretch.values.size(); done += block) {
    const std::size_t count = std::min(block, stretch.values.size() - done);
    Block here{{stretch.first + done, stretch.values.subspan(done, count), stretch.shift},
               options_.scale,
               range_.maximum,
               -infinity};
    for (std::size_t t = 0; t < count; ++t) {
      const double relative = here.relative(t);
      here.largest = std::max(here.largest, relative);
      part_.exponentials.add(std::exp(relative));
      const double ratio = range_.magnitude > 0 ? here.stretch.values[t] / range_.magnitude : 0;
      part_.squares.add(ratio * ratio);
    }
    std::iota(keys.begin(), keys.begin() + static_cast<std::ptrdiff_t>(count), here.stretch.first);
    for (std::size_t s = 0; s < words_.size(); ++s) {
      const auto used = std::span(words).first(count);
      words_[s].fill(std::span<const std::uint64_t>(keys).first(count), used);
      if (options_.without_replacement) {
        const std::vector<Perturbed>& heap = part_.largest;
        for_each_candidate(
            here, used, [&] { return heap.size() <= options_.samples ? -infinity : heap.front().perturbed; },
            [&](const Perturbed& candidate) { offer(candidate); });
      } else {
        Perturbed& best = part_.largest[s];
        for_each_candidate(
            here, used, [&] { return best.perturbed; },
            [&](const Perturbed& candidate) {
              if (before(candidate, best)) best = candidate;
            });
      }
    }
  }
}

SoftmaxPart SoftmaxScan::part() && {
  if (options_.without_replacement) std::sort_heap(part_.largest.begin(), part_.largest.end(), before);
  return std::move(part_);
}

SoftmaxPart softmax_part(std::uint64_t first, std::span<const double> values, const SoftmaxRange& range,
                         const SoftmaxOptions& options) {
  SoftmaxScan scan(range, options);
  scan.add({first, values});
  return std::move(scan).part();
}

SampleResult softmax_draws(const SoftmaxPart& whole, const SoftmaxRange& range, const SoftmaxOptions& options) {
  SampleResult result;
  result.norm = range.magnitude * std::sqrt(whole.squares.value());
  const double total = whole.exponentials.value();
  double kappa = -infinity;
  std::span<const Perturbed> drawn = whole.largest;
  if (options.without_replacement && drawn.size() > options.samples) {
    kappa = drawn[options.samples].perturbed;
    drawn = drawn.first(options.samples);
  }
  for (std::size_t s = 0; s < drawn.size(); ++s) {
    const double relative = below(drawn[s].score, range.maximum);
    Draw draw{.lane = options.without_replacement ? 1 : static_cast<std::uint32_t>(s + 1),
              .index = drawn[s].index,
              .value = drawn[s].value,
              .probability = std::exp(relative) / total,
              .value_bound = 0.0,
              .probability_bound = 0.0,
              .inclusion = std::nullopt};
    if (options.without_replacement) draw.inclusion = -std::expm1(-std::exp(relative - kappa));
    if (options.row_length > 0) {
      draw.column = draw.index % options.row_length;
      draw.index /= options.row_length;
    }
    result.draws.push_back(draw);
  }
  return result;
}

SampleResult draw_softmax(std::span<const double> y, const SoftmaxOptions& options) {
  if (y.empty()) throw UsageError("the softmax of no coordinates: expected at least 1");
  const SoftmaxRange range = softmax_range(0, y, options);
  return softmax_draws(softmax_part(0, y, range, options), range, options);
}

}  // namespace weir
