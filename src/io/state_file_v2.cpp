#include <fmt/format.h>

#include <cereal/archives/portable_binary.hpp>
#include <istream>
#include <string_view>
#include <utility>

#include "io/state_file_parts.hpp"
#include "weir/error.hpp"
#include "weir/io/text.hpp"
#include "weir/setting/setting.hpp"

namespace weir::state_format {

// Version 2 of the `.weir` format. Its header is that of version 3, with the kind of the payload at byte 16: 1 = vector
// sketch, 2 = product sketch, 3 = sketch of a matrix y, 4 = rows sketch, 5 = Kronecker sketch.
//
//     byte  size  payload of kind 1: a cereal portable binary archive
//        0     1  1: the archive is little-endian
//        1     4  M: length of the name of the model
//        5     M  name of the model: vector or product of kind 1, product of kind 2, kronecker of 3 and 5, rows of 4
//      M+5     8  updates
//     M+13     8  ranks
//     M+21     1  which of the operands in the payload were fixed: the sum of 2^v, v their values of Operand. 0 in kinds
//                 1, 3 and 4; of kind 2 x (2) and A (4), of kind 5 A1 (8), A2 (16), X (32)
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
//     M+88     8  SketchConfig::fingerprint() of the above, from the dimension on
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
//     M+96     1  transposed: 0 or 1. 1 where the rows of the sketched matrix belong to A2
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
// Sketches of y = A x did not hold x, and sketches of a matrix y held none of the operands.

namespace {

constexpr std::size_t longest_model = 64;
enum Kind : std::uint32_t { vector = 1, product = 2, matrix = 3, rows = 4, kronecker = 5 };

using InputArchive = cereal::PortableBinaryInputArchive;

bool belongs_to(std::uint32_t kind, std::string_view model) {
  switch (kind) {
    case Kind::vector:
      return model == "vector" || model == "product";
    case Kind::product:
      return model == "product";
    case Kind::rows:
      return model == "rows";
    case Kind::matrix:
    case Kind::kronecker:
      return model == "kronecker";
    default:
      return false;
  }
}

bool read_flag(InputArchive& archive, std::string_view what, const std::string& name) {
  std::uint8_t byte = 0;
  archive(byte);
  if (byte > 1) throw InputError(fmt::format("{}: expected 0 or 1 for {}, found {}", name, what, byte));
  return byte == 1;
}

/// Throws InputError unless what is left of the payload is as many numbers.
void require_numbers(const ReadingBuffer& buffer, std::uint64_t numbers, const std::string& name) {
  const std::uint64_t bytes = buffer.remaining();
  if (bytes % sizeof(double) != 0 || bytes / sizeof(double) != numbers)
    throw InputError(fmt::format("{}: expected {} numbers, found {} bytes", name, numbers, bytes));
}

/// As all kinds begin: what the description says, and the operands that it calls fixed.
struct Preamble {
  std::string model;
  std::uint64_t updates = 0;
  std::uint64_t ranks = 1;
  std::uint8_t fixed = 0;
  bool transposed = false;
  std::uint64_t fingerprint = 0;

