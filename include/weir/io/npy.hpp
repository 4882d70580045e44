#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "weir/dense_matrix.hpp"

namespace weir {

/// What the header of a NumPy .npy file says: format version 1.0, 2.0 or 3.0 (numpy.lib.format), floats of 2, 4 or 8
/// bytes, signed and unsigned integers of 1 to 8 bytes, bool (0 and 1), little- or big-endian, C or Fortran order. A 0-d array
/// is 1 x 1, a 1-d array has one column, 2-d as it is.
struct NpyHeader {
  std::uint64_t rows = 0;     ///< Below 2^63.
  std::uint64_t columns = 0;  ///< Below 2^63.
  bool is_fortran_order = false;
  bool is_big_endian = false;
  bool is_integer = false;
  std::size_t element_size = 0;   ///< Bytes.
  std::uint64_t data_offset = 0;  ///< Of the first element in the file.
  void (*convert)(const std::byte* elements, bool is_big_endian, std::span<double> out) = nullptr;

  /// Elements as doubles; `elements` has element_size bytes for each of `out`. An integer that no double equals,
  /// of which there are none up to 2^53, becomes NaN.
  void decode(const std::byte* elements, std::span<double> out) const { convert(elements, is_big_endian, out); }
  /// True when the elements take exactly `bytes` bytes.
  [[nodiscard]] bool fits(std::uint64_t bytes) const noexcept;
  /// Offset in the file of the entry (i, j).
  [[nodiscard]] std::uint64_t offset_of(std::uint64_t i, std::uint64_t j) const noexcept {
    return data_offset + (is_fortran_order ? j * rows + i : i * columns + j) * element_size;
  }
};

inline constexpr std::string_view npy_magic = "\x93NUMPY";
/// True when `text` begins with the magic bytes of the format.
[[nodiscard]] bool looks_like_npy(std::string_view text) noexcept;
/// The first bytes of a file tell how long its header is.
inline constexpr std::size_t npy_prefix = 12;
/// Bytes before the data, from the first npy_prefix bytes of a file (fewer only when it has no more). Throws InputError
/// naming the file `name`.
[[nodiscard]] std::size_t npy_header_length(std::string_view prefix, const std::string& name);
/// Parses `header`, the first npy_header_length() bytes of a file, fewer only when it has no more. Throws InputError
/// naming the file `name` and the byte: another dtype or number of dimensions, or no header at all.
[[nodiscard]] NpyHeader parse_npy_header(std::string_view header, const std::string& name);

/// What is wrong with a file that does not fit() its header: its data have `found` bytes ("1000", "more").
[[nodiscard]] std::string npy_size_complaint(const NpyHeader& header, const std::string& name, std::string_view found);
/// What is wrong with a file whose entry (i, j) was decoded as `value`, which is not finite.
[[nodiscard]] std::string npy_entry_complaint(const NpyHeader& header, const std::string& name, std::uint64_t i,
                                              std::uint64_t j, double value);

class Input;

/// An array that is read row by row, wherever they lie. Its name is that of a .npy file, which may be compressed, or picks an
/// array: "FILE.npz[NAME]" is a member of an archive; "FILE.npy[K]" part K of an array of three dimensions, counted from 0;
/// "FILE.npy[K,L]" part L of part K; "FILE.npy[bfloat16]" has elements u2 or V2 that are the upper halves of floats. A file
/// that has the whole name comes first.
class NpyFile {
 public:
  /// Throws InputError naming the file and the byte: no file, a header as above, a size other than it promises. What is
  /// compressed is decompressed into memory.
  explicit NpyFile(const std::string& path);
  NpyFile(NpyFile&&) noexcept;
  NpyFile& operator=(NpyFile&&) noexcept;
  ~NpyFile();

  [[nodiscard]] const NpyHeader& header() const noexcept { return header_; }
  /// Rows first .. first + count - 1. Throws InputError naming the entry that is not finite, or an integer that a double
  /// does not hold exactly; UsageError for rows that do not exist. Takes 1 MiB besides.
  [[nodiscard]] DenseMatrix rows(std::uint64_t first, std::uint64_t count) const;

 private:
  std::unique_ptr<Input> input_;
  NpyHeader header_;
};

/// Reads a whole array, named as NpyFile is. Throws InputError naming the file and the byte or the entry: a header as above, a size
/// other than it promises, an entry that is not finite, or an integer that a double does not hold exactly. Allocates no
/// more than eight times the size of the file, decompressed.
[[nodiscard]] DenseMatrix load_npy(const std::string& path);

/// Bytes before the data of an array of doubles in C order, little-endian, in format version 1.0: the file is these, then
/// rows * columns doubles.
[[nodiscard]] std::string npy_header(std::uint64_t rows, std::uint64_t columns);

}  // namespace weir
