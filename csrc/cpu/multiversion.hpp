// One source, three instruction sets, chosen when the module is loaded, by GCC's function versions. Every other compiler makes one
// version, for the least processor of its target. musl's loader has no such resolvers; sanitizers start after they would run.
#pragma once

#include <cstdlib>  // defines __GLIBC__ where that is the C library

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && !defined(VOXRIDGE_SANITIZE) && \
    !defined(VOXRIDGE_PORTABLE)
#if __GNUC__ >= 12
#define VOXRIDGE_MULTIVERSION __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define VOXRIDGE_WIDE "x86-64-v4"
#define VOXRIDGE_MIDDLE "x86-64-v3"
#else  // the levels have no names there; these two processors are what the levels were drawn up from
#define VOXRIDGE_MULTIVERSION __attribute__((target_clones("arch=skylake-avx512", "arch=haswell", "default")))
#define VOXRIDGE_WIDE "skylake-avx512"
#define VOXRIDGE_MIDDLE "haswell"
#endif
#else
#define VOXRIDGE_MULTIVERSION
#endif
