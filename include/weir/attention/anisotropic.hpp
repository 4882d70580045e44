#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "weir/attention/calibration.hpp"
#include "weir/dense_matrix.hpp"

namespace weir {

/// A block of whole rows that come (+1) or go (-1). Keys and values are rounded to fp32.
struct AttentionRows {
  std::span<const double> keys;               ///< count x d, row by row.
  std::span<const double> values;             ///< count x dv, row by row.
  std::span<const std::uint64_t> tokens;      ///< count indices, which name the rows in messages and in lists.
  std::span<const std::int8_t> weights = {};  ///< count times +1 or -1; empty stands for +1 everywhere.
};

/// What one party keeps of keys and values. A value; copies share the calibration.
///
/// features() is linear in the rows that are in it: for each of C clusters r x (1 + dv) floats, feature by feature, the
/// sums over rows of the feature times [1, v]. The bounded part is no sum:
///
/// * The exact rows: the m rows with the largest scores about their centre (sum s_i k'_i^2). A row that drops out of the
///   list is added to the features. Once rows dropped out, the list holds exactly the rows that are farther than all that
///   did, so it does not depend on the order of the rows or on the number of parties. Rows carry a weight. A row that is
///   removed is taken from the list, or subtracted from the features if it is nearer than what dropped out; where it came
///   to another party, a weight of -1 waits in the list until both meet. Rows that are removed leave gaps: the list is not
///   filled up with rows that are in the features. The sum of all is right in any case.
/// * The sample: 256 rows that are drawn by hashes of their tokens, kept in the same way. Rows far from their centre are
///   drawn more often and stand for fewer rows. It takes part in the estimates of errors only.
/// * The range of each column of the values that were ever added, for clipping, and the number of rows. Removing rows does
///   not narrow the range, as minima are not linear. It still bounds all averages of the rows that are left.
///
/// Two states of one calibration are added by adding features() and merge(b.bounded_part()). They are subtracted by
/// subtracting features() and merge(b.bounded_part(), -1). They cannot be scaled otherwise.
class AnisotropicState {
 public:
  /// Without rows. Throws std::bad_alloc.
  explicit AnisotropicState(AnisotropicCalibration calibration);
  AnisotropicState(const AnisotropicState& other);
  AnisotropicState(AnisotropicState&& other) noexcept;
  AnisotropicState& operator=(const AnisotropicState& other);
  AnisotropicState& operator=(AnisotropicState&& other) noexcept;
  ~AnisotropicState();

  [[nodiscard]] const AnisotropicCalibration& calibration() const noexcept;
  /// C x r x (1 + dv) floats, as above. They are the state's: writing to them changes it.
  [[nodiscard]] std::span<float> features() noexcept;
  [[nodiscard]] std::span<const float> features() const noexcept;

  /// Adds and removes rows. Throws UsageError for spans that do not fit each other or a weight other than +1 and -1, and
  /// InputError that names row and token for a number that is not finite or above 1e12 in magnitude; nothing is changed
  /// then. Costs r (1 + dv) + R d + C R + d multiply-adds a row. Blocks of 64 rows and more are efficient, most so those of
  /// 256 rows, or of 1024 where C > 1: larger ones are read twice, as all their numbers are checked first. Allocates only
  /// while the lists grow.
  void add(const AttentionRows& rows);

  /// The part that is no sum, as bytes: rows of the lists in their order, the range of the values, the number of rows.
  [[nodiscard]] std::vector<std::byte> bounded_part() const;
  /// Adds the bounded part of another state, times `sign`, +1 or -1. Rows that drop out are added to features(). Bytes may
  /// come from a file: throws InputError that says what is wrong with them, and changes nothing then. UsageError for
  /// another sign.
  void merge(std::span<const std::byte> bounded_part, int sign = 1);
  /// Empties the bounded part, after another party has got it.
  void clear_bounded_part();
  /// As if no row had come.
  void clear();

  [[nodiscard]] std::int64_t rows() const noexcept;           ///< Added minus removed, in this part.
  [[nodiscard]] std::uint64_t exact_rows() const noexcept;    ///< Rows in the exact list now.
  [[nodiscard]] std::uint64_t sampled_rows() const noexcept;  ///< Rows in the sample now.

 private:
  friend class AnisotropicReader;
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

/// Sums of exp(q.k) [1, v] for a block of queries. Query i has exp(references[i]) times the others.
/// Rows that are held elsewhere, such as those of a window, are added by add().
struct AttentionSums {
  std::uint64_t count = 0;  ///< Queries.
  std::uint64_t dv = 0;
  std::vector<double> references;    ///< count; -infinity where nothing was added yet.
  std::vector<double> denominators;  ///< count.
  std::vector<double> numerators;    ///< count x dv.
  std::vector<double> residues;  ///< count: ln of what rounding can have left of rows that went; -infinity for nothing.

  /// Adds exp(score) [1, value] times `weight` to query i. O(dv). `value` has dv numbers.
  void add(std::uint64_t i, double score, std::span<const double> value, double weight = 1);
};

/// Answers for a block of queries.
struct AnisotropicAnswers {
  DenseMatrix outputs;  ///< queries x dv: averages of the values; 0 where there are no rows.
  std::vector<double>
      errors;  ///< An estimate of ||output - exact|| / ||exact|| for each query; empty unless asked for.
  std::uint64_t fallbacks = 0;  ///< Queries that the features could not serve as they were: the guard answered.
};

/// Answers queries from a state. It copies what it needs of the state, so the state may change afterwards.
/// Not for several threads at once, as there is scratch.
class AnisotropicReader {
 public:
  /// Of a state that is whole. Costs the features of 256 rows and a copy of the features: O(C r (1 + dv)).
  explicit AnisotropicReader(const AnisotropicState& state);
  AnisotropicReader(AnisotropicReader&&) noexcept;
  AnisotropicReader& operator=(AnisotropicReader&&) noexcept;
  ~AnisotropicReader();

  /// Softmax averages for queries (count x d, row by row, scaled), clipped to the range of the values. With `with_errors`
  /// a query costs two to three times as much: the residuals of the kernel on the sample give the estimate. Throws UsageError for
  /// a size that holds no whole rows, and InputError that names the row of a number that is not finite or above 1e12.
  [[nodiscard]] AnisotropicAnswers answer(std::span<const double> queries, bool with_errors = false);

  /// The same in two steps, for callers that hold more rows: the sums of the state, then the outputs of those sums.
  /// `residuals`, where not null, gets the sums of the residuals that finish() makes errors of.
  [[nodiscard]] AttentionSums sums(std::span<const double> queries, AttentionSums* residuals = nullptr,
                                   std::uint64_t* fallbacks = nullptr);
  /// Widens the range that outputs are clipped to, by a value (dv numbers) that is held elsewhere.
  void widen_range(std::span<const double> value);
  [[nodiscard]] AnisotropicAnswers finish(const AttentionSums& sums, const AttentionSums* residuals = nullptr) const;

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace weir
