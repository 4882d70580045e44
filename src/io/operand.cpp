#include "weir/io/operand.hpp"

#include <fmt/format.h>

#include <string_view>

#include "io/fields.hpp"
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
    double value = 0;
    std::string reason;
    if (!take_word(rest).empty()) {
      reason = fmt::format("{} is more than one number", quoted_excerpt(*line));
    } else {
      (void)parse_number(word, "a number", value, reason);
    }
    if (!reason.empty()) {
      throw InputError(fmt::format("{}: line {}: {} (an operand is .npy, Matrix Market or one number per line)",
                                   file.path(), lines.number(), reason));
    }
    matrix.values.push_back(value);
  }
  if (matrix.values.empty()) throw InputError(fmt::format("{}: expected numbers, found none", file.path()));
  matrix.rows = matrix.values.size();
  return matrix;
}

}  // namespace

DenseMatrix load_operand(const std::string& path) {
  const InputFile file(path);
  std::string beginning(64, '\0');
  beginning.resize(file.read_some_at(0, std::as_writable_bytes(std::span(beginning))));
  if (looks_like_npy(beginning)) return load_npy(path);
  if (looks_like_matrix_market(beginning)) return load_matrix_market(path);
  return load_numbers(file);
}

}  // namespace weir
