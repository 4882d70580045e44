#pragma once

// Attention heads from files, and made ones.

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "weir/attention/anisotropic.hpp"
#include "weir/dense_matrix.hpp"

namespace weir::experiments {

/// Queries, keys and values, a row a token. The scale of the scores is multiplied into the queries.
struct Head {
  std::string name = {};
  DenseMatrix queries = {};
  DenseMatrix keys = {};
  DenseMatrix values = {};

  /// Of all keys and values in single precision: what an exact answer needs.
  [[nodiscard]] std::uint64_t cache_bytes() const {
    return sizeof(float) * keys.rows * (keys.columns + values.columns);
  }
};

/// A head from NAME_q.npy, NAME_k.npy, NAME_v.npy; `prefix` is the path up to NAME. Scores are scale / sqrt(d) times q.k.
/// Throws InputError for shapes that do not fit each other, and as load_npy().
[[nodiscard]] Head load_head(const std::string& prefix, double scale = 1);

/// Paths up to NAME, ascending: all heads of the folders among `paths`, and the other paths as they are.
[[nodiscard]] std::vector<std::string> head_prefixes(const std::vector<std::string>& paths);

/// All heads of a folder that have queries, keys and values. `say` gets a line for each one that has not, and for each
/// of the names `expected` that is not there.
[[nodiscard]] std::vector<Head> load_heads(const std::string& folder, std::span<const std::string_view> expected,
                                           const std::function<void(const std::string&)>& say);

/// rows x columns independent Gaussian numbers with this deviation, the same on every machine: sums of 12 uniform
/// numbers, as std::normal_distribution differs between libraries.
[[nodiscard]] DenseMatrix gaussian(std::uint64_t rows, std::uint64_t columns, double deviation, std::uint64_t seed);

/// What a made head is like. Its scores are sums of d independent products; product i has the deviation deviations[i], or
/// half of the one before where the list has ended.
struct HeadRecipe {
  std::uint64_t tokens = 4096;
  std::uint64_t d = 16;
  std::uint64_t dv = 16;
  std::vector<double> deviations = {1};
  std::uint64_t seed = 1;
};
/// Keys and queries have means other than zero. Values are a smooth function of the key, a mean, and noise.
[[nodiscard]] Head make_head(const std::string& name, const HeadRecipe& recipe);

/// The first rows of queries, keys and values, as AnisotropicCalibration::fit takes them.
[[nodiscard]] std::span<const double> first_rows(const DenseMatrix& matrix, std::uint64_t count);

/// A state with all keys and values of the head.
[[nodiscard]] AnisotropicState state_of(const Head& head, const AnisotropicCalibration& calibration);

}  // namespace weir::experiments
