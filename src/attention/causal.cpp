#include "weir/attention/causal.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "matrix_view.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

std::size_t size_of(std::uint64_t count) { return static_cast<std::size_t>(count); }

void append(std::vector<double>& to, std::span<const double> from) { to.insert(to.end(), from.begin(), from.end()); }

}  // namespace

std::uint64_t causal_numbers(const CausalOptions& options, std::uint64_t d, std::uint64_t dv) noexcept {
  return (options.window + options.sinks) * (d + dv);
}

CausalAttention::CausalAttention(AnisotropicState state, const CausalOptions& options, std::uint64_t first,
                                 const TokenRows& sinks, const TokenRows& recent)
    : state_(std::move(state)), options_(options), next_(first) {
  const std::uint64_t d = state_.calibration().d(), dv = state_.calibration().dv();
  if (options.sliding > 0 && options.sinks > 0)
    throw UsageError("first rows that are kept for good do not go with a sliding window");
  if (first % block != 0) throw UsageError(fmt::format("token {} does not begin a block of {}", first, block));
  // Where the window is longer than what has come, the first rows are in it; they are taken out of it below.
  const std::uint64_t held = std::min(options.sinks, first), window = std::min(options.window, first - held);
  recent_from_ = first - window;
  const auto require = [&](const char* what, const TokenRows& rows, std::uint64_t from, std::uint64_t count) {
    if (rows.keys.size() != count * d || rows.values.size() != count * dv || (count > 0 && rows.first != from))
      throw UsageError(
          fmt::format("{} of causal attention are {} numbers of keys and {} of values from row {} on, expected "
                      "{} rows from {} on",
                      what, rows.keys.size(), rows.values.size(), rows.first, count, from));
  };
  require("first rows", sinks, 0, held);
  require("recent rows", recent, recent_from_, window);
  append(sink_keys_, sinks.keys);
  append(sink_values_, sinks.values);
  append(recent_keys_, recent.keys);
  append(recent_values_, recent.values);
}

CausalAttention::Range CausalAttention::leaving(std::uint64_t count) const noexcept {
  // Rows next - sliding + 1 .. next + count - sliding go while tokens next .. next + count - 1 are answered and the next block
  // begins. Those in the window are left out: they are never put into the state.
  if (options_.sliding == 0 || next_ + count < options_.sliding) return {};
  const std::uint64_t first = next_ + 1 > options_.sliding ? next_ + 1 - options_.sliding : 0;
  const std::uint64_t end = std::min(next_ + count + 1 - options_.sliding, recent_from_);
  return first < end ? Range{first, end - first} : Range{};
}

void CausalAttention::add_exact(std::span<const double> queries, std::uint64_t first_token,
                                std::span<const double> keys, std::span<const double> values,
                                AttentionSums& sums) const {
  const std::uint64_t d = state_.calibration().d(), dv = state_.calibration().dv();
  const std::uint64_t count = keys.size() / d;
  if (count == 0) return;
  const RowMajorMatrix scores = matrix_view(queries, sums.count, d) * matrix_view(keys, count, d).transpose();
  for (std::uint64_t i = 0; i < sums.count; ++i) {
    const std::uint64_t token = next_ + i;
    const std::uint64_t oldest =
        options_.sliding > 0 && token + 1 > options_.sliding ? token + 1 - options_.sliding : 0;
    for (std::uint64_t j = 0; j < count; ++j) {
      const std::uint64_t row = first_token + j;
      if (row > token || row < oldest) continue;
      sums.add(i, scores(static_cast<Eigen::Index>(i), static_cast<Eigen::Index>(j)),
               values.subspan(size_of(j * dv), size_of(dv)));
    }
  }
}

