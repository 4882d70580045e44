#include "attention/anisotropic_features.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace weir {

namespace {

/// Of the lanes of a part. They are read from the second-level and third-level cache, as parents and by the product; fewer
/// rows than that would mean that the sums of the features are read and written more often, which costs more.
constexpr std::size_t lane_bytes = std::size_t{1} << 20U;
/// Rows that are projected together, so that their keys stay in the first-level cache.
constexpr std::size_t projected_rows = 32;
/// Lanes are that many numbers longer than they need be: otherwise they would all begin in the same set of the cache.
constexpr std::size_t lane_gap = 16;

/// Powers of queries and of query centres are multiplied where no exponent of them is below minus that.
constexpr double largest_factor_exponent = 200;

std::size_t rounded_up(std::size_t count) { return (count + 15) / 16 * 16; }

std::size_t capacity_of(const AnisotropicMap& map) { return map.content.clusters == 1 ? 256 : 1024; }

std::size_t rows_of_part(const AnisotropicMap& map) {
  const std::size_t fitting = lane_bytes / (sizeof(float) * map.features.size());
  return std::clamp<std::size_t>(fitting / 16 * 16, 32, 256);
}

}  // namespace

KeyBlock::KeyBlock(const AnisotropicMap& map)
    : map_(&map),
      capacity_(capacity_of(map)),
      part_(rows_of_part(map)),
      pitch_(capacity_ + lane_gap),
      after_one_(map.content.dv % 8 != 0),
      value_panels_(kernels::panels_of(map.content.dv + (after_one_ ? 1 : 0))),
      inverse_spread_(1 / map.content.spread.squaredNorm()),
      largest_tilt_(std::exp(map.largest_tilt)),
      largest_sampled_(std::exp(3.0)),
      keys_(projected_rows * map.content.d),
      projections_(projected_rows * map.width),
      coordinates_(map.content.directions * pitch_),
      values_(value_panels_ * capacity_ * kernels::panel_width),
      low_(map.content.dv),
      high_(map.content.dv),
      clusters_(capacity_),
      radii_(capacity_),
      exponents_(capacity_),
      tilts_(capacity_),
      weights_(capacity_),
      order_(capacity_),
      ends_(map.content.clusters),
      gathered_coordinates_(map.content.directions * part_),
      gathered_values_(value_panels_ * part_ * kernels::panel_width),
      factors_(map.first_factor.back() * part_),
      lanes_(map.features.size() * part_) {}

bool KeyBlock::load(const double* keys, const double* values, std::size_t count) {
  const AnisotropicMap& map = *map_;
  const CalibrationContent& content = map.content;
  const std::size_t d = content.d;
  const std::size_t directions = content.directions;
  const std::size_t panel_step = capacity_ * kernels::panel_width;
  const kernels::Centres centres{map.spread_roots.data(), map.scaled_centres.data(), content.clusters, directions};
  count_ = count;
  std::fill(low_.begin(), low_.end(), std::numeric_limits<float>::infinity());
  std::fill(high_.begin(), high_.end(), -std::numeric_limits<float>::infinity());
  std::fill_n(weights_.begin(), count, 0.0);
  if (!kernels::round_values(values, count, content.dv, after_one_, largest_number, values_.data(), panel_step,
                             low_.data(), high_.data())) {
    return false;
  }
  for (std::size_t first = 0; first < count; first += projected_rows) {
    const std::size_t length = std::min(projected_rows, count - first);
    if (!kernels::round_keys(keys + first * d, length * d, largest_number, keys_.data())) return false;
    const std::size_t whole = rounded_up(length);
    std::fill_n(keys_.begin() + static_cast<std::ptrdiff_t>(length * d), (whole - length) * d, 0.0);
    kernels::project(keys_.data(), whole, d, map.key_map.data(), map.width, projections_.data());
    double* lanes = coordinates_.data() + first;
    kernels::to_lanes(projections_.data(), whole, map.width, directions, lanes, pitch_);
    kernels::nearest(centres, lanes, pitch_, whole, clusters_.data() + first, radii_.data() + first);
    kernels::dots(keys_.data(), length, d, content.query_centres.data(), clusters_.data() + first,
                  map.tilt_offsets.data(), exponents_.data() + first);
    std::fill_n(exponents_.begin() + static_cast<std::ptrdiff_t>(first + length), whole - length, 0.0);
  }
  kernels::clamped_exponentials(exponents_.data(), rounded_up(count), smallest_tilt, std::max(map.largest_tilt, 3.0),
                                tilts_.data());
  return true;
}

