#include "core/build_info.hpp"

#include "cpu/multiversion.hpp"

// Given by CMakeLists.txt to this file alone, so that a change of flags compiles one file again.
#ifndef VOXRIDGE_BUILT_BY
#define VOXRIDGE_BUILT_BY "not recorded"
#define VOXRIDGE_BUILD_TYPE "not recorded"
#define VOXRIDGE_BUILD_FLAGS "not recorded"
#endif

namespace voxridge {
namespace {

const char* target() {  // the least processor that this file was compiled for
#ifdef __AVX512F__
    return "avx512f";
#elif defined(__AVX2__)
    return "avx2";
#elif defined(__x86_64__) || defined(_M_X64)
    return "x86-64";
#elif defined(__aarch64__) || defined(_M_ARM64)
    return "armv8-a (NEON)";
#else
    return "baseline";
#endif
}

std::string compiled_for() {
#ifdef VOXRIDGE_WIDE
    return std::string(VOXRIDGE_WIDE ", " VOXRIDGE_MIDDLE ", ") + target();
#else
    return target();
#endif
}

std::string chosen() {
#ifdef VOXRIDGE_WIDE
    __builtin_cpu_init();
#if __GNUC__ >= 12
    if (__builtin_cpu_supports("x86-64-v4")) return VOXRIDGE_WIDE;
    if (__builtin_cpu_supports("x86-64-v3")) return VOXRIDGE_MIDDLE;
#else  // what the loader asks for there is the processor's model; these features are what its code needs
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) return VOXRIDGE_WIDE;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return VOXRIDGE_MIDDLE;
#endif
#endif
    return target();
}

}  // namespace

std::map<std::string, std::string> build_info() {
#ifdef VOXRIDGE_SANITIZE
    const char* sanitized = "yes";
#else
    const char* sanitized = "no";
#endif
    return {{"compiler", VOXRIDGE_BUILT_BY},
            {"standard", "C++" + std::to_string(__cplusplus / 100 % 100)},
            {"build_type", VOXRIDGE_BUILD_TYPE},
            {"flags", VOXRIDGE_BUILD_FLAGS},
            {"instruction_sets", compiled_for()},
            {"instruction_set", chosen()},
            {"sanitized", sanitized}};
}

}  // namespace voxridge
