// How a kernel is written, so that it runs on the device and, block by block, on the processor.
//
// A kernel is a struct of its arguments:
//
//     struct Scale {
//         static constexpr int kThreads = 256;   // of a block
//         static constexpr bool kSyncs = false;  // whether it calls block.sync() or block.mma_*: the emulator then runs threads as fibers
//         struct Shared {};                      // memory of a block, at most 48 KiB
//         double* a; double by; index_t n;
//         template <class Block> VOXRIDGE_DEVICE void operator()(const Block& block, Shared& shared) const {
//             const index_t i = index_t{block.x()} * kThreads + block.thread();
//             if (i < n) a[i] *= by;
//         }
//     };
//     launch(stream, {blocks_for(n, Scale::kThreads)}, Scale{a, 2.0, n});
//
// Block: x(), y(), z() of the block in the grid; thread(); sync(); and, for all 32 threads of a warp together (thread() / 32 is the warp),
//   mma_tf32(c, a, b): D += A B, A (16, 8), B (8, 8), C (16, 8), in the fragment layout of PTX mma.sync.m16n8k8;
//   mma_bf16(c, a, b): the same of m16n8k16, A (16, 16), B (16, 8).
// to_tf32 and to_bf16x2 round as cvt.rna.tf32 and cvt.rn.bf16x2 do. Host-device helpers (index arithmetic) are marked VOXRIDGE_HD.
#pragma once

#include <cstdint>

#include "core/matrix.hpp"
#include "cuda/runtime.hpp"

namespace voxridge::cuda {

struct Grid {
    index_t x = 1, y = 1, z = 1;  // x up to 2^31 - 1; y and z up to 65,535
};

constexpr index_t blocks_for(index_t n, index_t per_block) { return (n + per_block - 1) / per_block; }

inline constexpr index_t kMaxGridYZ = 65535;

}  // namespace voxridge::cuda

#ifdef __CUDACC__
#include "cuda/launch.cuh"
#else
#include "emulated/launch.hpp"
#endif