void KeyBlock::add_to(std::span<float> features, std::span<float> lost) {
  const std::size_t clusters = map_->content.clusters;
  std::fill(ends_.begin(), ends_.end(), 0);
  std::size_t weighted = 0;
  for (std::size_t j = 0; j < count_; ++j) {
    if (weights_[j] == 0) continue;
    ++ends_[clusters_[j]];
    ++weighted;
  }
  if (weighted == 0) return;
  if (clusters == 1 && weighted >= count_ - count_ / 8) {
    // The few rows without weight count as nothing where they are.
    std::iota(order_.begin(), order_.end(), 0U);
    for (std::size_t first = 0; first < count_; first += part_) {
      add_lanes(0, order_.data() + first, std::min(part_, count_ - first), coordinates_.data() + first, pitch_,
                {values_.data() + first * kernels::panel_width, capacity_ * kernels::panel_width}, features, lost);
    }
    return;
  }
  std::partial_sum(ends_.begin(), ends_.end(), ends_.begin());
  // From the last row to the first: each takes the last free place of its cluster, and the ends become the begins.
  for (std::size_t j = count_; j-- > 0;) {
    if (weights_[j] != 0) order_[--ends_[clusters_[j]]] = static_cast<std::uint32_t>(j);
  }
  for (std::size_t c = 0; c < clusters; ++c) {
    const std::size_t end = c + 1 < clusters ? ends_[c + 1] : weighted;
    for (std::size_t first = ends_[c]; first < end; first += part_) {
      const std::size_t length = std::min(part_, end - first);
      gather(order_.data() + first, length);
      add_lanes(c, order_.data() + first, length, gathered_coordinates_.data(), part_,
                {gathered_values_.data(), part_ * kernels::panel_width}, features, lost);
    }
  }
}

void KeyBlock::gather(const std::uint32_t* order, std::size_t count) {
  for (std::size_t i = 0; i < map_->content.directions; ++i) {
    if (map_->largest_degrees[i] == 0) continue;
    const double* from = coordinates_.data() + i * pitch_;
    double* to = gathered_coordinates_.data() + i * part_;
    for (std::size_t j = 0; j < count; ++j) to[j] = from[order[j]];
    std::fill(to + count, to + rounded_up(count), 0.0);
  }
  for (std::size_t p = 0; p < value_panels_; ++p) {
    const float* from = values_.data() + p * capacity_ * kernels::panel_width;
    float* to = gathered_values_.data() + p * part_ * kernels::panel_width;
    for (std::size_t j = 0; j < count; ++j) {
      std::copy_n(from + order[j] * kernels::panel_width, kernels::panel_width, to + j * kernels::panel_width);
    }
  }
}

void KeyBlock::add_lanes(std::size_t cluster, const std::uint32_t* order, std::size_t count, const double* coordinates,
                         std::size_t pitch, const kernels::RightFactor& values, std::span<float> features,
                         std::span<float> lost) {
  const AnisotropicMap& map = *map_;
  const CalibrationContent& content = map.content;
  const std::size_t columns = content.dv + 1;
  const std::size_t terms = map.features.size();
  const std::size_t length = rounded_up(count);
  for (std::size_t i = 0; i < content.directions; ++i) {
    if (map.largest_degrees[i] == 0) continue;
    kernels::polynomials({map.steps.data() + 3 * largest_degree * i,
                          map.centre_coordinates.data()[cluster * content.directions + i], map.low[i], map.high[i]},
                         map.largest_degrees[i], coordinates + i * pitch,
                         factors_.data() + map.first_factor[i] * length, length);
  }
  // All features are multiples of the first, so that the weight of the row comes into all of them.
  for (std::size_t j = 0; j < count; ++j) lanes_[j] = static_cast<float>(weights_[order[j]] * tilt(order[j]));
  std::fill(lanes_.begin() + static_cast<std::ptrdiff_t>(count), lanes_.begin() + static_cast<std::ptrdiff_t>(length),
            0.0F);
  kernels::multiply_lanes(map.products.data(), terms, factors_.data(), lanes_.data(), length);

  const std::size_t place = cluster * terms * columns;
  float* sums = features.data() + place;
  float* rests = lost.empty() ? nullptr : lost.data() + place;
  const kernels::LeftFactor left{lanes_.data(), length, 1};
  if (after_one_) {
    kernels::multiply_add(left, terms, count, values, columns, sums, columns, rests);
  } else {
    kernels::add_lane_sums(lanes_.data(), terms, length, sums, columns, rests);
    kernels::multiply_add(left, terms, count, values, columns - 1, sums + 1, columns,
                          rests == nullptr ? nullptr : rests + 1);
  }
}

