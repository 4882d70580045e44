#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "weir/sketch/state.hpp"
#include "weir/sketch/vector_sketch.hpp"

namespace weir {

// The `.weir` format, version 1. All numbers are little-endian.
//
//     byte  size  header
//        0     8  magic: 89 57 45 49 52 0D 0A 1A ("\x89WEIR\r\n\x1a": a transfer as text damages it visibly)
//        8     4  format version: 1
//       12     4  size of this header: 48
//       16     4  kind of the payload: 1 = vector sketch, 2 = product sketch, 3 = sketch of a matrix y,
//                 4 = rows sketch, 5 = Kronecker sketch
//       20     4  0
//       24     8  length of the payload; the file ends with the payload
//       32     8  XXH64 of the payload, seed state_checksum_seed
//       40     8  XXH64 of the bytes 0 to 39, seed state_checksum_seed
//
//     byte  size  payload of kind 1: a cereal portable binary archive
//        0     1  1: the archive is little-endian
//        1     4  M: length of the name of the model
//        5     M  name of the model
//      M+5     8  updates
//     M+13     8  ranks
//     M+21     8  dimension
//     M+29     4  rows
//     M+33     8  buckets
//     M+41     4  lanes
//     M+45     4  levels
//     M+49     1  law (the value of ScaleLaw)
//     M+50     8  p, binary64
//     M+58     1  randomness (the value of Randomness)
//     M+59     4  independence
//     M+63     8  seed
//     M+71     8  SketchConfig::fingerprint() of the above: another value means another construction of the hashes
//     M+79   8*m  table, m = SketchConfig::table_size() binary64 values in the order of VectorSketch::table()
//
//     byte  size  payload of kind 2: as kind 1 up to the fingerprint, then
//     M+79     8  d: columns of A, entries of x
//     M+87     4  degree: 1, or 2 where the table holds lifted rows too
//     M+91   8*d  x, binary64 values
// M+91+8*d 8*m*c  table, c = ProductSketch::columns(d, degree), in the order of MatrixSketch::table()
//
//     byte  size  payload of kind 3, a vector sketch whose row_length is not 0 (0 in all other kinds): as kind 1 up to
//                 the seed, then
//     M+71     8  row_length
//     M+79     1  transposed: 0 or 1
//     M+80     8  SketchConfig::fingerprint() of all of the configuration
//     M+88   8*m  table
//
//     byte  size  payload of kind 4: as kind 1 up to the fingerprint, then
//     M+79     8  d: columns of A
//     M+87     8  G: buckets of the sketch for the Gram matrix
//     M+95     1  exact: 1 where the Gram matrix is kept, too; else 0
//     M+96     8  RowsSketch::fingerprint()
//    M+104 8*m*d  table of RowsSketch::draws, in the order of MatrixSketch::table()
//        8*R*G*d  table of RowsSketch::wide, R being the rows of the configuration
//          8*d*d  RowsSketch::exact_gram, if exact is 1
//
//     byte  size  payload of kind 5: as kind 1 up to the fingerprint, the dimension being n1, then
//     M+79     8  n2
//     M+87     8  d1
//     M+95     8  d2
//    M+103     8  G
//    M+111     1  exact
//    M+112     8  KroneckerSketch::fingerprint()
//    M+120     8  events of X, binary64: a whole number, not negative
//    M+128     8*d1*d2  X, binary64 values, row by row
//                 of A1, then of A2: tables and Gram matrix as of kind 4, with d1 and d2 in the place of d
//
// The checksums find damage, not malice: a forged file is still read safely, but its cells are whatever its author
// wrote.

/// Highest format version that is read, and the one that is written.
inline constexpr std::uint32_t state_format_version = 1;
/// Seed of the checksums, apart from all seeds of sketches.
inline constexpr std::uint64_t state_checksum_seed = 0x77656972'73746174;

/// What a saved state says about the stream it came from, besides the sketch itself.
struct StateDescription {
  /// "vector" or "product" of a vector sketch, "kronecker" of one of a matrix y (with a row_length); "product" of a
  /// product sketch, "rows" of a rows sketch, "kronecker" of a Kronecker sketch.
  std::string model = "vector";
  std::uint64_t updates = 0;  ///< Events that went in (sum over ranks; combine adds them up).
  std::uint64_t ranks = 1;    ///< Ranks that wrote it.
  /// Of the sketch of a matrix y alone: rows of the sketched matrix belong to A2, it is the transpose of y.
  bool transposed = false;

  bool operator==(const StateDescription&) const = default;
};

/// A merged state: all that is needed to go on sampling, adding and subtracting.
struct State {
  StateDescription description;
  SketchState sketch;
};

/// The sides of y = (A1 (x) A2) vec X, none for other models; d1 and d2 are 0 where the state is a sketch of y.
[[nodiscard]] std::optional<KroneckerShape> shape_of(const State& state);

/// Puts the sketch of y = A x in the place of a product sketch; a vector sketch stays as it is. Throws UsageError for
/// states that have no sketch of y: rows and Kronecker sketches.
void multiply_out(State& state);
/// Adds sketches (those of operands operand by operand, see ProductSketch::add) and counts of updates. Throws InputError
/// when the states are of different kinds or shapes, or the coefficient is not one for rows with their squares, or with
/// their exact Gram matrix.
void add(State& sum, const State& other, double coefficient);
/// Scales the sketch (each operand by itself). Throws as ProductSketch::scale and RowsSketch::scale do.
void scale(State& state, double coefficient);
/// Human-readable account of the first thing in which two states differ that must be equal for them to combine; empty
/// when they do combine.
[[nodiscard]] std::string describe_difference(const State& a, const State& b);

/// The bytes of a `.weir` file. Throws UsageError for an unknown model, for a sketch of another model than its own, and
/// for what the format has no place for; InputError when a cell or another number is not finite.
[[nodiscard]] std::vector<std::byte> serialise(const State& state);
/// Inverse. `name` is used in messages. Throws InputError for anything but exactly one whole, unharmed state of a known
/// version, kind and model with finite numbers. Allocates nothing before the length and the checksums have been
/// verified, then only the sketch, after its size has been found equal to the bytes that are there.
[[nodiscard]] State deserialise(std::span<const std::byte> bytes, const std::string& name);

/// Writes to a temporary name beside `path`, flushes to disk, renames (see OutputFile), without a copy of the table in
/// memory. Throws as serialise does, and InputError naming the file.
void save_state(const std::string& path, const State& state);
/// Reads a regular file in two passes, one for the checksum, so that the sketch is all the memory that is needed.
/// Throws as deserialise does, and InputError for a missing file, a directory, ...
[[nodiscard]] State load_state(const std::string& path);

}  // namespace weir
