#pragma once

#include <cstddef>
#include <cstdint>

/// The vector loops of anisotropic attention. A block of rows lies in lanes: number j of a lane belongs to row j.
namespace weir::kernels {

/// Columns of a panel. The right factor of a product is packed in panels: [panel][inner][panel_width], zeros where there is
/// no column.
inline constexpr std::size_t panel_width = 16;
[[nodiscard]] constexpr std::size_t panels_of(std::size_t columns) noexcept {
  return (columns + panel_width - 1) / panel_width;
}

/// Entry (i, j) of a left factor is values[i * row_step + j * inner_step].
struct LeftFactor {
  const float* values;
  std::size_t row_step;
  std::size_t inner_step;
};

/// Panels, `panel_step` numbers from one to the next. They are aligned as AlignedVector is.
struct RightFactor {
  const float* panels;
  std::size_t panel_step;
};

/// out(i, c) += sum over j < inner of left(i, j) * right(j, c) for i < rows and c < columns; out(i, c) is
/// out[i * out_step + c]. What lies behind `columns` is not touched. Where `lost` is not null it has the shape of out,
/// and holds what rounding took from each number so far: it is made up for by the next sum (Kahan 1965).
void multiply_add(const LeftFactor& left, std::size_t rows, std::size_t inner, const RightFactor& right,
                  std::size_t columns, float* out, std::size_t out_step, float* lost = nullptr);

/// out[t * out_step] += sum over j < pitch of lanes[t * pitch + j] for t < count; pitch is a multiple of 16, and `lost`
/// is as above.
void add_lane_sums(const float* lanes, std::size_t count, std::size_t pitch, float* out, std::size_t out_step,
                   float* lost = nullptr);

/// A lane is the lane of its parent times a lane of factors.
struct LaneProduct {
  std::uint32_t parent;
  std::uint32_t factor;
};

/// lanes[t] = lanes[products[t].parent] * factors[products[t].factor] for t from 1 to count - 1, in this order; lanes are
/// `pitch` floats apart, a multiple of 16.
void multiply_lanes(const LaneProduct* products, std::size_t count, const float* factors, float* lanes,
                    std::size_t pitch);

/// A recurrence of polynomials: P_0 = 1, P_{a+1}(x) = (steps[3a] x + steps[3a+1]) P_a(x) - steps[3a+2] P_{a-1}(x).
struct Recurrence {
  const double* steps;
  double centre;  ///< Subtracted from x first.
  double low;     ///< x is clamped to [low, high] then.
  double high;
};

/// lanes[a - 1][j] = P_a(x[j]) for a from 1 to `degree`; x and lanes have `pitch` numbers, a multiple of 16.
void polynomials(const Recurrence& recurrence, std::size_t degree, const double* x, float* lanes, std::size_t pitch);

/// Nodes of a quadrature for which the coefficients of exp(q x) are worked out.
struct Quadrature {
  const double* nodes;    ///< `count` of them, rising.
  const double* weights;  ///< [a][node]: the weight of the node times P_a there.
  std::size_t count;      ///< At most 16.
};

/// What coefficients() adds to, one number for each query.
struct CoefficientSums {
  double* logs;      ///< Of log c_0.
  double* energies;  ///< Of the log of (sum over a of c_a^2) / c_0^2, over all degrees.
};

/// With c_a = sum over nodes of weights[a][node] exp(q node): lanes[a - 1][j] = c_a / c_0 for a from 1 to `degree`, for
/// q = q[j].
void coefficients(const Quadrature& quadrature, std::size_t degree, const double* q, float* lanes,
                  const CoefficientSums& sums, std::size_t pitch);

/// powers[n][j] = exp(q[j] node_n - shifts[j]), where the shift is the largest of the exponents. Exponents below -700
/// are taken for it.
void node_powers(const Quadrature& quadrature, const double* q, double* powers, double* shifts, std::size_t pitch);

/// What node_powers() gives.
struct NodePowers {
  const double* powers;
  const double* shifts;
};

/// coefficients() of q - c for powers of q and of -c: exp((q - c) node) is their product. No exponent may be below -300,
/// so that products do not underflow. Costs no exponentials.
void coefficients_of_powers(const Quadrature& quadrature, std::size_t degree, const NodePowers& of_queries,
                            const double* centre_powers, double centre_shift, float* lanes, const CoefficientSums& sums,
                            std::size_t pitch);

/// out[j] = sum over t < count of lanes[t][j]^2.
void squared_norms(const float* lanes, std::size_t count, std::size_t pitch, float* out);

/// out[j][i] = sum over e < d of rows[j][e] * map[e][i] for j < count, and i < width, multiples of 4.
void project(const double* rows, std::size_t count, std::size_t d, const double* map, std::size_t width, double* out);

/// lanes[i * pitch + j] = rows[j * width + i] for j < count, an even number, and i < used.
void to_lanes(const double* rows, std::size_t count, std::size_t width, std::size_t used, double* lanes,
              std::size_t pitch);

/// Points that others are assigned to. The distance is sum over i of (roots[i] x_i - scaled_i)^2.
struct Centres {
  const double* roots;   ///< One for each direction.
  const double* scaled;  ///< [centre][direction]: coordinates times the root.
  std::size_t count;
  std::size_t directions;
};

/// The nearest centre of point j, the first of equals, and its distance, at most 1e38, for j < count, a multiple of 16.
/// Coordinate i of point j is x[i * pitch + j].
void nearest(const Centres& centres, const double* x, std::size_t pitch, std::size_t count, std::uint32_t* numbers,
             float* radii);

/// out[j] = sum over e < d of rows[j][e] * with[which[j]][e], minus minus[which[j]], for j < count.
void dots(const double* rows, std::size_t count, std::size_t d, const double* with, const std::uint32_t* which,
          const double* minus, double* out);

/// True when all numbers are at most `limit` in magnitude; NaN is not.
[[nodiscard]] bool all_within(const double* numbers, std::size_t count, double limit);

/// out[t] = numbers[t] rounded to a float, -0 as 0, for t < count. False, and any numbers, where all_within() is.
[[nodiscard]] bool round_keys(const double* numbers, std::size_t count, double limit, double* out);

/// Row j of `rows`, `columns` numbers, as floats to row j of panels, -0 as 0, for j < count. With `after_one` a 1 comes
/// before them. What lies behind them in the panels is not touched. low[c] and high[c] become at most and at least each
/// of them. False, and any numbers, where all_within() is.
[[nodiscard]] bool round_values(const double* rows, std::size_t count, std::size_t columns, bool after_one,
                                double limit, float* panels, std::size_t panel_step, float* low, float* high);

/// scores[j] = sum over e < d of query[e] * keys[e][j] for j < pitch, a multiple of 16; returns nothing but the scores.
void scores(const float* keys, std::size_t pitch, std::size_t d, const double* query, double* out);

/// values[j] = exp(values[j] - reference) for j < count, a multiple of 8.
void exponentials(double* values, std::size_t count, double reference);

/// out[j] = exp of exponents[j], which is clamped to [low, high] first, for j < count, a multiple of 8.
void clamped_exponentials(const double* exponents, std::size_t count, double low, double high, double* out);

/// The largest of `count` numbers, at least one.
[[nodiscard]] double largest(const double* numbers, std::size_t count);

/// Multiplies numbers[j] by weights[j] for j < count, a multiple of 8, and returns the sum of the products.
double weigh(double* numbers, const double* weights, std::size_t count);

/// sums[c] += sum over j < count of weights[j] * rows[j][c] for c < columns.
void add_weighted(const double* weights, const float* rows, std::size_t count, std::size_t columns, double* sums);

}  // namespace weir::kernels
