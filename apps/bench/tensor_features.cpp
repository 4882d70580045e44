// Our side of tensor_sketch_against_sklearn: the feature map of the rows of a file, once for every line on standard
// input.

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <cstdint>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "weir/error.hpp"
#include "weir/io/npy.hpp"
#include "weir/sketch/tensor_features.hpp"

namespace weir::bench {
namespace {

/// Seconds of CPU time, those of the system included.
template <class Work>
double seconds_of(const Work& work) {
  const std::clock_t start = std::clock();
  work();
  return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

/// Prints the seconds with an output that is allocated each time and with one that is kept, then writes the features.
void run(const std::string& path, std::size_t degree, std::uint64_t components, std::uint64_t seed,
         const std::string& out_path) {
  const DenseMatrix rows = load_npy(path);
  TensorSketchConfig config{.dimensions = std::vector<std::uint64_t>(degree, rows.columns), .rows = 1};
  config.buckets = components;
  config.seed = seed;
  TensorFeatures features(config);
  const std::size_t size = static_cast<std::size_t>(rows.rows) * features.size();
  std::vector<double> kept(size);
  for (std::string line; std::getline(std::cin, line);) {
    const double allocated = seconds_of([&] {
      std::vector<double> out(size);
      features.apply(rows.values, out);
    });
    fmt::print("{} {}\n", allocated, seconds_of([&] { features.apply(rows.values, kept); }));
    std::fflush(stdout);
  }
  std::ofstream out(out_path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(kept.data()), static_cast<std::streamsize>(size * sizeof(double)));
  if (!out.flush()) throw InputError(out_path + ": cannot be written");
}

}  // namespace
}  // namespace weir::bench

int main(int argc, char** argv) {
  CLI::App app("Times the tensor features of the rows of a .npy file, once for every line on standard input.");
  std::string rows, out;
  std::size_t degree = 2;
  std::uint64_t components = 1024, seed = 1;
  app.add_option("rows", rows, "the rows, .npy")->required();
  app.add_option("out", out, "where the features go: doubles, row by row")->required();
  app.add_option("--degree", degree);
  app.add_option("--components", components);
  app.add_option("--seed", seed);
  CLI11_PARSE(app, argc, argv);
  try {
    weir::bench::run(rows, degree, components, seed, out);
  } catch (const weir::Error& error) {
    fmt::print(stderr, "weir_tensor_features: {}\n", error.what());
    return 1;
  }
}
