#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "weir/event.hpp"

namespace weir {

/// Synthetic streams of changes of y, or of another operand.
enum class StreamKind : std::uint8_t {
  flat,           ///< Indices uniform on [0, n).
  zipf,           ///< Index k with probability proportional to (k + 1)^-exponent.
  planted,        ///< A few heavy indices take `heavy_share` of the events evenly, the rest is flat.
  insert_delete,  ///< Insertions, later deleted in another order, except those of final_vector().
  structured,     ///< Regular indices, visited in turn again and again.
};

/// Which indices a structured stream visits, as far as they are below n.
enum class IndexPattern : std::uint8_t {
  sequential,  ///< 0, 1, 2, ...
  stride,      ///< 0, s, 2 s, ...
  powers,      ///< 1, 2, 4, ...
  high,        ///< 0, 2^32, 2 * 2^32, ...
};

/// The deltas of all kinds but insert_delete, which has whole numbers from -16 to 16 and the final values.
enum class DeltaLaw : std::uint8_t {
  one,   ///< 1.
  sign,  ///< -1 or 1, evenly.
  real,  ///< Uniform on [-1, 1), multiples of 2^-52.
};

struct GeneratorOptions {
  StreamKind kind = StreamKind::flat;
  Operand operand = Operand::y;  ///< What is changed.
  std::uint64_t n = 0;           ///< Its entries, or rows: indices lie below it; 1 to 2^63.
  /// Its columns: 1 to 2^63, to longest_row where rows come whole; 1 of a vector. The column of an entry is uniform; the
  /// structured kind goes through all indices in one column after the other.
  std::uint64_t columns = 1;
  bool whole_rows = false;   ///< Every event is a whole row of a matrix operand, with deltas for entries.
  std::uint64_t events = 0;  ///< At least 1.
  std::uint64_t seed = 1;
  DeltaLaw deltas = DeltaLaw::one;
  double exponent = 1.1;     ///< zipf: in (0, 16].
  std::uint64_t heavy = 8;   ///< planted: number of heavy indices, 1 to min(n, 2^20).
  double heavy_share = 0.5;  ///< planted: in [0, 1].
  std::optional<std::uint64_t> survivors =
      {};  ///< insert_delete: non-zeros of the final vector, at most min(n, 2^20), and as even or odd
           ///< as `events`. Otherwise 16 or 15, or fewer for a shorter stream.
  IndexPattern pattern = IndexPattern::sequential;
  std::uint64_t stride = 4096;  ///< structured, stride: at least 1.
};

/// Event t is a function of the options and t alone, so that any slice of the stream can be made anywhere, without a
/// file. Zipf uses the C library's exp and log: the same bits are promised for one platform only.
///
/// Random words are those of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014),
/// jumped to by position. An index that is uniform on [0, n) is the high half of word * n, off by less than n / 2^64 in
/// total variation. Zipf is rejection-inversion (Hoermann, Derflinger, "Rejection-inversion to generate variates from
/// monotone discrete distributions", 1996).
class EventGenerator {
 public:
  /// Throws UsageError naming the option that is out of range.
  explicit EventGenerator(const GeneratorOptions& options);

  [[nodiscard]] const GeneratorOptions& options() const noexcept { return options_; }
  /// Replaces the entries of `batch`, whose size says how many, by events first, first + 1, ..., all below
  /// options().events. Not for whole rows.
  void fill(std::uint64_t first, EventBatch& batch) const;
  /// Appends events first, ..., first + count - 1, whole rows. A deletion takes away the row that came.
  void append_rows(std::uint64_t first, std::size_t count, RowBatch& rows) const;

  /// planted: the heavy indices, ascending; insert_delete: those of the final operand. Otherwise empty.
  [[nodiscard]] const std::vector<std::uint64_t>& special_indices() const noexcept { return special_; }
  /// insert_delete: the operand after the last event, a change for each non-zero; entry f is f + 1, and so are all of
  /// row f where rows are whole. Otherwise empty.
  [[nodiscard]] EventBatch final_vector() const;

 private:
  [[nodiscard]] std::uint64_t zipf_index(std::uint64_t t) const noexcept;
  /// Event t of insert_delete: which of the insertions that stay, or of those that are deleted, comes or leaves.
  struct Change {
    bool stays = false;
    bool leaves = false;
    std::uint64_t number = 0;
  };
  [[nodiscard]] Change change(std::uint64_t t) const noexcept;
  [[nodiscard]] std::uint64_t index_of(const Change& change) const noexcept;
  [[nodiscard]] Event insert_delete_event(std::uint64_t t) const noexcept;
  /// Of the survivor with that number among the final entries.
  [[nodiscard]] std::uint64_t final_column(std::uint64_t number) const noexcept;
  void fill_indices(std::uint64_t first, std::span<std::uint64_t> indices) const;

  GeneratorOptions options_;
  std::vector<std::uint64_t> special_;
  std::uint64_t period_ = 1;  ///< structured: number of indices.
  // zipf: the integral of x^-exponent at the ends of the hat, and the width of the strip accepted at once.
  double hat_first_ = 0;
  double hat_last_ = 0;
  double sure_ = 0;
  // insert_delete: insertions that are deleted, distance of two survivors among the insertions, order of the deletions.
  std::uint64_t transient_ = 0;
  std::uint64_t spacing_ = 1;
  std::uint64_t multiplier_ = 1;
};

}  // namespace weir
