#include "attention/anisotropic_features.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace weir {

namespace {

/// A block whose lanes fit the second-level cache, which features are read from again as parents and by the product.
constexpr std::size_t lane_bytes = std::size_t{1} << 18U;

std::size_t block_rows(const AnisotropicMap& map) {
  const std::size_t fitting = lane_bytes / (sizeof(float) * map.features.size());
  return std::clamp<std::size_t>(fitting / 16 * 16, 32, 256);
}

}  // namespace

Place place_of(const AnisotropicMap& map, const float* key, const double* projection) {
  const std::size_t directions = map.content.directions;
  Place nearest;
  double least = std::numeric_limits<double>::infinity();
  for (std::size_t c = 0; c < map.content.clusters; ++c) {
    const double* centre = map.centre_coordinates.data() + c * directions;
    double radius = 0;
    for (std::size_t i = 0; i < directions; ++i) {
      const double distance = projection[i] - centre[i];
      radius += map.content.spread.data()[i] * distance * distance;
    }
    if (radius < least) {
      least = radius;
      nearest.cluster = c;
    }
  }
  nearest.radius = static_cast<float>(std::min(least, 1e38));
  const std::size_t d = map.content.d;
  const double* query_centre = map.content.query_centres.data() + nearest.cluster * d;
  nearest.exponent = kernels::dot(key, query_centre, d) - map.tilt_offsets[nearest.cluster];
  return nearest;
}

KeyStaging::KeyStaging(const AnisotropicMap& map)
    : numbers_(map.content.d + map.content.dv),
      width_(map.width),
      rows_(capacity * numbers_),
      projections_(capacity * width_),
      weights_(capacity),
      places_(capacity),
      order_(capacity),
      ends_(map.content.clusters) {}

void KeyStaging::add(std::span<const float> row, const double* projection, const Place& place, double weight) {
  std::copy(row.begin(), row.end(), rows_.begin() + static_cast<std::ptrdiff_t>(count_ * numbers_));
  std::copy_n(projection, width_, projections_.begin() + static_cast<std::ptrdiff_t>(count_ * width_));
  weights_[count_] = weight;
  places_[count_] = place;
  ++count_;
}

void KeyStaging::sort() {
  std::fill(ends_.begin(), ends_.end(), 0);
  for (std::size_t j = 0; j < count_; ++j) ++ends_[places_[j].cluster];
  std::partial_sum(ends_.begin(), ends_.end(), ends_.begin());
  // From the last row to the first: each takes the last free place of its cluster, and the ends become the begins.
  for (std::size_t j = count_; j-- > 0;) order_[--ends_[places_[j].cluster]] = j;
  for (std::size_t c = 0; c + 1 < ends_.size(); ++c) ends_[c] = ends_[c + 1];
  ends_.back() = count_;
}

KeyFeatures::KeyFeatures(const AnisotropicMap& map)
    : map_(&map),
      pitch_(block_rows(map)),
      coordinates_(pitch_),
      factors_(map.first_factor.back() * pitch_),
      lanes_(map.features.size() * pitch_),
      panels_(kernels::panels_of(map.content.dv + 1) * pitch_ * kernels::panel_width) {}

void KeyFeatures::add(const KeyStaging& staging, std::size_t cluster, std::span<const std::size_t> rows,
                      std::span<float> features, std::span<float> lost) {
  const AnisotropicMap& map = *map_;
  const CalibrationContent& content = map.content;
  const std::size_t d = content.d;
  const std::size_t columns = content.dv + 1;
  const std::size_t count = map.features.size();
  const double* centre_projection = map.centre_coordinates.data() + cluster * content.directions;
  float* sums = features.data() + cluster * count * columns;

  for (std::size_t first = 0; first < rows.size(); first += pitch_) {
    const std::span<const std::size_t> block = rows.subspan(first, std::min(pitch_, rows.size() - first));
    const std::size_t pitch = (block.size() + 15) / 16 * 16;
    for (std::size_t i = 0; i < content.directions; ++i) {
      if (map.largest_degrees[i] == 0) continue;
      for (std::size_t j = 0; j < block.size(); ++j) {
        coordinates_[j] = staging.projection(block[j])[i] - centre_projection[i];
      }
      std::fill(coordinates_.begin() + static_cast<std::ptrdiff_t>(block.size()),
                coordinates_.begin() + static_cast<std::ptrdiff_t>(pitch), 0.0);
      const Polynomials& law = content.laws[i];
      kernels::polynomials({law.alpha.data(), law.beta.data(), map.low[i], map.high[i]}, map.largest_degrees[i],
                           coordinates_.data(), factors_.data() + map.first_factor[i] * pitch, pitch);
    }
    std::fill_n(lanes_.begin(), pitch, 1.0F);
    kernels::multiply_lanes(map.products.data(), count, factors_.data(), lanes_.data(), pitch);

    for (std::size_t j = 0; j < block.size(); ++j) {
      const float* row = staging.row(block[j]).data();
      const double exponent = staging.place(block[j]).exponent;
      const double tilt = staging.weight(block[j]) * std::exp(std::clamp(exponent, smallest_tilt, map.largest_tilt));
      kernels::pack_row(static_cast<float>(tilt), row + d, columns, j, block.size(), panels_.data());
    }
    kernels::multiply_add({lanes_.data(), pitch, 1}, count, block.size(), panels_.data(), columns, sums, columns,
                          lost.empty() ? nullptr : lost.data() + cluster * count * columns);
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
  std::fill_n(lanes_.begin(), pitch, 1.0F);
  kernels::multiply_lanes(map.products.data(), map.features.size(), factors_.data(), lanes_.data(), pitch);
  kernels::squared_norms(lanes_.data(), map.features.size(), pitch, norms_.data());
}

}  // namespace weir
