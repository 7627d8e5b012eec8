// Kernels on the processor, block by block: see cuda/block.hpp. For tests; slow, and exact in what is computed from what.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>

#include "emulated/fibers.hpp"
#include "emulated/rounding.hpp"

#define VOXRIDGE_HD
#define VOXRIDGE_DEVICE

namespace voxridge::cuda {

class EmulatedBlock {
public:
    EmulatedBlock(Grid at, int thread, Fibers* fibers) : at_(at), thread_(thread), fibers_(fibers) {}
    unsigned x() const { return static_cast<unsigned>(at_.x); }
    unsigned y() const { return static_cast<unsigned>(at_.y); }
    unsigned z() const { return static_cast<unsigned>(at_.z); }
    int thread() const { return thread_; }
    void sync() const { fibers_->sync(); }
    void mma_tf32(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) const { fibers_->mma(thread_, c, a, b, false); }
    void mma_bf16(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) const { fibers_->mma(thread_, c, a, b, true); }

private:
    Grid at_;
    int thread_;
    Fibers* fibers_;
};

// Queues work on a stream: emulated/runtime.cpp runs it when somebody waits for it.
void enqueue(Stream& stream, std::function<void()> work);

template <class Kernel>
void run_block(const Kernel& kernel, Grid at) {
    auto shared = std::make_unique<typename Kernel::Shared>();
    std::fill_n(reinterpret_cast<unsigned char*>(shared.get()), sizeof(typename Kernel::Shared), 0xff);  // NaN in every float: no kernel may count on zeros
    if constexpr (Kernel::kSyncs) {
        Fibers& fibers = Fibers::of(Kernel::kThreads);
        fibers.run((at.x + at.y + at.z) % 2 == 0, [&](int thread) { kernel(EmulatedBlock(at, thread, &fibers), *shared); });
    } else {
        for (int thread = 0; thread < Kernel::kThreads; ++thread) kernel(EmulatedBlock(at, thread, nullptr), *shared);
    }
}

template <class Kernel>
void launch(Stream& stream, Grid grid, const Kernel& kernel) {
    static_assert(sizeof(typename Kernel::Shared) <= 48 * 1024, "the shared memory of a block is at most 48 KiB");
    static_assert(sizeof(Kernel) <= 4096, "the arguments of a kernel are at most 4 KiB");
    if (grid.x <= 0 || grid.y <= 0 || grid.z <= 0) return;
    require(grid.x < (index_t{1} << 31) && grid.y <= kMaxGridYZ && grid.z <= kMaxGridYZ, "launch: the grid (", grid.x, ", ", grid.y, ", ", grid.z,
            ") is too large; use smaller tiles");
    enqueue(stream, [grid, kernel] {
        // Backwards, as no order of blocks is promised.
        for (index_t z = grid.z; z-- > 0;)
            for (index_t y = grid.y; y-- > 0;)
                for (index_t x = grid.x; x-- > 0;) run_block(kernel, Grid{x, y, z});
    });
}

}  // namespace voxridge::cuda
