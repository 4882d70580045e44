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
//   H = bits 63..34 of the word, T = bits 31..2, as integers, converted to float (round to nearest even)
//   v = H * 2^-30 + (T + 0.5) * 2^-60        uniform on (0, 1], with 24 significant bits however small it is
//   K = number of ones below the lowest zero of H xor T, 0 to 30        geometric: P(K >= k) = 2^-k
//   g = v * v
//   q = ((c0 + c1 v) + (c2 + c3 v) g) + (c4 + c5 v) (g * g)         about -ln(1 - v / 2) / v
//   E = K * ln2 + v * q                      ln2 = 1.62e430p-1
//   s = 1 / sqrt(E)                          exponential law, p = 2
//     | 1 / E                                exponential law, p = 1
//     | (1 / E) * (1 / E)                    exponential law, p = 1/2
//     | 1 / sqrt(v)                          uniform law
//   scale = (s + 192) - 192                  a multiple of 2^-16, below 2^125
//
//   c0 = 1.ffff26p-2   c1 = 1.00755ep-3   c2 = 1.413300p-5      (hexadecimal significands)
//   c3 = 1.9d0b22p-6   c4 = -1.3e8f62p-7  c5 = 1.b158b4p-7
//
// E is a standard exponential: of such an E, floor(E / ln 2) is geometric and independent of the rest, and the rest is
// -ln(1 - v / 2). The fit is within a relative 6.7e-6 of it; rounding a scale near 1 to 2^-16 moves it as much. The low
// bits of a word are no good by themselves (those of a product depend on low bits only), which is why K is not of T
// alone; nor of H alone, as v is down to its last bits where it is small.
//
// Scales are largest where v is smallest, and there v keeps its relative precision: the tail of the law, which decides
// who wins among many items, is right down to v = 2^-60. With words of kwise, whose bit 2 is 0, the lowest bit of H
// decides whether K is 0, and v and K are independent only down to about v = 2^-29. K ends at 30, which only concerns
// the smallest scales.

/// Which formula makes s.
enum class ScaleFormula : std::uint8_t { exponential_two, exponential_one, exponential_half, uniform };

/// The scale that a word stands for. `p` is 2, 1 or 0.5 (2 for the uniform law).
[[nodiscard]] float scale_from_word(std::uint64_t word, ScaleLaw law, double p) noexcept;
[[nodiscard]] float scale_from_word(std::uint64_t word, ScaleFormula formula) noexcept;

/// Of the source `mix`, for loops that compute scales in passing: the scale of a key in lane k of a block of lanes is
/// that of the word (base ^ lane_xor[k]) * lane_multiply[k], `base` being the word that its lanes share.
/// The block begins at lane `first`; lane 0 has scale 1.
struct MixedLanes {
  ScaleFormula formula;
  std::uint32_t first;
  const std::uint64_t* lane_xor;
  const std::uint64_t* lane_multiply;
};

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
  /// multiple of 8; what lies past the last key is overwritten. Throws UsageError when `out` is shorter.
  void fill(std::span<const std::uint64_t> keys, std::uint32_t first, std::uint32_t count, std::span<float> out) const;

  /// See WordFunction::stored_bits; of all lanes.
  [[nodiscard]] std::uint64_t stored_bits() const noexcept;
  [[nodiscard]] bool is_mix() const noexcept { return is_mix_; }
  /// Of the source `mix` alone: the words that the lanes of each key share, and the block of lanes that begins at
  /// `first`.
  void fill_bases(std::span<const std::uint64_t> keys, std::span<std::uint64_t> bases) const;
  [[nodiscard]] MixedLanes mixed_lanes(std::uint32_t first) const noexcept;

 private:
  [[nodiscard]] std::uint64_t word(std::uint64_t key, std::uint32_t lane) const noexcept;

  ScaleFormula formula_;
  std::uint32_t lanes_;
  WordFunction base_;                         // mix: the word that the lanes share
  std::vector<WordFunction> lane_functions_;  // kwise, nisan: one for each lane
  std::vector<std::uint64_t> lane_xor_;       // mix: a_l
  std::vector<std::uint64_t> lane_multiply_;  // mix: c_l
  bool is_mix_;
};

}  // namespace weir
