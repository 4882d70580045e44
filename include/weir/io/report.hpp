#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "weir/sample/draw.hpp"
#include "weir/sample/sampler.hpp"
#include "weir/sketch/rows_sketch.hpp"
#include "weir/sketch/vector_sketch.hpp"

namespace weir {

/// Wall-clock time of the phases of a job, the slowest rank's.
struct PhaseSeconds {
  double ingest = 0;
  double merge = 0;
  double query = 0;
};

/// What was done, apart from the answer.
struct RunReport {
  std::string model = "vector";
  std::optional<std::string> method;  ///< Of a tensor sampler: "streaming", "two-stage" or "exact".
  std::optional<std::string> metric;  ///< Where rows are drawn: "norm", "leverage" or the path of M.
  std::vector<std::uint64_t> shape;   ///< Of y: {n}, or {n1, n2} where it is a matrix; where rows are drawn, {n}.
  std::uint64_t ranks = 1;
  std::uint64_t updates = 0;           ///< Events that were ingested, by all ranks.
  std::uint64_t skipped = 0;           ///< Bad lines that were skipped.
  std::optional<std::uint64_t> d;      ///< Length of x, of a product; of a row, where rows are drawn.
  std::optional<std::uint64_t> d1;     ///< Of a tensor product: X is d1 x d2.
  std::optional<std::uint64_t> d2;     ///< Given with d1.
  std::optional<SketchConfig> sketch;  ///< None when the answer comes from a dense reference.
  std::uint64_t columns = 1;           ///< Columns of the sketched matrices: so many times a vector's table.
  /// Of all tables; those of `columns` columns where it is not given.
  std::optional<std::uint64_t> bytes;
  std::optional<GramConfig> gram;  ///< How Gram matrices of the operands were kept.
  std::uint32_t degree = 1;        ///< 2 when the sketch holds lifted rows: the law is |y_i|^(degree p).
  std::uint64_t seed = 0;
  PhaseSeconds seconds;
};

/// Where an entry of y is: i, or (i1, i2) where y is a matrix.
struct EntryIndex {
  std::uint64_t index = 0;                   ///< i, or i1.
  std::optional<std::uint64_t> column = {};  ///< i2.

  auto operator<=>(const EntryIndex&) const = default;
};

/// The true value of an entry of y and its share |y_i|^p / sum |y|^p.
struct ExactEntry {
  double value = 0;
  double probability = 0;
};

/// The answer of `weir sample`.
struct SampleReport {
  RunReport run;
  SampleResult result;
  bool verified = false;                        ///< Values and probabilities of the draws are exact, not estimates.
  std::map<std::uint64_t, std::string> labels;  ///< Of i, or i1.
  std::map<std::uint64_t, std::string> column_labels;  ///< Of i2.
  std::optional<double> norm_bound;        ///< |result.norm - truth| <= norm_bound, as far as Estimate::bound promises.
  std::optional<Estimate> tensor_norm;     ///< The norm once more, from a TensorSketch of the same stream.
  std::optional<double> exact_norm;        ///< Of the same stream, to be shown beside the estimate.
  std::map<EntryIndex, ExactEntry> exact;  ///< Of drawn indices, to be shown beside their estimates.
};

/// An estimate of one inner product <y, z>.
struct InnerProductReport {
  std::string other;  ///< Where z comes from: the path of its state.
  Estimate estimate;
};

/// An estimate of sum over i of |y_i|^p.
struct MomentReport {
  double p = 0;
  Estimate estimate;
};

/// The answer of `weir query`: whatever was asked for.
struct QueryReport {
  RunReport run;
  std::optional<Estimate> norm;  ///< ||y||_2
  std::optional<std::vector<HeavyCoordinate>> top;
  std::vector<HeavyCoordinate> points;
  std::vector<InnerProductReport> inner;
  std::vector<MomentReport> moments;
  std::map<std::uint64_t, std::string> labels;         ///< Of i, or i1.
  std::map<std::uint64_t, std::string> column_labels;  ///< Of i2.
};

/// One JSON object, indented, without a newline at the end. The index of an entry of a matrix is [i1, i2], and so is its
/// label, with null where there is none. 64-bit integers are exact; bytes of labels that are not UTF-8 become U+FFFD.
/// Throws InputError naming the field when a number is not finite (entries so large that their
/// squares overflow).
[[nodiscard]] std::string to_json(const SampleReport& report);
[[nodiscard]] std::string to_json(const QueryReport& report);

/// A heading and an aligned table for a terminal of `width` columns (80 or more); labels are cut to fit, and of
/// drawn rows as many entries are shown as fit; indices and numbers are not cut. Ends with a newline.
[[nodiscard]] std::string to_table(const SampleReport& report, std::size_t width = 100);
[[nodiscard]] std::string to_table(const QueryReport& report, std::size_t width = 100);

}  // namespace weir