QueryFeatures::QueryFeatures(const AnisotropicMap& map, std::size_t largest_count)
    : map_(&map),
      coordinates_(map.content.directions * largest_count),
      logs_(largest_count),
      energies_(largest_count),
      norms_(largest_count),
      factors_(map.first_factor.back() * largest_count),
      lanes_(map.features.size() * largest_count) {}

bool QueryFeatures::load_lanes(std::size_t pitch) {
  const AnisotropicMap& map = *map_;
  const std::size_t directions = map.content.directions;
  for (std::size_t i = 0; i < directions; ++i) {
    const Polynomials& law = map.content.laws[i];
    const double range = law.nodes.back() - law.nodes.front();
    const double* q = coordinates_.data() + i * pitch;
    for (std::size_t j = 0; j < pitch; ++j) {
      if (!(std::abs(q[j]) * range <= largest_factor_exponent)) return false;
    }
  }
  if (powers_.empty()) {
    powers_.resize(directions * quadrature_nodes * logs_.size());
    shifts_.resize(directions * logs_.size());
    for (std::size_t c = 0; c < map.content.clusters; ++c) {
      bool is_near = true;
      for (std::size_t i = 0; i < directions; ++i) {
        const Polynomials& law = map.content.laws[i];
        const double centre = -map.query_centre_coordinates.data()[c * directions + i];
        const double shift = std::max(centre * law.nodes.front(), centre * law.nodes.back());
        is_near = is_near && std::abs(centre) * (law.nodes.back() - law.nodes.front()) <= largest_factor_exponent;
        centre_shifts_.push_back(shift);
        for (const double node : law.nodes) centre_powers_.push_back(std::exp(std::max(centre * node - shift, -700.0)));
      }
      is_near_.push_back(is_near);
    }
  }
  loaded_pitch_ = pitch;
  for (std::size_t i = 0; i < directions; ++i) {
    const Polynomials& law = map.content.laws[i];
    kernels::node_powers({law.nodes.data(), law.node_values.data(), quadrature_nodes}, coordinates_.data() + i * pitch,
                         powers_.data() + i * quadrature_nodes * pitch, shifts_.data() + i * pitch, pitch);
  }
  return true;
}

bool QueryFeatures::evaluate_about(std::size_t cluster) {
  const AnisotropicMap& map = *map_;
  const std::size_t directions = map.content.directions;
  if (!is_near_[cluster]) return false;
  pitch_ = loaded_pitch_;
  std::fill_n(logs_.begin(), pitch_, 0.0);
  std::fill_n(energies_.begin(), pitch_, 0.0);
  for (std::size_t i = 0; i < directions; ++i) {
    const Polynomials& law = map.content.laws[i];
    const std::size_t of_centre = cluster * directions + i;
    kernels::coefficients_of_powers(
        {law.nodes.data(), law.node_values.data(), quadrature_nodes}, map.largest_degrees[i],
        {powers_.data() + i * quadrature_nodes * pitch_, shifts_.data() + i * pitch_},
        centre_powers_.data() + of_centre * quadrature_nodes, centre_shifts_[of_centre],
        factors_.data() + map.first_factor[i] * pitch_, {logs_.data(), energies_.data()}, pitch_);
  }
  finish_lanes();
  return true;
}

void QueryFeatures::evaluate_lanes(std::size_t pitch) {
  const AnisotropicMap& map = *map_;
  pitch_ = pitch;
  std::fill_n(logs_.begin(), pitch, 0.0);
  std::fill_n(energies_.begin(), pitch, 0.0);
  for (std::size_t i = 0; i < map.content.directions; ++i) {
    const Polynomials& law = map.content.laws[i];
    kernels::coefficients({law.nodes.data(), law.node_values.data(), quadrature_nodes}, map.largest_degrees[i],
                          coordinates_.data() + i * pitch, factors_.data() + map.first_factor[i] * pitch,
                          {logs_.data(), energies_.data()}, pitch);
  }
  finish_lanes();
}

void QueryFeatures::finish_lanes() {
  const AnisotropicMap& map = *map_;
  std::fill_n(lanes_.begin(), pitch_, 1.0F);
  kernels::multiply_lanes(map.products.data(), map.features.size(), factors_.data(), lanes_.data(), pitch_);
  kernels::squared_norms(lanes_.data(), map.features.size(), pitch_, norms_.data());
}

}  // namespace weir
