#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "sample/search.hpp"
#include "weir/sketch/vector_sketch.hpp"

namespace weir {

/// Magnitudes below this share of the largest are rounding, not coordinates.
inline constexpr double relative_zero = 0x1p-34;

/// A coordinate of the scaled vector of a lane, recovered.
struct Recovered {
  std::uint64_t key = 0;
  double value = 0;
};

/// Takes the largest coordinates of one lane out of a sketch, one after the other (matching pursuit).
class Pursuit {
 public:
  Pursuit(VectorSketch sketch, std::uint32_t lane);

  /// The `count` largest coordinates and some more, fewer when there are fewer, largest first. To be called once.
  [[nodiscard]] std::vector<Recovered> run(std::size_t count);
  /// What is left: the sketch without all that was found.
  [[nodiscard]] const VectorSketch& residual() const& noexcept { return residual_; }
  /// Keys of entries that are large in the lane, and those of lane 0 where that costs nothing: all that run() looked at.
  [[nodiscard]] const std::vector<std::uint64_t>& candidates() const noexcept { return candidates_; }
  [[nodiscard]] VectorSketch residual() && noexcept { return std::move(residual_); }

 private:
  struct Estimated;

  [[nodiscard]] Estimated estimate(std::uint64_t key) const;
  void subtract(std::uint64_t key, double scaled);
  /// Takes the candidates down to `cutoff`, the largest of what is left first. Being demanding refuses those that too
  /// few rows support, as a sum of noise looks like them; returns whether it did.
  bool take(std::span<const ScanHit> candidates, double cutoff, bool demanding, std::size_t target);
  /// Corrects each value by what the residual still shows, and sorts.
  void refine();

  VectorSketch residual_;
  std::uint32_t lane_;
  std::vector<Recovered> found_;
  std::vector<std::uint64_t> candidates_;
  std::unordered_map<std::uint64_t, std::size_t> places_;  ///< Of the keys in found_.
  double largest_ = 0;
};

/// Throws UsageError unless `count`, of what the message calls `what`, is below the number of buckets: no more can stand out.
void require_recoverable(const VectorSketch& sketch, std::size_t count, std::string_view what);

/// The scaled vector w of one lane in a sketch of its own: one unscaled lane, the same buckets and signs.
[[nodiscard]] VectorSketch sketch_of_lane(const VectorSketch& sketch, std::uint32_t lane);

/// Estimate of the second moment of the scaled vector w of a lane without its `count` largest entries.
[[nodiscard]] double tail_f2(const VectorSketch& sketch, std::uint32_t lane, std::size_t count);

}  // namespace weir
