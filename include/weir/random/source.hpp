#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace weir {

/// Where random words come from.
enum class Randomness : std::uint8_t {
  mix = 0,  ///< Strong keyed 64-bit mixer: the fast default.
  /// Polynomials over the prime field of 2^61 - 1: k-wise independent words, as proofs about signs and buckets ask.
  kwise = 1,
  /// Nisan's generator for space-bounded computation (Nisan 1992; Theorem 7.3 of the paper): a function of few stored random
  /// bits, any block of which takes O(log R) steps.
  nisan = 2,
};

/// "mix", "kwise", "nisan".
[[nodiscard]] std::string_view to_string(Randomness kind) noexcept;
/// Inverse of to_string. Throws UsageError that lists the known names.
[[nodiscard]] Randomness parse_randomness(std::string_view name);

/// What a word is used for: words for different purposes are independent.
enum class Purpose : std::uint32_t {
  row = 1,      ///< Buckets and signs of the rows; `number` = 16 * level + number of the word.
  scale = 2,    ///< Scales; `number` = lane.
  draw = 3,     ///< Draws from the exact references; `number` = 0 inversion, 1 + s the noise of draw s of the softmax.
  operand = 4,  ///< Seeds of the sketches of several operands under one seed; `number` = the operand, from 0.
  key = 5,      ///< The seed of the hash of keys that are text (weir/random/key_hash.hpp); `number` = 0.
};

// The construction, to the bit. All arithmetic is modulo 2^64; >> is logical; constants are hexadecimal; golden vectors
// are in tests/random.
//
//   finalise(z):   z ^= z >> 30;  z *= BF58476D1CE4E5B9;  z ^= z >> 27;  z *= 94D049BB133111EB;  z ^= z >> 31
//   subkey(seed, purpose, number, part) =
//     finalise(finalise(finalise(finalise(seed + G) + purpose * G) + number * G) + part * G),  G = 9E3779B97F4A7C15
//
// mix(seed, purpose, number; key), with k0, k1, k2 = subkey(seed, purpose, number, 0), (..., 1), (..., 2):
//
//   z = key ^ k0
//   z ^= z >> 32;  z *= D6E8FEB86659FD93;  z += k1
//   z ^= z >> 29;  z *= A0761D6478BD642F
//   z ^= z >> 32;  z += k2;  z *= 3C79AC492BA7B653
//   z ^= z >> 31
//
//   z is the word for the purposes row and draw. For scale the lanes of an item share the z of number 0, and lane l's
//   word is (z ^ a) * c, with a = subkey(seed, scale, l, 3) and c = subkey(seed, scale, l, 4) | 1. Its upper bits are
//   strong, its lower ones are not: a scale relies on them only together with upper ones.
//
// kwise(seed, purpose, number; key), key below 2^61 - 1:
//
//   coefficient_j = subkey(seed, purpose, number, j) >> 3, j < k, or 0 where that is 2^61 - 1
//   the word is 8 * (sum over j of coefficient_j key^j, modulo 2^61 - 1): its low 3 bits are 0. For scale, `number` is
//   the lane.
//
// nisan(seed, purpose, number; key), key below 2^61 - 1: block `key` of the generator G_61, whose blocks are numbers modulo
// 2^61 - 1 and whose hash functions are h_j(v) = a_j v + b_j modulo 2^61 - 1, j = 1 .. 61, pairwise independent:
//
//   G_0(v) = v,   G_j(v) = G_(j-1)(v) G_(j-1)(h_j(v)),   so block t is v after h_j for each bit 2^(j-1) of t, highest first
//   v = r_0, a_j = r_(2j-1), b_j = r_(2j), with r_i = subkey(seed, purpose, number, i) >> 3, or 0 where that is 2^61 - 1
//   the word is 8 times the block. For scale, `number` is the lane.
//
//   One function stores 123 numbers of 61 bits, and fools computations of less space than a block: the proof takes its
//   blocks larger than what the algorithm keeps of one item, and has one generator for all uses. Here each use has its own.

/// splitmix64's finaliser, a bijection of 64-bit words (Steele, Lea, Flood 2014).
[[nodiscard]] constexpr std::uint64_t finalise(std::uint64_t z) noexcept {
  z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
  return z ^ (z >> 31U);
}

/// Secret number `part` for one use of the seed, as given above.
[[nodiscard]] std::uint64_t subkey(std::uint64_t seed, Purpose purpose, std::uint32_t number,
                                   std::uint32_t part) noexcept;

/// Random words as a function of the key, for one (seed, purpose, number). A value; nothing is mutated by drawing
/// words.
class WordFunction {
 public:
  /// `independence` is k of kwise, 2 to 64, and is ignored by the others.
  WordFunction(Randomness kind, std::uint64_t seed, Purpose purpose, std::uint32_t number, std::uint32_t independence);

  [[nodiscard]] std::uint64_t operator()(std::uint64_t key) const noexcept;
  /// out[t] = (*this)(keys[t]). Throws UsageError unless the spans are equally long.
  void fill(std::span<const std::uint64_t> keys, std::span<std::uint64_t> out) const;
  /// The random bits that the words are a function of, as they are stored.
  [[nodiscard]] std::uint64_t stored_bits() const noexcept;

 private:
  Randomness kind_;
  std::array<std::uint64_t, 3> mix_keys_{};
  std::vector<std::uint64_t> coefficients_;  ///< Of kwise; of nisan the numbers r_i.
};

/// Smallest exclusive upper bound of the keys that `kind` takes: 2^64 - 1 stands for "all".
[[nodiscard]] std::uint64_t key_limit(Randomness kind) noexcept;

}  // namespace weir
