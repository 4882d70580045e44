#pragma once

#include <functional>
#include <optional>
#include <string_view>

#include "weir/sketch/vector_sketch.hpp"
#include "weir/state/parties.hpp"
#include "weir/state/problem.hpp"
#include "weir/state/question.hpp"

namespace weir {

/// How the keys of a sketch of y are places in y: themselves, or places in a matrix that is kept row after row, or
/// column after column where it is transposed.
struct KeyMap {
  std::uint64_t row_length = 0;  ///< 0 where y is a vector.
  bool transposed = false;

  [[nodiscard]] EntryIndex entry(std::uint64_t key) const noexcept;
  /// Throws UsageError when the entry has an i2 where y is a vector, or none where it is a matrix.
  [[nodiscard]] std::uint64_t key(const EntryIndex& entry) const;
};

/// A sketch of y, and how to ask it.
struct SketchOfY {
  const VectorSketch& y;
  const VectorSketch* squares = nullptr;  ///< Of z_i = y_i^2, where draws have the law |y_i|^4.
  std::optional<PrecisionTarget> precision = {};
  KeyMap keys = {};
};

/// The answer to every part of `question` but the exact one. Throws as the functions of weir/sample do; UsageError where
/// the other state of an inner product has no sketch of y.
[[nodiscard]] Answer answer_from(const SketchOfY& sketch, const Question& question);

/// Collective: the answer of a state that is whole on the first party, which alone works it out, or else all do together.
[[nodiscard]] Answer answer_on_first(Parties& parties, const std::function<Answer()>& answer);

/// UsageError unless nothing but draws, the norm and exact entries is asked for; `holds` names the state.
void require_draws_only(const Question& question, std::string_view holds);

}  // namespace weir
