#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "io/input.hpp"
#include "weir/event.hpp"
#include "weir/io/npy.hpp"
#include "weir/share.hpp"
#include "weir/stream/reader.hpp"

namespace weir::stream {

/// Indices lie below this.
inline constexpr std::uint64_t index_limit = std::uint64_t{1} << 63;

/// Bounds of the indices of each operand; rows are 0 for an operand that the model does not take, and for one that was
/// not known when the reader was made.
class Limits {
 public:
  explicit Limits(const ReadOptions& options);

  /// The operands that takes() is true for.
  [[nodiscard]] OperandSet taken() const noexcept { return taken_; }
  [[nodiscard]] bool takes(Operand operand) const noexcept { return rows(operand) > 0; }
  [[nodiscard]] std::uint64_t rows(Operand operand) const noexcept { return rows_[static_cast<std::size_t>(operand)]; }
  [[nodiscard]] std::uint64_t columns(Operand operand) const noexcept {
    return columns_[static_cast<std::size_t>(operand)];
  }
  [[nodiscard]] bool contain(Operand operand, std::uint64_t i, std::uint64_t j) const noexcept {
    return i < rows(operand) && j < columns(operand);
  }
  /// The values that a whole row of a matrix operand must have: between `least` and `most`, which differ only where the
  /// columns are not known, and contradict each other where there are too many.
  struct RowLength {
    std::uint64_t least;
    std::uint64_t most;
  };
  [[nodiscard]] RowLength row_length(Operand operand) const noexcept {
    const std::uint64_t all = columns(operand);
    return {all == index_limit ? 1 : all, std::min<std::uint64_t>(all, longest_row)};
  }

  /// Why contain() is false.
  [[nodiscard]] std::string complaint(Operand operand, std::uint64_t i, std::uint64_t j) const;
  /// Why a row of `found` values does not have the row_length().
  [[nodiscard]] std::string row_complaint(Operand operand, std::uint64_t found) const;
  /// Why takes() is false.
  [[nodiscard]] std::string complaint(Operand operand) const;

 private:
  std::array<std::uint64_t, most_operands> rows_{};
  std::array<std::uint64_t, most_operands> columns_{};
  OperandSet taken_;
  bool given_ = false;
  std::string advice_;
  std::string shape_note_;
};

/// The lines of a text event for `operand`: "y,i,delta".
[[nodiscard]] std::string form_of(Operand operand);
/// What the indices of `operand` are called in it.
[[nodiscard]] std::array<char, 2> index_names(Operand operand) noexcept;

/// What was wrong with a line that was skipped.
struct SkippedLine {
  std::string name;        ///< Of the file.
  std::uint64_t line = 0;  ///< Its number, counted from 1 at offset `lines_from`; 0 where `reason` says all.
  std::uint64_t lines_from = 0;
  std::string reason;
};

/// Reads the events of one file in one format, or of a slice of it.
class Decoder {
 public:
  virtual ~Decoder() = default;
  /// As EventReader::next, but `batch` comes without whole rows.
  virtual bool next(EventBatch& batch) = 0;
  /// Lines skipped so far.
  [[nodiscard]] virtual std::uint64_t skipped() const noexcept { return 0; }
  /// The first of them; null where there is none.
  [[nodiscard]] virtual const SkippedLine* first_skipped() const noexcept { return nullptr; }
};

// When `input` has a size, the decoder reads slice options.slice of options.slice_count of it, otherwise all of it.
[[nodiscard]] std::unique_ptr<Decoder> text_decoder(std::unique_ptr<Input> input, const ReadOptions& options,
                                                    const Limits& limits);
[[nodiscard]] std::unique_ptr<Decoder> matrix_market_decoder(std::unique_ptr<Input> input, const ReadOptions& options,
                                                             const Limits& limits);
[[nodiscard]] std::unique_ptr<Decoder> npy_decoder(std::unique_ptr<Input> input, const ReadOptions& options,
                                                   const Limits& limits);
/// The header of the array that begins with the first byte of `input`, which stands there. Throws InputError.
[[nodiscard]] NpyHeader read_npy_header(Input& input);
[[nodiscard]] std::unique_ptr<Decoder> binary_decoder(std::unique_ptr<Input> input, const ReadOptions& options,
                                                      const Limits& limits);

}  // namespace weir::stream
