#include "weir/sketch/config.hpp"

#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <limits>

#include "weir/error.hpp"

namespace weir {

namespace {

/// Of the construction (random/, the layout of the table): raise it when the same seed no longer means the same
/// operator.
constexpr std::uint64_t construction_version = 2;

}  // namespace

void SketchConfig::validate() const {
  const auto require = [](bool good, const std::string& message) {
    if (!good) throw UsageError(message);
  };
  require(dimension >= 1 && dimension <= (std::uint64_t{1} << 63U),
          fmt::format("dimension is {}: expected 1 to 2^63", dimension));
  require(randomness == Randomness::mix || randomness == Randomness::kwise || randomness == Randomness::nisan,
          "the source of randomness is not known");
  require(dimension <= key_limit(randomness),
          fmt::format("a sketch of {} entries: randomness {} takes at most 2^61 - 1 of them, mix 2^63", dimension,
                      to_string(randomness)));
  require(rows % 2 == 1 && rows <= 15, fmt::format("rows is {}: expected an odd number, 1 to 15", rows));
  require(std::has_single_bit(buckets) && buckets >= 2 && buckets <= (std::uint64_t{1} << 32U),
          fmt::format("buckets is {}: expected a power of two, 2 to 2^32", buckets));
  require(lanes == 1 || lanes == 2 || (lanes != 0 && lanes % 8 == 0 && lanes <= 4096),
          fmt::format("lanes is {}: expected 1, 2 or a multiple of 8, at most 4096", lanes));
  require(levels >= 1 && levels <= 3, fmt::format("levels is {}: expected 1, 2 or 3", levels));
  require(row_length == 0 || (row_length <= dimension && dimension % row_length == 0),
          fmt::format("row_length is {}: expected 0 or a divisor of the dimension {}", row_length, dimension));
  require(row_length == 0 || levels <= 2, fmt::format("levels is {}: expected 1 or 2 where a group is a row", levels));
  require(law == ScaleLaw::exponential || law == ScaleLaw::uniform, "the law of the scales is not known");
  require(p == 2.0 || p == 1.0 || p == 0.5, fmt::format("p is {}: expected 2, 1 or 0.5", p));
  require(law == ScaleLaw::exponential || p == 2.0, fmt::format("p is {}: the uniform law has p = 2 only", p));
  // Signs must be 4-wise independent for the variance of F2, and with less than that even the law of the maximum bends.
  require(independence >= 4 && independence <= 64, fmt::format("independence is {}: expected 4 to 64", independence));
  // rows_below(levels) * lanes < 2^18 and buckets <= 2^32: the product cannot wrap, only be too large for this
  // machine's addresses.
  require(std::uint64_t{rows_below(levels)} * lanes * buckets <= std::numeric_limits<std::size_t>::max() / 32,
          "the table is too large for this machine");
}

std::uint32_t SketchConfig::rows_at(std::uint32_t level) const noexcept {
  if (level == 0 || level + 1 < levels) return rows;
  return groups(level) <= buckets / 2 * (buckets / 4) ? (rows + 1) / 2 | 1U : rows;
}

std::uint32_t SketchConfig::rows_below(std::uint32_t level) const noexcept {
  std::uint32_t sum = 0;
  for (std::uint32_t below = 0; below < level; ++below) sum += rows_at(below);
  return sum;
}

std::size_t SketchConfig::table_size() const noexcept {
  return std::size_t{rows_below(levels)} * static_cast<std::size_t>(buckets) * lanes;
}

std::uint64_t SketchConfig::group_size(std::uint32_t level) const noexcept {
  if (level > 0 && row_length != 0) return row_length;
  const auto bits = static_cast<std::uint32_t>(std::bit_width(dimension - 1));
  return std::uint64_t{1} << (bits * level / levels);
}

std::uint64_t SketchConfig::groups(std::uint32_t level) const noexcept {
  return (dimension - 1) / group_size(level) + 1;
}

std::uint64_t SketchConfig::fingerprint() const noexcept {
  std::uint64_t digest = construction_version;
  const auto absorb = [&digest](std::uint64_t field) { digest = finalise((digest ^ field) + 0x9E3779B97F4A7C15U); };
  absorb(dimension);
  absorb(rows);
  absorb(buckets);
  absorb(lanes);
  absorb(levels);
  absorb(static_cast<std::uint64_t>(law));
  absorb(std::bit_cast<std::uint64_t>(p));
  absorb(static_cast<std::uint64_t>(randomness));
  absorb(independence);
  absorb(seed);
  if (row_length != 0) absorb(row_length);  // only then: states older than the field keep their fingerprints
  return digest;
}

void require_answerable(const SketchConfig& config) {
  if (config.groups(config.levels - 1) <= longest_scan) return;
  throw UsageError(fmt::format(
      "levels is {} for a sketch of {} entries: a query would scan more than 2^40 items one by one; expected more "
      "levels or fewer entries",
      config.levels, config.dimension));
}

std::string describe_difference(const SketchConfig& a, const SketchConfig& b) {
  const auto differ = [](std::string_view field, const auto& x, const auto& y) {
    return fmt::format("{}: {} against {}", field, x, y);
  };
  if (a.dimension != b.dimension) return differ("dimension", a.dimension, b.dimension);
  if (a.rows != b.rows) return differ("rows", a.rows, b.rows);
  if (a.buckets != b.buckets) return differ("buckets", a.buckets, b.buckets);
  if (a.lanes != b.lanes) return differ("lanes", a.lanes, b.lanes);
  if (a.levels != b.levels) return differ("levels", a.levels, b.levels);
  if (a.law != b.law) return differ("law", to_string(a.law), to_string(b.law));
  if (a.p != b.p) return differ("p", a.p, b.p);
  if (a.randomness != b.randomness) return differ("randomness", to_string(a.randomness), to_string(b.randomness));
  if (a.independence != b.independence) return differ("independence", a.independence, b.independence);
  if (a.seed != b.seed) return differ("seed", a.seed, b.seed);
  if (a.row_length != b.row_length) return differ("row_length", a.row_length, b.row_length);
  return {};
}

}  // namespace weir
