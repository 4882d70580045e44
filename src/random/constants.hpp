#pragma once

#include <array>
#include <cstdint>

/// Constants of the construction in source.hpp and scale.hpp, shared by the scalar and the vector code.
namespace weir::constants {

inline constexpr std::uint64_t golden = 0x9E3779B97F4A7C15U;
inline constexpr std::uint64_t mix1 = 0xD6E8FEB86659FD93U;
inline constexpr std::uint64_t mix2 = 0xA0761D6478BD642FU;
inline constexpr std::uint64_t mix3 = 0x3C79AC492BA7B653U;

inline constexpr float two_to_minus_30 = 0x1p-30F;
inline constexpr float two_to_minus_60 = 0x1p-60F;
inline constexpr float ln2_by_two_to_23 = 0x1.62e430p-24F;
inline constexpr std::int32_t bits_of_one = 0x3F800000;
inline constexpr float quantiser = 192.0F;  // 1.5 * 2^7: sums below 256 have a unit in the last place of 2^-16
/// Minimax fit of -ln(1 - v / 2) / v on [0, 1], relative error 6.7e-6 with all roundings.
inline constexpr std::array<float, 6> log_coefficients = {0x1.ffff26p-2F, 0x1.00755ep-3F,  0x1.413300p-5F,
                                                          0x1.9d0b22p-6F, -0x1.3e8f62p-7F, 0x1.b158b4p-7F};

}  // namespace weir::constants
