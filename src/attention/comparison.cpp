#include "weir/attention/comparison.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "attention/views.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

double relative(double error, double size) {
  if (!std::isfinite(error)) return std::numeric_limits<double>::infinity();
  if (size > 0) return error / size;
  return error == 0 ? 0.0 : std::numeric_limits<double>::infinity();
}

void require_comparable(const char* function, RowsView exact, RowsView approximate) {
  require_equal({function, "approximate.rows", "exact.rows"}, approximate.rows, exact.rows);
  require_view(function, "exact.columns", exact, exact.columns);
  require_view(function, "approximate.columns", approximate, exact.columns);
}

/// The sum of all but the k largest of the numbers, smallest first, so that no rounding of the large ones is in it.
double sum_of_rest(std::vector<double> numbers, std::uint64_t k) {
  if (k >= numbers.size()) return 0;
  std::sort(numbers.begin(), numbers.end());
  return std::accumulate(numbers.begin(), numbers.end() - static_cast<std::ptrdiff_t>(k), 0.0);
}

std::vector<double> squares_of_column(RowsView exact, std::uint64_t column) {
  std::vector<double> squares(exact.rows);
  for (std::uint64_t i = 0; i < exact.rows; ++i) {
    const double entry = exact.values[i * exact.columns + column];
    squares[i] = entry * entry;
  }
  return squares;
}

}  // namespace

std::vector<double> query_errors(RowsView exact, RowsView approximate) {
  require_comparable("query_errors", exact, approximate);
  std::vector<double> errors(exact.rows);
  for (std::uint64_t i = 0; i < exact.rows; ++i)
    errors[i] = relative((matrix_view(approximate).row(to_index(i)) - matrix_view(exact).row(to_index(i))).norm(),
                         matrix_view(exact).row(to_index(i)).norm());
  return errors;
}

std::vector<double> column_errors(RowsView exact, RowsView approximate) {
  require_comparable("column_errors", exact, approximate);
  std::vector<double> errors(exact.columns);
  for (std::uint64_t j = 0; j < exact.columns; ++j)
    errors[j] = relative((matrix_view(approximate).col(to_index(j)) - matrix_view(exact).col(to_index(j))).norm(),
                         matrix_view(exact).col(to_index(j)).norm());
  return errors;
}

double quantile(std::vector<double> numbers, double share) {
  require_at_least({"quantile", "numbers.size()", "of a quantile"}, numbers.size(), 1);
  if (!(share >= 0 && share <= 1))
    throw UsageError(fmt::format("quantile: share is {}, expected a number from 0 to 1", share));
  // 0.99 * 100 is a little more than 99 in doubles: a product within rounding of a whole number is that number.
  const double product = share * static_cast<double>(numbers.size());
  const double rank = std::max(1.0, std::ceil(product * (1 - 1e-14)));
  const auto place = numbers.begin() + static_cast<std::ptrdiff_t>(rank) - 1;
  std::nth_element(numbers.begin(), place, numbers.end());
  return *place;
}

OutputErrors compare_outputs(RowsView exact, RowsView approximate) {
  require_comparable("compare_outputs", exact, approximate);
  require_at_least({"compare_outputs", "exact.rows", "of a comparison"}, exact.rows, 1);
  std::vector<double> errors = query_errors(exact, approximate);
  return {relative((matrix_view(approximate) - matrix_view(exact)).norm(), matrix_view(exact).norm()),
          quantile(errors, 0.5), quantile(errors, 0.99), quantile(errors, 1), std::move(errors)};
}

std::vector<double> best_sparse_errors(RowsView exact, std::uint64_t k) {
  require_view("best_sparse_errors", "exact.columns", exact, exact.columns);
  std::vector<double> errors(exact.columns);
  for (std::uint64_t j = 0; j < exact.columns; ++j) {
    const std::vector<double> squares = squares_of_column(exact, j);
    errors[j] = relative(std::sqrt(sum_of_rest(squares, k)), std::sqrt(sum_of_rest(squares, 0)));
  }
  return errors;
}

double best_sparse_error(RowsView exact, std::uint64_t k) {
  require_view("best_sparse_error", "exact.columns", exact, exact.columns);
  double missed = 0;
  for (std::uint64_t j = 0; j < exact.columns; ++j) missed += sum_of_rest(squares_of_column(exact, j), k);
  return relative(std::sqrt(missed), matrix_view(exact).norm());
}

double best_rows_error(RowsView exact, std::uint64_t k) {
  require_view("best_rows_error", "exact.columns", exact, exact.columns);
  std::vector<double> squares(exact.rows);
  for (std::uint64_t i = 0; i < exact.rows; ++i) squares[i] = matrix_view(exact).row(to_index(i)).squaredNorm();
  return relative(std::sqrt(sum_of_rest(std::move(squares), k)), matrix_view(exact).norm());
}

double mean_only_error(RowsView exact) {
  require_view("mean_only_error", "exact.columns", exact, exact.columns);
  require_at_least({"mean_only_error", "exact.rows", "of a mean"}, exact.rows, 1);
  const auto outputs = matrix_view(exact);
  return relative((outputs.rowwise() - outputs.colwise().mean()).norm(), outputs.norm());
}

}  // namespace weir
