#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "weir/io/matrix_market.hpp"

namespace weir {

/// The rules for the lines behind the size line of a Matrix Market file. Readers of streams and of operands share them.
/// Blank lines and lines that begin with % are no entries, wherever they are.
class MatrixMarketLines {
 public:
  /// Bytes of a line, without its end, at most.
  static constexpr std::size_t longest = 4096;

  struct Entry {
    std::uint64_t row = 0;     ///< Counted from 0; in the file, and in messages, from 1.
    std::uint64_t column = 0;  ///< Likewise.
    double value = 1;
  };

  explicit MatrixMarketLines(const MatrixMarketHeader& header) noexcept : header_(header) {}

  /// Says which triangle of a symmetric coordinate file is listed, which the first entry beside the diagonal tells
  /// otherwise.
  void set_triangle(bool is_upper) noexcept { upper_ = is_upper; }
  [[nodiscard]] std::optional<bool> triangle() const noexcept { return upper_; }

  [[nodiscard]] const MatrixMarketHeader& header() const noexcept { return header_; }
  [[nodiscard]] static bool is_nothing(std::string_view line) noexcept;
  /// True for a comment, of which the beginning is enough.
  [[nodiscard]] static bool is_comment(std::string_view beginning) noexcept;
  /// Reads the entry in a line; of an array, which has values only, `number` is that of the entry, counted from 0. False,
  /// with the reason, when the line is bad: other fields, a place outside of the matrix or one that its symmetry implies, a
  /// value that is not finite, not whole where the field is `integer`, or a whole number that a double does not hold exactly.
  [[nodiscard]] bool parse(std::string_view line, std::uint64_t number, Entry& entry, std::string& reason);

  /// Of a place inside of a matrix in coordinate format: false when the file's symmetry implies or may forbid what stands
  /// there, or nothing is known about the triangle yet.
  [[nodiscard]] bool belongs(std::uint64_t row, std::uint64_t column) const noexcept {
    if (header_.symmetry == MatrixMarketSymmetry::general) return true;
    if (row == column) return header_.symmetry == MatrixMarketSymmetry::symmetric;
    return upper_ && (row < column) == *upper_;
  }
  /// True when the entry stands for another one too, with row and column exchanged.
  [[nodiscard]] bool is_mirrored(std::uint64_t row, std::uint64_t column) const noexcept {
    return header_.symmetry != MatrixMarketSymmetry::general && row != column;
  }
  /// The value of that other one.
  [[nodiscard]] double mirrored(double value) const noexcept {
    return header_.symmetry == MatrixMarketSymmetry::symmetric ? value : -value;
  }
  /// Throws InputError when the lines behind the size line, which take `bytes` bytes at most, cannot be as many as it promises.
  static void require_data(const MatrixMarketHeader& header, const std::string& name, std::uint64_t bytes);
  /// What is wrong with a file of `found` entries, another number than the header promises.
  [[nodiscard]] std::string count_complaint(const std::string& name, std::uint64_t found) const;

 private:
  [[nodiscard]] bool parse_place(std::string_view row, std::string_view column, Entry& entry, std::string& reason);
  /// The place of entry `number` of an array, which is stored by columns. O(1) for the one after the last that was asked
  /// for, otherwise O(columns).
  void find_place(std::uint64_t number, Entry& entry) noexcept;

  MatrixMarketHeader header_;
  std::optional<bool> upper_;
  std::uint64_t column_ = 0;        ///< Of an array: find_place() looks here,
  std::uint64_t column_begin_ = 0;  ///< whose first entry has this number.
};

}  // namespace weir
