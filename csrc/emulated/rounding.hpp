// Rounding of the tensor cores' inputs, as PTX's cvt does it.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace voxridge::cuda {

inline float tf32_value(std::uint32_t bits) { return std::bit_cast<float>(bits & 0xffffe000U); }

// cvt.rna.tf32.f32: to nearest, ties away from zero.
inline std::uint32_t to_tf32(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    return std::isfinite(value) ? (bits + 0x1000U) & 0xffffe000U : bits;
}

inline float bf16_value(std::uint32_t bits) { return std::bit_cast<float>(bits << 16); }

// cvt.rn.bf16.f32: to nearest, ties to even.
inline std::uint32_t to_bf16(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    if (std::isnan(value)) return 0x7fffU;
    return (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
}

inline std::uint32_t to_bf16x2(float low, float high) { return to_bf16(low) | (to_bf16(high) << 16); }

}  // namespace voxridge::cuda