AnisotropicAnswers CausalAttention::answer(std::span<const double> queries, std::span<const double> keys,
                                           std::span<const double> values, const TokenRows& leaving, bool with_errors) {
  const std::uint64_t d = state_.calibration().d(), dv = state_.calibration().dv();
  const std::uint64_t count = queries.size() / d;
  if (count == 0 || count > block || queries.size() != count * d || keys.size() != count * d ||
      values.size() != count * dv || next_ % block != 0)
    throw UsageError(
        fmt::format("a block of causal attention has {} numbers of queries, {} of keys and {} of values: "
                    "expected 1 to {} tokens of {}, {} and {}",
                    queries.size(), keys.size(), values.size(), block, d, d, dv));
  const Range gone = this->leaving(count);
  if (leaving.keys.size() != gone.count * d || leaving.values.size() != gone.count * dv ||
      (gone.count > 0 && leaving.first != gone.first))
    throw UsageError(
        fmt::format("{} rows from {} on leave the sliding window, {} numbers of keys from row {} on were given",
                    gone.count, gone.first, leaving.keys.size(), leaving.first));
  if (gone.count > 0) {
    std::vector<std::uint64_t> tokens(size_of(gone.count));
    std::iota(tokens.begin(), tokens.end(), gone.first);
    const std::vector<std::int8_t> weights(size_of(gone.count), -1);
    state_.add({.keys = leaving.keys, .values = leaving.values, .tokens = tokens, .weights = weights});
  }
  AnisotropicReader reader(state_);
  AttentionSums residuals;
  std::uint64_t fallbacks = 0;
  AttentionSums sums = reader.sums(queries, with_errors ? &residuals : nullptr, &fallbacks);
  for (const auto& [from, exact_keys, exact_values] :
       {std::tuple{std::uint64_t{0}, std::span<const double>(sink_keys_), std::span<const double>(sink_values_)},
        {gone.first, leaving.keys, leaving.values},
        {recent_from_, recent_keys_, recent_values_},
        {next_, keys, values}}) {
    add_exact(queries, from, exact_keys, exact_values, sums);
    for (std::size_t t = 0; t < exact_values.size(); t += size_of(dv))
      reader.widen_range(exact_values.subspan(t, size_of(dv)));
  }
  AnisotropicAnswers answers = reader.finish(sums, with_errors ? &residuals : nullptr);
  answers.fallbacks = fallbacks;
  advance(keys, values);
  return answers;
}

void CausalAttention::advance(std::span<const double> keys, std::span<const double> values) {
  const std::uint64_t d = state_.calibration().d(), dv = state_.calibration().dv();
  const std::uint64_t count = keys.size() / d;
  append(recent_keys_, keys);
  append(recent_values_, values);
  next_ += count;
  const auto drop = [&](std::uint64_t rows) {
    recent_keys_.erase(recent_keys_.begin(), recent_keys_.begin() + static_cast<std::ptrdiff_t>(rows * d));
    recent_values_.erase(recent_values_.begin(), recent_values_.begin() + static_cast<std::ptrdiff_t>(rows * dv));
    recent_from_ += rows;
  };
  if (recent_from_ < options_.sinks) {
    const std::uint64_t first = std::min(options_.sinks, next_) - recent_from_;
    append(sink_keys_, std::span<const double>(recent_keys_).first(size_of(first * d)));
    append(sink_values_, std::span<const double>(recent_values_).first(size_of(first * dv)));
    drop(first);
  }
  if (next_ - recent_from_ <= options_.window) return;
  const std::uint64_t old = next_ - recent_from_ - options_.window;
  // What the next block does not see at all is not put into the state.
  const std::uint64_t oldest = options_.sliding > 0 && next_ + 1 > options_.sliding ? next_ + 1 - options_.sliding : 0;
  const std::uint64_t unseen = oldest > recent_from_ ? std::min(old, oldest - recent_from_) : 0;
  if (old > unseen) {
    std::vector<std::uint64_t> tokens(size_of(old - unseen));
    std::iota(tokens.begin(), tokens.end(), recent_from_ + unseen);
    state_.add(
        {.keys = std::span<const double>(recent_keys_).subspan(size_of(unseen * d), size_of((old - unseen) * d)),
         .values = std::span<const double>(recent_values_).subspan(size_of(unseen * dv), size_of((old - unseen) * dv)),
         .tokens = tokens});
  }
  drop(old);
}

}  // namespace weir
