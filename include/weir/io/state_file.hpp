#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "weir/event.hpp"
#include "weir/sketch/state.hpp"
#include "weir/sketch/vector_sketch.hpp"

namespace weir {

// The `.weir` format, version 2. All numbers are little-endian.
//
//     byte  size  header
//        0     8  magic: 89 57 45 49 52 0D 0A 1A ("\x89WEIR\r\n\x1a": a transfer as text damages it visibly)
//        8     4  format version: 2. Files of version 1 hold sums over random scales of another construction: there is no
//                 way from one to the other but the stream
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
//     M+21     1  which of the operands in the payload were fixed, StateDescription::fixed: the sum of 2^v, v their
//                 values of Operand. 0 in kinds 1, 3 and 4; of kind 2 x (2) and A (4), of kind 5 A1 (8), A2 (16), X (32)
//     M+22     8  epsilon of the sampler precision, binary64; 0 unless the law is uniform
//     M+30     8  C of the sampler precision, likewise
//     M+38     8  dimension
//     M+46     4  rows
//     M+50     8  buckets
//     M+58     4  lanes
//     M+62     4  levels
//     M+66     1  law (the value of ScaleLaw)
//     M+67     8  p, binary64
//     M+75     1  randomness (the value of Randomness)
//     M+76     4  independence
//     M+80     8  seed
//     M+88     8  SketchConfig::fingerprint() of the above, from the dimension on: another value means another
//                 construction of the hashes
//     M+96   8*m  table, m = SketchConfig::table_size() binary64 values in the order of VectorSketch::table()
//
//     byte  size  payload of kind 2: as kind 1 up to the fingerprint, then
//     M+96     8  d: columns of A, entries of x; 1 where x was fixed, as then the rows are <a, x>, of one number
//    M+104     4  degree: 1, or 2 where the table holds lifted rows too
//    M+108   8*d  x, binary64 values; 1 where x was fixed
//M+108+8*d 8*m*c  table, c = ProductSketch::columns(d, degree), in the order of MatrixSketch::table()
//
//     byte  size  payload of kind 3, a vector sketch whose row_length is not 0 (0 in all other kinds): as kind 1 up to
//                 the seed, then
//     M+88     8  row_length
//     M+96     1  transposed: 0 or 1
//     M+97     8  SketchConfig::fingerprint() of all of the configuration
//    M+105   8*m  table
//
//     byte  size  payload of kind 4: as kind 1 up to the fingerprint, then
//     M+96     8  d: columns of A
//    M+104     8  G: buckets of the sketch for the Gram matrix
//    M+112     1  exact: 1 where the Gram matrix is kept, too; else 0
//    M+113     8  RowsSketch::fingerprint()
//    M+121 8*m*d  table of RowsSketch::draws, in the order of MatrixSketch::table()
//        8*R*G*d  table of RowsSketch::wide, R being the rows of the configuration
//          8*d*d  RowsSketch::exact_gram, if exact is 1
//
//     byte  size  payload of kind 5: as kind 1 up to the fingerprint, the dimension being n1, then
//     M+96     8  n2
//    M+104     8  d1
//    M+112     8  d2
//    M+120     8  G
//    M+128     1  exact
//    M+129     8  KroneckerSketch::fingerprint()
//    M+137     8  events of X, binary64: a whole number, not negative
//    M+145     8*d1*d2  X, binary64 values, row by row
//                 of A1, then of A2: tables and Gram matrix as of kind 4, with d1 and d2 in the place of d
//
// The checksums find damage, not malice: a forged file is still read safely, but its cells are whatever its author
// wrote.

/// The format version that is written, and the only one that is read.
inline constexpr std::uint32_t state_format_version = 2;
/// Seed of the checksums, apart from all seeds of sketches.
inline constexpr std::uint64_t state_checksum_seed = 0x77656972'73746174;

/// What the sketch of a state was sized for that draws by Algorithm 2; see PrecisionOptions.
struct PrecisionTarget {
  double epsilon = 0;   ///< In (0, 1).
  double constant = 0;  ///< C, above 0 and finite.

  bool operator==(const PrecisionTarget&) const = default;
};

/// What a saved state says about the stream it came from, besides the sketch itself.
struct StateDescription {
  /// "vector" or "product" of a vector sketch, "kronecker" of one of a matrix y (with a row_length); "product" of a
  /// product sketch, "rows" of a rows sketch, "kronecker" of a Kronecker sketch.
  std::string model = "vector";
  std::uint64_t updates = 0;  ///< Events that went in (sum over ranks; combine adds them up).
  std::uint64_t ranks = 1;    ///< Ranks that wrote it.
  /// Of the sketch of a matrix y alone: rows of the sketched matrix belong to A2, it is the transpose of y.
  bool transposed = false;
  /// Those operands in the state that were given whole before the stream, so that they are the same in all states of one
  /// y: A of a product sketch whose x streamed; x of one whose A streamed, which is multiplied into its rows, so that 1
  /// stands in its place; A1, A2 and X of a Kronecker sketch.
  OperandSet fixed = {};
  /// Of sketches with the law `uniform`, and of no others.
  std::optional<PrecisionTarget> precision = {};

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
/// Adds sketches (those of operands operand by operand, see ProductSketch::add) and counts of updates. Operands that are
/// fixed, which must be the same, are kept once: where all but one are, y of the sum is the sum of the y, to any
/// coefficient (but for an X that is the identity as it had no event: it adds nothing). Throws InputError when the states
/// do not combine (see describe_difference), or the coefficient is not one for rows with their squares, or with their
/// exact Gram matrix.
void add(State& sum, const State& other, double coefficient);
/// Scales the sketch (each operand that is not fixed by itself). Throws as ProductSketch::scale and RowsSketch::scale do.
void scale(State& state, double coefficient);
/// Human-readable account of the first thing in which two states differ that must be equal for them to combine: kind and
/// configuration, which operands are fixed, these operands themselves, number by number, and the target of Algorithm 2.
/// Empty when they do combine.
[[nodiscard]] std::string describe_difference(const State& a, const State& b);

/// The bytes of a `.weir` file. Throws UsageError for an unknown model, for a sketch of another model than its own, and
/// for what the format has no place for; InputError when a cell or another number is not finite, or not what its
/// description makes of it.
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
