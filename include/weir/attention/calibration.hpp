#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace weir {

/// What anisotropic attention is to cost, and what of it is decided by the caller. The scale of the scores (1/sqrt(d),
/// say) is applied to the queries before they come here.
struct AnisotropicOptions {
  std::uint64_t d = 0;   ///< Numbers of a key and of a query, 1 to 4096.
  std::uint64_t dv = 0;  ///< Numbers of a value, 1 to 4096.
  /// Bytes of the calibration, the features and the exact rows, 4 bytes a number (anisotropic_bytes() says more).
  std::uint64_t budget = 65536;
  /// Rows of queries and of keys that the map is fitted to, 1 or more. Rows beyond them only help `automatic` to choose.
  std::uint64_t calibration_rows = 512;
  std::optional<std::uint32_t> clusters = {};    ///< 1 to 256; 1 unless `automatic`.
  std::optional<std::uint64_t> exact_rows = {};  ///< By default a tenth of the budget, or what `automatic` finds.
  std::optional<std::uint32_t> directions = {};  ///< 1 to d; by default from d and the budget, or by `automatic`.
  std::optional<std::uint32_t> degree = {};      ///< 1 to 12: cap of the degree; 10, or 6 where there are clusters.
  /// Chooses what is not given above (clusters, exact rows, directions) by trying. Each choice is fitted to the first
  /// `calibration_rows` rows and judged by its error on the rows that follow; where fewer than a quarter as many follow,
  /// it is fitted to one half of the rows and judged on the other.
  bool automatic = true;
  /// Rows that the stream is thought to have. It decides which share of the rows is kept exactly, and with that the rows
  /// that the features must fit. Errors grow little when it is wrong.
  std::uint64_t expected_rows = 4096;
  std::uint64_t seed = 0;  ///< Of the uniform sample behind estimates of errors.

  bool operator==(const AnisotropicOptions&) const = default;
};

/// Throws UsageError that names the field: out of the ranges above, or a budget that is too small for the map, one
/// feature of each cluster and the exact rows.
void validate(const AnisotropicOptions& options);

/// Sizes that are known before rows are seen. Parts that `automatic` chooses are as large as it may choose them.
struct AnisotropicSizes {
  std::uint64_t calibration_numbers = 0;  ///< numbers() of the calibration, at most.
  std::uint64_t feature_numbers = 0;      ///< Floats of AnisotropicState::features(), at most.
  std::uint64_t bounded_bytes = 0;        ///< Bytes of AnisotropicState::bounded_part(), at most.
  std::uint64_t working_bytes = 0;        ///< Memory that adding rows and answering need besides, at most, about.
};
/// Throws as validate() does.
[[nodiscard]] AnisotropicSizes anisotropic_sizes(const AnisotropicOptions& options);

struct AnisotropicMap;  // what is worked out from the numbers of a calibration; src/attention/anisotropic_map.hpp

/// What anisotropic attention knows before the stream begins: which directions of the keys matter to the scores, how keys
/// are clustered, and which features are kept. A value; copies share what is worked out.
///
/// The kernel exp(q.k) is, for a key k of cluster c with the centre k_c and the query centre q_c,
///
///   exp(q.k_c) exp(q_c.(k - k_c)) exp((q - q_c).(k - k_c)),
///
/// where the first factor depends on the query alone and the second, the tilt, on the key alone. The third is a function
/// of R coordinates q' and k' whose covariances are both diag(s), s falling; the other directions are left out. It is
/// expanded in products of polynomials that are orthonormal under the law of each coordinate of the calibration keys;
/// of the products those are kept that matter most to the calibration queries, as many as the budget holds.
class AnisotropicCalibration {
 public:
  /// Fits to rows of queries (nq x d), keys (nk x d) and values (nk x dv, or none), row by row; counts follow from the
  /// sizes. There may be fewer rows than options.calibration_rows, but one key is needed. Without queries, isotropic ones
  /// are assumed whose scores have the variance 1. Deterministic. Without values `automatic` judges by the normalisers.
  /// Throws as validate(); UsageError for sizes that hold no whole rows or no key; InputError that names the row of a
  /// number that is not finite or above 1e12 in magnitude. Costs O(rows d^2 + d^3) and, where `automatic`, about thirty
  /// times the cost of answering `calibration_rows` queries.
  [[nodiscard]] static AnisotropicCalibration fit(const AnisotropicOptions& options, std::span<const double> queries,
                                                  std::span<const double> keys, std::span<const double> values);

  /// All that it consists of. Two calibrations are equal if these are.
  [[nodiscard]] std::span<const double> numbers() const noexcept;
  /// The inverse of numbers(), which may come from a damaged file. Throws InputError that says what is wrong: sizes that
  /// contradict each other, numbers out of range, polynomials without an orthogonal law.
  [[nodiscard]] static AnisotropicCalibration from_numbers(std::span<const double> numbers);

  [[nodiscard]] std::uint64_t d() const noexcept;
  [[nodiscard]] std::uint64_t dv() const noexcept;
  [[nodiscard]] std::uint32_t clusters() const noexcept;    ///< C.
  [[nodiscard]] std::uint32_t directions() const noexcept;  ///< R.
  [[nodiscard]] std::uint64_t features() const noexcept;    ///< r, of each cluster.
  [[nodiscard]] std::uint64_t exact_rows() const noexcept;  ///< m.
  [[nodiscard]] std::uint32_t degree() const noexcept;      ///< The cap.
  [[nodiscard]] std::uint64_t seed() const noexcept;
  /// Directions in which the scores vary by more than .1 (standard deviation of a coordinate, s) about one centre. Above
  /// 20 of them the method is no better than samples.
  [[nodiscard]] std::uint32_t varied_directions() const noexcept;
  /// Bytes of the budget that it takes: 4 for each of numbers().
  [[nodiscard]] std::uint64_t bytes() const noexcept;
  /// Relative error (Frobenius) that `automatic` found for the choice on rows that it was not fitted to; NaN where there
  /// was nothing to choose or to judge by.
  [[nodiscard]] double expected_error() const noexcept;

  [[nodiscard]] const AnisotropicMap& map() const noexcept { return *map_; }

  friend bool operator==(const AnisotropicCalibration& a, const AnisotropicCalibration& b) noexcept;

 private:
  explicit AnisotropicCalibration(std::shared_ptr<const AnisotropicMap> map) : map_(std::move(map)) {}
  std::shared_ptr<const AnisotropicMap> map_;
};

}  // namespace weir
