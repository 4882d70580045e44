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
using kernels::CoefficientSums;
using kernels::LaneProduct;
using kernels::LeftFactor;
using kernels::panel_width;
using kernels::Quadrature;
using kernels::Recurrence;

using Floats = hn::CappedTag<float, panel_width>;
/// Vectors of a row of a panel.
constexpr std::size_t panel_vectors = panel_width / hn::MaxLanes(Floats());
/// Rows of the product that are summed in registers at once: with the vectors of a panel they take 12 of 16 registers.
constexpr std::size_t tile_rows = panel_vectors >= 12 ? 1 : 12 / panel_vectors;

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

template <std::size_t kVectors>
HWY_INLINE void add_panel(const LeftFactor& left, std::size_t rows, std::size_t inner, const float* panel,
                          std::size_t columns, float* out, std::size_t out_step, float* lost) {
  const auto at = [&](std::size_t i) { return lost == nullptr ? nullptr : lost + i * out_step; };
  std::size_t i = 0;
  for (; i + tile_rows <= rows; i += tile_rows) {
    add_tile<tile_rows, kVectors>(left.values + i * left.row_step, left, inner, panel, columns, out + i * out_step,
                                  out_step, at(i));
  }
  for (; i < rows; ++i) {
    add_tile<1, kVectors>(left.values + i * left.row_step, left, inner, panel, columns, out + i * out_step, out_step,
                          at(i));
  }
}

