#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "weir/dense_matrix.hpp"

namespace weir {

enum class MatrixMarketFormat : std::uint8_t { array, coordinate };
enum class MatrixMarketField : std::uint8_t { real, integer, pattern };
enum class MatrixMarketSymmetry : std::uint8_t { general, symmetric, skew_symmetric };

/// Banner and size line of a Matrix Market file (Boisvert, Pozo, Remington, "The Matrix Market Exchange Formats",
/// NISTIR 5935).
struct MatrixMarketHeader {
  MatrixMarketFormat format = MatrixMarketFormat::coordinate;
  MatrixMarketField field = MatrixMarketField::real;
  MatrixMarketSymmetry symmetry = MatrixMarketSymmetry::general;
  std::uint64_t rows = 0;
  std::uint64_t columns = 0;
  std::uint64_t entries = 0;    ///< Entry lines that must follow; of a symmetric matrix one triangle only.
  std::uint64_t size_line = 0;  ///< 1-based number of the size line; entries begin on a later line.
  std::size_t data_offset = 0;  ///< Byte after the end of the size line.
};

/// Header and comments together may not be longer than this.
inline constexpr std::size_t matrix_market_header_limit = std::size_t{1} << 20;

/// True when `text`, at least matrix_market_banner_start bytes of a file if it has so many, begins with "%%MatrixMarket",
/// the magic of the format, in any case. As in files that people have, a byte-order mark and white space may come before it,
/// and it may have one % or blanks behind them.
[[nodiscard]] bool looks_like_matrix_market(std::string_view text) noexcept;
inline constexpr std::size_t matrix_market_banner_start = 64;
/// True when more bytes behind `text` could make looks_like_matrix_market() true.
[[nodiscard]] bool may_become_matrix_market(std::string_view text) noexcept;

/// Parses banner, comments and size line. `text` is the beginning of the file, at least matrix_market_header_limit
/// bytes of it, or all of it when it is shorter; `name` is used in messages. Rows, columns and entries are below 2^63,
/// a symmetric matrix is square. A hermitian matrix whose field is not complex is symmetric, and `unsigned-integer`, as SciPy
/// writes it, is integer. Throws InputError naming the line and what was expected; complex matrices are refused.
[[nodiscard]] MatrixMarketHeader parse_matrix_market_header(std::string_view text, const std::string& name);

/// A coordinate file may describe a dense matrix of at most this many entries (1 GiB of doubles), however few of them
/// it lists.
inline constexpr std::uint64_t matrix_market_dense_limit = std::uint64_t{1} << 27;

/// Reads a whole Matrix Market file into a dense matrix: array or coordinate; real, integer or pattern (entries 1);
/// general, symmetric or skew-symmetric. Entries that are listed twice are added up. A symmetric coordinate file lists its
/// lower triangle or its upper one, not places of both; a skew-symmetric one may list zeros on its diagonal. Blank lines and
/// lines that begin with % may be anywhere behind the banner; no other line is longer than 4096 bytes. The values of an `integer` matrix are
/// whole, and a whole number that a double does not hold exactly is refused (all up to 2^53 are held). Throws
/// InputError naming the line and what was expected. An array file allocates only what its own size warrants (two bytes
/// an entry at least), a coordinate file at most matrix_market_dense_limit.
[[nodiscard]] DenseMatrix load_matrix_market(const std::string& path);

}  // namespace weir
