#include "weir/sample/softmax.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "random/argument_checks.hpp"
#include "weir/error.hpp"
#include "weir/random/source.hpp"

namespace weir {

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
/// Coordinates whose words are held at a time.
constexpr std::size_t block = 1024;

constexpr Perturbed nobody{-infinity, std::numeric_limits<std::uint64_t>::max(), 0};

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
  std::uint64_t first = 0;
  std::span<const double> values;
  double reference = 0;  ///< Of all of y: values count relative to it.
  double largest = 0;    ///< Of the block, relative.
};

/// Calls found(candidate) for every coordinate of the block that reaches `bound()`, in the order of the indices, and
/// maybe for others. Few do, as a rule: the others cost a word and a comparison.
template <class Bound, class Found>
void for_each_candidate(const Block& part, std::span<const std::uint64_t> words, const Bound& bound,
                        const Found& found) {
  std::uint64_t limit = largest_word_that_reaches(bound() - part.largest);
  for (std::size_t t = 0; t < part.values.size(); ++t) {
    if (words[t] > limit) continue;
    found(Perturbed{below(part.values[t], part.reference) + gumbel(words[t]), part.first + t, part.values[t]});
    limit = largest_word_that_reaches(bound() - part.largest);
  }
}

/// The `wanted` first of what it is offered.
class Top {
 public:
  explicit Top(std::size_t wanted) : wanted_(wanted) {}

  /// What is below it is not wanted.
  [[nodiscard]] double bound() const noexcept { return heap_.size() < wanted_ ? -infinity : heap_.front().perturbed; }

  void offer(const Perturbed& candidate) {
    if (heap_.size() == wanted_) {
      if (!before(candidate, heap_.front())) return;
      std::pop_heap(heap_.begin(), heap_.end(), before);
      heap_.pop_back();
    }
    heap_.push_back(candidate);
    std::push_heap(heap_.begin(), heap_.end(), before);
  }

  [[nodiscard]] std::vector<Perturbed> sorted() && {
    std::sort_heap(heap_.begin(), heap_.end(), before);
    return std::move(heap_);
  }

 private:
  std::size_t wanted_;
  std::vector<Perturbed> heap_;  ///< The last of the wanted in front.
};

}  // namespace

SoftmaxRange softmax_range(std::uint64_t first, std::span<const double> values) {
  SoftmaxRange range{-infinity, 0};
  for (std::size_t t = 0; t < values.size(); ++t) {
    if (!std::isfinite(values[t])) {
      throw InputError(fmt::format("y[{}] is {}: the softmax needs finite values", first + t, values[t]));
    }
    range.maximum = std::max(range.maximum, values[t]);
    range.magnitude = std::max(range.magnitude, std::abs(values[t]));
  }
  return range;
}

void UnitSum::add(double term) noexcept {
  // NOLINTNEXTLINE(bugprone-incorrect-roundings): terms are at least 0, and lround is a call
  const auto units = static_cast<std::uint64_t>(term * 0x1p60 + 0.5);
  high += units >> 30U;
  low += units & 0x3FFFFFFFU;
}

void UnitSum::merge(const UnitSum& other) noexcept {
  high += other.high;
  low += other.low;
}

double UnitSum::value() const noexcept {
  // Carried over first, so that equal sums have equal halves.
  return static_cast<double>(high + (low >> 30U)) * 0x1p-30 + static_cast<double>(low & 0x3FFFFFFFU) * 0x1p-60;
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

SoftmaxPart softmax_part(std::uint64_t first, std::span<const double> values, const SoftmaxRange& range,
                         const SoftmaxOptions& options) {
  SoftmaxPart part;
  const std::uint32_t perturbations = options.without_replacement ? 1 : options.samples;
  std::vector<WordFunction> functions;
  for (std::uint32_t s = 0; s < perturbations; ++s) functions.push_back(words_of_draw(options.seed, s));
  Top top(std::size_t{options.samples} + 1);
  if (!options.without_replacement) part.largest.assign(options.samples, nobody);

  std::array<std::uint64_t, block> keys;
  std::array<std::uint64_t, block> words;
  for (std::size_t done = 0; done < values.size(); done += block) {
    const std::size_t count = std::min(block, values.size() - done);
    Block here{first + done, values.subspan(done, count), range.maximum, -infinity};
    for (const double value : here.values) {
      const double relative = below(value, range.maximum);
      here.largest = std::max(here.largest, relative);
      part.exponentials.add(std::exp(relative));
      const double ratio = range.magnitude > 0 ? value / range.magnitude : 0;
      part.squares.add(ratio * ratio);
    }
    std::iota(keys.begin(), keys.begin() + static_cast<std::ptrdiff_t>(count), here.first);
    for (std::uint32_t s = 0; s < perturbations; ++s) {
      const auto used = std::span(words).first(count);
      functions[s].fill(std::span<const std::uint64_t>(keys).first(count), used);
      if (options.without_replacement) {
        for_each_candidate(
            here, used, [&] { return top.bound(); }, [&](const Perturbed& candidate) { top.offer(candidate); });
      } else {
        Perturbed& best = part.largest[s];
        for_each_candidate(
            here, used, [&] { return best.perturbed; },
            [&](const Perturbed& candidate) {
              if (before(candidate, best)) best = candidate;
            });
      }
    }
  }
  if (options.without_replacement) part.largest = std::move(top).sorted();
  return part;
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
    const double relative = below(drawn[s].value, range.maximum);
    Draw draw{.lane = options.without_replacement ? 1 : static_cast<std::uint32_t>(s + 1),
              .index = drawn[s].index,
              .value = drawn[s].value,
              .probability = std::exp(relative) / total,
              .value_bound = 0.0,
              .probability_bound = 0.0,
              .inclusion = std::nullopt};
    if (options.without_replacement) draw.inclusion = -std::expm1(-std::exp(relative - kappa));
    result.draws.push_back(draw);
  }
  return result;
}

SampleResult draw_softmax(std::span<const double> y, const SoftmaxOptions& options) {
  if (y.empty()) throw UsageError("the softmax of no coordinates: expected at least 1");
  const SoftmaxRange range = softmax_range(0, y);
  return softmax_draws(softmax_part(0, y, range, options), range, options);
}

}  // namespace weir
