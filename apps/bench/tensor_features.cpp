// The other side of tensor_sketch_against_sklearn: reads a matrix, then for every line on standard input times the feature map once and
// prints its seconds.
#include <fmt/format.h>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "weir/io/npy.hpp"
#include "weir/sketch/tensor_features.hpp"

int main(int argc, char** argv) {
  (void)argc;
  const weir::DenseMatrix rows = weir::load_npy(argv[1]);
  const auto degree = static_cast<std::size_t>(std::atoi(argv[2]));
  weir::TensorSketchConfig config{.dimensions = std::vector<std::uint64_t>(degree, rows.columns), .rows = 1};
  config.buckets = static_cast<std::uint64_t>(std::atoll(argv[3]));
  config.seed = 1;
    weir::TensorFeatures features(config);
    std::vector<double> out(rows.rows * features.size());
  for (std::string line; std::getline(std::cin, line);) {
    const auto start = std::chrono::steady_clock::now();
    features.apply(rows.values, out);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    fmt::print("{}\n", seconds.count());
  }
}
