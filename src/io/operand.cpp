#include "weir/io/operand.hpp"

#include <fmt/format.h>

#include <string_view>

#include "io/compression.hpp"
#include "io/fields.hpp"
#include "io/input.hpp"
#include "io/pick.hpp"
#include "weir/error.hpp"
#include "weir/io/file.hpp"
#include "weir/io/matrix_market.hpp"
#include "weir/io/npy.hpp"
#include "weir/io/text.hpp"

namespace weir {
namespace {

DenseMatrix load_numbers(Input& input) {
  const std::string text = read_all(input);
  DenseMatrix matrix{0, 1, {}};
  TextLines lines(text);
  while (const auto line = lines.next()) {
    std::string_view rest = *line;
    const std::string_view word = take_word(rest);
    double value = 0;
    std::string reason = return_complaint(*line);
    if (reason.empty() && (word.empty() || word.front() == '#' || word.front() == '%')) continue;
    if (!reason.empty()) {
    } else if (!take_word(rest).empty()) {
      reason = fmt::format("{} is more than one number", quoted_excerpt(*line));
    } else {
      (void)parse_number(word, "a number", value, reason);
    }
    if (!reason.empty()) {
      throw InputError(fmt::format("{}: line {}: {} (an operand is .npy, Matrix Market or one number per line)",
                                   input.name(), lines.number(), reason));
    }
    matrix.values.push_back(value);
  }
  if (matrix.values.empty()) throw InputError(fmt::format("{}: expected numbers, found none", input.name()));
  matrix.rows = matrix.values.size();
  return matrix;
}

}  // namespace

DenseMatrix load_operand(const std::string& path) {
  const InputFile file(file_of(path));  // refuses what is no file
  const std::unique_ptr<Input> input = content_of(open_input(path));
  const std::string_view beginning = input->peek(matrix_market_banner_start);
  if (looks_like_npy(beginning)) return load_npy(path);
  if (looks_like_matrix_market(beginning)) return load_matrix_market(path);
  return load_numbers(*input);
}

}  // namespace weir
