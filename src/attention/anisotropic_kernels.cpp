#include "attention/anisotropic_kernels.hpp"

#include <algorithm>
#include <cstddef>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "attention/anisotropic_kernels.cpp"
#include <hwy/foreach_target.h>
// The order matters: foreach_target.h re-includes this file once for each target.
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace weir {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using kernels::Centres;
using kernels::CoefficientSums;
using kernels::LaneProduct;
using kernels::LeftFactor;
using kernels::NodePowers;
using kernels::panel_width;
using kernels::Quadrature;
using kernels::Recurrence;
using kernels::RightFactor;

using hn::Vec;
using Floats = hn::CappedTag<float, panel_width>;
/// Vectors of a row of a panel.
constexpr std::size_t panel_vectors = panel_width / hn::MaxLanes(Floats());
/// Sums of a product that are in registers at once, of which there are 16.
constexpr std::size_t tile_vectors = 12;

/// kRows rows and kVectors vectors of columns of out += left * panel.
template <std::size_t kRows, std::size_t kVectors>
HWY_INLINE void add_tile(const float* HWY_RESTRICT left, const LeftFactor& steps, std::size_t inner,
                         const float* HWY_RESTRICT panel, std::size_t columns, float* HWY_RESTRICT out,
                         std::size_t out_step, float* lost) {
  const Floats df;
  constexpr std::size_t width = hn::MaxLanes(Floats());
  hn::Vec<Floats> sums[kRows][kVectors];
  for (std::size_t i = 0; i < kRows; ++i) {
    for (std::size_t v = 0; v < kVectors; ++v) sums[i][v] = hn::Zero(df);
  }
  for (std::size_t j = 0; j < inner; ++j) {
    hn::Vec<Floats> right[kVectors];
    for (std::size_t v = 0; v < kVectors; ++v) right[v] = hn::Load(df, panel + j * panel_width + v * width);
    for (std::size_t i = 0; i < kRows; ++i) {
      const auto factor = hn::Set(df, left[i * steps.row_step + j * steps.inner_step]);
      for (std::size_t v = 0; v < kVectors; ++v) sums[i][v] = hn::MulAdd(factor, right[v], sums[i][v]);
    }
  }
  for (std::size_t i = 0; i < kRows; ++i) {
    float* HWY_RESTRICT row = out + i * out_step;
    for (std::size_t v = 0; v < kVectors; ++v) {
      const std::size_t first = v * width;
      if (first >= columns) continue;
      if (first + width <= columns) {
        const auto before = hn::LoadU(df, row + first);
        if (lost == nullptr) {
          hn::StoreU(hn::Add(before, sums[i][v]), df, row + first);
        } else {
          float* HWY_RESTRICT lost_row = lost + i * out_step + first;
          const auto term = hn::Sub(sums[i][v], hn::LoadU(df, lost_row));
          const auto after = hn::Add(before, term);
          hn::StoreU(hn::Sub(hn::Sub(after, before), term), df, lost_row);
          hn::StoreU(after, df, row + first);
        }
      } else {
        HWY_ALIGN float rest[width];
        hn::Store(sums[i][v], df, rest);
        for (std::size_t c = first; c < columns; ++c) {
          const float before = row[c];
          const float term = lost == nullptr ? rest[c - first] : rest[c - first] - lost[i * out_step + c];
          row[c] = before + term;
          if (lost != nullptr) lost[i * out_step + c] = (row[c] - before) - term;
        }
      }
    }
  }
}

/// The `rest` rows that no whole tile of kRows and more is left for.
template <std::size_t kRows, std::size_t kVectors>
HWY_INLINE void add_rest(const float* left, const LeftFactor& steps, std::size_t rest, std::size_t inner,
                         const float* panel, std::size_t columns, float* out, std::size_t out_step, float* lost) {
  if constexpr (kRows > 0) {
    if (rest == kRows) return add_tile<kRows, kVectors>(left, steps, inner, panel, columns, out, out_step, lost);
    add_rest<kRows - 1, kVectors>(left, steps, rest, inner, panel, columns, out, out_step, lost);
  }
}

template <std::size_t kVectors>
HWY_INLINE void add_panel(const LeftFactor& left, std::size_t rows, std::size_t inner, const float* panel,
                          std::size_t columns, float* out, std::size_t out_step, float* lost) {
  constexpr std::size_t tile = kVectors >= tile_vectors ? 1 : tile_vectors / kVectors;
  const auto at = [&](std::size_t i) { return lost == nullptr ? nullptr : lost + i * out_step; };
  std::size_t i = 0;
  for (; i + tile <= rows; i += tile) {
    add_tile<tile, kVectors>(left.values + i * left.row_step, left, inner, panel, columns, out + i * out_step, out_step,
                             at(i));
  }
  if (i < rows) {
    add_rest<tile - 1, kVectors>(left.values + i * left.row_step, left, rows - i, inner, panel, columns,
                                 out + i * out_step, out_step, at(i));
  }
}

void multiply_add(const LeftFactor& left, std::size_t rows, std::size_t inner, const RightFactor& right,
                  std::size_t columns, float* out, std::size_t out_step, float* lost) {
  for (std::size_t first = 0; first < columns; first += panel_width) {
    const float* panel = right.panels + first / panel_width * right.panel_step;
    const std::size_t left_over = columns - first;
    float* lost_part = lost == nullptr ? nullptr : lost + first;
    if (panel_vectors > 1 && left_over <= panel_width / 2) {
      add_panel<(panel_vectors + 1) / 2>(left, rows, inner, panel, left_over, out + first, out_step, lost_part);
    } else {
      add_panel<panel_vectors>(left, rows, inner, panel, std::min(left_over, panel_width), out + first, out_step,
                               lost_part);
    }
  }
}

void add_lane_sums(const float* HWY_RESTRICT lanes, std::size_t count, std::size_t pitch, float* HWY_RESTRICT out,
                   std::size_t out_step, float* lost) {
  const Floats df;
  const std::size_t width = hn::Lanes(df);
  for (std::size_t t = 0; t < count; ++t) {
    const float* HWY_RESTRICT lane = lanes + t * pitch;
    auto sum = hn::Load(df, lane);
    for (std::size_t j = width; j < pitch; j += width) sum = hn::Add(sum, hn::Load(df, lane + j));
    float* to = out + t * out_step;
    const float before = *to;
    float term = hn::GetLane(hn::SumOfLanes(df, sum));
    if (lost != nullptr) term -= lost[t * out_step];
    *to = before + term;
    if (lost != nullptr) lost[t * out_step] = (*to - before) - term;
  }
}

void multiply_lanes(const LaneProduct* products, std::size_t count, const float* factors, float* lanes,
                    std::size_t pitch) {
  const Floats df;
  const std::size_t width = hn::Lanes(df);
  for (std::size_t t = 1; t < count; ++t) {
    const float* HWY_RESTRICT parent = lanes + products[t].parent * pitch;
    const float* HWY_RESTRICT factor = factors + products[t].factor * pitch;
    float* HWY_RESTRICT lane = lanes + t * pitch;
    for (std::size_t j = 0; j < pitch; j += width) {
      hn::Store(hn::Mul(hn::Load(df, parent + j), hn::Load(df, factor + j)), df, lane + j);
    }
  }
}

using Doubles = hn::CappedTag<double, 8>;
/// As many floats as there are doubles in a vector.
using HalfFloats = hn::Rebind<float, Doubles>;

void polynomials(const Recurrence& recurrence, std::size_t degree, const double* HWY_RESTRICT x,
                 float* HWY_RESTRICT lanes, std::size_t pitch) {
  const Doubles dd;
  const HalfFloats df;
  const std::size_t width = hn::Lanes(dd);
  const auto centre = hn::Set(dd, recurrence.centre);
  const auto low = hn::Set(dd, recurrence.low);
  const auto high = hn::Set(dd, recurrence.high);
  // Two vectors at once, as each value waits for the one before it.
  for (std::size_t j = 0; j < pitch; j += 2 * width) {
    const auto at_first = hn::Min(hn::Max(hn::Sub(hn::LoadU(dd, x + j), centre), low), high);
    const auto at_second = hn::Min(hn::Max(hn::Sub(hn::LoadU(dd, x + j + width), centre), low), high);
    auto first_before = hn::Zero(dd);
    auto second_before = hn::Zero(dd);
    auto first = hn::Set(dd, 1.0);
    auto second = first;
    const double* HWY_RESTRICT step = recurrence.steps;
    for (std::size_t a = 0; a < degree; ++a, step += 3) {
      const auto times = hn::Set(dd, step[0]);
      const auto plus = hn::Set(dd, step[1]);
      const auto below = hn::Set(dd, step[2]);
      const auto first_next = hn::NegMulAdd(below, first_before, hn::Mul(hn::MulAdd(times, at_first, plus), first));
      const auto second_next = hn::NegMulAdd(below, second_before, hn::Mul(hn::MulAdd(times, at_second, plus), second));
      first_before = first;
      second_before = second;
      first = first_next;
      second = second_next;
      hn::StoreU(hn::DemoteTo(df, first), df, lanes + a * pitch + j);
      hn::StoreU(hn::DemoteTo(df, second), df, lanes + a * pitch + j + width);
    }
  }
}

/// What remains to be done once the powers exp(q node - largest) of a vector of queries are there.
HWY_INLINE void finish_coefficients(const Quadrature& quadrature, std::size_t degree, const Vec<Doubles>* powers,
                                    Vec<Doubles> largest, std::size_t j, float* HWY_RESTRICT lanes,
                                    const CoefficientSums& sums, std::size_t pitch) {
  const Doubles dd;
  const HalfFloats df;
  const std::size_t count = quadrature.count;
  auto normaliser = hn::Zero(dd);
  auto energy = hn::Zero(dd);
  for (std::size_t n = 0; n < count; ++n) {
    const auto weighted = hn::Mul(hn::Set(dd, quadrature.weights[n]), powers[n]);
    normaliser = hn::Add(normaliser, weighted);
    energy = hn::MulAdd(weighted, powers[n], energy);
  }
  const auto inverse = hn::Div(hn::Set(dd, 1.0), normaliser);
  for (std::size_t a = 1; a <= degree; ++a) {
    const double* HWY_RESTRICT weights = quadrature.weights + a * count;
    auto sum = hn::Zero(dd);
    for (std::size_t n = 0; n < count; ++n) sum = hn::MulAdd(hn::Set(dd, weights[n]), powers[n], sum);
    hn::StoreU(hn::DemoteTo(df, hn::Mul(sum, inverse)), df, lanes + (a - 1) * pitch + j);
  }
  const auto log_normaliser = hn::Log(dd, normaliser);
  hn::StoreU(hn::Add(hn::LoadU(dd, sums.logs + j), hn::Add(largest, log_normaliser)), dd, sums.logs + j);
  const auto log_energy = hn::NegMulAdd(hn::Set(dd, 2.0), log_normaliser, hn::Log(dd, energy));
  hn::StoreU(hn::Add(hn::LoadU(dd, sums.energies + j), log_energy), dd, sums.energies + j);
}

/// The largest of q node over the nodes, which rise.
HWY_INLINE Vec<Doubles> largest_exponent(const Quadrature& quadrature, Vec<Doubles> q) {
  const Doubles dd;
  return hn::Max(hn::Mul(q, hn::Set(dd, quadrature.nodes[0])),
                 hn::Mul(q, hn::Set(dd, quadrature.nodes[quadrature.count - 1])));
}

void coefficients(const Quadrature& quadrature, std::size_t degree, const double* HWY_RESTRICT q,
                  float* HWY_RESTRICT lanes, const CoefficientSums& sums, std::size_t pitch) {
  const Doubles dd;
  for (std::size_t j = 0; j < pitch; j += hn::Lanes(dd)) {
    const auto at = hn::LoadU(dd, q + j);
    const auto largest = largest_exponent(quadrature, at);
    Vec<Doubles> powers[16];
    for (std::size_t n = 0; n < quadrature.count; ++n) {
      powers[n] = hn::Exp(dd, hn::Max(hn::MulSub(at, hn::Set(dd, quadrature.nodes[n]), largest), hn::Set(dd, -700.0)));
    }
    finish_coefficients(quadrature, degree, powers, largest, j, lanes, sums, pitch);
  }
}

void node_powers(const Quadrature& quadrature, const double* HWY_RESTRICT q, double* HWY_RESTRICT powers,
                 double* HWY_RESTRICT shifts, std::size_t pitch) {
  const Doubles dd;
  for (std::size_t j = 0; j < pitch; j += hn::Lanes(dd)) {
    const auto at = hn::LoadU(dd, q + j);
    const auto largest = largest_exponent(quadrature, at);
    hn::StoreU(largest, dd, shifts + j);
    for (std::size_t n = 0; n < quadrature.count; ++n) {
      const auto exponent = hn::MulSub(at, hn::Set(dd, quadrature.nodes[n]), largest);
      hn::StoreU(hn::Exp(dd, hn::Max(exponent, hn::Set(dd, -700.0))), dd, powers + n * pitch + j);
    }
  }
}

void coefficients_of_powers(const Quadrature& quadrature, std::size_t degree, const NodePowers& of_queries,
                            const double* HWY_RESTRICT centre_powers, double centre_shift, float* HWY_RESTRICT lanes,
                            const CoefficientSums& sums, std::size_t pitch) {
  const Doubles dd;
  const auto shift = hn::Set(dd, centre_shift);
  for (std::size_t j = 0; j < pitch; j += hn::Lanes(dd)) {
    Vec<Doubles> powers[16];
    for (std::size_t n = 0; n < quadrature.count; ++n) {
      powers[n] = hn::Mul(hn::LoadU(dd, of_queries.powers + n * pitch + j), hn::Set(dd, centre_powers[n]));
    }
    finish_coefficients(quadrature, degree, powers, hn::Add(hn::LoadU(dd, of_queries.shifts + j), shift), j, lanes,
                        sums, pitch);
  }
}

void squared_norms(const float* HWY_RESTRICT lanes, std::size_t count, std::size_t pitch, float* HWY_RESTRICT out) {
  const Floats df;
  const std::size_t width = hn::Lanes(df);
  for (std::size_t j = 0; j < pitch; j += width) {
    auto sum = hn::Zero(df);
    for (std::size_t t = 0; t < count; ++t) {
      const auto lane = hn::Load(df, lanes + t * pitch + j);
      sum = hn::MulAdd(lane, lane, sum);
    }
    hn::Store(sum, df, out + j);
  }
}

/// At most as many lanes as a row of the map is a multiple of.
using FourDoubles = hn::CappedTag<double, 4>;
using FourFloats = hn::Rebind<float, FourDoubles>;

/// kVectors vectors of the projections of four rows.
template <std::size_t kVectors>
HWY_INLINE void project_rows(const double* HWY_RESTRICT rows, std::size_t d, const double* HWY_RESTRICT map,
                             std::size_t width, double* HWY_RESTRICT out) {
  const FourDoubles dd;
  constexpr std::size_t lanes = hn::MaxLanes(FourDoubles());
  Vec<FourDoubles> sums[4][kVectors];
  for (auto& of_row : sums) {
    for (std::size_t v = 0; v < kVectors; ++v) of_row[v] = hn::Zero(dd);
  }
  for (std::size_t e = 0; e < d; ++e) {
    Vec<FourDoubles> right[kVectors];
    for (std::size_t v = 0; v < kVectors; ++v) right[v] = hn::LoadU(dd, map + e * width + v * lanes);
    for (std::size_t t = 0; t < 4; ++t) {
      const auto factor = hn::Set(dd, rows[t * d + e]);
      for (std::size_t v = 0; v < kVectors; ++v) sums[t][v] = hn::MulAdd(factor, right[v], sums[t][v]);
    }
  }
  for (std::size_t t = 0; t < 4; ++t) {
    for (std::size_t v = 0; v < kVectors; ++v) hn::StoreU(sums[t][v], dd, out + t * width + v * lanes);
  }
}

void project(const double* rows, std::size_t count, std::size_t d, const double* map, std::size_t width, double* out) {
  constexpr std::size_t lanes = hn::MaxLanes(FourDoubles());
  for (std::size_t j = 0; j < count; j += 4) {
    std::size_t i = 0;
    for (; i + 2 * lanes <= width; i += 2 * lanes)
      project_rows<2>(rows + j * d, d, map + i, width, out + j * width + i);
    for (; i < width; i += lanes) project_rows<1>(rows + j * d, d, map + i, width, out + j * width + i);
  }
}

void to_lanes(const double* HWY_RESTRICT rows, std::size_t count, std::size_t width, std::size_t used,
              double* HWY_RESTRICT lanes, std::size_t pitch) {
#if HWY_TARGET == HWY_SCALAR
  for (std::size_t j = 0; j < count; ++j) {
    for (std::size_t i = 0; i < used; ++i) lanes[i * pitch + j] = rows[j * width + i];
  }
#else
  const hn::CappedTag<double, 2> dd;
  for (std::size_t j = 0; j < count; j += 2) {
    const double* HWY_RESTRICT row = rows + j * width;
    std::size_t i = 0;
    for (; i + 2 <= used; i += 2) {
      const auto first = hn::LoadU(dd, row + i);
      const auto second = hn::LoadU(dd, row + width + i);
      hn::StoreU(hn::InterleaveLower(dd, first, second), dd, lanes + i * pitch + j);
      hn::StoreU(hn::InterleaveUpper(dd, first, second), dd, lanes + (i + 1) * pitch + j);
    }
    if (i < used) {
      lanes[i * pitch + j] = row[i];
      lanes[i * pitch + j + 1] = row[width + i];
    }
  }
#endif
}

/// Squared distances of two vectors of points from kCentres centres, the first of which is number `first`.
template <std::size_t kCentres>
HWY_INLINE void nearest_of(const Centres& centres, std::size_t first, const double* HWY_RESTRICT x, std::size_t pitch,
                           Vec<Doubles> (&least)[2], Vec<Doubles> (&which)[2]) {
  const Doubles dd;
  const std::size_t width = hn::Lanes(dd);
  Vec<Doubles> sums[kCentres][2];
  for (auto& sum : sums) sum[0] = sum[1] = hn::Zero(dd);
  const double* HWY_RESTRICT at = centres.scaled + first * centres.directions;
  for (std::size_t i = 0; i < centres.directions; ++i) {
    const auto root = hn::Set(dd, centres.roots[i]);
    const auto left = hn::LoadU(dd, x + i * pitch);
    const auto right = hn::LoadU(dd, x + i * pitch + width);
    for (std::size_t c = 0; c < kCentres; ++c) {
      const auto centre = hn::Set(dd, at[c * centres.directions + i]);
      const auto left_distance = hn::MulSub(left, root, centre);
      const auto right_distance = hn::MulSub(right, root, centre);
      sums[c][0] = hn::MulAdd(left_distance, left_distance, sums[c][0]);
      sums[c][1] = hn::MulAdd(right_distance, right_distance, sums[c][1]);
    }
  }
  for (std::size_t c = 0; c < kCentres; ++c) {
    const auto number = hn::Set(dd, static_cast<double>(first + c));
    for (std::size_t v = 0; v < 2; ++v) {
      const auto is_nearer = hn::Lt(sums[c][v], least[v]);
      least[v] = hn::IfThenElse(is_nearer, sums[c][v], least[v]);
      which[v] = hn::IfThenElse(is_nearer, number, which[v]);
    }
  }
}

void nearest(const Centres& centres, const double* HWY_RESTRICT x, std::size_t pitch, std::size_t count,
             std::uint32_t* HWY_RESTRICT numbers, float* HWY_RESTRICT radii) {
  const Doubles dd;
  const HalfFloats df;
  const hn::Rebind<std::int32_t, Doubles> di;
  const std::size_t width = hn::Lanes(dd);
  const auto most = hn::Set(dd, 1e38);
  HWY_ALIGN std::int32_t indices[8];
  for (std::size_t j = 0; j < count; j += 2 * width) {
    Vec<Doubles> least[2] = {hn::Set(dd, 1e308), hn::Set(dd, 1e308)};
    Vec<Doubles> which[2] = {hn::Zero(dd), hn::Zero(dd)};
    std::size_t c = 0;
    for (; c + 4 <= centres.count; c += 4) nearest_of<4>(centres, c, x + j, pitch, least, which);
    for (; c < centres.count; ++c) nearest_of<1>(centres, c, x + j, pitch, least, which);
    for (std::size_t v = 0; v < 2; ++v) {
      hn::StoreU(hn::DemoteTo(df, hn::Min(least[v], most)), df, radii + j + v * width);
      hn::StoreU(hn::DemoteTo(di, which[v]), di, indices);
      for (std::size_t t = 0; t < width; ++t) numbers[j + v * width + t] = static_cast<std::uint32_t>(indices[t]);
    }
  }
}

HWY_INLINE double dot_of(const double* HWY_RESTRICT row, const double* HWY_RESTRICT with, std::size_t d) {
  const Doubles dd;
  const std::size_t width = hn::Lanes(dd);
  auto even = hn::Zero(dd);
  auto odd = hn::Zero(dd);
  std::size_t e = 0;
  for (; e + 2 * width <= d; e += 2 * width) {
    even = hn::MulAdd(hn::LoadU(dd, row + e), hn::LoadU(dd, with + e), even);
    odd = hn::MulAdd(hn::LoadU(dd, row + e + width), hn::LoadU(dd, with + e + width), odd);
  }
  for (; e + width <= d; e += width) even = hn::MulAdd(hn::LoadU(dd, row + e), hn::LoadU(dd, with + e), even);
  double sum = hn::GetLane(hn::SumOfLanes(dd, hn::Add(even, odd)));
  for (; e < d; ++e) sum += row[e] * with[e];
  return sum;
}

void dots(const double* HWY_RESTRICT rows, std::size_t count, std::size_t d, const double* with,
          const std::uint32_t* which, const double* HWY_RESTRICT minus, double* HWY_RESTRICT out) {
  for (std::size_t j = 0; j < count; ++j) out[j] = dot_of(rows + j * d, with + which[j] * d, d) - minus[which[j]];
}

bool all_within(const double* HWY_RESTRICT numbers, std::size_t count, double limit) {
  const Doubles dd;
  const std::size_t width = hn::Lanes(dd);
  const auto most = hn::Set(dd, limit);
  auto within = hn::Eq(most, most);
  std::size_t t = 0;
  for (; t + width <= count; t += width) {
    within = hn::And(within, hn::Le(hn::Abs(hn::LoadU(dd, numbers + t)), most));
  }
  bool all = hn::AllTrue(dd, within);
  for (; t < count; ++t) all = all && numbers[t] <= limit && numbers[t] >= -limit;
  return all;
}

bool round_keys(const double* HWY_RESTRICT numbers, std::size_t count, double limit, double* HWY_RESTRICT out) {
  const Doubles dd;
  const HalfFloats df;
  const std::size_t width = hn::Lanes(dd);
  const auto most = hn::Set(dd, limit);
  auto within = hn::Eq(most, most);
  const auto zero = hn::Zero(dd);
  std::size_t t = 0;
  for (; t + width <= count; t += width) {
    const auto number = hn::LoadU(dd, numbers + t);
    within = hn::And(within, hn::Le(hn::Abs(number), most));
    hn::StoreU(hn::Add(hn::PromoteTo(dd, hn::DemoteTo(df, number)), zero), dd, out + t);
  }
  bool all = hn::AllTrue(dd, within);
  for (; t < count; ++t) {
    all = all && numbers[t] <= limit && numbers[t] >= -limit;
    out[t] = all ? static_cast<double>(static_cast<float>(numbers[t])) + 0.0 : 0;
  }
  return all;
}

/// Up to kRows rows of round_values().
template <std::size_t kRows>
HWY_INLINE bool round_value_rows(const double* HWY_RESTRICT rows, std::size_t columns, bool after_one, double limit,
                                 float* HWY_RESTRICT panels, std::size_t panel_step, float* HWY_RESTRICT low,
                                 float* HWY_RESTRICT high) {
  const FourDoubles dd;
  const FourFloats df;
  const std::size_t width = hn::Lanes(dd);
  const auto most = hn::Set(dd, limit);
  auto within = hn::Eq(most, most);
  const auto zero = hn::Zero(df);
  const std::size_t shift = after_one ? 1 : 0;
  const auto at = [&](std::size_t column) {
    return panels + (column + shift) / panel_width * panel_step + (column + shift) % panel_width;
  };
  // Behind the first vector they lie as panels do, so that none is cut by the end of a panel.
  std::size_t c = 0;
  while (c + width <= columns) {
    float* HWY_RESTRICT to = at(c);
    auto least = hn::LoadU(df, low + c);
    auto largest = hn::LoadU(df, high + c);
    for (std::size_t j = 0; j < kRows; ++j) {
      const auto number = hn::LoadU(dd, rows + j * columns + c);
      within = hn::And(within, hn::Le(hn::Abs(number), most));
      const auto rounded = hn::Add(hn::DemoteTo(df, number), zero);
      hn::StoreU(rounded, df, to + j * panel_width);
      least = hn::Min(rounded, least);
      largest = hn::Max(rounded, largest);
    }
    hn::StoreU(least, df, low + c);
    hn::StoreU(largest, df, high + c);
    c += c == 0 && width > 1 ? width - shift : width;
  }
  bool all = hn::AllTrue(dd, within);
  for (; c < columns; ++c) {
    float* HWY_RESTRICT to = at(c);
    for (std::size_t j = 0; j < kRows; ++j) {
      const double number = rows[j * columns + c];
      all = all && number <= limit && number >= -limit;
      const float rounded = all ? static_cast<float>(number) + 0.0F : 0;
      to[j * panel_width] = rounded;
      low[c] = std::min(rounded, low[c]);
      high[c] = std::max(rounded, high[c]);
    }
  }
  return all;
}

bool round_values(const double* rows, std::size_t count, std::size_t columns, bool after_one, double limit,
                  float* panels, std::size_t panel_step, float* low, float* high) {
  bool all = true;
  std::size_t j = 0;
  for (; j + 4 <= count; j += 4) {
    all &= round_value_rows<4>(rows + j * columns, columns, after_one, limit, panels + j * panel_width, panel_step, low,
                               high);
  }
  for (; j < count; ++j) {
    all &= round_value_rows<1>(rows + j * columns, columns, after_one, limit, panels + j * panel_width, panel_step, low,
                               high);
  }
  if (after_one) {
    for (j = 0; j < count; ++j) panels[j * panel_width] = 1;
  }
  return all;
}

void scores(const float* HWY_RESTRICT keys, std::size_t pitch, std::size_t d, const double* HWY_RESTRICT query,
            double* HWY_RESTRICT out) {
  const Doubles dd;
  const HalfFloats df;
  constexpr std::size_t lanes = hn::MaxLanes(Doubles());
  constexpr std::size_t vectors = 16 / lanes;
  for (std::size_t j = 0; j < pitch; j += 16) {
    hn::Vec<Doubles> sums[vectors];
    for (auto& sum : sums) sum = hn::Zero(dd);
    for (std::size_t e = 0; e < d; ++e) {
      const auto factor = hn::Set(dd, query[e]);
      for (std::size_t v = 0; v < vectors; ++v) {
        const auto key = hn::PromoteTo(dd, hn::LoadU(df, keys + e * pitch + j + v * lanes));
        sums[v] = hn::MulAdd(factor, key, sums[v]);
      }
    }
    for (std::size_t v = 0; v < vectors; ++v) hn::StoreU(sums[v], dd, out + j + v * lanes);
  }
}

void exponentials(double* values, std::size_t count, double reference) {
  const Doubles dd;
  const auto down = hn::Set(dd, reference);
  const auto least = hn::Set(dd, -700.0);
  for (std::size_t j = 0; j < count; j += hn::Lanes(dd)) {
    hn::StoreU(hn::Exp(dd, hn::Max(hn::Sub(hn::LoadU(dd, values + j), down), least)), dd, values + j);
  }
}

void clamped_exponentials(const double* HWY_RESTRICT exponents, std::size_t count, double low, double high,
                          double* HWY_RESTRICT out) {
  const Doubles dd;
  const auto least = hn::Set(dd, low);
  const auto most = hn::Set(dd, high);
  for (std::size_t j = 0; j < count; j += hn::Lanes(dd)) {
    hn::StoreU(hn::Exp(dd, hn::Min(hn::Max(hn::LoadU(dd, exponents + j), least), most)), dd, out + j);
  }
}

double largest(const double* HWY_RESTRICT numbers, std::size_t count) {
  const Doubles dd;
  const std::size_t width = hn::Lanes(dd);
  double most = numbers[0];
  std::size_t j = 0;
  if (count >= width) {
    auto so_far = hn::LoadU(dd, numbers);
    for (j = width; j + width <= count; j += width) so_far = hn::Max(so_far, hn::LoadU(dd, numbers + j));
    most = hn::GetLane(hn::MaxOfLanes(dd, so_far));
  }
  for (; j < count; ++j) most = std::max(most, numbers[j]);
  return most;
}

double weigh(double* HWY_RESTRICT numbers, const double* HWY_RESTRICT weights, std::size_t count) {
  const Doubles dd;
  auto sum = hn::Zero(dd);
  for (std::size_t j = 0; j < count; j += hn::Lanes(dd)) {
    const auto weighted = hn::Mul(hn::LoadU(dd, numbers + j), hn::LoadU(dd, weights + j));
    hn::StoreU(weighted, dd, numbers + j);
    sum = hn::Add(sum, weighted);
  }
  return hn::GetLane(hn::SumOfLanes(dd, sum));
}

/// kVectors vectors of columns of the sums, which stay in registers.
template <std::size_t kVectors>
HWY_INLINE void add_weighted_columns(const double* HWY_RESTRICT weights, const float* HWY_RESTRICT rows,
                                     std::size_t count, std::size_t columns, double* HWY_RESTRICT sums) {
  const Doubles dd;
  const HalfFloats df;
  const std::size_t width = hn::Lanes(dd);
  Vec<Doubles> of_columns[kVectors];
  for (std::size_t v = 0; v < kVectors; ++v) of_columns[v] = hn::LoadU(dd, sums + v * width);
  for (std::size_t j = 0; j < count; ++j) {
    const auto weight = hn::Set(dd, weights[j]);
    for (std::size_t v = 0; v < kVectors; ++v) {
      const auto value = hn::PromoteTo(dd, hn::LoadU(df, rows + j * columns + v * width));
      of_columns[v] = hn::MulAdd(weight, value, of_columns[v]);
    }
  }
  for (std::size_t v = 0; v < kVectors; ++v) hn::StoreU(of_columns[v], dd, sums + v * width);
}

void add_weighted(const double* HWY_RESTRICT weights, const float* HWY_RESTRICT rows, std::size_t count,
                  std::size_t columns, double* HWY_RESTRICT sums) {
  const std::size_t width = hn::Lanes(Doubles());
  std::size_t c = 0;
  for (; c + 8 * width <= columns; c += 8 * width) {
    add_weighted_columns<8>(weights, rows + c, count, columns, sums + c);
  }
  for (; c + 3 * width <= columns; c += 3 * width) {
    add_weighted_columns<3>(weights, rows + c, count, columns, sums + c);
  }
  for (; c + width <= columns; c += width) add_weighted_columns<1>(weights, rows + c, count, columns, sums + c);
  if (c == columns) return;
  // The rest is less than a vector: 8 sums in doubles at most.
  double rest[8] = {};
  for (std::size_t j = 0; j < count; ++j) {
    for (std::size_t e = c; e < columns; ++e) rest[e - c] += weights[j] * static_cast<double>(rows[j * columns + e]);
  }
  for (std::size_t e = c; e < columns; ++e) sums[e] += rest[e - c];
}

}  // namespace HWY_NAMESPACE
}  // namespace weir
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace weir {

HWY_EXPORT(multiply_add);
HWY_EXPORT(add_lane_sums);
HWY_EXPORT(multiply_lanes);
HWY_EXPORT(polynomials);
HWY_EXPORT(coefficients);
HWY_EXPORT(node_powers);
HWY_EXPORT(coefficients_of_powers);
HWY_EXPORT(squared_norms);
HWY_EXPORT(project);
HWY_EXPORT(to_lanes);
HWY_EXPORT(nearest);
HWY_EXPORT(dots);
HWY_EXPORT(all_within);
HWY_EXPORT(round_keys);
HWY_EXPORT(round_values);
HWY_EXPORT(scores);
HWY_EXPORT(exponentials);
HWY_EXPORT(clamped_exponentials);
HWY_EXPORT(largest);
HWY_EXPORT(weigh);
HWY_EXPORT(add_weighted);

namespace kernels {

void multiply_add(const LeftFactor& left, std::size_t rows, std::size_t inner, const RightFactor& right,
                  std::size_t columns, float* out, std::size_t out_step, float* lost) {
  HWY_DYNAMIC_DISPATCH(multiply_add)(left, rows, inner, right, columns, out, out_step, lost);
}
void add_lane_sums(const float* lanes, std::size_t count, std::size_t pitch, float* out, std::size_t out_step,
                   float* lost) {
  HWY_DYNAMIC_DISPATCH(add_lane_sums)(lanes, count, pitch, out, out_step, lost);
}
void multiply_lanes(const LaneProduct* products, std::size_t count, const float* factors, float* lanes,
                    std::size_t pitch) {
  HWY_DYNAMIC_DISPATCH(multiply_lanes)(products, count, factors, lanes, pitch);
}
void polynomials(const Recurrence& recurrence, std::size_t degree, const double* x, float* lanes, std::size_t pitch) {
  HWY_DYNAMIC_DISPATCH(polynomials)(recurrence, degree, x, lanes, pitch);
}
void coefficients(const Quadrature& quadrature, std::size_t degree, const double* q, float* lanes,
                  const CoefficientSums& sums, std::size_t pitch) {
  HWY_DYNAMIC_DISPATCH(coefficients)(quadrature, degree, q, lanes, sums, pitch);
}
void node_powers(const Quadrature& quadrature, const double* q, double* powers, double* shifts, std::size_t pitch) {
  HWY_DYNAMIC_DISPATCH(node_powers)(quadrature, q, powers, shifts, pitch);
}
void coefficients_of_powers(const Quadrature& quadrature, std::size_t degree, const NodePowers& of_queries,
                            const double* centre_powers, double centre_shift, float* lanes, const CoefficientSums& sums,
                            std::size_t pitch) {
  HWY_DYNAMIC_DISPATCH(coefficients_of_powers)
  (quadrature, degree, of_queries, centre_powers, centre_shift, lanes, sums, pitch);
}
void squared_norms(const float* lanes, std::size_t count, std::size_t pitch, float* out) {
  HWY_DYNAMIC_DISPATCH(squared_norms)(lanes, count, pitch, out);
}
void project(const double* rows, std::size_t count, std::size_t d, const double* map, std::size_t width, double* out) {
  HWY_DYNAMIC_DISPATCH(project)(rows, count, d, map, width, out);
}
void to_lanes(const double* rows, std::size_t count, std::size_t width, std::size_t used, double* lanes,
              std::size_t pitch) {
  HWY_DYNAMIC_DISPATCH(to_lanes)(rows, count, width, used, lanes, pitch);
}
void nearest(const Centres& centres, const double* x, std::size_t pitch, std::size_t count, std::uint32_t* numbers,
             float* radii) {
  HWY_DYNAMIC_DISPATCH(nearest)(centres, x, pitch, count, numbers, radii);
}
void dots(const double* rows, std::size_t count, std::size_t d, const double* with, const std::uint32_t* which,
          const double* minus, double* out) {
  HWY_DYNAMIC_DISPATCH(dots)(rows, count, d, with, which, minus, out);
}
bool all_within(const double* numbers, std::size_t count, double limit) {
  return HWY_DYNAMIC_DISPATCH(all_within)(numbers, count, limit);
}
bool round_keys(const double* numbers, std::size_t count, double limit, double* out) {
  return HWY_DYNAMIC_DISPATCH(round_keys)(numbers, count, limit, out);
}
bool round_values(const double* rows, std::size_t count, std::size_t columns, bool after_one, double limit,
                  float* panels, std::size_t panel_step, float* low, float* high) {
  return HWY_DYNAMIC_DISPATCH(round_values)(rows, count, columns, after_one, limit, panels, panel_step, low, high);
}
void scores(const float* keys, std::size_t pitch, std::size_t d, const double* query, double* out) {
  HWY_DYNAMIC_DISPATCH(scores)(keys, pitch, d, query, out);
}
void exponentials(double* values, std::size_t count, double reference) {
  HWY_DYNAMIC_DISPATCH(exponentials)(values, count, reference);
}
void clamped_exponentials(const double* exponents, std::size_t count, double low, double high, double* out) {
  HWY_DYNAMIC_DISPATCH(clamped_exponentials)(exponents, count, low, high, out);
}
double largest(const double* numbers, std::size_t count) { return HWY_DYNAMIC_DISPATCH(largest)(numbers, count); }
double weigh(double* numbers, const double* weights, std::size_t count) {
  return HWY_DYNAMIC_DISPATCH(weigh)(numbers, weights, count);
}
void add_weighted(const double* weights, const float* rows, std::size_t count, std::size_t columns, double* sums) {
  HWY_DYNAMIC_DISPATCH(add_weighted)(weights, rows, count, columns, sums);
}

}  // namespace kernels
}  // namespace weir
#endif