  [[nodiscard]] Role role(Operand operand) const {
    return (fixed >> static_cast<unsigned>(operand) & 1U) != 0 ? Role::fixed : Role::streams;
  }
};

Preamble read_preamble(InputArchive& archive, std::uint32_t kind, Problem& problem, const std::string& name) {
  Preamble preamble;
  std::uint32_t length = 0;
  archive(length);
  if (length > longest_model)
    throw InputError(
        fmt::format("{}: expected a model name of at most {} bytes, found {}", name, longest_model, length));
  preamble.model.resize(length);
  PrecisionTarget target;
  archive(cereal::binary_data(preamble.model.data(), preamble.model.size()), preamble.updates, preamble.ranks,
          preamble.fixed, target.epsilon, target.constant);
  if (!belongs_to(kind, preamble.model))
    throw InputError(fmt::format("{}: the model {} does not go with a payload of kind {}", name,
                                 quoted_excerpt(preamble.model), kind));
  constexpr unsigned of_product = 0b110, of_kronecker = 0b111000;
  const unsigned possible = kind == Kind::product ? of_product : kind == Kind::kronecker ? of_kronecker : 0;
  if ((preamble.fixed & ~possible) != 0)
    throw InputError(
        fmt::format("{}: fixed operands are {:#04x}: expected bits of {:#04x}", name, preamble.fixed, possible));
  SketchConfig& sketch = problem.sketch;
  archive(sketch.dimension, sketch.rows, sketch.buckets, sketch.lanes, sketch.levels, sketch.law, sketch.p,
          sketch.randomness, sketch.independence, sketch.seed);
  if (kind == Kind::matrix) {
    archive(sketch.row_length);
    if (sketch.row_length == 0)
      throw InputError(fmt::format("{}: expected the length of the rows of a matrix, found 0", name));
    preamble.transposed = read_flag(archive, "transposed", name);
  }
  if (target != PrecisionTarget()) problem.precision = target;
  archive(preamble.fingerprint);
  try {
    sketch.validate();
  } catch (const UsageError& error) {
    throw InputError(fmt::format("{}: not a sketch: {}", name, error.what()));
  }
  require_construction(preamble.fingerprint, problem, name);
  return preamble;
}

void read_array(InputArchive& archive, std::span<double> numbers) {
  archive(cereal::binary_data(numbers.data(), numbers.size_bytes()));
}

}  // namespace

State read_payload_v2(const ReadAt& read, std::uint32_t kind, std::uint64_t length, const std::string& name) {
  if (kind < Kind::vector || kind > Kind::kronecker)
    throw InputError(fmt::format("{}: unknown kind of state {}; of version 2 there are 1 to 5", name, kind));
  ReadingBuffer buffer(read, header_size, length);
  std::istream stream(&buffer);
  InputArchive archive(stream);
  Problem problem;
  const Preamble preamble = read_preamble(archive, kind, problem, name);
  const std::uint64_t n = problem.sketch.dimension;
  problem.setting = preamble.model;

  std::uint64_t numbers_before = 0;  // of the payload that the state has no place for
  std::uint64_t digest = 0;
  if (kind == Kind::vector) {
    problem.sides["n"] = n;
    if (preamble.model == "product") {
      problem.roles = {{Operand::A, Role::streams}, {Operand::x, Role::absent}};
    } else {
      problem.roles[Operand::y] = Role::streams;
    }
  } else if (kind == Kind::product) {
    std::uint64_t d = 0;
    archive(d, problem.degree);
    problem.sides["n"] = n;
    problem.roles[Operand::A] = preamble.role(Operand::A);
    if (preamble.role(Operand::x) == Role::fixed) {
      if (d != 1 || problem.degree != 2)
        throw InputError(
            fmt::format("{}: d is {} and the degree {} where x was fixed, expected 1 and 2", name, d, problem.degree));
      problem.roles[Operand::x] = Role::absent;
      numbers_before = 1;
    } else {
      problem.sides["d"] = d;
      problem.roles[Operand::x] = Role::streams;
    }
  } else if (kind == Kind::matrix) {
    problem.setting = "kronecker-streaming";
    const std::uint64_t columns = problem.sketch.row_length;
    problem.sides = {{"n1", n / columns}, {"n2", columns}};
    if (preamble.transposed) std::swap(problem.sides["n1"], problem.sides["n2"]);
    const Operand streamed = preamble.transposed ? Operand::A2 : Operand::A1;
    problem.roles = {{Operand::A1, Role::absent}, {Operand::A2, Role::absent}, {Operand::X, Role::absent}};
    problem.roles[streamed] = Role::forgotten;
  } else {
    if (kind == Kind::rows) {
      problem.roles[Operand::A] = Role::streams;
      problem.sides["n"] = n;
      archive(problem.sides["d"]);
    } else {
      problem.setting = "kronecker-two-stage";
      for (const Operand operand : {Operand::A1, Operand::A2, Operand::X})
        problem.roles[operand] = preamble.role(operand);
      problem.sides["n1"] = n;
      archive(problem.sides["n2"], problem.sides["d1"], problem.sides["d2"]);
    }
    archive(problem.gram.buckets);
    problem.gram.exact = read_flag(archive, "an exact Gram matrix", name);
    archive(digest);  // of what stands above, the construction of which has been compared
  }

  std::uint64_t numbers = numbers_before;
  try {
    const Setting& setting = setting_of(problem);
    setting.check(problem);
    for (const ArrayLayout& layout : setting.layout(problem)) numbers += layout.size;
  } catch (const UsageError& error) {
    throw_not_a_state(error, name);
  }
  require_numbers(buffer, numbers, name);
  if (numbers_before > 0) {
    double x = 0;
    archive(x);
    if (x != 1)
      throw InputError(
          fmt::format("{}: expected 1 in the place of x, which was fixed and is multiplied into the rows", name));
  }
  State state = state_for(problem, name);
  for (const StateArray& array : state.arrays()) read_array(archive, array.numbers.doubles());
  state.updates = preamble.updates;
  state.ranks = preamble.ranks;
  return state;
}

}  // namespace weir::state_format
