#include "heads.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>
#include <random>

#include "weir/error.hpp"
#include "weir/io/npy.hpp"

namespace weir::experiments {

Head load_head(const std::string& prefix, double scale) {
  Head head{std::filesystem::path(prefix).filename().string(), load_npy(prefix + "_q.npy"), load_npy(prefix + "_k.npy"),
            load_npy(prefix + "_v.npy")};
  if (head.queries.columns != head.keys.columns || head.keys.rows != head.values.rows) {
    throw InputError(fmt::format("{}: the shapes of queries, keys and values do not fit each other", prefix));
  }
  const double factor = scale / std::sqrt(static_cast<double>(head.keys.columns));
  for (double& number : head.queries.values) number *= factor;
  return head;
}

std::vector<std::string> head_prefixes(const std::vector<std::string>& paths) {
  std::vector<std::string> prefixes;
  for (const std::string& path : paths) {
    if (!std::filesystem::is_directory(path)) {
      prefixes.push_back(path);
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(path)) {
      const std::string file = entry.path().string();
      if (file.ends_with("_q.npy")) prefixes.push_back(file.substr(0, file.size() - 6));
    }
  }
  std::ranges::sort(prefixes);
  return prefixes;
}

std::vector<Head> load_heads(const std::string& folder, std::span<const std::string_view> expected,
                             const std::function<void(const std::string&)>& say) {
  std::vector<Head> heads;
  const std::vector<std::string> prefixes = head_prefixes({folder});
  for (const std::string_view name : expected)
    if (std::ranges::none_of(prefixes,
                             [&](const std::string& prefix) { return prefix.ends_with(fmt::format("/{}", name)); }))
      say(fmt::format("head {} is not in {}: left out", name, folder));
  for (const std::string& prefix : prefixes) {
    std::string missing;
    for (const char* file : {"_k.npy", "_v.npy"})
      if (!std::filesystem::exists(prefix + file)) missing = prefix + file;
    if (missing.empty()) {
      heads.push_back(load_head(prefix));
    } else {
      say(fmt::format("there is no {}: the head is left out", missing));
    }
  }
  return heads;
}

DenseMatrix gaussian(std::uint64_t rows, std::uint64_t columns, double deviation, std::uint64_t seed) {
  std::mt19937_64 words(seed);
  DenseMatrix matrix{rows, columns, std::vector<double>(rows * columns)};
  for (double& entry : matrix.values) {
    // Each word gives two of the twelve.
    double sum = -6;
    for (int i = 0; i < 6; ++i) {
      const std::uint64_t word = words();
      sum += std::ldexp(static_cast<double>(word >> 32U) + static_cast<double>(word & 0xFFFFFFFFU) + 1, -32);
    }
    entry = deviation * sum;
  }
  return matrix;
}

Head make_head(const std::string& name, const HeadRecipe& recipe) {
  const std::uint64_t n = recipe.tokens;
  Head head{name, gaussian(n, recipe.d, 1, 4 * recipe.seed), gaussian(n, recipe.d, 1, 4 * recipe.seed + 1),
            gaussian(n, recipe.dv, 0.5, 4 * recipe.seed + 2)};
  double deviation = 1;
  for (std::uint64_t c = 0; c < recipe.d; ++c) {
    deviation = c < recipe.deviations.size() ? recipe.deviations[c] : deviation / 2;
    for (std::uint64_t t = 0; t < n; ++t) {
      double& query = head.queries.values[t * recipe.d + c];
      double& key = head.keys.values[t * recipe.d + c];
      query = std::sqrt(deviation) * (0.3 + query);
      key = std::sqrt(deviation) * (key - 0.2);
    }
  }
  for (std::uint64_t t = 0; t < n; ++t)
    for (std::uint64_t c = 0; c < recipe.dv; ++c) {
      const double key = head.keys.values[t * recipe.d + c % recipe.d];
      head.values.values[t * recipe.dv + c] += 0.5 + std::tanh(2 * key);
    }
  return head;
}

std::span<const double> first_rows(const DenseMatrix& matrix, std::uint64_t count) {
  return std::span(matrix.values).first(std::min(matrix.rows, count) * matrix.columns);
}

AnisotropicState state_of(const Head& head, const AnisotropicCalibration& calibration) {
  std::vector<std::uint64_t> tokens(head.keys.rows);
  std::iota(tokens.begin(), tokens.end(), 0U);
  AnisotropicState state(calibration);
  state.add({head.keys.values, head.values.values, tokens});
  return state;
}

}  // namespace weir::experiments
