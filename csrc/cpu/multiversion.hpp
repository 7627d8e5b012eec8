// One source, three instruction sets, chosen at load time. Sanitizers start after the resolvers would run, so there it is one version.
#pragma once

#if defined(__x86_64__) && defined(__ELF__) && defined(__GNUC__) && !defined(__clang__) && !defined(VOXRIDGE_SANITIZE)
#define VOXRIDGE_MULTIVERSION __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define VOXRIDGE_MULTIVERSION
#endif
