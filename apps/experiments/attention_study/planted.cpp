#include "planted.hpp"

#include <cmath>
#include <numeric>

namespace weir::experiments {

Head make_planted(const Planted& planted) {
  const std::uint64_t n = planted.tokens;
  Head head{"planted", gaussian(n, planted.d, 0.2, planted.seed), gaussian(n, planted.d, 0.2, planted.seed + 1),
            gaussian(n, planted.dv, 1, planted.seed + 2)};
  // Query and key of a pair are sqrt(range) times one direction.
  DenseMatrix directions = gaussian(planted.sparse, planted.d, 1, planted.seed + 3);
  const DenseMatrix values = gaussian(planted.sparse, planted.dv, planted.value, planted.seed + 4);
  for (std::uint64_t j = 0; j < planted.sparse; ++j) {
    double* direction = directions.values.data() + j * planted.d;
    const double norm = std::sqrt(std::inner_product(direction, direction + planted.d, direction, 0.0));
    const std::uint64_t query = j * (n / planted.sparse) + 5;
    const std::uint64_t key = j * (n / planted.sparse) + 71;
    for (std::uint64_t c = 0; c < planted.d; ++c)
      head.queries.values[query * planted.d + c] = head.keys.values[key * planted.d + c] =
          std::sqrt(planted.range) / norm * direction[c];
    for (std::uint64_t c = 0; c < planted.dv; ++c)
      head.values.values[key * planted.dv + c] = values.values[j * planted.dv + c];
  }
  return head;
}

}  // namespace weir::experiments
