#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "weir/engine/ingest.hpp"
#include "weir/io/report.hpp"
#include "weir/model/model.hpp"
#include "weir/mpi/communicator.hpp"
#include "weir/sample/dense.hpp"
#include "weir/sketch/state.hpp"

namespace weir::engine {

/// Which exact values of y a job computes beside the sketch, or instead of it.
enum class Exact : std::uint8_t {
  none,
  on_root,  ///< All of y on rank 0.
  slices,   ///< y shared out by rows: every rank the stretch of it that mpi::Communicator::reduce_scatter_sum gives it.
};

/// What a job keeps of y. At least one of the two. Exact values take 8 n bytes a rank, and 8 n d more when A streams
/// along with x; 8 n d alone (of both factors) where rows, or entries of a Kronecker product, are drawn.
struct Measure {
  std::optional<SketchConfig> sketch;  ///< The same on every rank.
  Exact exact = Exact::none;
};

/// A stretch of y.
struct Slice {
  std::uint64_t first = 0;
  std::vector<double> values;
};

/// y, measured. On rank 0 unless said otherwise.
class MeasuredVector {
 public:
  std::optional<SketchState> sketch;  ///< The linear state; on other ranks their share of it.
  std::optional<DenseVector> dense;
  Slice slice;  ///< This rank's.
  /// In the place of `dense`, where exact answers are computed from the operands: rows, Kronecker products.
  std::optional<DenseState> operands;

  /// Multiplies the operands of a product out. Throws InputError when the values are so large, or so small, that
  /// nothing could be said about such a vector.
  void finish();
  /// Phi y. After finish(), and only with a sketch of y, or of operands that are multiplied out.
  [[nodiscard]] const VectorSketch& y() const;
  /// The sketch that draws come from: of y, or of its squares where rows are lifted.
  [[nodiscard]] const VectorSketch& drawn_from() const { return squares_ ? *squares_ : y(); }
  /// 2 where rows are lifted, for the law |y_i|^4; else 1.
  [[nodiscard]] std::uint32_t degree() const noexcept { return squares_ ? 2 : 1; }

 private:
  std::optional<VectorSketch> product_;
  std::optional<VectorSketch> squares_;
};

struct JobResult {
  MeasuredVector y;
  std::vector<double> x;  ///< Where A is fixed: x, complete, on every rank.
  IngestStatistics ingest;
  double merge_seconds = 0;  ///< Of the slowest rank.
};

/// An operand that does not stream: the path of its file, of which every rank reads its slice.
struct FixedOperand {
  Operand operand = Operand::A;
  std::string path;
};

/// Where the events of a job come from.
struct JobSource {
  StreamSource stream;
  /// A of a product whose x streams, or any operands of a Kronecker product.
  std::vector<FixedOperand> fixed = {};
  /// Operands that the state to start from holds and that are fixed: no event may change them.
  OperandSet held = {};
};

/// Collective: the whole way of a stream, once: every rank reads its part, turns events into changes of its own linear
/// state; then all check that they hold the same kind of state, and one reduction sums the states on rank 0. Operands
/// that both stream are merged before they are multiplied. `start`, read on rank 0 only, is what the stream continues;
/// its configuration must be `measure.sketch`, and exact values know nothing of it. Memory of a rank: the tables, plus
/// at most 64 MiB. Throws the same error on all ranks.
[[nodiscard]] JobResult run_job(const mpi::Communicator& communicator, Model& model, const Measure& measure,
                                const JobSource& source, std::optional<SketchState> start = std::nullopt);

/// Exact values of y = A x, computed from A itself.
struct ExactValues {
  double norm = 0;                              ///< ||y||_2
  std::map<std::uint64_t, ExactEntry> entries;  ///< Of the indices asked for; probabilities |y_i|^p / sum |y|^p.
};

/// Collective: reads A, rows x x.size(), from `path` by slices, and computes what rank 0 asks for by `indices` (which
/// the other ranks need not know). The result is complete on rank 0. O(n d / ranks) time; no memory for a file of whole
/// rows (.npy), 8 n bytes a rank for one of entries. Throws the same error on all ranks.
[[nodiscard]] ExactValues exact_product(const mpi::Communicator& communicator, const std::string& path,
                                        std::uint64_t rows, std::span<const double> x, double p,
                                        std::vector<std::uint64_t> indices);

}  // namespace weir::engine
