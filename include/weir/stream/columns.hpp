#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace weir {

/// Whether a table begins with the names of its columns.
enum class HeaderLine : std::uint8_t {
  unsaid,  ///< Where a column is called by a name, and where the first line has no number for a delta or no sign.
  yes,
  no,
};

/// How lines of any table of text (CSV, TSV, logs), or of objects in JSON, one a line, become events: each adds its delta at
/// the index of its key. A column is called by the name that the header gives it, or by its number, from 1 ("3", also "#3");
/// of JSON by the members that lead to it ("user.id", "items.0"), whose names may have dots themselves.
struct Columns {
  /// The columns of the key, one or more; none: lines are events as EventReader describes. A whole number below 2^63, without
  /// sign and leading zeros, is its own index where the default operand has so many; other text is hashed to 63 bits by
  /// TextKeys (weir/random/key_hash.hpp), which is allowed only where the operand has 2^63. Several columns are one key: their
  /// texts with commas between them, those with commas, quotes or line ends in quotes ("a,""b"" "). Where the default
  /// operand is a matrix there are two, of row and column.
  std::vector<std::string> key = {};
  /// The column of the delta, or a number that every line adds. 1 and numbers with sign, point or exponent are numbers, 2, 3,
  /// ... are columns, and so is "#1". Empty: 1.
  std::string delta = {};
  /// The column that says whether a line adds or takes away, or empty: "+", "-", a number above or below 0, add, insert, remove or delete.
  std::string sign = {};
  /// Between columns. ' ' stands for any number of blanks and tabs. None: what the first line has, the first of tab, comma,
  /// semicolon, bar, blank.
  std::optional<char> separator = {};
  HeaderLine header = HeaderLine::unsaid;

  [[nodiscard]] bool any() const noexcept { return !key.empty(); }
};

}  // namespace weir
