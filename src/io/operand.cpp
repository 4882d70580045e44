#include "weir/io/operand.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <string_view>

#include "weir/error.hpp"
#include "weir/io/file.hpp"
#include "weir/io/matrix_market.hpp"
#include "weir/io/npy.hpp"
#include "weir/io/text.hpp"

namespace weir {
namespace {

DenseMatrix load_numbers(const InputFile& file) {
  const std::string text = read_whole_file(file);
  DenseMatrix matrix{0, 1, {}};
  TextLines lines(text);
  while (const auto line = lines.next()) {
    std::string_view rest = *line;
    const std::string_view word = take_word(rest);
    if (word.empty() || word.front() == '#') continue;
    const auto value = parse_finite(word);
    if (!value || !take_word(rest).empty()) {
      throw InputError(
          fmt::format("{}: line {}: expected one finite number, found {} (an operand is .npy, Matrix Market or one "
                      "number per line)",
                      file.path(), lines.number(), quoted_excerpt(*line)));
    }
    matrix.values.push_back(*value);
  }
  if (matrix.values.empty()) throw InputError(fmt::format("{}: expected numbers, found none", file.path()));
  matrix.rows = matrix.values.size();
  return matrix;
}

/// Enough to tell the formats apart.
constexpr std::size_t magic_length = 64;

std::string read_beginning(const InputFile& file, std::size_t length) {
  std::string text(static_cast<std::size_t>(std::min<std::uint64_t>(length, file.size())), '\0');
  text.resize(file.read_some_at(0, std::as_writable_bytes(std::span(text))));
  return text;
}

}  // namespace

DenseMatrix load_operand(const std::string& path) {
  const InputFile file(path);
  const std::string beginning = read_beginning(file, magic_length);
  if (looks_like_npy(beginning)) return load_npy(path);
  if (looks_like_matrix_market(beginning)) return load_matrix_market(path);
  return load_numbers(file);
}

std::optional<MatrixShape> operand_shape(const std::string& path) {
  const InputFile file(path);
  const std::string beginning = read_beginning(file, magic_length);
  if (looks_like_npy(beginning)) {
    const std::size_t length = npy_header_length(std::string_view(beginning).substr(0, npy_prefix), path);
    const NpyHeader header = parse_npy_header(read_beginning(file, length), path);
    const std::uint64_t data = file.size() - header.data_offset;
    if (!header.fits(data)) throw InputError(npy_size_complaint(header, path, fmt::to_string(data)));
    return MatrixShape{header.rows, header.columns};
  }
  if (looks_like_matrix_market(beginning)) {
    const MatrixMarketHeader header =
        parse_matrix_market_header(read_beginning(file, matrix_market_header_limit), path);
    return MatrixShape{header.rows, header.columns};
  }
  return std::nullopt;
}

}  // namespace weir
