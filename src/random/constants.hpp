#pragma once

#include <array>
#include <cstdint>

/// Constants of the construction in source.hpp and scale.hpp, shared by the scalar and the vector code.
namespace weir::constants {

inline constexpr std::uint64_t golden = 0x9E3779B97F4A7C15U;
inline constexpr std::uint64_t mix1 = 0xD6E8FEB86659FD93U;
inline constexpr std::uint64_t mix2 = 0xA0761D6478BD642FU;
inline constexpr std::uint64_t mix3 = 0x3C79AC492BA7B653U;

inline constexpr float two_to_minus_25 = 0x1p-25F;
inline constexpr float two_to_minus_31 = 0x1p-31F;
inline constexpr float two_to_minus_62 = 0x1p-62F;
inline constexpr float ln2 = 0x1.62e430p-1F;
inline constexpr float quantiser = 192.0F;  // 1.5 * 2^7: sums below 256 have a unit in the last place of 2^-16
inline constexpr std::int32_t bits_of_root_half = 0x3F3504F3;
inline constexpr std::int32_t exponent_mask = static_cast<std::int32_t>(0xFF800000U);
/// Minimax fit of ln(1 + f) / f on [sqrt(1/2) - 1, sqrt(2) - 1], relative error 1.8e-7.
inline constexpr std::array<float, 8> log_coefficients = {0x1.fffffep-1F,  -0x1.00007ap-1F, 0x1.5559dcp-2F,
                                                          -0x1.ff623cp-3F, 0x1.978e38p-3F,  -0x1.614c20p-3F,
                                                          0x1.4c3cc0p-3F,  -0x1.9df91ap-4F};

}  // namespace weir::constants

namespace weir {

/// Which formula turns E (or v) into a scale.
enum class Formula { exponential_two, exponential_one, exponential_half, uniform };

}  // namespace weir
