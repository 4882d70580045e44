#include "state/exact_product.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "sample/power.hpp"
#include "weir/sample/dense.hpp"
#include "weir/state/vector_state.hpp"

namespace weir {

namespace {

/// Sums of the changes of few entries of a long vector, in memory in proportion to them.
class FewSums {
 public:
  struct Sum {
    std::uint64_t index;
    double value;
  };

  /// A party keeps so many, in 32 MiB.
  static constexpr std::size_t most = std::size_t{1} << 20;

  void add(std::span<const std::uint64_t> indices, std::span<const double> changes) {
    for (std::size_t t = 0; t < indices.size() && !are_too_many_; ++t) {
      sums_.push_back({indices[t], changes[t]});
      if (sums_.size() == 2 * most) add_up();
    }
  }
  /// In ascending order of the indices, each once. Changes of an entry are added in the order in which they came.
  std::span<const Sum> add_up() {
    std::ranges::stable_sort(sums_, {}, &Sum::index);
    std::size_t count = 0;
    for (const Sum& sum : sums_) {
      if (count > 0 && sums_[count - 1].index == sum.index)
        sums_[count - 1].value += sum.value;
      else
        sums_[count++] = sum;
    }
    sums_.resize(count);
    are_too_many_ = are_too_many_ || count > most;
    return sums_;
  }
  [[nodiscard]] bool are_too_many() const noexcept { return are_too_many_; }

 private:
  std::vector<Sum> sums_;
  bool are_too_many_ = false;
};

/// Calls `add` on the first party with every entry of y that is not zero, of an A whose file lists entries. Takes memory in
/// proportion to the rows that the file has, up to FewSums::most; where it has more, reads it once more and takes n numbers.
void add_entries(ProductUpdates& updates, std::uint64_t n, Parties& parties,
                 const std::function<void(std::uint64_t, double)>& add) {
  const auto read = [&](const auto& take) {
    parties.read_again(Operand::A, [&](const EventBatch& batch) {
      const Updates changes = updates(batch);
      take(changes.keys, changes.deltas);
    });
  };
  if (n > FewSums::most) {
    FewSums few;
    read([&](const auto& keys, const auto& deltas) { few.add(keys, deltas); });
    const std::span<const FewSums::Sum> own = few.add_up();
    if (parties.sum_everywhere(std::uint64_t{few.are_too_many() ? 1U : 0U}) == 0) {
      std::vector<FewSums::Sum> all;
      for (const std::vector<std::byte>& bytes : parties.gather(std::as_bytes(own))) {
        const std::size_t before = all.size();
        all.resize(before + bytes.size() / sizeof(FewSums::Sum));
        if (!bytes.empty()) std::memcpy(all.data() + before, bytes.data(), bytes.size());
      }
      std::ranges::stable_sort(all, {}, &FewSums::Sum::index);
      for (std::size_t k = 0; k < all.size();) {
        FewSums::Sum sum = all[k];
        while (++k < all.size() && all[k].index == sum.index) sum.value += all[k].value;
        add(sum.index, sum.value);
      }
      return;
    }
  }
  parties.require_memory(
      n, fmt::format(
             "verifying draws with an A that is a file of entries in more than {} rows: the exact values of n = {}",
             FewSums::most, n));
  std::optional<DenseVector> y;
  parties.together([&] { y.emplace(n); });
  read([&](const auto& keys, const auto& deltas) { y->update(keys, deltas); });
  parties.sum_on_first(y->table());
  for (std::uint64_t i = 0; parties.is_first() && i < n; ++i) add(i, y->table()[i]);
}

}  // namespace

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
    add_entries(updates, n, parties, add);
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
