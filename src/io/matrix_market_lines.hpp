#pragma once

#include <cstddef>
#include <cstdint>
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

  [[nodiscard]] const MatrixMarketHeader& header() const noexcept { return header_; }
  [[nodiscard]] static bool is_nothing(std::string_view line) noexcept;
  /// Reads the entry in a line of a coordinate file; of an array, which has values only, its value. False, with the
  /// reason, when the line is bad: other fields, a place outside of the matrix or one that its symmetry implies, a value
  /// that is not finite, not whole where the field is `integer`, or a whole number that a double does not hold exactly.
  [[nodiscard]] bool parse(std::string_view line, Entry& entry, std::string& reason) const;

  /// Of a place inside of the matrix: false when the file's symmetry implies or forbids what stands there.
  [[nodiscard]] bool belongs(std::uint64_t row, std::uint64_t column) const noexcept {
    return header_.symmetry == MatrixMarketSymmetry::general || row > column ||
           (row == column && header_.symmetry == MatrixMarketSymmetry::symmetric);
  }
  /// True when the entry stands for another one too, with row and column exchanged.
  [[nodiscard]] bool is_mirrored(std::uint64_t row, std::uint64_t column) const noexcept {
    return header_.symmetry != MatrixMarketSymmetry::general && row != column;
  }
  /// The value of that other one.
  [[nodiscard]] double mirrored(double value) const noexcept {
    return header_.symmetry == MatrixMarketSymmetry::symmetric ? value : -value;
  }
  /// What is wrong with a file of `found` entries, another number than the header promises.
  [[nodiscard]] std::string count_complaint(const std::string& name, std::uint64_t found) const;

 private:
  [[nodiscard]] bool parse_place(std::string_view row, std::string_view column, Entry& entry,
                                 std::string& reason) const;

  MatrixMarketHeader header_;
};

}  // namespace weir
