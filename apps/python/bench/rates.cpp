// What update.py compares with, as a library that ctypes loads: the sketch itself, on the arrays of the caller.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>

#include "weir/sketch/vector_sketch.hpp"

extern "C" {

/// A sketch of n entries; nullptr where there is no memory, or for sizes that none can have.
[[gnu::visibility("default")]] void* weir_sketch(std::uint64_t n, std::uint64_t buckets, std::uint32_t lanes) {
  try {
    return new weir::VectorSketch({.dimension = n, .buckets = buckets, .lanes = lanes, .seed = 1});
  } catch (...) {
    return nullptr;
  }
}

/// Seconds that an update takes.
[[gnu::visibility("default")]] double weir_update(void* sketch, const std::uint64_t* keys, const double* deltas,
                                                  std::size_t count) {
  const auto start = std::chrono::steady_clock::now();
  static_cast<weir::VectorSketch*>(sketch)->update({keys, count}, {deltas, count});
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

[[gnu::visibility("default")]] void weir_free(void* sketch) { delete static_cast<weir::VectorSketch*>(sketch); }
}
