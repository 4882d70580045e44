#include "state/exact_product.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "sample/power.hpp"
#include "weir/sample/dense.hpp"
#include "weir/state/vector_state.hpp"

namespace weir {

void answer_exactly(std::span<const double> x_of_first, std::uint64_t n, double p, const ExactQuestion& question,
                    Parties& parties, Answer& answer) {
  std::vector<double> x(x_of_first.begin(), x_of_first.end());
  std::vector<std::uint64_t> indices;
  for (const EntryIndex& entry : question.entries) indices.push_back(entry.index);
  parties.broadcast(x);
  parties.broadcast(indices);
  std::ranges::sort(indices);
  indices.erase(std::unique(indices.begin(), indices.end()), indices.end());

  std::vector<double> sums(2 + indices.size());  // of squares, of powers, and the entries asked for
  const auto add = [&](std::uint64_t i, double y) {
    sums[0] += y * y;
    sums[1] += power_of_magnitude(y, p);
    const auto place = std::ranges::lower_bound(indices, i);
    if (place != indices.end() && *place == i) sums[2 + static_cast<std::size_t>(place - indices.begin())] += y;
  };
  ProductUpdates updates(x.size());
  updates.set_x(Operand::x, {x.size(), 1, x});
  if (parties.has_rows_once(Operand::A)) {
    parties.read_again(Operand::A, [&](const EventBatch& batch) {
      for (std::size_t t = 0; t < batch.rows.size(); ++t) add(batch.rows.i[t], updates.product(batch.rows, t));
    });
  } else {
    parties.require_memory(
        n, fmt::format("verifying draws with an A that is a file of entries: the exact values of n = {}", n));
    std::optional<DenseVector> y;
    parties.together([&] { y.emplace(n); });
    parties.read_again(Operand::A, [&](const EventBatch& batch) {
      const Updates changes = updates(batch);
      y->update(changes.keys, changes.deltas);
    });
    parties.sum_on_first(y->table());
    for (std::uint64_t i = 0; parties.is_first() && i < n; ++i) add(i, y->table()[i]);
  }
  parties.sum_on_first(sums);
  if (!parties.is_first()) return;
  answer.exact_norm = std::sqrt(sums[0]);
  for (std::size_t k = 0; k < indices.size(); ++k) {
    const double value = sums[2 + k];
    answer.exact[{indices[k]}] = {value, sums[1] > 0 ? power_of_magnitude(value, p) / sums[1] : 0.0};
  }
}

}  // namespace weir
