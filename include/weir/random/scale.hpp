#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "weir/random/source.hpp"

namespace weir {

/// Law of the random scales that multiply an item in the lanes 1, 2, ... of a sketch (lane 0 always has scale 1).
enum class ScaleLaw : std::uint8_t {
  exponential =
      0,        ///< E^(-1/p), E ~ Exp(1): the largest |y_i| E_i^(-1/p) is at i with probability |y_i|^p / sum |y|^p.
  uniform = 1,  ///< u^(-1/2), u ~ U(0,1): Algorithm 2 of the paper; p is 2.
};

/// "exponential", "uniform".
[[nodiscard]] std::string_view to_string(ScaleLaw law) noexcept;

// From a word to a scale, to the bit. Everything is IEEE binary32 with one rounding for each operation written, none
// fused.
//
//   H = bits 63..33 of the word, T = bits 31..1, as integers, converted to float (round to nearest even)
//   v = H * 2^-31 + (T + 0.5) * 2^-62        uniform on (0, 1], with 24 significant bits however small it is
//   t = max(1 - v, 2^-25) = 2^e * m          m in [r, 2 r), r = 3F3504F3 (hexadecimal), sqrt(1/2) rounded down
//   f = -v where e = 0, else m - 1
//   g = f * f
//   q = ((c0 + c1 f) + (c2 + c3 f) g) + ((c4 + c5 f) + (c6 + c7 f) g) (g * g)      about ln(1 + f) / f
//   E = (-e) * ln2 - f * q                   about -ln(1 - v), within a relative 1e-6; ln2 = 1.62e430p-1
//   s = 1 / sqrt(E)                          exponential law, p = 2
//     | 1 / E                                exponential law, p = 1
//     | (1 / E) * (1 / E)                    exponential law, p = 1/2
//     | 1 / sqrt(v)                          uniform law
//   scale = (s + 192) - 192                  a multiple of 2^-16, at most 2^126
//
//   c0 = 1.fffffep-1   c1 = -1.00007ap-1   c2 = 1.5559dcp-2   c3 = -1.ff623cp-3     (hexadecimal significands)
//   c4 = 1.978e38p-3   c5 = -1.614c20p-3   c6 = 1.4c3cc0p-3   c7 = -1.9df91ap-4
//
// Scales are largest where v is smallest, and there v keeps its relative precision: the tail of the law, which decides
// who wins among many items, is right down to v = 2^-62. Truncation at t = 2^-25 only concerns the smallest scales.

/// The scale that a word stands for. `p` is 2, 1 or 0.5 (2 for the uniform law).
[[nodiscard]] float scale_from_word(std::uint64_t word, ScaleLaw law, double p) noexcept;

/// The scales of items in all lanes, as a function of the key.
class ScaleFunction {
 public:
  /// `lanes` is 1, 2 or a multiple of 8. Throws UsageError for another p than 2, 1, 0.5 or a p that the law does not
  /// have.
  ScaleFunction(Randomness kind, std::uint64_t seed, std::uint32_t independence, ScaleLaw law, double p,
                std::uint32_t lanes);

  [[nodiscard]] std::uint32_t lanes() const noexcept { return lanes_; }
  /// Scale of `key` in `lane`; 1 in lane 0.
  [[nodiscard]] float operator()(std::uint64_t key, std::uint32_t lane) const noexcept;
  /// out[t * count + k] = scale of keys[t] in lane first + k, k < count: all lanes, or a block of them, `first` and
  /// `count` multiples of 8. `out` has room for `count` floats for each key, the number of keys rounded up to a
  /// multiple of 8; what lies past the last key is overwritten.
  void fill(std::span<const std::uint64_t> keys, std::uint32_t first, std::uint32_t count,
            std::span<float> out) const noexcept;

 private:
  [[nodiscard]] std::uint64_t word(std::uint64_t key, std::uint32_t lane) const noexcept;

  ScaleLaw law_;
  double p_;
  std::uint32_t lanes_;
  WordFunction base_;                         // mix: the word that the lanes share
  std::vector<WordFunction> lane_functions_;  // kwise: one for each lane
  std::vector<std::uint64_t> lane_xor_;       // mix: a_l
  std::vector<std::uint64_t> lane_multiply_;  // mix: c_l
  bool is_mix_;
};

}  // namespace weir