void multiply_add(const LeftFactor& left, std::size_t rows, std::size_t inner, const float* panels, std::size_t columns,
                  float* out, std::size_t out_step, float* lost) {
  for (std::size_t first = 0; first < columns; first += panel_width) {
    const float* panel = panels + first * inner;
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
  for (std::size_t j = 0; j < pitch; j += width) {
    const auto at = hn::Min(hn::Max(hn::LoadU(dd, x + j), hn::Set(dd, recurrence.low)), hn::Set(dd, recurrence.high));
    auto before = hn::Zero(dd);
    auto current = hn::Set(dd, 1.0);
    for (std::size_t a = 0; a < degree; ++a) {
      const double below = a == 0 ? 0 : recurrence.beta[a - 1];
      const auto next = hn::Mul(
          hn::Set(dd, 1 / recurrence.beta[a]),
          hn::NegMulAdd(hn::Set(dd, below), before, hn::Mul(hn::Sub(at, hn::Set(dd, recurrence.alpha[a])), current)));
      before = current;
      current = next;
      hn::StoreU(hn::DemoteTo(df, current), df, lanes + a * pitch + j);
    }
  }
}

void coefficients(const Quadrature& quadrature, std::size_t degree, const double* HWY_RESTRICT q,
                  float* HWY_RESTRICT lanes, const CoefficientSums& sums, std::size_t pitch) {
  const Doubles dd;
  const HalfFloats df;
  const std::size_t width = hn::Lanes(dd);
  const std::size_t count = quadrature.count;
  for (std::size_t j = 0; j < pitch; j += width) {
    const auto at = hn::LoadU(dd, q + j);
    const auto largest =
        hn::Max(hn::Mul(at, hn::Set(dd, quadrature.nodes[0])), hn::Mul(at, hn::Set(dd, quadrature.nodes[count - 1])));
    hn::Vec<Doubles> powers[16];
    auto normaliser = hn::Zero(dd);
    auto energy = hn::Zero(dd);
    for (std::size_t n = 0; n < count; ++n) {
      const auto exponent = hn::Max(hn::MulSub(at, hn::Set(dd, quadrature.nodes[n]), largest), hn::Set(dd, -700.0));
      powers[n] = hn::Exp(dd, exponent);
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

/// kVectors vectors of the projection of one row.
template <std::size_t kVectors>
HWY_INLINE void project_row(const float* HWY_RESTRICT row, std::size_t d, const double* HWY_RESTRICT map,
                            std::size_t width, double* HWY_RESTRICT out) {
  const Doubles dd;
  constexpr std::size_t lanes = hn::MaxLanes(Doubles());
  hn::Vec<Doubles> sums[kVectors];
  for (std::size_t v = 0; v < kVectors; ++v) sums[v] = hn::Zero(dd);
  for (std::size_t e = 0; e < d; ++e) {
    const auto factor = hn::Set(dd, static_cast<double>(row[e]));
    for (std::size_t v = 0; v < kVectors; ++v) {
      sums[v] = hn::MulAdd(factor, hn::LoadU(dd, map + e * width + v * lanes), sums[v]);
    }
  }
  for (std::size_t v = 0; v < kVectors; ++v) hn::StoreU(sums[v], dd, out + v * lanes);
}

void project(const float* rows, std::size_t count, std::size_t d, const double* map, std::size_t width, double* out) {
  constexpr std::size_t vectors = 8 / hn::MaxLanes(Doubles());
  for (std::size_t j = 0; j < count; ++j) {
    std::size_t i = 0;
    for (; i + 16 <= width; i += 16) project_row<2 * vectors>(rows + j * d, d, map + i, width, out + j * width + i);
    for (; i < width; i += 8) project_row<vectors>(rows + j * d, d, map + i, width, out + j * width + i);
  }
}

double dot(const float* HWY_RESTRICT row, const double* HWY_RESTRICT map, std::size_t d) {
  const Doubles dd;
  const HalfFloats df;
  const std::size_t width = hn::Lanes(dd);
  auto even = hn::Zero(dd);
  auto odd = hn::Zero(dd);
  std::size_t e = 0;
  for (; e + 2 * width <= d; e += 2 * width) {
    even = hn::MulAdd(hn::PromoteTo(dd, hn::LoadU(df, row + e)), hn::LoadU(dd, map + e), even);
    odd = hn::MulAdd(hn::PromoteTo(dd, hn::LoadU(df, row + e + width)), hn::LoadU(dd, map + e + width), odd);
  }
  double sum = hn::GetLane(hn::SumOfLanes(dd, hn::Add(even, odd)));
  for (; e < d; ++e) sum += static_cast<double>(row[e]) * map[e];
  return sum;
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

void round_rows(const double* HWY_RESTRICT rows, std::size_t count, std::size_t columns, float* HWY_RESTRICT out,
                std::size_t step, float* HWY_RESTRICT low, float* HWY_RESTRICT high) {
  const Doubles dd;
  const HalfFloats df;
  const std::size_t width = hn::Lanes(dd);
  const auto zero = hn::Zero(df);
  for (std::size_t j = 0; j < count; ++j) {
    const double* HWY_RESTRICT row = rows + j * columns;
    float* HWY_RESTRICT to = out + j * step;
    std::size_t c = 0;
    for (; c + width <= columns; c += width) {
      const auto number = hn::Add(hn::DemoteTo(df, hn::LoadU(dd, row + c)), zero);
      hn::StoreU(number, df, to + c);
      if (low == nullptr) continue;
      hn::StoreU(hn::Min(number, hn::LoadU(df, low + c)), df, low + c);
      hn::StoreU(hn::Max(number, hn::LoadU(df, high + c)), df, high + c);
    }
    for (; c < columns; ++c) {
      to[c] = static_cast<float>(row[c]) + 0.0F;
      if (low == nullptr) continue;
      low[c] = std::min(to[c], low[c]);
      high[c] = std::max(to[c], high[c]);
    }
  }
}

void pack_row(float factor, const float* HWY_RESTRICT values, std::size_t columns, std::size_t j, std::size_t rows,
              float* HWY_RESTRICT panels) {
  const Floats df;
  const std::size_t width = hn::Lanes(df);
  const auto times = hn::Set(df, factor);
  for (std::size_t first = 0; first < columns; first += panel_width) {
    float* HWY_RESTRICT out = panels + first * rows + j * panel_width;
    if (first > 0 && first + panel_width <= columns) {
      for (std::size_t c = 0; c < panel_width; c += width) {
        hn::Store(hn::Mul(times, hn::LoadU(df, values + first - 1 + c)), df, out + c);
      }
      continue;
    }
    for (std::size_t c = 0; c < panel_width; ++c) {
      const std::size_t column = first + c;
      out[c] = column == 0 ? factor : column < columns ? factor * values[column - 1] : 0;
    }
  }
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

void add_weighted(const double* HWY_RESTRICT weights, const float* HWY_RESTRICT rows, std::size_t count,
                  std::size_t columns, double* HWY_RESTRICT sums) {
  const Doubles dd;
  const HalfFloats df;
  const std::size_t width = hn::Lanes(dd);
  for (std::size_t j = 0; j < count; ++j) {
    const double weight = weights[j];
    const float* HWY_RESTRICT row = rows + j * columns;
    std::size_t c = 0;
    for (; c + width <= columns; c += width) {
      const auto value = hn::PromoteTo(dd, hn::LoadU(df, row + c));
      hn::StoreU(hn::MulAdd(hn::Set(dd, weight), value, hn::LoadU(dd, sums + c)), dd, sums + c);
    }
    for (; c < columns; ++c) sums[c] += weight * static_cast<double>(row[c]);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace weir
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace weir {

HWY_EXPORT(multiply_add);
HWY_EXPORT(multiply_lanes);
HWY_EXPORT(polynomials);
HWY_EXPORT(coefficients);
HWY_EXPORT(squared_norms);
HWY_EXPORT(project);
HWY_EXPORT(dot);
HWY_EXPORT(all_within);
HWY_EXPORT(round_rows);
HWY_EXPORT(pack_row);
HWY_EXPORT(scores);
HWY_EXPORT(exponentials);
HWY_EXPORT(add_weighted);

namespace kernels {

void multiply_add(const LeftFactor& left, std::size_t rows, std::size_t inner, const float* panels, std::size_t columns,
                  float* out, std::size_t out_step, float* lost) {
  HWY_DYNAMIC_DISPATCH(multiply_add)(left, rows, inner, panels, columns, out, out_step, lost);
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
void squared_norms(const float* lanes, std::size_t count, std::size_t pitch, float* out) {
  HWY_DYNAMIC_DISPATCH(squared_norms)(lanes, count, pitch, out);
}
void project(const float* rows, std::size_t count, std::size_t d, const double* map, std::size_t width, double* out) {
  HWY_DYNAMIC_DISPATCH(project)(rows, count, d, map, width, out);
}
double dot(const float* row, const double* map, std::size_t d) { return HWY_DYNAMIC_DISPATCH(dot)(row, map, d); }
bool all_within(const double* numbers, std::size_t count, double limit) {
  return HWY_DYNAMIC_DISPATCH(all_within)(numbers, count, limit);
}
void round_rows(const double* rows, std::size_t count, std::size_t columns, float* out, std::size_t step, float* low,
                float* high) {
  HWY_DYNAMIC_DISPATCH(round_rows)(rows, count, columns, out, step, low, high);
}
void pack_row(float factor, const float* values, std::size_t columns, std::size_t j, std::size_t rows, float* panels) {
  HWY_DYNAMIC_DISPATCH(pack_row)(factor, values, columns, j, rows, panels);
}
void scores(const float* keys, std::size_t pitch, std::size_t d, const double* query, double* out) {
  HWY_DYNAMIC_DISPATCH(scores)(keys, pitch, d, query, out);
}
void exponentials(double* values, std::size_t count, double reference) {
  HWY_DYNAMIC_DISPATCH(exponentials)(values, count, reference);
}
void add_weighted(const double* weights, const float* rows, std::size_t count, std::size_t columns, double* sums) {
  HWY_DYNAMIC_DISPATCH(add_weighted)(weights, rows, count, columns, sums);
}

}  // namespace kernels
}  // namespace weir
#endif
