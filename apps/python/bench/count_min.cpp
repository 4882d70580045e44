// datasketches' count_min, as a library that ctypes loads. update.py compiles it against a checkout that its user names.

#include <chrono>
#include <count_min.hpp>
#include <cstddef>
#include <cstdint>

extern "C" double count_min_update(const std::uint64_t* keys, const double* deltas, std::size_t count,
                                   std::uint8_t hashes, std::uint32_t buckets) {
  static datasketches::count_min_sketch<double> sketch(hashes, buckets);
  const auto start = std::chrono::steady_clock::now();
  for (std::size_t t = 0; t < count; ++t) sketch.update(keys[t], deltas[t]);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}
